//! When a source that broke off is asked again. Reads no clock: `now` is given.

use std::time::{Duration, Instant};

/// The first delay; gRPC's `INITIAL_BACKOFF` (its document `connection-backoff.md`).
const FIRST: Duration = Duration::from_secs(1);

/// What delays double up to. Ours: half of gRPC's `MAX_BACKOFF`, for the set that is in use
/// meanwhile grows stale.
const LONGEST: Duration = Duration::from_secs(60);

/// By what part a delay is shorter or longer at random, so that a fleet that lost its registry does
/// not come back at one moment; gRPC's `JITTER`.
const JITTER: f64 = 0.2;

/// The delays of one source.
#[derive(Debug)]
pub(crate) struct Backoff {
    /// The next delay, without jitter.
    next: Duration,
    /// The last delay: what a stream has to outlast to be a good one.
    last: Duration,
    /// When the present stream was started, and whether it has delivered something good.
    started: Instant,
    delivered: bool,
    /// Whether the streams before have not.
    barren: bool,
    due: Option<Instant>,
}

impl Backoff {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            next: FIRST,
            last: Duration::ZERO,
            started: now,
            delivered: false,
            barren: false,
            due: None,
        }
    }

    /// When to start the stream anew, if it broke off.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The stream is started anew.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.barren |= !self.delivered;
        self.delivered = false;
        self.started = now;
        self.due = None;
    }

    /// The stream has delivered something good, and goes on if it has told an error before.
    pub(crate) fn delivered(&mut self) {
        if self.barren {
            self.next = FIRST;
        }
        self.barren = false;
        self.delivered = true;
        self.due = None;
    }

    /// The stream has told an error, or has ended; `draw` is a random number.
    pub(crate) fn broke_off(&mut self, now: Instant, draw: impl FnOnce() -> u64) {
        if self.due.is_some() {
            return;
        }
        if self.delivered && now.saturating_duration_since(self.started) >= self.last {
            self.next = FIRST;
        }
        self.last = jittered(self.next, draw());
        self.next = (self.next * 2).min(LONGEST);
        self.due = Some(now + self.last);
    }
}

fn jittered(delay: Duration, draw: u64) -> Duration {
    // The upper 53 bits, which is what a double can hold.
    let part = (draw >> 11) as f64 / (1_u64 << 53) as f64;
    delay.mul_f64(1.0 - JITTER + 2.0 * JITTER * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No jitter: the middle of all draws.
    const MIDDLE: u64 = 1 << 63;

    /// Streams that live so long and deliver or not; answers the delays after each, in seconds.
    fn delays(streams: &[(u64, bool)]) -> Vec<u64> {
        let mut now = Instant::now();
        let mut backoff = Backoff::new(now);
        let delay = |(lives, delivers): &(u64, bool)| {
            backoff.restart(now);
            if *delivers {
                backoff.delivered();
            }
            now += Duration::from_secs(*lives);
            backoff.broke_off(now, || MIDDLE);
            let due = backoff.due().unwrap();
            let delay = due - now;
            now = due;
            delay.as_secs()
        };
        streams.iter().map(delay).collect()
    }

    #[test]
    fn delays_double_to_a_minute() {
        assert_eq!(delays(&[(0, false); 9]), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        // However long it takes a stream to find out.
        assert_eq!(delays(&[(600, false); 8]), [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn delivery_after_failures_begins_anew() {
        let streams = [(0, false), (0, false), (0, false), (0, true), (0, false), (0, true)];
        assert_eq!(delays(&streams), [1, 2, 4, 1, 2, 1]);
    }

    #[test]
    fn streams_that_deliver_and_break_off_at_once_are_started_ever_less_often() {
        assert_eq!(delays(&[(0, true); 8]), [1, 2, 4, 8, 16, 32, 60, 60]);
        // And one that lasts longer than the delay before it is a good one.
        assert_eq!(delays(&[(0, true), (0, true), (0, true), (4, true)]), [1, 2, 4, 1]);
        assert_eq!(delays(&[(0, true), (0, true), (0, true), (3, true)]), [1, 2, 4, 8]);
    }

    #[test]
    fn error_is_forgiven_if_the_stream_goes_on() {
        let now = Instant::now();
        let mut backoff = Backoff::new(now);
        backoff.broke_off(now, || MIDDLE);
        let due = backoff.due();
        assert!(due.is_some());
        // The end of a stream that has told an error already changes nothing.
        backoff.broke_off(now + FIRST / 2, || MIDDLE);
        assert_eq!(backoff.due(), due);
        backoff.delivered();
        assert_eq!(backoff.due(), None);
    }

    #[test]
    fn jitter_is_a_fifth_both_ways() {
        assert_eq!(jittered(FIRST, 0), Duration::from_millis(800));
        assert_eq!(jittered(FIRST, MIDDLE), FIRST);
        let longest = jittered(LONGEST, u64::MAX);
        assert!(longest <= Duration::from_secs(72), "{longest:?}");
        assert!(longest > Duration::from_millis(71_999), "{longest:?}");
    }
}
