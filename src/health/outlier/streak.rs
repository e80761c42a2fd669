use crate::health::{Failure, Outcome};
use crate::sync::{AtomicU64, Ordering};

use super::Reason;

/// How many failures in a row are evidence; 0 is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) failures: u32,
    pub(crate) gateway: u32,
}

/// Failures in a row: of any kind in the lower half of the word, of the gateway kind in the upper.
#[derive(Debug, Default)]
pub(crate) struct Streaks(AtomicU64);

impl Streaks {
    const FAILURE: u64 = 1;
    const GATEWAY: u64 = 1 << 32;

    /// Takes an outcome in; answers once, when a row has reached its limit.
    ///
    /// A success where nothing has failed writes nothing, so that healthy traffic shares no line.
    pub(crate) fn record(&self, outcome: Outcome, limits: &Limits) -> Option<Reason> {
        match outcome {
            Outcome::Success => {
                self.reset();
                None
            }
            Outcome::Ignored => None,
            Outcome::Failure(failure) => {
                let gateway = failure == Failure::Gateway;
                let before = self.update(|word| {
                    let kept = if gateway { word } else { word % Self::GATEWAY };
                    kept + Self::FAILURE + if gateway { Self::GATEWAY } else { 0 }
                });
                let failures = (before % Self::GATEWAY) as u32 + 1;
                let gateways = (before / Self::GATEWAY) as u32 + 1;
                if failures == limits.failures {
                    return Some(Reason::ConsecutiveFailures(failures));
                }
                let enough = gateway && gateways == limits.gateway;
                enough.then_some(Reason::ConsecutiveGatewayFailures(gateways))
            }
        }
    }

    /// Starts both rows anew.
    pub(crate) fn reset(&self) {
        if self.0.load(Ordering::Relaxed) != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    /// Applies `change` to the word, unless a row is as long as it can be counted; answers what it
    /// was.
    fn update(&self, change: impl Fn(u64) -> u64) -> u64 {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if word % Self::GATEWAY == Self::GATEWAY - 1 {
                return word - 1;
            }
            let next = change(word);
            let swapped =
                self.0.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed);
            match swapped {
                Ok(before) => return before,
                Err(now) => word = now,
            }
        }
    }
}

#[cfg(all(test, not(whippletree_loom)))]
mod tests {
    use super::*;

    /// `S`uccess, `F`ailure, `G`ateway failure, `I`gnored; a `!` where a limit is reached.
    fn check(limits: (u32, u32), outcomes: &str, expected: &str) {
        let streaks = Streaks::default();
        let limits = Limits { failures: limits.0, gateway: limits.1 };
        let told = outcomes.chars().map(|outcome| {
            let outcome = match outcome {
                'S' => Outcome::Success,
                'F' => Outcome::Failure(Failure::Server),
                'G' => Outcome::Failure(Failure::Gateway),
                _ => Outcome::Ignored,
            };
            if streaks.record(outcome, &limits).is_some() { '!' } else { '.' }
        });
        assert_eq!(told.collect::<String>(), expected, "{limits:?} {outcomes}");
    }

    #[test]
    fn row_is_told_once_and_a_success_ends_it() {
        check((3, 0), "FFFFFF", "..!...");
        check((3, 0), "FFSFFFS", ".....!.");
        check((3, 0), "FIFIF", "....!");
        check((0, 0), "FFFF", "....");
        check((1, 0), "FSF", "!.!");
    }

    #[test]
    fn gateway_failures_have_a_row_of_their_own() {
        check((5, 2), "GFGGG", "...!!");
        check((0, 2), "GGSGG", ".!..!");
    }

    #[test]
    fn longest_row_stays_where_it_is() {
        let streaks = Streaks(AtomicU64::new(u64::from(u32::MAX) - 1));
        let limits = Limits { failures: 5, gateway: 5 };
        for _ in 0..3 {
            assert_eq!(streaks.record(Outcome::Failure(Failure::Gateway), &limits), None);
        }
    }
}
