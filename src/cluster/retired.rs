//! Snapshots that were replaced while a pick was reading them.

use std::sync::Arc;

use super::shared::discard;
use super::snapshot::Snapshot;
use crate::sync::Mutex;

/// Keeps replaced snapshots until no pick reads them, so that the one that lets go last is the
/// control side and never a request: dropping a snapshot takes as long as there are endpoints, and
/// may run the drop of a payload, which is the user's code.
#[derive(Default)]
pub(super) struct Retired(Mutex<Vec<Arc<Snapshot>>>);

impl Retired {
    pub(super) fn add(&self, snapshot: Arc<Snapshot>) {
        self.0.lock().push(snapshot);
    }

    /// Drops those that nobody reads any more; answers whether that were all. Not under the
    /// control lock.
    pub(super) fn sweep(&self) -> bool {
        let mut kept = self.0.lock();
        let (read, free): (Vec<_>, Vec<_>) =
            kept.drain(..).partition(|snapshot| Arc::strong_count(snapshot) > 1);
        *kept = read;
        let all = kept.is_empty();
        drop(kept);
        discard(free);
        all
    }
}
