//! What happens, in which order, after SIGTERM or ctrl-c.
//!
//! ```text
//! Serving ──signal──► Releasing ──release_delay──► Stopping ──all guards dropped──► exit 0
//!                     /healthz 503,                 no new connection,     or after
//!                     still accepting               finish what there is   shutdown_timeout
//! ```
//!
//! The phase is a `watch` value. Whoever has something to finish (a connection, a tunnel) holds a
//! [`Guard`], which is a receiver of it; the sender can wait until all its receivers are gone.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Serving,
    Releasing,
    Stopping,
}

/// Runs the shutdown. There is one.
pub(crate) struct Shutdown {
    state: Arc<watch::Sender<State>>,
    signal: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Shutdown {
    /// Starts to listen for signals.
    pub(crate) fn new() -> io::Result<Self> {
        let (state, _) = watch::channel(State::Serving);
        Ok(Self { state: Arc::new(state), signal: Box::pin(asked_to_stop()?) })
    }

    pub(crate) fn guard(&self) -> Guard {
        Guard(self.state.subscribe())
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase(Arc::clone(&self.state))
    }

    /// Waits for a signal and sees the shutdown through. `false` if `timeout` ended it.
    pub(crate) async fn run(self, release_delay: Duration, timeout: Duration) -> bool {
        self.signal.await;
        self.state.send_replace(State::Releasing);
        tokio::time::sleep(release_delay).await;
        self.state.send_replace(State::Stopping);
        tokio::time::timeout(timeout, self.state.closed()).await.is_ok()
    }
}

/// Reads the phase without holding up the end.
#[derive(Clone)]
pub(crate) struct Phase(Arc<watch::Sender<State>>);

impl Phase {
    /// Whether nobody has asked the gateway to stop.
    pub(crate) fn is_serving(&self) -> bool {
        *self.0.borrow() == State::Serving
    }
}

/// Keeps the process alive during a shutdown, until it is dropped or the time is over.
#[derive(Clone)]
pub(crate) struct Guard(watch::Receiver<State>);

impl Guard {
    /// Resolves when nothing new may begin. Cancel safe.
    pub(crate) async fn stopping(&mut self) {
        // An error means that the sender is gone, which is as good a reason.
        let _ = self.0.wait_for(|state| *state == State::Stopping).await;
    }
}

#[cfg(unix)]
fn asked_to_stop() -> io::Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn asked_to_stop() -> io::Result<impl Future<Output = ()> + Send> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
