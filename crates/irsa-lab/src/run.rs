//! A local process that believes to be a pod's container: its environment, its tokens, and the way to the lab's AWS.
//!
//! Exactly the container's variables, on top of a few that a process on this machine cannot do without (`PATH` and
//! the like). Three things are put in that a pod does not have: where the lab's AWS is, its CA for every family of
//! SDKs, and a home folder of its own, since AWS CLI v1 keeps credentials there from one run to the next.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;
use std::{fs, io};

use jiff::Timestamp;
use kube::Client;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::container::{self, Container, File};
use crate::view::{View, end_all, find_in};

/// Variables of this process that every command needs, wherever it runs.
const INHERITED: [&str; 9] = [
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TERM",
    "TZ",
    "TMPDIR",
    "COLORTERM",
    "NO_COLOR",
];
/// The variable by which each family of SDKs finds a CA: AWS SDKs and CLI, requests, OpenSSL and rustls, Node.
const CA_VARIABLES: [&str; 5] = [
    "AWS_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "CURL_CA_BUNDLE",
];
/// What is reached directly in spite of the proxy: this machine.
const NO_PROXY: &str = "127.0.0.1,localhost,::1";
/// Tokens are looked at at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// After a failed refresh.
const RETRY: Duration = Duration::from_secs(5);
/// How the folders of sandboxes begin.
const PREFIX: &str = "irsa-run-";
/// The file in a sandbox that its process keeps locked.
const OWNER: &str = "owner";

/// Where the lab's AWS is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// `http://127.0.0.1:PORT` of the CONNECT proxy.
    pub proxy: String,
    /// Where TLS is taken directly, for clients in a network namespace.
    pub direct: std::net::SocketAddr,
    /// The CA certificate, PEM.
    pub ca_pem: String,
    /// Names beyond those of STS and S3 that are served: the issuer's.
    pub hosts: Vec<String>,
}

/// How the process reaches the lab's AWS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// Through `HTTPS_PROXY`.
    #[default]
    Proxy,
    /// AWS names lead to it, in a network namespace of the process's own.
    Namespace,
}

/// Why a process cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the container sees cannot be found out.
    #[error(transparent)]
    Container(#[from] container::Error),
    /// Its files cannot be written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The files and variables of one process. Dropping it removes them.
#[derive(Debug)]
pub struct Sandbox {
    dir: TempDir,
    view: View,
    _owner: fs::File,
    variables: Vec<(OsString, OsString)>,
    notes: Vec<String>,
    refresher: Option<JoinHandle<()>>,
}

impl Sandbox {
    /// Writes the files of `container` to a private folder and works out its variables. Tokens are replaced in the
    /// background for as long as the sandbox lives, so it needs a Tokio runtime.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn prepare(
        client: Client,
        container: Container,
        reach: &Reach,
        way: Way,
    ) -> Result<Self, Error> {
        let resolved = container.resolve(&client).await?;
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir()
            .map_err(|source| Error::File {
                action: "make a private folder in",
                path: std::env::temp_dir(),
                source,
            })?;
        let owner = take(dir.path())?;
        let files = Files {
            root: dir.path().join("root"),
        };
        for mount in &resolved.mounts {
            files.make_dir(mount)?;
        }
        for file in &resolved.files {
            files.write(file)?;
        }
        let home = dir.path().join("home");
        make_dir(&home)?;
        let ca = dir.path().join("aws-ca.pem");
        write(&ca, reach.ca_pem.as_bytes())?;

        let view = View::new(dir.path(), &resolved.mounts);
        let mut environment = Environment::default();
        for name in INHERITED {
            if let Some(value) = std::env::var_os(name) {
                environment.set(name, value);
            }
        }
        environment.set("HOME", &home);
        for (name, value) in &resolved.variables {
            let value = match view.is_private() {
                true => value.into(),
                false => files.moved(value, &resolved.mounts),
            };
            environment.set(name, value);
        }
        let mut notes = Vec::new();
        if !view.is_private() && !resolved.mounts.is_empty() {
            notes.push(format!(
                "mount namespaces are not possible here: volumes are below {}, and variables that name them lead there",
                files.root.display()
            ));
        }
        notes.extend(lead_to_lab(
            &mut environment,
            &resolved.variables,
            reach,
            way,
            &ca,
        ));
        let refresher = resolved
            .files
            .iter()
            .any(|file| file.refresh_at.is_some())
            .then(|| tokio::spawn(refresh(client, container, files, earliest(&resolved.files))));
        Ok(Self {
            dir,
            view,
            _owner: owner,
            variables: environment.0,
            notes,
            refresher,
        })
    }

    /// The folder in which everything is. Only its owner may look into it.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where a file of the container's volumes is on this machine.
    #[must_use]
    pub fn place(&self, path: &str) -> PathBuf {
        let copy = self.dir.path().join("root").join(path.trim_start_matches('/'));
        if copy.exists() { copy } else { path.into() }
    }

    /// What the process's environment is, sorted by name.
    #[must_use]
    pub fn variables(&self) -> &[(OsString, OsString)] {
        &self.variables
    }

    /// What a person should know about how this differs from the container.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Adds a variable, or replaces one.
    pub fn set(&mut self, name: &str, value: &str) {
        let mut environment = Environment(std::mem::take(&mut self.variables));
        environment.set(name, value);
        self.variables = environment.0;
    }

    /// A command that has this environment and nothing else, and that sees the container's volumes at their paths. It
    /// is killed when this process ends.
    pub fn command<S: AsRef<OsStr>>(&self, program: &S, arguments: &[S]) -> Command {
        let arguments = arguments.iter().map(|one| one.as_ref().to_owned()).collect();
        let found = self.find(program.as_ref()).into_os_string();
        // One that does not exist is not wrapped, so that starting it says so.
        let (program, arguments) = match self.has(program.as_ref()) {
            true => self.view.wrap(found, arguments),
            false => (found, arguments),
        };
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(
            self.variables
                .iter()
                .map(|(name, value)| (name.as_os_str(), value.as_os_str())),
        );
        command
    }

    /// Whether a program can be started: one of the machine, or in a volume.
    pub(crate) fn has(&self, program: &OsStr) -> bool {
        let found = self.find(program);
        let in_volume = self
            .dir
            .path()
            .join("root")
            .join(found.strip_prefix("/").unwrap_or(&found));
        found.is_file() || in_volume.is_file()
    }

    /// A program by the container's `PATH`. Where it is not found the name stays, so that starting it says so.
    pub(crate) fn find(&self, program: &OsStr) -> PathBuf {
        let path = self
            .variables
            .iter()
            .find(|(name, _)| name == "PATH")
            .map(|(_, value)| value.as_os_str());
        find_in(program, path.unwrap_or_default()).unwrap_or_else(|| program.into())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(refresher) = &self.refresher {
            refresher.abort();
        }
        end_all(self.dir.path());
    }
}

