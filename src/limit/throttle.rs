use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::window::{Counts, Window};
use crate::error::{Crowd, Error};
use crate::random::{Source, unit};

/// The SRE book's value: callers send about twice what is accepted, so that they notice at once when
/// more is accepted again.
pub(super) const MULTIPLIER: f64 = 2.0;

/// The SRE book's value.
const WINDOW: Duration = Duration::from_secs(120);

/// Keeps a caller from sending much more than is accepted: the adaptive throttle of Google's SRE
/// book ("Handling Overload", client-side throttling).
///
/// Over the last two minutes it counts the requests that were to be sent and those that were
/// accepted, and refuses a new one with the probability
/// max(0, (requests − 2·accepted) / (requests + 1)).
///
/// As long as half of the requests are accepted nothing is refused. When less is, those that are
/// refused here count as requests too, so that what is still sent settles at twice what is
/// accepted. A request counts from its attempt; until it is answered it is not accepted. To let the
/// first burst after a start through, nothing is refused before the first refusal has come back.
///
/// This is the primitive, for any protocol; for HTTP there is a
/// [layer](super::ThrottleLayer). Clones share what they have counted.
///
/// ```
/// use std::time::Instant;
/// use whippletree::limit::Throttle;
///
/// let throttle = Throttle::new().seed(1);
/// let now = Instant::now();
/// let sent = (0..1000).filter(|_| {
///     throttle.attempt(now).is_ok_and(|attempt| {
///         attempt.refused(now);
///         true
///     })
/// });
/// assert!(sent.count() < 20);
/// let error = throttle.attempt(now).unwrap_err();
/// assert!(error.is_overloaded());
/// ```
#[derive(Clone)]
pub struct Throttle {
    multiplier: f64,
    window: Duration,
    shared: Arc<Shared>,
}

struct Shared {
    random: Source,
    window: Mutex<Window>,
}

/// A request that a [`Throttle`] has let through. Dropped without a word it stays one that was not
/// accepted.
#[derive(Debug)]
#[must_use = "a request that nobody reports as accepted counts against the others"]
pub struct Attempt {
    throttle: Throttle,
}

impl Throttle {
    /// The SRE book's: twice what is accepted, over two minutes.
    #[must_use]
    pub fn new() -> Self {
        Self { multiplier: MULTIPLIER, window: WINDOW, shared: Shared::new(WINDOW, None) }
    }

    /// Sets how many requests are sent for each that is accepted. Default 2; nearer to 1 spares who
    /// is asked, and notices later that more is accepted again.
    ///
    /// # Errors
    ///
    /// A value that is not finite and at least 1.
    pub fn multiplier(mut self, multiplier: f64) -> Result<Self, Error> {
        if !(multiplier.is_finite() && multiplier >= 1.0) {
            return Err(Error::config("multiplier", multiplier, "is not a number from 1 on"));
        }
        self.multiplier = multiplier;
        Ok(self)
    }

    /// Sets how long counts are kept. Default 2 minutes. Starts to count anew.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self.shared = Shared::new(window, None);
        self
    }

    /// Makes the choice of those that are refused repeatable. Starts to count anew.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.shared = Shared::new(self.window, Some(seed));
        self
    }

    /// Counts a request that is to be sent now, and decides whether it is.
    ///
    /// # Errors
    ///
    /// [Overload](Error::is_overloaded), with the numbers: it is not to be sent.
    pub fn attempt(&self, now: Instant) -> Result<Attempt, Error> {
        let mut window = self.shared.window.lock();
        let counts = window.at(now);
        window.count(now, |counts| counts.requests += 1);
        drop(window);
        let probability = probability(counts, self.multiplier);
        if probability > 0.0 && unit(self.shared.random.next()) < probability {
            let Counts { requests, accepted, .. } = counts;
            return Err(Error::crowded(Crowd::Throttled { requests, accepted }));
        }
        Ok(Attempt { throttle: self.clone() })
    }

    fn count(&self, now: Instant, count: impl Fn(&mut Counts)) {
        self.shared.window.lock().count(now, count);
    }
}

