//! Serving until told to stop.
//!
//! On SIGTERM (or Ctrl-C) a service stops accepting, finishes the requests under way and ends; how long
//! that may take is for whoever sent the signal to decide. A second signal ends it at once.

use std::error::Error;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::log;

/// A port that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("port {port} cannot be listened on; another program may hold it, PORT chooses another")]
struct PortTaken {
    port: u16,
    source: std::io::Error,
}

/// Serves on all addresses. Port 0 takes a free one; the line `listening` says which.
///
/// # Errors
/// When the port is taken.
pub async fn serve(router: Router, port: u16) -> Result<(), Box<dyn Error>> {
    let mut ending = ending()?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .await
        .map_err(|source| PortTaken { port, source })?;
    log::info("listening", &[("addr", &listener.local_addr()?)]);
    // Small answers must not wait for the client's acknowledgement of the one before.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let router = router.layer(axum::middleware::from_fn(crate::guard::around));
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            // An error means that nobody can ask any more.
            let _ = ending.wait_for(|ending| *ending).await;
        })
        .await?;
    log::info("ended", &[]);
    Ok(())
}

/// Becomes true at the first signal to end; the second ends the process at once.
///
/// # Errors
/// When the signals cannot be heard. Must be called inside of a runtime.
pub fn ending() -> std::io::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (say, ending) = watch::channel(false);
    tokio::spawn(async move {
        for is_first in [true, false] {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if !is_first {
                std::process::exit(1);
            }
            log::info("ending", &[("signal", &name)]);
            say.send_replace(true);
        }
    });
    Ok(ending)
}

/// The end of a program: its exit status, and a line that says what failed.
pub fn ended(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error("failed", &[("error", &log::chain(error.as_ref()))]);
            ExitCode::FAILURE
        }
    }
}
