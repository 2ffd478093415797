//! Undo files of `irsa set`, which `irsa rollout` reads, too.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use irsa_fleet::apply::Undo;
use irsa_fleet::cluster::Cluster;

use crate::args::read_input;

/// Reads an undo file.
///
/// # Errors
/// It cannot be read, or is not an undo file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Undo> {
    Undo::parse(&read_input(path)?).map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))
}

/// Checks that an undo file belongs to a cluster.
///
/// # Errors
/// It was written for another one.
pub(crate) fn check(path: &Path, undo: &Undo, cluster: &Cluster) -> anyhow::Result<()> {
    anyhow::ensure!(
        undo.server == cluster.server(),
        "{} was written for the cluster {} (context {}), this is {}: choose it with --context",
        path.display(),
        undo.server,
        undo.context,
        cluster.server()
    );
    Ok(())
}

/// Writes an undo file, to `path` or to a new file named after the time, and never over another file: that one may be
/// the only way back.
///
/// # Errors
/// The file exists, or cannot be written.
pub(crate) fn write(path: Option<&Path>, undo: &Undo) -> anyhow::Result<PathBuf> {
    let text = serde_json::to_string_pretty(undo)? + "\n";
    let (path, file) = match path {
        Some(path) => (path.to_owned(), create(path)),
        None => unused(),
    };
    file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })
    .with_context(|| format!("writing the undo file {} (nothing was changed)", path.display()))?;
    Ok(path)
}

fn create(path: &Path) -> io::Result<std::fs::File> {
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
}

/// A file named after the time, with a number if that second has one already.
fn unused() -> (PathBuf, io::Result<std::fs::File>) {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut number = 1;
    loop {
        let path = match number {
            1 => PathBuf::from(format!("irsa-undo-{now}.json")),
            number => PathBuf::from(format!("irsa-undo-{now}-{number}.json")),
        };
        match create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
            file => return (path, file),
        }
    }
}
