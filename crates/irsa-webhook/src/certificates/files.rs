//! A certificate in two files, read again when their content changes.
//!
//! The files are polled, not watched by inotify: a Secret mounted by the kubelet changes by swapping a symbolic link
//! two directories up, which a watch on the file itself never sees. Content is compared by hash, so that it does not
//! matter how the change was made. A pair that cannot be used (half written, key and certificate swapped one after
//! the other) leaves the last good pair in service and is tried again at the next poll.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256};

use crate::metrics::Metrics;
use crate::tls::{self, Pair, Serving};

/// Files larger than this are not certificates.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Why the certificate files cannot be used.
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
        source: std::io::Error,
    },
    /// A file is not a plausible certificate or key.
    #[error("{flag} `{path}`: larger than {MAX_FILE_BYTES} bytes, which no certificate is")]
    TooLarge {
        /// The flag that names the file.
        flag: &'static str,
        /// The file.
        path: PathBuf,
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
}

/// The two files and how often they are looked at.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate chain, leaf first, PEM.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
    /// The time between two looks.
    pub poll: Duration,
}

/// Follows the files for as long as the server runs.
#[derive(Debug)]
pub struct Follower {
    files: Files,
    serving: Arc<Serving>,
    seen: Option<Vec<u8>>,
}

impl Follower {
    /// Reads the files once, so that a wrong path or a broken pair fails at start.
    ///
    /// # Errors
    /// Names the flag and the file.
    pub async fn start(files: Files, serving: Arc<Serving>) -> Result<Self, Error> {
        let mut follower = Self {
            files,
            serving,
            seen: None,
        };
        follower.look().await?;
        Ok(follower)
    }

    /// Looks at the files; whether a new pair went into service.
    ///
    /// # Errors
    /// Names the flag and the file; the last good pair stays in service.
    pub async fn look(&mut self) -> Result<bool, Error> {
        let cert = read("--tls-cert", &self.files.cert).await?;
        let key = read("--tls-key", &self.files.key).await?;
        let mut both = digest::Context::new(&SHA256);
        both.update(&(cert.len() as u64).to_be_bytes());
        both.update(&cert);
        both.update(&key);
        let hash = both.finish().as_ref().to_vec();
        if self.seen.as_ref() == Some(&hash) {
            return Ok(false);
        }
        let pair = Pair::from_pem(&cert, &key).map_err(|source| Error::Unusable {
            cert: self.files.cert.clone(),
            key: self.files.key.clone(),
            source,
        })?;
        // Only a pair that works is remembered: one read between two writes is tried again.
        self.seen = Some(hash);
        self.serving.set(pair);
        Ok(true)
    }

    /// Looks again and again until the task is dropped.
    pub async fn follow(mut self, metrics: Arc<Metrics>) {
        let mut failing = false;
        loop {
            tokio::time::sleep(self.files.poll).await;
            match self.look().await {
                Ok(true) => {
                    failing = false;
                    metrics.certificate_reloaded(true);
                    if let Some(validity) = self.serving.validity() {
                        metrics.serving_certificate(&validity);
                        tracing::info!(serial = %validity.serial, not_after = %validity.not_after, "certificate reloaded");
                    }
                }
                Ok(false) => failing = false,
                Err(error) => {
                    metrics.certificate_reloaded(false);
                    // Once per failure, not once per poll.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "the certificate files changed and cannot be used; the last good pair stays in service");
                    }
                }
            }
        }
    }
}

async fn read(flag: &'static str, path: &PathBuf) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read {
        flag,
        path: path.clone(),
        source,
    };
    let length = tokio::fs::metadata(path).await.map_err(failed)?.len();
    if length > MAX_FILE_BYTES {
        return Err(Error::TooLarge {
            flag,
            path: path.clone(),
        });
    }
    tokio::fs::read(path).await.map_err(failed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn write_pair(dir: &Path, name: &str) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(dir.join("tls.crt"), made.cert.pem()).unwrap();
        std::fs::write(dir.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
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
    async fn a_swapped_symbolic_link_is_seen_as_the_kubelet_makes_it() {
        let dir = tempfile::tempdir().unwrap();
        for (version, name) in [("..1", "one.test"), ("..2", "two.test")] {
            std::fs::create_dir(dir.path().join(version)).unwrap();
            write_pair(&dir.path().join(version), name);
        }
        symlink("..1", dir.path().join("..data")).unwrap();
        symlink("..data/tls.crt", dir.path().join("tls.crt")).unwrap();
        symlink("..data/tls.key", dir.path().join("tls.key")).unwrap();
        let serving = Arc::new(Serving::default());
        let mut follower = Follower::start(files(dir.path()), Arc::clone(&serving))
            .await
            .unwrap();
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
        write_pair(dir.path(), "one.test");
        let serving = Arc::new(Serving::default());
        let mut follower = Follower::start(files(dir.path()), Arc::clone(&serving))
            .await
            .unwrap();
        let made = rcgen::generate_simple_self_signed(["two.test".to_owned()]).unwrap();
        std::fs::write(dir.path().join("tls.crt"), made.cert.pem()).unwrap();
        assert!(matches!(follower.look().await, Err(Error::Unusable { .. })));
        assert!(matches!(follower.look().await, Err(Error::Unusable { .. })));
        assert_eq!(served(&serving), ["one.test"]);
        std::fs::write(dir.path().join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        assert!(follower.look().await.unwrap());
        assert_eq!(served(&serving), ["two.test"]);
    }
}
