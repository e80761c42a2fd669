//! The task that acts when time has passed. It exists only while there is something to wait for:
//! a cluster without timers has no task.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use super::control::Control;
use super::shared::discard;
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
        Some(Task { runtime, driven: Driven(Arc::downgrade(self)) })
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
struct Driven(Weak<Shared>);

impl Driven {
    async fn run(self) {
        while let Some(deadline) = self.deadline() {
            tokio::time::sleep_until(deadline.into()).await;
            if let Some(shared) = self.0.upgrade() {
                let forgotten = shared.control.lock().expire(clock::now());
                discard(forgotten);
            }
        }
    }

    fn deadline(&self) -> Option<std::time::Instant> {
        self.0.upgrade()?.control.lock().deadline()
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.control.lock().driven = false;
        }
    }
}
