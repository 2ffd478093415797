//! Files that somebody else changes: certificates and configuration.
//!
//! A file is read again when something happens in its directory (inotify, on Linux) and at every poll. The poll is what
//! can be relied on: a Secret that the kubelet mounts changes by a swapped symbolic link, and content may come through
//! links from elsewhere. Content is compared by hash, so that it does not matter how the change was made.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256};
use jiff::Timestamp;

use crate::tls::{self, Pair, Serving};

/// How long a read may take before it counts as failed.
const READ_TIME: Duration = Duration::from_secs(5);
/// Reads of one file that may hang at once, on a network file system for instance; each keeps a thread.
const HANGING: usize = 4;
/// After something happened in a directory: whoever writes there is given a moment to finish.
const SETTLE: Duration = Duration::from_millis(20);

/// Reads one file again and again, in a bounded time and up to a bounded size.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    max_bytes: u64,
    hanging: Arc<AtomicUsize>,
}

impl File {
    /// The file at `path`, up to `max_bytes`.
    #[must_use]
    pub fn new(path: PathBuf, max_bytes: u64) -> Self {
        Self {
            path,
            max_bytes,
            hanging: Arc::default(),
        }
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file now.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::FileTooLarge`]; [`io::ErrorKind::TimedOut`] when the read hangs. A read
    /// that hangs does not keep later ones from succeeding.
    pub async fn read(&self) -> io::Result<Vec<u8>> {
        self.read_within(READ_TIME).await
    }

    async fn read_within(&self, time: Duration) -> io::Result<Vec<u8>> {
        let hangs = || io::Error::new(io::ErrorKind::TimedOut, "reading it hangs");
        if self.hanging.load(Ordering::Relaxed) >= HANGING {
            return Err(hangs());
        }
        let (path, max_bytes, hanging) = (self.path.clone(), self.max_bytes, Arc::clone(&self.hanging));
        let (tell, told) = tokio::sync::oneshot::channel();
        self.hanging.fetch_add(1, Ordering::Relaxed);
        // A thread of its own: the runtime waits for its blocking tasks when it ends, and this one may never end.
        let spawned = std::thread::Builder::new()
            .name("file".to_owned())
            .spawn(move || {
                let _ = tell.send(read(&path, max_bytes));
                hanging.fetch_sub(1, Ordering::Relaxed);
            });
        if let Err(error) = spawned {
            self.hanging.fetch_sub(1, Ordering::Relaxed);
            return Err(error);
        }
        match tokio::time::timeout(time, told).await {
            Ok(Ok(result)) => result,
            Ok(Err(_gone)) => Err(io::Error::other("the thread that reads it failed")),
            Err(_elapsed) => Err(hangs()),
        }
    }
}

fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let file = std::fs::File::open(path)?;
    let mut content = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut content)?;
    if content.len() as u64 > max_bytes {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {max_bytes} bytes"),
        ));
    }
    Ok(content)
}

/// Tells when it is time to look at files again.
#[derive(Debug)]
pub struct Changes {
    poll: Duration,
    #[cfg(target_os = "linux")]
    directories: Option<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>>,
}

impl Changes {
    /// Looks at the directories of `files`, and every `poll` in any case. Where directories cannot be watched there is
    /// the poll only.
    #[must_use]
    pub fn new(files: &[&Path], poll: Duration) -> Self {
        Self {
            poll,
            #[cfg(target_os = "linux")]
            directories: watch(files)
                .inspect_err(|error| tracing::debug!(%error, "cannot watch directories; polling files"))
                .ok(),
        }
    }

    /// Waits until it is time to look. Cancel-safe.
    pub async fn wait(&mut self) {
        #[cfg(target_os = "linux")]
        if let Some(directories) = &self.directories {
            match tokio::time::timeout(self.poll, events(directories)).await {
                Ok(Ok(())) => return tokio::time::sleep(SETTLE).await,
                Ok(Err(error)) => tracing::debug!(%error, "cannot watch directories; polling files"),
                Err(_elapsed) => return,
            }
            self.directories = None;
        }
        tokio::time::sleep(self.poll).await;
    }
}

#[cfg(target_os = "linux")]
fn watch(files: &[&Path]) -> io::Result<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>> {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
    let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    for file in files {
        let directory = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let changes = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CREATE
            | WatchFlags::DELETE;
        add_watch(&inotify, directory, changes)?;
    }
    #[expect(
        deprecated,
        reason = "its successor is unsafe, because a type could change its descriptor; an OwnedFd does not"
    )]
    let directories = tokio::io::unix::AsyncFd::with_interest(inotify, tokio::io::Interest::READABLE)?;
    Ok(directories)
}

/// Waits for events in the directories and takes them off the queue. Which ones does not matter: content is compared.
#[cfg(target_os = "linux")]
async fn events(directories: &tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>) -> io::Result<()> {
    loop {
        let mut ready = directories.readable().await?;
        let read = ready.try_io(|inotify| Ok(rustix::io::read(inotify, &mut [0_u8; 4096])?));
        match read {
            Ok(result) => return result.map(|_| ()),
            Err(_would_block) => {}
        }
    }
}

/// The hash by which content is compared.
#[must_use]
pub fn hash(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = digest::Context::new(&SHA256);
    for part in parts {
        all.update(&(part.len() as u64).to_be_bytes());
        all.update(part);
    }
    all.finish().as_ref().to_vec()
}

/// Files larger than this are not certificates.
const MAX_CERTIFICATE_BYTES: u64 = 1024 * 1024;

/// Why certificate files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{flag} `{path}`: {source}")]
    Read {
        /// The flag that names the file.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The content cannot be used.
    #[error("--tls-cert `{cert}` with --tls-key `{key}`: {source}")]
    Unusable {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
        /// Why not.
        source: tls::Error,
    },
    /// The new certificate has expired, and the one in use has not.
    #[error("--tls-cert `{cert}` expired at {not_after}; the certificate in use is valid and stays")]
    Expired {
        /// The certificate file.
        cert: PathBuf,
        /// When it expired.
        not_after: Timestamp,
    },
}

/// A certificate in two files, and how often they are looked at.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate chain, leaf first, PEM.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
    /// The time between two looks.
    pub poll: Duration,
}

/// Takes a certificate into service again when its files change.
///
/// A pair that cannot be used (half written, certificate and key replaced one after the other) leaves the last good
/// one in service and is tried again.
#[derive(Debug)]
pub struct Follower {
    cert: File,
    key: File,
    poll: Duration,
    serving: Arc<Serving>,
    seen: Option<Vec<u8>>,
}

impl Follower {
    /// Reads the files once, so that a wrong path or a broken pair is found at start.
    ///
    /// # Errors
    /// Names the flag and the file.
    pub async fn start(files: Files, serving: Arc<Serving>) -> Result<Self, Error> {
        let mut follower = Self {
            cert: File::new(files.cert, MAX_CERTIFICATE_BYTES),
            key: File::new(files.key, MAX_CERTIFICATE_BYTES),
            poll: files.poll,
            serving,
            seen: None,
        };
        follower.look().await?;
        Ok(follower)
    }

    /// Looks at the files once; whether a new pair went into service.
    ///
    /// # Errors
    /// Names the flag and the file; the last good pair stays in service.
    pub async fn look(&mut self) -> Result<bool, Error> {
        let cert = read_flag("--tls-cert", &self.cert).await?;
        let key = read_flag("--tls-key", &self.key).await?;
        let hash = hash(&[&cert, &key]);
        if self.seen.as_ref() == Some(&hash) {
            return Ok(false);
        }
        let pair = Pair::from_pem(&cert, &key).map_err(|source| Error::Unusable {
            cert: self.cert.path().to_owned(),
            key: self.key.path().to_owned(),
            source,
        })?;
        let now = Timestamp::now();
        let good = |validity: &tls::Validity| validity.not_after > now;
        if !good(&pair.validity) && self.serving.validity().as_ref().is_some_and(good) {
            return Err(Error::Expired {
                cert: self.cert.path().to_owned(),
                not_after: pair.validity.not_after,
            });
        }
        // Only a pair that is used is remembered: one read between two writes is tried again.
        self.seen = Some(hash);
        self.serving.set(pair);
        Ok(true)
    }

    /// Looks again and again until the future is dropped. `looked` is given the result of each look that found
    /// something new or failed; `first` says that the look before did not fail.
    pub async fn follow(mut self, mut looked: impl FnMut(Result<(), &Error>, bool)) {
        let mut changes = Changes::new(&[self.cert.path(), self.key.path()], self.poll);
        let mut failing = false;
        loop {
            changes.wait().await;
            match self.look().await {
                Ok(changed) => {
                    if changed {
                        looked(Ok(()), true);
                    }
                    failing = false;
                }
                Err(error) => looked(Err(&error), !std::mem::replace(&mut failing, true)),
            }
        }
    }
}

async fn read_flag(flag: &'static str, file: &File) -> Result<Vec<u8>, Error> {
    file.read().await.map_err(|source| Error::Read {
        flag,
        path: file.path().to_owned(),
        source,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::ca::{BACKDATE, Ca, Issued, Period};

    fn made(name: &str) -> Issued {
        let ca = Ca::generate("test", Period::a_year()).unwrap();
        ca.issue(&[name], Period::a_year()).unwrap()
    }

    fn write_pair(dir: &Path, issued: &Issued) {
        std::fs::write(dir.join("tls.crt"), issued.pem()).unwrap();
        std::fs::write(dir.join("tls.key"), issued.key_pem()).unwrap();
    }

    fn files(dir: &Path) -> Files {
        Files {
            cert: dir.join("tls.crt"),
            key: dir.join("tls.key"),
            poll: Duration::from_millis(10),
        }
    }

    fn served(serving: &Serving) -> Vec<String> {
        serving.validity().unwrap().names
    }

    async fn follower(dir: &Path) -> (Follower, Arc<Serving>) {
        let serving = Arc::new(Serving::default());
        let follower = Follower::start(files(dir), Arc::clone(&serving)).await.unwrap();
        (follower, serving)
    }

    #[tokio::test]
    async fn a_missing_file_is_named_at_start() {
        let dir = tempfile::tempdir().unwrap();
        let error = Follower::start(files(dir.path()), Arc::default())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("--tls-cert `") && error.contains("tls.crt"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_symbolic_link_swapped_by_the_kubelet_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        for (version, name) in [("..1", "one.test"), ("..2", "two.test")] {
            std::fs::create_dir(dir.path().join(version)).unwrap();
            write_pair(&dir.path().join(version), &made(name));
        }
        symlink("..1", dir.path().join("..data")).unwrap();
        symlink("..data/tls.crt", dir.path().join("tls.crt")).unwrap();
        symlink("..data/tls.key", dir.path().join("tls.key")).unwrap();
        let (mut follower, serving) = follower(dir.path()).await;
        assert_eq!(served(&serving), ["one.test"]);
        assert!(!follower.look().await.unwrap());