impl Attempt {
    /// The request was accepted, whatever came of it: it was not turned away for want of room.
    pub fn accepted(self, now: Instant) {
        self.throttle.count(now, |counts| counts.accepted += 1);
    }

    /// The request was turned away because of load.
    pub fn refused(self, now: Instant) {
        self.throttle.count(now, |counts| counts.refused += 1);
    }
}

/// How likely a request is refused.
fn probability(counts: Counts, multiplier: f64) -> f64 {
    if counts.refused == 0 {
        return 0.0;
    }
    let (requests, accepted) = (counts.requests as f64, counts.accepted as f64);
    ((requests - multiplier * accepted) / (requests + 1.0)).max(0.0)
}

impl Shared {
    fn new(window: Duration, seed: Option<u64>) -> Arc<Self> {
        Arc::new(Self { random: Source::new(seed), window: Mutex::new(Window::new(window)) })
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle")
            .field("multiplier", &self.multiplier)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probability_is_the_books() {
        for (requests, accepted, multiplier, expected) in [
            (0, 0, 2.0, 0.0),
            (100, 100, 2.0, 0.0),
            (100, 50, 2.0, 0.0),
            (100, 49, 2.0, 0.019_801_980),
            (100, 10, 2.0, 0.792_079_208),
            (100, 0, 2.0, 0.990_099_010),
            (1000, 400, 2.0, 0.199_800_200),
            (1000, 400, 1.1, 0.559_440_559),
            (10, 0, 2.0, 0.909_090_909),
            (1, 0, 2.0, 0.5),
            (200, 90, 1.5, 0.323_383_085),
        ] {
            let counts = Counts { requests, accepted, refused: 1 };
            let found = probability(counts, multiplier);
            assert!((found - expected).abs() < 1e-8, "{requests} {accepted}: {found}");
        }
    }

    #[test]
    fn nothing_is_refused_before_anybody_has_said_no() {
        let throttle = Throttle::new().seed(7);
        let now = Instant::now();
        let burst: Vec<_> = (0..1000).map(|_| throttle.attempt(now)).collect();
        assert!(burst.iter().all(Result::is_ok));
        burst.into_iter().flatten().for_each(|attempt| attempt.accepted(now));
        assert!((0..1000).all(|_| throttle.attempt(now).is_ok()));
    }

    /// Of demand D, where A is accepted, min(D, 2 A) is sent once the window is filled.
    #[test]
    fn what_is_sent_settles_at_twice_what_is_accepted() {
        let begin = Instant::now();
        for (demand, capacity) in [(1000_u64, 100_u64), (500, 100), (150, 100), (90, 100)] {
            let throttle = Throttle::new().seed(11);
            let mut sent = 0;
            for second in 0..360 {
                let now = begin + Duration::from_secs(second);
                let mut room = capacity;
                for _ in 0..demand {
                    let Ok(attempt) = throttle.attempt(now) else { continue };
                    sent += u64::from(second >= 240);
                    match room.checked_sub(1) {
                        Some(left) => {
                            room = left;
                            attempt.accepted(now);
                        }
                        None => attempt.refused(now),
                    }
                }
            }
            let (rate, expected) = (sent as f64 / 120.0, demand.min(2 * capacity) as f64);
            assert!((rate / expected - 1.0).abs() < 0.1, "{demand}: {rate}, not {expected}");
        }
    }

    #[test]
    fn refusals_end_when_the_window_has_passed() {
        let throttle = Throttle::new().window(Duration::from_secs(10)).seed(3);
        let begin = Instant::now();
        for _ in 0..100 {
            if let Ok(attempt) = throttle.attempt(begin) {
                attempt.refused(begin);
            }
        }
        assert!(throttle.attempt(begin).is_err());
        let later = begin + Duration::from_secs(11);
        assert!((0..100).all(|_| throttle.attempt(later).is_ok()));
    }

    #[test]
    fn odd_multipliers_are_refused() {
        for odd in [0.99, 0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Throttle::new().multiplier(odd).unwrap_err().is_config());
        }
        assert!(Throttle::new().multiplier(1.0).is_ok());
    }
}
