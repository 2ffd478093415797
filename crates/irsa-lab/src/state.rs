//! The folder through which a running lab is found: kubeconfig, CA, addresses. Only its owner may read it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Name of the environment variable that names the folder.
pub const VARIABLE: &str = irsa_core::variables::IRSA_LAB_DIR;

const LOCK: &str = "lock";
const KUBECONFIG: &str = "kubeconfig";
const CA: &str = "aws-ca.pem";
/// How the folders of labs begin that run for one command.
const ONE_COMMAND: &str = "irsa-lab-for-";
/// Do not open through a link.
const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another lab uses it.
    #[error("a lab is already running in {0}: end it, or give this one another folder with --state-dir")]
    Taken(PathBuf),
    /// Somebody else could read or replace what is in it.
    #[error("{0} belongs to another user: give the lab another folder with --state-dir")]
    Foreign(PathBuf),
    /// It is a link, which could lead anywhere.
    #[error("{0} is a symbolic link: give the lab the folder itself with --state-dir")]
    Link(PathBuf),
    /// Others could replace what is in it.
    #[error("others can write to {0}: run chmod go-w on it, or give the lab another folder with --state-dir")]
    Writable(PathBuf),
    /// The file system says no.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { what, path, source }
}

/// The folder of a lab that this process runs. Dropping it removes everything the lab wrote.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    // Whether the folder itself was made here, and goes, too.
    made: bool,
    written: Vec<PathBuf>,
    _lock: File,
}

/// Where a lab of this user is found unless told otherwise: `$IRSA_LAB_DIR`, `$XDG_RUNTIME_DIR/irsa-lab`, or a
/// folder with the user's number in the system's temporary folder.
#[must_use]
pub fn default_path() -> PathBuf {
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return path.into();
    }
    if let Some(runtime) =
        std::env::var_os(irsa_core::variables::XDG_RUNTIME_DIR).filter(|path| !path.is_empty())
    {
        return Path::new(&runtime).join("irsa-lab");
    }
    std::env::temp_dir().join(format!("irsa-lab-{}", user().unwrap_or_default()))
}

/// A new folder for a lab that runs for one command, beside that of the user's other lab.
#[must_use]
pub fn path_for_one_command() -> PathBuf {
    let id = uuid::Uuid::new_v4().simple();
    std::env::temp_dir().join(format!("{ONE_COMMAND}{id}"))
}

/// Removes the folders of such labs that could not end properly.
pub fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(ONE_COMMAND.as_bytes())
        {
            crate::run::sweep_folder(&entry.path(), LOCK);
        }
    }
}

/// The kubeconfig of the lab whose folder this is.
#[must_use]
pub fn kubeconfig(folder: &Path) -> PathBuf {
    folder.join(KUBECONFIG)
}

/// The CA of the lab's AWS whose folder this is.
#[must_use]
pub fn ca(folder: &Path) -> PathBuf {
    folder.join(CA)
}

impl StateDir {
    /// Makes the folder, or takes one that no lab uses.
    ///
    /// # Errors
    /// [`Error`].
    pub fn take(path: PathBuf) -> Result<Self, Error> {
        let made = match DirBuilder::new().mode(0o700).recursive(false).create(&path) {
            Ok(()) => true,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(failed("cannot make", &path)(error)),
        };
        // What is there already is left as it is: links are not followed, and no mode is changed.
        let metadata = fs::symlink_metadata(&path).map_err(failed("cannot look at", &path))?;
        if metadata.is_symlink() {
            return Err(Error::Link(path));
        }
        if user().is_some_and(|user| user != metadata.uid()) {
            return Err(Error::Foreign(path));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(Error::Writable(path));
        }
        let file = path.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(NOFOLLOW)
            .open(&file)
            .map_err(failed("cannot write", &file))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Taken(path)),
            Err(TryLockError::Error(error)) => return Err(failed("cannot lock", &file)(error)),
        }
        Ok(Self {
            path,
            made,
            written: vec![file],
            _lock: lock,
        })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the kubeconfig is.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        kubeconfig(&self.path)
    }

    /// Where the CA of the lab's AWS is.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        ca(&self.path)
    }

    /// Writes a file that nobody else may read, whole or not at all. It is removed with the lab.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, name: &str, content: &[u8]) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        let partial = self.path.join(format!(".{name}.partial"));
        // One that an earlier lab left; a new file is never made through a link.
        let _ = fs::remove_file(&partial);
        let mut file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&partial)
            .map_err(failed("cannot write", &partial))?;
        file.write_all(content)
            .map_err(failed("cannot write", &partial))?;
        fs::rename(&partial, &path).map_err(failed("cannot write", &path))?;
        if !self.written.contains(&path) {
            self.written.push(path.clone());
        }
        Ok(path)
    }

    /// Writes [`StateDir::kubeconfig`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_kubeconfig(&mut self, content: &str) -> Result<PathBuf, Error> {
        self.write(KUBECONFIG, content.as_bytes())
    }

    /// Writes [`StateDir::ca`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_ca(&mut self, content: &str) -> Result<PathBuf, Error> {
        self.write(CA, content.as_bytes())
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        for path in self.written.iter().rev() {
            let _ = fs::remove_file(path);
        }
        if self.made {
            // Fails when somebody else has put something here, which then stays.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// The number of the user who runs this, where the system tells.
fn user() -> Option<u32> {
    fs::metadata("/proc/self").ok().map(|metadata| metadata.uid())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn nothing_is_left_of_a_folder_that_the_lab_made() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("lab");
        let mut state = StateDir::take(path.clone()).unwrap();
        state.write_kubeconfig("secret").unwrap();
        let mode = fs::metadata(state.kubeconfig()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(state);
        assert!(!path.exists());
    }

    #[test]
    fn the_mode_of_a_folder_that_is_there_is_not_changed_and_links_are_not_followed() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("lab");
        fs::create_dir(&path).unwrap();
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(StateDir::take(link), Err(Error::Link(_))));
        for (mode, allowed) in [(0o755, true), (0o775, false), (0o777, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let taken = StateDir::take(path.clone());
            assert_eq!(taken.is_ok(), allowed, "{mode:o}");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink(parent.path().join("elsewhere"), path.join("lock")).unwrap();
        assert!(StateDir::take(path).is_err());
        assert!(!parent.path().join("elsewhere").exists());
    }

    #[test]
    fn what_somebody_else_put_into_the_folder_stays() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("mine"), "x").unwrap();
        let mut state = StateDir::take(parent.path().to_owned()).unwrap();
        state.write_ca("pem").unwrap();
        drop(state);
        let left: Vec<_> = fs::read_dir(parent.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["mine"]);
    }

    #[test]
    fn a_second_lab_in_the_same_folder_is_refused_with_a_sentence() {
        let parent = tempfile::tempdir().unwrap();
        let _first = StateDir::take(parent.path().to_owned()).unwrap();
        let error = StateDir::take(parent.path().to_owned()).unwrap_err();
        assert!(error.to_string().contains("already running"), "{error}");
    }
}
