//! The signal that the server is shutting down.

use tokio::sync::watch;

/// Resolves once the server is shutting down or has been dropped. Cancel-safe.
pub(crate) async fn ended(ending: &mut watch::Receiver<bool>) {
    let _ = ending.wait_for(|end| *end).await;
}
