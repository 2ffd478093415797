//! Follows the container credentials file (EKS Pod Identity): polled, like the certificate files and for the same
//! reason. Content that cannot be used leaves the last good content in service.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use irsa_core::identity::{CredentialsFile, DocumentError};

use super::Directory;
use crate::metrics::Metrics;
use crate::readiness::Readiness;

/// Files larger than this are refused: at some hundred bytes an entry this is a hundred thousand entries.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// The name of the condition in `/readyz`.
pub const CONDITION: &str = "container-credentials-file";

/// Why the file cannot be used now.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("--watch-container-credentials-config `{0}`: {1}")]
    Read(PathBuf, std::io::Error),
    /// It is too large.
    #[error("--watch-container-credentials-config `{0}`: larger than {MAX_FILE_BYTES} bytes")]
    TooLarge(PathBuf),
    /// Its content cannot be used.
    #[error("--watch-container-credentials-config `{0}`: {1}")]
    Content(PathBuf, DocumentError),
}

/// Follows one file.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    poll: Duration,
    directory: Arc<Directory>,
    last: Option<Vec<u8>>,
}

impl Follower {
    /// A follower that has not looked yet.
    #[must_use]
    pub fn new(path: PathBuf, poll: Duration, directory: Arc<Directory>) -> Self {
        Self {
            path,
            poll,
            directory,
            last: None,
        }
    }

    /// Looks once; whether the content is new.
    ///
    /// # Errors
    /// Names the flag and the file.
    pub async fn look(&mut self) -> Result<bool, Error> {
        let failed = |error| Error::Read(self.path.clone(), error);
        if tokio::fs::metadata(&self.path).await.map_err(failed)?.len() > MAX_FILE_BYTES {
            return Err(Error::TooLarge(self.path.clone()));
        }
        let content = tokio::fs::read(&self.path).await.map_err(failed)?;
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &content)
            .as_ref()
            .to_vec();
        if self.last.as_ref() == Some(&hash) {
            return Ok(false);
        }
        let file =
            CredentialsFile::parse(&content).map_err(|error| Error::Content(self.path.clone(), error))?;
        for warning in file.warnings() {
            tracing::warn!(path = %self.path.display(), "{warning}");
        }
        self.last = Some(hash);
        self.directory.set_credentials(file);
        Ok(true)
    }

    /// Looks again and again until the task is dropped.
    pub async fn follow(mut self, readiness: Readiness, metrics: Arc<Metrics>) {
        let mut failing = false;
        loop {
            match self.look().await {
                Ok(changed) => {
                    readiness.set(CONDITION, None);
                    failing = false;
                    if changed {
                        metrics.credentials_file_loaded(true);
                        let entries = self.directory.credentials().len();
                        metrics.cache_entries("container_credentials", entries);
                        tracing::info!(path = %self.path.display(), entries, "container credentials file loaded");
                    }
                }
                Err(error) => {
                    // Once it has been read, an unreadable file is a warning: what was read stays in service.
                    if self.last.is_none() {
                        readiness.set(CONDITION, Some(error.to_string()));
                    }
                    if !std::mem::replace(&mut failing, true) {
                        metrics.credentials_file_loaded(false);
                        tracing::warn!(%error, "the container credentials file cannot be used; the last good content stays in service");
                    }
                }
            }
            tokio::time::sleep(self.poll).await;
        }
    }
}
