//! How often what a stream delivers is applied: so rarely that it keeps no core busy.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::acquire::timer;
use super::clock;

/// To apply changes keeps no more than a twentieth of a core busy, however fast they come and
/// however many endpoints there are: a snapshot costs the same for one change and for a thousand.
/// To free what they have replaced, in the timer's task, takes nearly as much again.
const PART: u32 = 20;

/// What changes may cost before they are gathered: a change now and then is seen at once, and so
/// are some hundreds in a row to a cluster of tens of endpoints.
const ALLOWANCE: Duration = Duration::from_millis(5);

/// The longest rest: Envoy's window in which it merges updates (`update_merge_window`).
const LONGEST: Duration = Duration::from_secs(1);

/// What tokio's timers can tell apart.
const SHORTEST: Duration = Duration::from_millis(1);

/// The time after a batch in which the next is gathered.
pub(super) struct Rest {
    spent: Spent,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whether this runtime cannot tell the time: it is asked once, as it answers by a panic.
    unable: bool,
}

impl Rest {
    pub(super) fn new() -> Self {
        let spent = Spent { time: Duration::ZERO, until: clock::now() };
        Self { spent, sleep: None, unable: false }
    }

    /// Begins, after a batch that was begun at `start`. Where there are no timers, there is no rest.
    pub(super) fn after(&mut self, start: Instant) {
        let now = clock::now();
        let rest = self.spent.add(start, now).filter(|_| !self.unable);
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

/// What batches have cost that has not been made up for: a bucket that leaks.
struct Spent {
    time: Duration,
    until: Instant,
}

impl Spent {
    /// Counts a batch; answers how long to rest, if that is to be at all.
    fn add(&mut self, start: Instant, now: Instant) -> Option<Duration> {
        let idle = start.saturating_duration_since(self.until);
        let took = now.saturating_duration_since(start);
        let spent = self.time.saturating_sub(idle / PART).saturating_add(took);
        self.time = spent.min(ALLOWANCE + LONGEST / PART);
        self.until = now;
        let rest = self.time.saturating_sub(ALLOWANCE) * PART;
        (rest >= SHORTEST).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches that take so many microseconds, each after so long: how long to rest after them.
    fn check(batches: &[(u64, u64, u64)]) {
        let mut now = Instant::now();
        let mut spent = Spent { time: Duration::ZERO, until: now };
        for (idle, took, rest) in batches {
            let start = now + Duration::from_micros(*idle);
            now = start + Duration::from_micros(*took);
            let expected = (*rest > 0).then_some(Duration::from_micros(*rest));
            assert_eq!(spent.add(start, now), expected, "{batches:?}");
        }
    }

    #[test]
    fn rest_begins_beyond_the_allowance_and_is_in_proportion() {
        check(&[(0, 2_000, 0), (0, 2_000, 0), (0, 2_000, 20_000), (20_000, 2_000, 40_000)]);
        check(&[(0, 5_000, 0), (40_000, 2_000, 0), (39_000, 2_000, 1_000)]);
        check(&[(0, 5_040, 0)]);
    }

    #[test]
    fn rest_is_a_second_at_most_and_leaves_no_debt() {
        check(&[(0, 60_000_000, 1_000_000), (1_000_000, 2_000, 40_000)]);
    }

    #[test]
    fn long_idle_time_gives_no_more_than_the_allowance() {
        check(&[(3_600_000_000, 5_000, 0), (0, 2_000, 40_000)]);
    }
}
