//! How often a stream is asked: so rarely that changes keep no core busy.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::acquire::timer;
use super::clock;

/// How many times as long as the last batch took a stream is left alone, so that changes keep no
/// more than a twentieth of a core busy, however fast they come and however many endpoints there
/// are. What comes meanwhile is applied together: a snapshot costs the same for one change and for
/// a thousand, and every one of them makes picks a little slower, as they find their memory cold.
const TIMES: u32 = 19;

/// The longest rest: Envoy's window in which it merges updates (`update_merge_window`).
const LONGEST: Duration = Duration::from_secs(1);

/// What tokio's timers can tell apart. A change to fewer than some thousand endpoints does not
/// take long enough to be followed by a rest at all.
const SHORTEST: Duration = Duration::from_millis(1);

/// The time after a batch in which its stream is not asked for the next.
#[derive(Default)]
pub(super) struct Rest {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whether this runtime cannot tell the time: it is asked once, as it answers by a panic.
    unable: bool,
}

impl Rest {
    /// Begins, after a batch that was begun at `start`. Where there are no timers, there is no rest.
    pub(super) fn after(&mut self, start: Instant) {
        let now = clock::now();
        let rest = length(now.saturating_duration_since(start)).filter(|_| !self.unable);
        if let Some(until) = rest.and_then(|rest| now.checked_add(rest)) {
            self.sleep = timer(until);
            self.unable = self.sleep.is_none();
        }
    }

    /// Ready when it is over.
    pub(super) fn poll(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.sleep else {
            return Poll::Ready(());
        };
        let over = sleep.as_mut().poll(task);
        if over.is_ready() {
            self.sleep = None;
        }
        over
    }
}

fn length(took: Duration) -> Option<Duration> {
    let rest = took.saturating_mul(TIMES).min(LONGEST);
    (rest >= SHORTEST).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_is_in_proportion_within_its_bounds() {
        let millis = |took, rest: Option<u64>| {
            assert_eq!(length(Duration::from_micros(took)), rest.map(Duration::from_millis));
        };
        millis(0, None);
        millis(50, None);
        millis(2_000, Some(38));
        millis(60_000, Some(1_000));
        millis(u64::MAX, Some(1_000));
    }
}
