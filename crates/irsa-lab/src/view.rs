//! What a process of a container sees of the file system: its volumes at their paths, everything else as it is on this
//! machine. And how such a process ends with the lab that started it.
//!
//! The view is a mount namespace that `unshare` makes: as root directly, otherwise in a user namespace in which the
//! process is root of its own files. Where the kernel or an administrator forbids that, or off Linux, there is no view,
//! and variables that name a volume lead to our copy of it instead. Nothing outside the namespace is touched: a folder
//! that lacks the first part of a mount path is covered by a `tmpfs` with all its entries and that part.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};

/// Where system programs are that a container's `PATH` may lack.
pub(crate) const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";

/// Runs in the namespace. Leaves no variable of its own to the command. `$1` is the program `mount`, `$2` our folder, `$3` a new root or nothing; then what is to be
/// done, `--`, and the command.
const ARRANGE: &str = r#"irsa_mount=$1 irsa_dir=$2 irsa_root=$3 irsa_here=$PWD irsa_path=$PATH
PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin
shift 3
copy() {
  mkdir -p "$2" && "$irsa_mount" -t tmpfs -o mode=0755 irsa "$2" || exit 125
  for irsa_entry in "$1"/* "$1"/.[!.]*; do
    irsa_place=$2/${irsa_entry##*/}
    if [ -L "$irsa_entry" ]; then
      ln -s "$(readlink "$irsa_entry")" "$irsa_place"
    elif [ -d "$irsa_entry" ]; then
      mkdir "$irsa_place" && "$irsa_mount" --rbind "$irsa_entry" "$irsa_place"
    elif [ -e "$irsa_entry" ]; then
      : > "$irsa_place" && "$irsa_mount" --bind "$irsa_entry" "$irsa_place"
    fi
  done 2>/dev/null
}
irsa_n=0
[ -z "$irsa_root" ] || copy / "$irsa_root"
while [ "$1" != -- ]; do
  if [ "$1" = cover ]; then
    irsa_n=$((irsa_n + 1))
    copy "$2" "$irsa_dir/cover$irsa_n"
    "$irsa_mount" --rbind "$irsa_dir/cover$irsa_n" "$irsa_root$2" || exit 125
    shift 2
  else
    mkdir -p "$3" && "$irsa_mount" --rbind "$2" "$3" || exit 125
    shift 3
  fi
done
shift
irsa_chroot=$(command -v chroot)
PATH=$irsa_path
if [ -n "$irsa_root" ]; then
  exec "$irsa_chroot" "$irsa_root" /bin/sh -c 'cd "$0" 2>/dev/null; unset PWD OLDPWD SHLVL; exec "$@"' "$irsa_here" "$@"
fi
cd "$irsa_here" 2>/dev/null
unset PWD OLDPWD SHLVL
exec "$@""#;

/// Programs of this machine that wrap a command.
#[derive(Debug)]
struct Tools {
    /// `unshare`, `mount` and `sh`, when a mount namespace is possible with them.
    namespace: Option<[PathBuf; 3]>,
    /// `setpriv`, which lets the kernel end a process when its parent ends.
    setpriv: Option<PathBuf>,
}