/// Marks a new folder as in use for as long as the file is open.
fn take(dir: &Path) -> Result<fs::File, Error> {
    let partial = dir.join("owner.partial");
    let lock = || {
        let file = fs::File::create_new(&partial)?;
        file.try_lock()?;
        // Under its name only once it is locked: [`sweep`] must not be faster.
        fs::rename(&partial, dir.join(OWNER))?;
        Ok(file)
    };
    lock().map_err(|source| Error::File {
        action: "lock",
        path: partial.clone(),
        source,
    })
}

/// Removes what labs have left behind that could not end properly: processes of their containers, and folders.
pub fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
        {
            sweep_folder(&entry.path(), OWNER);
        }
    }
}

/// Removes a folder of ours, with the processes that refer to it, unless its lock is held.
pub(crate) fn sweep_folder(folder: &Path, lock: &str) {
    // Of other users nothing is touched, and links are not followed.
    let ours = fs::symlink_metadata(folder)
        .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw());
    let lock = ours.then(|| fs::File::open(folder.join(lock)).ok()).flatten();
    if lock.is_some_and(|lock| lock.try_lock().is_ok()) {
        end_all(folder);
        if let Err(error) = fs::remove_dir_all(folder) {
            tracing::debug!(folder = %folder.display(), %error, "what an earlier lab left was not removed");
        }
    }
}

/// Sets what leads SDKs to the lab's AWS. Returns which of the container's own variables that replaces.
fn lead_to_lab(
    environment: &mut Environment,
    own: &[(String, String)],
    reach: &Reach,
    way: Way,
    ca: &Path,
) -> Vec<String> {
    let mut notes = Vec::new();
    let mut put = |name: &str, value: &OsStr| {
        if own.iter().any(|(known, _)| known == name) {
            notes.push(format!(
                "the container's own {name} is replaced, since the lab's AWS is reached by it"
            ));
        }
        environment.set(name, value);
    };
    for name in CA_VARIABLES {
        put(name, ca.as_os_str());
    }
    if way == Way::Proxy {
        for name in ["HTTPS_PROXY", "https_proxy"] {
            put(name, OsStr::new(&reach.proxy));
        }
        for name in ["NO_PROXY", "no_proxy"] {
            put(name, OsStr::new(NO_PROXY));
        }
    }
    notes
}

/// The exit code as a shell gives it: the process's own, or 128 and the number of the signal that ended it.
#[must_use]
pub fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1)
}

/// Variables, sorted by name, each once.
#[derive(Default)]
struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    fn set(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
        let (name, value) = (name.as_ref(), value.as_ref());
        match self.0.binary_search_by(|(known, _)| known.as_os_str().cmp(name)) {
            Ok(at) => self.0[at].1 = value.to_owned(),
            Err(at) => self.0.insert(at, (name.to_owned(), value.to_owned())),
        }
    }
}

