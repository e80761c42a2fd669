use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower::retry::budget::Budget;

use super::FailoverStats;
use super::policy::Session;
use super::purse::Purse;
use crate::error::Error;
use crate::random::{Source, unit};

/// When a failed request is sent again, and how often. See the [module](super).
///
/// Clones share the budget and the counters. It is a [`tower::retry::Policy`].
///
/// ```
/// use std::time::Duration;
/// use whippletree::failover::Failover;
///
/// let failover = Failover::new().attempts(2)?.per_try_timeout(Duration::from_millis(500));
/// assert_eq!(failover.stats().retries, 0);
/// assert!(Failover::new().attempts(0).is_err());
/// # Ok::<(), whippletree::Error>(())
/// ```
#[derive(Clone)]
pub struct Failover {
    pub(super) rules: Rules,
    pub(super) purse: Arc<Purse>,
    random: Arc<Source>,
    pub(super) session: Session,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) attempts: u32,
    pub(super) per_try_timeout: Option<Duration>,
    pub(super) patience: Duration,
    pub(super) replay_limit: usize,
    backoff: (Duration, Duration),
}

impl Failover {
    /// Three attempts (HAProxy's `retries 3` is one more), 2 s each, a budget of 20 % of the
    /// requests plus 10 per second (Finagle's).
    #[must_use]
    pub fn new() -> Self {
        let rules = Rules {
            attempts: 3,
            per_try_timeout: Some(Duration::from_secs(2)),
            patience: Duration::from_secs(1),
            // linkerd2-proxy's.
            replay_limit: 64 * 1024,
            // Envoy's `retry_back_off`.
            backoff: (Duration::from_millis(25), Duration::from_millis(250)),
        };
        let (purse, random) = (Arc::new(Purse::default()), Arc::new(Source::new(None)));
        Self { rules, purse, random, session: Session::default() }
    }

    /// Sets how often a request is sent at most, the first time included. Default 3; 1 turns
    /// failover off.
    ///
    /// # Errors
    ///
    /// 0, and more than 100.
    pub fn attempts(mut self, attempts: u32) -> Result<Self, Error> {
        if !(1..=100).contains(&attempts) {
            return Err(Error::config("attempts", attempts, "is not in 1..=100"));
        }
        self.rules.attempts = attempts;
        Ok(self)
    }

    /// Sets how long a try may take to the response head. Default 2 s; `None` is for ever.
    ///
    /// A wait in the [queue](crate::cluster::Queue), which has a limit of its own, is no part of it.
    /// It counts from the call, or from the last piece of the request's body that the endpoint
    /// took: a long upload is no silence, nor is a caller who is slow to hand out its body. It holds for every method; what is not idempotent
    /// is not sent again after it, and the error [is a timeout](Error::is_timeout). Kept by
    /// [`FailoverLayer`](super::FailoverLayer) only; beside tower's layer use
    /// [`TryTimeoutLayer`](super::TryTimeoutLayer).
    #[must_use]
    pub fn per_try_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.rules.per_try_timeout = limit.into();
        self
    }

    /// Sets how long the pauses are: the one before the second retry is random, up to `base`, and
    /// that bound doubles with every further one, up to `longest`. Default 25 ms and 250 ms
    /// (Envoy's). The first retry, to an endpoint not yet tried, is made at once.
    #[must_use]
    pub fn backoff(mut self, base: Duration, longest: Duration) -> Self {
        self.rules.backoff = (base, longest.max(base));
        self
    }

    /// Sets the longest `Retry-After` that is waited for when there is no other endpoint. Default
    /// 1 s. It is also the longest that a request is ever held for one.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.rules.patience = patience;
        self
    }

    /// Sets how many bytes of a request's body are kept to be sent again. Default 64 KiB
    /// (linkerd2's). Kept by [`FailoverLayer`](super::FailoverLayer) only.
    #[must_use]
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        self.rules.replay_limit = bytes;
        self
    }

    /// Sets the budget of retries and hedges: every request is a deposit, every retry and every hedge a
    /// withdrawal. Default 20 % of requests plus 10 per second, deposits live 10 s.
    ///
    /// [`TpsBudget`](tower::retry::budget::TpsBudget) grants one withdrawal per n deposits: percentages between 1/n
    /// and 1/(n + 1) count as 1/n, so that everything above 50 % and up to 100 % is 100 %. A try that is cancelled
    /// after its withdrawal, in its pause for one, has spent it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower::retry::budget::TpsBudget;
    /// use whippletree::failover::Failover;
    ///
    /// let budget = TpsBudget::new(Duration::from_secs(10), 1, 0.1);
    /// let careful = Failover::new().budget(budget);
    /// # assert_eq!(careful.stats().budget_exhausted, 0);
    /// ```
    #[must_use]
    pub fn budget(mut self, budget: impl Budget + Send + Sync + 'static) -> Self {
        self.purse = Arc::new(Purse::new(budget));
        self
    }

    /// Makes the pauses repeatable.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.random = Arc::new(Source::new(Some(seed)));
        self
    }

    /// What was counted so far, over all clones.
    #[must_use]
    pub fn stats(&self) -> FailoverStats {
        self.purse.stats()
    }

    /// The pause before the retry with this number, from 0.
    pub(super) fn pause(&self, retry: u32) -> Duration {
        let Some(doublings) = retry.checked_sub(1) else {
            return Duration::ZERO;
        };
        let (base, longest) = self.rules.backoff;
        let bound = base.saturating_mul(2_u32.saturating_pow(doublings)).min(longest);
        bound.mul_f64(unit(self.random.next()))
    }
}

impl Default for Failover {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Failover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failover")
            .field("rules", &self.rules)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(whippletree_loom)))]
mod tests {
    use super::*;

    #[test]
    fn first_retry_is_made_at_once_and_the_others_within_doubling_bounds() {
        let (base, longest) = (Duration::from_millis(10), Duration::from_millis(35));
        let failover = Failover::new().seed(7).backoff(base, longest);
        assert_eq!(failover.pause(0), Duration::ZERO);
        for (retry, bound) in [(1, 10), (2, 20), (3, 35), (40, 35)] {
            let pauses: Vec<Duration> = (0..200).map(|_| failover.pause(retry)).collect();
            let bound = Duration::from_millis(bound);
            assert!(pauses.iter().all(|pause| *pause <= bound), "{retry}");
            // Full jitter: all of the range is used.
            assert!(pauses.iter().any(|pause| *pause < bound / 10), "{retry}");
            assert!(pauses.iter().any(|pause| *pause > bound * 9 / 10), "{retry}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_pauses() {
        let pauses = || (1..9).map(|retry| Failover::new().seed(3).pause(retry)).collect();
        let (first, second): (Vec<_>, Vec<_>) = (pauses(), pauses());
        assert_eq!(first, second);
    }
}