/// The program of that name in a list of folders, `PATH`-like.
pub(crate) fn find_in(program: &OsStr, path: &OsStr) -> Option<PathBuf> {
    if Path::new(program).components().count() > 1 {
        return None;
    }
    std::env::split_paths(path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

fn program(name: &str) -> Option<PathBuf> {
    let mut path = std::env::var_os(irsa_core::variables::PATH).unwrap_or_default();
    path.push(":");
    path.push(SYSTEM_PATH);
    find_in(OsStr::new(name), &path)
}

/// Arguments of `unshare`: root needs no user namespace.
fn unshare_arguments() -> Vec<OsString> {
    let user: &[&str] = match rustix::process::geteuid().is_root() {
        true => &[],
        false => &["--user", "--map-root-user"],
    };
    let mount = ["--mount", "--propagation", "private", "--"];
    user.iter().copied().chain(mount).map(OsString::from).collect()
}

impl Tools {
    fn get() -> &'static Self {
        static TOOLS: OnceLock<Tools> = OnceLock::new();
        TOOLS.get_or_init(|| Self {
            namespace: Self::namespace(),
            setpriv: program("setpriv").filter(|_| cfg!(target_os = "linux")),
        })
    }

    fn namespace() -> Option<[PathBuf; 3]> {
        let [unshare, mount, sh] = ["unshare", "mount", "sh"].map(program);
        let (unshare, mount, sh) = (unshare?, mount?, sh?);
        let dir = tempfile::tempdir().ok()?;
        // Whether it is allowed is known by trying only: kernel, sysctl, LSM and seccomp all have a say.
        let tried = std::process::Command::new(&unshare)
            .args(unshare_arguments())
            .arg(&mount)
            .args(["-t", "tmpfs", "irsa"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        tried
            .is_ok_and(|status| status.success())
            .then_some([unshare, mount, sh])
    }
}

/// A program with its arguments.
pub(crate) type CommandLine = (OsString, Vec<OsString>);

/// A command that the kernel kills when this process ends, however it ends. Its own children are not covered:
/// [`end_all`] finds those.
#[must_use]
pub fn command_that_dies_with_us(program: &OsStr, arguments: &[OsString]) -> std::process::Command {
    let path = std::env::var_os(irsa_core::variables::PATH).unwrap_or_default();
    let exists = Path::new(program).is_file() || find_in(program, &path).is_some();
    // One that does not exist is not wrapped, so that starting it says so.
    let (program, arguments) = match exists {
        true => dies_with_us(program.to_owned(), arguments.to_vec()),
        false => (program.to_owned(), arguments.to_vec()),
    };
    let mut command = std::process::Command::new(program);
    command.args(arguments);
    command
}

fn dies_with_us(program: OsString, arguments: Vec<OsString>) -> CommandLine {
    let Some(setpriv) = &Tools::get().setpriv else {
        return (program, arguments);
    };
    let mut all: Vec<OsString> = ["--pdeathsig", "KILL", "--"].map(OsString::from).to_vec();
    all.push(program);
    all.extend(arguments);
    (setpriv.clone().into(), all)
}

/// A folder of ours that is seen at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bind {
    source: PathBuf,
    target: PathBuf,
}

/// How the view of one container is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Layout {
    /// Folders of this machine that lack the first part of a mount path.
    covers: BTreeSet<PathBuf>,
    binds: Vec<Bind>,
    /// Whether the root itself lacks the first part of a mount path.
    new_root: bool,
}

impl Layout {
    /// The layout for volumes at these paths, whose content is below `root` of the folder `dir`. `resolve` gives the real
    /// path of what exists.
    fn new(dir: &Path, mounts: &[String], resolve: impl Fn(&Path) -> Option<PathBuf>) -> Self {
        let mut layout = Self::default();
        let outermost = |path: &&String| {
            let inside = |other: &String| Path::new(path).starts_with(other) && *path != other;
            !mounts.iter().any(inside)
        };
        let mut paths: Vec<&String> = mounts.iter().filter(outermost).collect();
        paths.sort();
        paths.dedup();
        for path in paths {
            let path = Path::new(path);
            let found = path
                .ancestors()
                .find_map(|folder| Some((folder, resolve(folder)?)));
            let Some((there, real)) = found else { continue };
            let source = dir.join("root").join(path.strip_prefix("/").unwrap_or(path));
            let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
            let target = real.join(rest);
            if rest == Path::new("") {
                // A volume over the folder in which our own is hides it, unless it is in the volume, too.
                if let Ok(below) = dir.strip_prefix(&target) {
                    let target = source.join(below);
                    layout.binds.push(Bind {
                        source: dir.to_owned(),
                        target,
                    });
                }
            } else if real == Path::new("/") {
                layout.new_root = true;
            } else {
                layout.covers.insert(real);
            }
            layout.binds.push(Bind { source, target });
        }
        layout
    }

    /// The arguments of [`ARRANGE`] before the command.
    fn arguments(&self, dir: &Path) -> Vec<OsString> {
        let root = if self.new_root {
            dir.join("view")
        } else {
            PathBuf::new()
        };
        let mut all: Vec<OsString> = vec![dir.into(), root.clone().into()];
        for folder in &self.covers {
            all.extend(["cover".into(), folder.clone().into_os_string()]);
        }
        for Bind { source, target } in &self.binds {
            // What is put into our own folder is put there, not into the new root.
            let target = match target.strip_prefix("/") {
                Ok(below) if self.new_root && !target.starts_with(dir) => root.join(below),
                _ => target.clone(),
            };
            all.extend([
                "bind".into(),
                source.clone().into_os_string(),
                target.into_os_string(),
            ]);
        }
        all.push("--".into());
        all
    }
}

/// The view of one container's processes.
#[derive(Debug)]
pub(crate) struct View {
    dir: PathBuf,
    /// `None` where no namespace is possible.
    layout: Option<Layout>,
}

impl View {
    /// The view with volumes at `mounts`, whose content is below `root` of the folder `dir`.
    pub(crate) fn new(dir: &Path, mounts: &[String]) -> Self {
        let resolve = |path: &Path| fs::canonicalize(path).ok();
        let layout = || Layout::new(dir, mounts, resolve);
        Self {
            dir: dir.to_owned(),
            layout: Tools::get().namespace.is_some().then(layout),
        }
    }

    /// Whether volumes are at their paths.
    pub(crate) fn is_private(&self) -> bool {
        self.layout.is_some()
    }

    /// The command line that runs a command in this view, and that ends with this process.
    pub(crate) fn wrap(&self, program: OsString, arguments: Vec<OsString>) -> CommandLine {
        let layout = self.layout.as_ref().filter(|layout| !layout.binds.is_empty());
        let (Some(layout), Some([unshare, mount, sh])) = (layout, &Tools::get().namespace) else {
            return dies_with_us(program, arguments);
        };
        let mut inner: Vec<OsString> = ["-c", ARRANGE, "irsa"].map(OsString::from).to_vec();
        inner.push(mount.clone().into());
        inner.extend(layout.arguments(&self.dir));
        inner.push(program);
        inner.extend(arguments);
        // Inside, since a change of credentials would take the signal back.
        let (program, arguments) = dies_with_us(sh.clone().into(), inner);
        let mut all = unshare_arguments();
        all.push(program);
        all.extend(arguments);
        (unshare.clone().into(), all)
    }
}

/// Kills every process that has a path in this folder in its environment: what commands have left running. The folder's
/// name is one of its kind, so no other process can be meant.
pub fn end_all(folder: &Path) {
    let mut below = folder.as_os_str().as_bytes().to_vec();
    below.push(b'/');
    let own = i32::try_from(std::process::id()).ok();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(process) = process.filter(|process| Some(*process) != own) else {
            continue;
        };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let mentions = environment.windows(below.len()).any(|window| window == below);
        if let (true, Some(process)) = (mentions, Pid::from_raw(process)) {
            let _ = kill_process(process, Signal::KILL);
        }
    }
}

