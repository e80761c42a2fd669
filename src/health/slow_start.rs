use std::time::Duration;

use crate::error::Error;

/// The least share of its weight that an endpoint gets, as Envoy's `min_weight_percent`.
const LEAST: f64 = 0.1;

/// How an endpoint that has just become fit to serve takes up its share of the requests.
///
/// It starts with a tenth of its weight and has all of it when the window is over: the share is
/// max(0.1, (elapsed / window)^(1 / aggression)), Envoy's formula. A cold cache, a thread pool or a
/// just-in-time compiler then warms up with a few requests instead of being crushed by as many as
/// the others bear.
///
/// It begins when the endpoint joins, when a probe finds it up after it was down, and when it returns
/// from an ejection or from maintenance. While every available endpoint of a tier is in it, it is
/// ignored there: all are equally cold.
///
/// ```
/// use std::time::Duration;
/// use whippletree::health::SlowStart;
///
/// let slow_start = SlowStart::new(Duration::from_secs(60));
/// assert_eq!(slow_start.factor(Duration::ZERO), 0.1);
/// assert_eq!(slow_start.factor(Duration::from_secs(30)), 0.5);
/// assert_eq!(slow_start.factor(Duration::from_secs(60)), 1.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    window: Duration,
    aggression: f64,
}

impl SlowStart {
    /// Over this time, linearly. A window of zero is no slow start.
    #[must_use]
    pub const fn new(window: Duration) -> Self {
        Self { window, aggression: 1.0 }
    }

    /// Bends the curve: above 1 most of the share comes early, below 1 late. Default 1.
    ///
    /// # Errors
    ///
    /// A value that is not finite and above 0.
    pub fn aggression(mut self, aggression: f64) -> Result<Self, Error> {
        if !(aggression.is_finite() && aggression > 0.0) {
            return Err(Error::config("aggression", aggression, "is not a number above 0"));
        }
        self.aggression = aggression;
        Ok(self)
    }

    /// The time that it takes.
    #[must_use]
    pub fn window(&self) -> Duration {
        self.window
    }

    /// The share of its weight that an endpoint has so long after it became fit, 0.1 to 1.
    #[must_use]
    pub fn factor(&self, elapsed: Duration) -> f64 {
        if elapsed >= self.window {
            return 1.0;
        }
        let passed = elapsed.as_secs_f64() / self.window.as_secs_f64();
        passed.powf(1.0 / self.aggression).clamp(LEAST, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(aggression: f64, seconds: u64, expected: f64) {
        let slow_start = SlowStart::new(Duration::from_secs(60)).aggression(aggression).unwrap();
        let factor = slow_start.factor(Duration::from_secs(seconds));
        assert!((factor - expected).abs() < 0.000_5, "{aggression} after {seconds} s: {factor}");
    }

    #[test]
    fn shares_are_envoys() {
        check(1.0, 0, 0.1);
        check(1.0, 6, 0.1);
        check(1.0, 15, 0.25);
        check(1.0, 30, 0.5);
        check(2.0, 6, 0.316);
        check(2.0, 30, 0.707);
        check(0.5, 30, 0.25);
        check(1.0, 60, 1.0);
    }

    #[test]
    fn odd_parameters_are_refused_or_harmless() {
        for odd in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(SlowStart::new(Duration::ZERO).aggression(odd).is_err(), "{odd}");
        }
        assert_eq!(SlowStart::new(Duration::ZERO).factor(Duration::ZERO), 1.0);
        let tiny = SlowStart::new(Duration::MAX).aggression(f64::MIN_POSITIVE).unwrap();
        assert_eq!(tiny.factor(Duration::from_secs(1)), 0.1);
    }
}
