//! Follows the container credentials file (EKS Pod Identity).
//!
//! As in the Go webhook, a file that is deleted, is empty or contains `null` is an empty list. Other content that cannot
//! be used leaves the last good content in service.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use irsa_core::identity::{CredentialsFile, DocumentError};
use irsa_net::Condition;
use irsa_net::files::{self, Changes, File};

use super::Directory;
use crate::metrics::Metrics;

/// Files larger than this are refused: at some hundred bytes an entry this is a hundred thousand entries.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// The name of the condition in `/readyz`.
pub const CONDITION: &str = "container-credentials-file";

/// Why the file cannot be used now.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("--watch-container-credentials-config `{0}`: {1}")]
    Read(PathBuf, io::Error),
    /// Its content cannot be used.
    #[error("--watch-container-credentials-config `{0}`: {1}")]
    Content(PathBuf, DocumentError),
}

/// Follows one file.
#[derive(Debug)]
pub struct Follower {
    file: File,
    poll: Duration,
    directory: Arc<Directory>,
    last: Option<Vec<u8>>,
}

impl Follower {
    /// A follower that has not looked yet.
    #[must_use]
    pub fn new(path: PathBuf, poll: Duration, directory: Arc<Directory>) -> Self {
        Self {
            file: File::new(path, MAX_FILE_BYTES),
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
        let path = || self.file.path().to_owned();
        let content = match self.file.read().await {
            Ok(content) => content,
            // Before it was there for the first time, a missing file is rather a wrong path.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.last.is_some() => Vec::new(),
            Err(error) => return Err(Error::Read(path(), error)),
        };
        let content = if content.trim_ascii() == b"null" {
            Vec::new()
        } else {
            content
        };
        let hash = files::hash(&[&content]);
        if self.last.as_ref() == Some(&hash) {
            return Ok(false);
        }
        let file = CredentialsFile::parse(&content).map_err(|error| Error::Content(path(), error))?;
        for warning in file.warnings() {
            tracing::warn!(path = %self.file.path().display(), "{warning}");
        }
        self.last = Some(hash);
        self.directory.set_credentials(file);
        Ok(true)
    }

    /// Looks again and again until the task is dropped.
    pub async fn follow(mut self, condition: Condition, metrics: Arc<Metrics>) {
        let mut changes = Changes::new(&[self.file.path()], self.poll);
        let mut failing = false;
        loop {
            match self.look().await {
                Ok(changed) => {
                    condition.met();
                    failing = false;
                    if changed {
                        metrics.credentials_file_loaded(true);
                        let entries = self.directory.credentials().len();
                        metrics.cache_entries("container_credentials", entries);
                        tracing::info!(path = %self.file.path().display(), entries, "container credentials file loaded");
                    }
                }
                Err(error) => {
                    // Once it has been read, an unreadable file is a warning: what was read stays in service.
                    if self.last.is_none() {
                        condition.unmet(error.to_string());
                    }
                    if !std::mem::replace(&mut failing, true) {
                        metrics.credentials_file_loaded(false);
                        tracing::warn!(%error, "the container credentials file cannot be used; the last good content stays in service");
                    }
                }
            }
            changes.wait().await;
        }
    }
}