        symlink("..2", dir.path().join("..data_tmp")).unwrap();
        std::fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
        assert!(follower.look().await.unwrap());
        assert_eq!(served(&serving), ["two.test"]);
    }

    #[tokio::test]
    async fn a_half_written_pair_keeps_the_last_good_one_and_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        write_pair(dir.path(), &made("one.test"));
        let (mut follower, serving) = follower(dir.path()).await;
        let two = made("two.test");
        std::fs::write(dir.path().join("tls.crt"), two.pem()).unwrap();
        for _ in 0..2 {
            assert!(matches!(follower.look().await, Err(Error::Unusable { .. })));
        }
        assert_eq!(served(&serving), ["one.test"]);
        std::fs::write(dir.path().join("tls.key"), two.key_pem()).unwrap();
        assert!(follower.look().await.unwrap());
        assert_eq!(served(&serving), ["two.test"]);
    }

    #[tokio::test]
    async fn an_expired_pair_does_not_replace_a_valid_one() {
        let dir = tempfile::tempdir().unwrap();
        write_pair(dir.path(), &made("one.test"));
        let (mut follower, serving) = follower(dir.path()).await;
        let ca = Ca::generate("test", Period::a_year()).unwrap();
        let past = Timestamp::from_second(Timestamp::now().as_second() - 2 * BACKDATE).unwrap();
        write_pair(
            dir.path(),
            &ca.issue(&["old.test"], Period::starting(past, 60)).unwrap(),
        );
        assert!(matches!(follower.look().await, Err(Error::Expired { .. })));
        assert_eq!(served(&serving), ["one.test"]);
        write_pair(dir.path(), &made("two.test"));
        assert!(follower.look().await.unwrap());
    }

    #[tokio::test]
    async fn a_read_that_hangs_fails_in_time_and_later_reads_succeed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        // Opening a named pipe waits for somebody who writes.
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let file = File::new(path.clone(), 10);
        let error = file.read_within(Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "content").unwrap();
        assert_eq!(file.read().await.unwrap(), b"content");
        std::fs::write(&path, "more than ten").unwrap();
        assert_eq!(file.read().await.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_change_is_noticed_long_before_the_poll() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut changes = Changes::new(&[&path], Duration::from_secs(3600));
        for step in ["write", "replace", "delete"] {
            match step {
                "write" => std::fs::write(&path, "one").unwrap(),
                "replace" => {
                    std::fs::write(dir.path().join("tmp"), "two").unwrap();
                    std::fs::rename(dir.path().join("tmp"), &path).unwrap();
                }
                _ => std::fs::remove_file(&path).unwrap(),
            }
            tokio::time::timeout(Duration::from_secs(20), changes.wait())
                .await
                .unwrap_or_else(|_| panic!("{step} was not noticed"));
        }
    }
}
