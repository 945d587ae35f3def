//! Telling tasks to end.

use tokio::sync::watch;

/// Ends when `stop` says so, or when nobody is left to say so.
pub(crate) async fn requested(stop: &mut watch::Receiver<bool>) {
    // The guard of the value must not outlive this.
    let _ = stop.wait_for(|stop| *stop).await.map(|_| ());
}
