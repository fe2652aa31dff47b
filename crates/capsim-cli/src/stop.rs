//! Being asked to end.
use anyhow::Context;
use std::process::ExitCode;

/// Runs a server on threads of its own until it ends, as it does when it is asked to.
pub fn serve<F: Future<Output = anyhow::Result<ExitCode>>>(
    until: impl FnOnce(Stop) -> F,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the server's threads")?;
    let ended =
        runtime.block_on(async { until(Stop::new().context("cannot listen for signals")?).await });
    // What still computes for a client that is gone holds up no end.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    ended
}

/// SIGINT or SIGTERM.
pub struct Stop {
    #[cfg(unix)]
    term: tokio::signal::unix::Signal,
    #[cfg(unix)]
    int: tokio::signal::unix::Signal,
}

impl Stop {
    #[cfg(unix)]
    /// Begins to listen for them.
    pub fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }
    #[cfg(unix)]
    /// Returns when one comes.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
    #[cfg(not(unix))]
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }
    #[cfg(not(unix))]
    pub async fn asked(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
