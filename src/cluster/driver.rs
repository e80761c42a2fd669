//! The task that acts when time has passed, and that judges what traffic says. It exists only while
//! there is something to wait for: a cluster without timers has no task.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::{Shared, clock};
use crate::sync::Mutex;

/// The least time between two rounds of work: evidence that comes in a storm is judged together,
/// so that it costs a hundred snapshots a second at most.
const PAUSE: Duration = Duration::from_millis(10);

/// What the task and the rest of the cluster know of each other.
#[derive(Default)]
pub(super) struct Driver {
    /// Whether there is a task.
    runs: AtomicBool,
    /// Whether the runtime cannot tell the time.
    unable: AtomicBool,
    /// Until when it sleeps.
    sleeps_until: Mutex<Option<Instant>>,
    wake: Arc<Notify>,
}

impl Driver {
    /// Lets the task see that the cluster is gone.
    pub(super) fn stop(&self) {
        self.wake.notify_one();
    }
}

impl Shared {
    /// Makes sure that a task works off what has been heard; false if there can be none.
    pub(super) fn drive(self: &Arc<Self>) -> bool {
        if self.start() {
            self.driver.wake.notify_one();
            return true;
        }
        false
    }

    /// Makes sure that a task waits for this deadline. Without a tokio runtime, what is due is
    /// done with the next change.
    pub(super) fn wake(self: &Arc<Self>, deadline: Option<Instant>) {
        if deadline.is_none() {
            return;
        }
        let sleeps_until = *self.driver.sleeps_until.lock();
        let early = sleeps_until.is_none_or(|until| deadline.is_some_and(|at| at < until));
        if self.start() && early {
            self.driver.wake.notify_one();
        }
    }

    /// Starts the task, unless there is one; false without a tokio runtime.
    fn start(self: &Arc<Self>) -> bool {
        if self.driver.runs.load(Ordering::SeqCst) {
            return true;
        }
        let Ok(runtime) = Handle::try_current() else {
            return false;
        };
        if self.driver.unable.load(Ordering::Relaxed) {
            return false;
        }
        if !self.driver.runs.swap(true, Ordering::SeqCst) {
            let wake = Arc::clone(&self.driver.wake);
            runtime.spawn(Task { shared: Arc::downgrade(self), over: false }.run(wake));
        }
        true
    }
}

/// The mark that a task is at work, taken back when it ends, also when its runtime shuts down.
struct Task {
    shared: Weak<Shared>,
    /// Whether the mark was taken back already.
    over: bool,
}

impl Task {
    async fn run(mut self, wake: Arc<Notify>) {
        let mut next = None;
        loop {
            if let Some(next) = next {
                tokio::time::sleep_until(next).await;
            }
            next = tokio::time::Instant::now().checked_add(PAUSE);
            let Some(deadline) = self.round() else {
                return;
            };
            // Woken or not: a round follows.
            let _ = tokio::time::timeout_at(deadline.into(), wake.notified()).await;
        }
    }

    /// Works; answers when to do so again unless woken before, or nothing if the task is to end.
    fn round(&mut self) -> Option<Instant> {
        let shared = self.shared.upgrade()?;
        let driver = &shared.driver;
        loop {
            *driver.sleeps_until.lock() = None;
            let deadline = shared.work(clock::now());
            if deadline.is_some() {
                *driver.sleeps_until.lock() = deadline;
                return deadline;
            }
            driver.runs.store(false, Ordering::SeqCst);
            // Whoever came before that has found a task and relies on it.
            if !shared.has_work() || driver.runs.swap(true, Ordering::SeqCst) {
                self.over = true;
                return None;
            }
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade().filter(|_| !self.over) else {
            return;
        };
        if std::thread::panicking() {
            // A runtime without time: another task would fare no better.
            shared.driver.unable.store(true, Ordering::Relaxed);
        }
        shared.driver.runs.store(false, Ordering::SeqCst);
    }
}