/// The container's files under a root of our own.
#[derive(Debug)]
struct Files {
    root: PathBuf,
}

impl Files {
    /// Where a path of the container is here.
    fn place(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn make_dir(&self, path: &str) -> Result<(), Error> {
        make_dir(&self.place(path))
    }

    fn write(&self, file: &File) -> Result<(), Error> {
        let path = self.place(&file.path);
        if let Some(folder) = path.parent() {
            make_dir(folder)?;
        }
        write(&path, &file.content)
    }

    /// A variable that is a path beneath a mount leads to our copy; every other stays as it is.
    fn moved(&self, value: &str, mounts: &[String]) -> OsString {
        let beneath = mounts.iter().any(|mount| {
            value
                .strip_prefix(mount.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if beneath {
            self.place(value).into_os_string()
        } else {
            value.into()
        }
    }
}

/// Replaces tokens before they expire, for ever.
async fn refresh(client: Client, container: Container, files: Files, mut next: Option<Timestamp>) {
    while let Some(at) = next {
        let left = at.duration_since(Timestamp::now());
        // Clocks are changed and machines sleep: look again from time to time instead of sleeping through.
        if let Ok(left) = Duration::try_from(left)
            && !left.is_zero()
        {
            tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
            continue;
        }
        match container.tokens(&client).await {
            Ok(tokens) => {
                for token in &tokens {
                    if let Err(error) = files.write(token) {
                        tracing::warn!(%error, "a new token could not be written");
                    }
                }
                next = earliest(&tokens);
            }
            Err(error) => {
                tracing::warn!(%error, "the token could not be refreshed; it is tried again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

fn earliest(files: &[File]) -> Option<Timestamp> {
    files.iter().filter_map(|file| file.refresh_at).min()
}

fn make_dir(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| Error::File {
            action: "make",
            path: path.to_owned(),
            source,
        })
}

/// Writes a file that only its owner may read, whole or not at all: a client may be reading the old one.
fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let failed = |source| Error::File {
        action: "write",
        path: path.to_owned(),
        source,
    };
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&partial)
        .map_err(failed)?;
    io::Write::write_all(&mut file, content)
        .and_then(|()| fs::rename(&partial, path))
        .map_err(failed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn paths_beneath_a_mount_lead_to_our_copy_and_no_others() {
        let files = Files {
            root: PathBuf::from("/tmp/x/root"),
        };
        let mounts = ["/var/run/secrets/eks.amazonaws.com/serviceaccount".to_owned()];
        for (value, wanted) in [
            (
                "/var/run/secrets/eks.amazonaws.com/serviceaccount/token",
                "/tmp/x/root/var/run/secrets/eks.amazonaws.com/serviceaccount/token",
            ),
            (
                "/var/run/secrets/eks.amazonaws.com/serviceaccount",
                "/tmp/x/root/var/run/secrets/eks.amazonaws.com/serviceaccount",
            ),
            (
                "/var/run/secrets/eks.amazonaws.com/serviceaccounts/token",
                "/var/run/secrets/eks.amazonaws.com/serviceaccounts/token",
            ),
            ("us-west-2", "us-west-2"),
        ] {
            assert_eq!(files.moved(value, &mounts), wanted);
        }
    }

    #[test]
    fn a_token_is_readable_by_its_owner_only_and_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files {
            root: dir.path().join("root"),
        };
        let file = |content: &str| File {
            path: "/a/b/token".to_owned(),
            content: content.as_bytes().to_vec(),
            refresh_at: None,
        };
        files.write(&file("first, and longer")).unwrap();
        files.write(&file("second")).unwrap();
        let path = dir.path().join("root/a/b/token");
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_is_swept_once_nobody_holds_its_lock() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("irsa-run-x");
        fs::create_dir(&folder).unwrap();
        sweep_folder(&folder, OWNER);
        assert!(folder.exists(), "one that is just being made");
        let owner = take(&folder).unwrap();
        sweep_folder(&folder, OWNER);
        assert!(folder.exists(), "one that is in use");
        drop(owner);
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        sweep_folder(&link, OWNER);
        assert!(folder.exists(), "a link");
        sweep_folder(&folder, OWNER);
        assert!(!folder.exists());
    }

    #[test]
    fn a_variable_is_there_once_with_its_last_value() {
        let mut environment = Environment::default();
        for (name, value) in [("B", "1"), ("A", "2"), ("B", "3")] {
            environment.set(name, value);
        }
        assert_eq!(
            environment.0,
            [("A".into(), "2".into()), ("B".into(), "3".into())] as [(OsString, OsString); 2]
        );
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        let status = |script: &str| {
            let status = Command::new("sh").args(["-c", script]).status().unwrap();
            exit_code(status)
        };
        assert_eq!(status("exit 7"), 7);
        assert_eq!(status("kill -TERM $$"), 143);
    }
}
