//! The task that acts when time has passed. It exists only while there is something to wait for:
//! a cluster without timers has no task.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use super::control::Control;
use super::{Shared, clock};

impl Shared {
    /// Sees to it that a task waits for the next deadline, if there is one and a tokio runtime.
    /// Without a runtime, what is due is done with the next change.
    pub(super) fn drive(self: &Arc<Self>, control: &mut Control) {
        if control.driven || control.deadline().is_none() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            control.driven = true;
            let driven = Driven(Arc::downgrade(self));
            runtime.spawn(driven.run());
        }
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
                drop(forgotten);
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