#[cfg(test)]
#[allow(clippy::print_stderr, clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const DIR: &str = "/tmp/irsa-run-x";
    const TOKEN: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount";

    fn layout(mounts: &[&str]) -> Layout {
        let mounts: Vec<String> = mounts.iter().map(|path| (*path).to_owned()).collect();
        Layout::new(Path::new(DIR), &mounts, |path| match path.to_str()? {
            "/var/run" => Some("/run".into()),
            "/" | "/tmp" | "/etc" | "/run" | "/var" => Some(path.to_owned()),
            _ => None,
        })
    }

    fn bind(source: &str, target: &str) -> Bind {
        Bind {
            source: Path::new(DIR).join(source),
            target: target.into(),
        }
    }

    #[test]
    fn a_folder_that_lacks_the_mount_path_is_covered() {
        let layout = layout(&[TOKEN, "/var/run/secrets/kubernetes.io/serviceaccount"]);
        assert_eq!(layout.covers, ["/run".into()].into());
        assert!(!layout.new_root);
        let target = "/run/secrets/eks.amazonaws.com/serviceaccount";
        assert_eq!(
            layout.binds[0],
            bind("root/var/run/secrets/eks.amazonaws.com/serviceaccount", target)
        );
        assert_eq!(layout.binds.len(), 2);
    }

    #[test]
    fn a_volume_inside_another_comes_with_it() {
        assert_eq!(
            layout(&["/etc/app/certs", "/etc/app"]).binds,
            [bind("root/etc/app", "/etc/app")]
        );
    }

    #[test]
    fn a_volume_over_our_own_folder_does_not_hide_it() {
        let layout = layout(&["/tmp"]);
        let own = Path::new(DIR).join("root/tmp/irsa-run-x");
        assert_eq!(layout.binds[0], bind("", own.to_str().unwrap()));
        assert_eq!(layout.binds[1], bind("root/tmp", "/tmp"));
        assert!(layout.covers.is_empty());
    }

    #[test]
    fn a_path_below_the_root_needs_a_new_one() {
        let layout = layout(&["/data", "/etc"]);
        assert!(layout.new_root && layout.covers.is_empty());
        let arguments = layout.arguments(Path::new(DIR));
        assert_eq!(arguments[1], "/tmp/irsa-run-x/view");
        assert!(
            arguments.contains(&"/tmp/irsa-run-x/view/data".into()),
            "{arguments:?}"
        );
    }

    /// Runs a script in a view with volumes at these paths and returns what it prints.
    fn run(dir: &Path, mounts: &[&str], script: &str) -> Option<String> {
        let mounts: Vec<String> = mounts.iter().map(|path| (*path).to_owned()).collect();
        for mount in &mounts {
            let folder = dir.join("root").join(mount.trim_start_matches('/'));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("file"), mount).unwrap();
        }
        let view = View::new(dir, &mounts);
        if !view.is_private() {
            eprintln!("skipped: mount namespaces are not possible here");
            return None;
        }
        let (program, arguments) = view.wrap("/bin/sh".into(), vec!["-c".into(), script.into()]);
        let output = std::process::Command::new(program)
            .args(arguments)
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        Some(String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn volumes_are_at_their_paths_and_the_rest_of_the_machine_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let mounts = ["/var/run/secrets/test.example/account", "/irsa-test-data", "/tmp"];
        let script = format!(
            "cat {}/file {}/file {}/file; test -e /etc/passwd && pwd && touch /irsa-test-data/made",
            mounts[0], mounts[1], mounts[2]
        );
        if let Some(printed) = run(dir.path(), &mounts, &script) {
            assert_eq!(printed, format!("{}{}\n", mounts.concat(), dir.path().display()));
            assert!(dir.path().join("root/irsa-test-data/made").exists());
            assert!(!Path::new("/irsa-test-data").exists());
        }
    }

    #[test]
    fn a_command_finds_no_variable_that_the_view_has_made() {
        let dir = tempfile::tempdir().unwrap();
        let mounts = ["/var/run/secrets/test.example/account".to_owned()];
        fs::create_dir_all(dir.path().join("root/var/run/secrets/test.example/account")).unwrap();
        let (program, arguments) = View::new(dir.path(), &mounts).wrap("/usr/bin/env".into(), Vec::new());
        let mut command = std::process::Command::new(program);
        let output = command
            .args(arguments)
            .env_clear()
            .env("PATH", "/only")
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "PATH=/only\n",
            "{output:?}"
        );
    }

    #[test]
    fn what_a_command_leaves_running_is_found_by_its_environment() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .env("AWS_CA_BUNDLE", dir.path().join("aws-ca.pem"))
            .spawn()
            .unwrap();
        // The environment is the child's once it has been executed.
        let environment = format!("/proc/{}/environ", child.id());
        let own = dir.path().as_os_str().as_bytes();
        while !fs::read(&environment)
            .unwrap()
            .windows(own.len())
            .any(|window| window == own)
        {
            std::thread::yield_now();
        }
        end_all(dir.path());
        assert!(!child.wait().unwrap().success());
    }
}
