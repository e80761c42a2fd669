//! The task that acts when time has passed. It exists only while there is something to wait for:
//! a cluster without timers has no task.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use super::control::Control;
use super::{Shared, clock};

impl Shared {
    /// A task to wait for the next deadline, if there is one and nobody waits for it yet. Without a
    /// tokio runtime, what is due is done with the next change.
    ///
    /// To be [started](Task::start) once the lock is free: a runtime that is shutting down drops
    /// the task on the spot, which takes the lock.
    pub(super) fn driver(self: &Arc<Self>, control: &mut Control) -> Option<Task> {
        if control.driven || control.deadline().is_none() {
            return None;
        }
        let runtime = Handle::try_current().ok()?;
        control.driven = true;
        Some(Task { runtime, driven: Driven { shared: Arc::downgrade(self), over: false } })
    }
}

pub(super) struct Task {
    runtime: Handle,
    driven: Driven,
}

impl Task {
    pub(super) fn start(self) {
        self.runtime.spawn(self.driven.run());
    }
}

/// The mark that a task is at work, taken back when it ends, also when its runtime shuts down.
struct Driven {
    shared: Weak<Shared>,
    /// Whether the mark was taken back already.
    over: bool,
}

impl Driven {
    async fn run(mut self) {
        while let Some(deadline) = self.deadline() {
            tokio::time::sleep_until(deadline.into()).await;
            if let Some(shared) = self.shared.upgrade() {
                let forgotten = shared.control.lock().expire(clock::now());
                drop(forgotten);
            }
        }
    }

    /// The next deadline. If there is none the mark is taken back under the same lock, so that
    /// whoever adds one finds no task and starts another.
    fn deadline(&mut self) -> Option<std::time::Instant> {
        let shared = self.shared.upgrade()?;
        let mut control = shared.control.lock();
        let deadline = control.deadline();
        self.over = deadline.is_none();
        control.driven = !self.over;
        deadline
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        if let Some(shared) = self.shared.upgrade() {
            shared.control.lock().driven = false;
        }
    }
}
