use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often something may happen: so many times a second, evenly, and as many at once.
///
/// The generic cell rate algorithm (ITU-T I.371): one number, the time until which what has happened
/// has used its share up.
#[derive(Debug)]
pub(super) struct Pace {
    begin: Instant,
    /// Nanoseconds.
    interval: u64,
    used_until: AtomicU64,
}

const SECOND: u64 = 1_000_000_000;

impl Pace {
    pub(super) fn per_second(times: u32, begin: Instant) -> Self {
        let interval = SECOND / u64::from(times.max(1));
        Self { begin, interval, used_until: AtomicU64::new(0) }
    }

    /// Whether it may happen now; counts it if so.
    pub(super) fn admits(&self, now: Instant) -> bool {
        let now = nanos(now.saturating_duration_since(self.begin));
        let latest = now.saturating_add(SECOND);
        let next = |used: u64| {
            let until = used.max(now).saturating_add(self.interval);
            (until <= latest).then_some(until)
        };
        self.used_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_admits_its_share_and_no_more() {
        let begin = Instant::now();
        let pace = Pace::per_second(10, begin);
        let admitted = |ms: u64| {
            let now = begin + Duration::from_millis(ms);
            (0..1000).filter(|_| pace.admits(now)).count()
        };
        assert_eq!(admitted(0), 10);
        assert_eq!(admitted(99), 0);
        assert_eq!(admitted(100), 1);
        assert_eq!(admitted(600), 5);
        assert_eq!(admitted(60_000), 10);
    }
}
