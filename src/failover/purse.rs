use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tower::retry::budget::{Budget, TpsBudget};

/// What failover has done, over all clones, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailoverStats {
    /// Requests that came in.
    pub requests: u64,
    /// Tries beyond the first ones, without hedges.
    pub retries: u64,
    /// Requests that were also sent to a second endpoint because the first was slow.
    pub hedges: u64,
    /// Hedges whose answer came first.
    pub hedges_won: u64,
    /// Retries and hedges that were not made because the budget was used up.
    pub budget_exhausted: u64,
}

/// The budget, and what was spent of it.
pub(super) struct Purse {
    budget: Box<dyn Budget + Send + Sync>,
    requests: AtomicU64,
    retries: AtomicU64,
    hedges: AtomicU64,
    hedges_won: AtomicU64,
    exhausted: AtomicU64,
}

impl Purse {
    pub(super) fn new(budget: impl Budget + Send + Sync + 'static) -> Self {
        Self {
            budget: Box::new(budget),
            requests: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            hedges: AtomicU64::new(0),
            hedges_won: AtomicU64::new(0),
            exhausted: AtomicU64::new(0),
        }
    }

    /// A request begins.
    pub(super) fn deposit(&self) {
        count(&self.requests);
        self.budget.deposit();
    }

    /// Whether a retry may be made.
    pub(super) fn retry(&self) -> bool {
        self.withdraw(&self.retries)
    }

    /// Whether a hedge may be made.
    pub(super) fn hedge(&self) -> bool {
        self.withdraw(&self.hedges)
    }

    pub(super) fn hedge_won(&self) {
        count(&self.hedges_won);
    }

    fn withdraw(&self, counter: &AtomicU64) -> bool {
        let granted = self.budget.withdraw();
        count(if granted { counter } else { &self.exhausted });
        granted
    }

    pub(super) fn stats(&self) -> FailoverStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FailoverStats {
            requests: read(&self.requests),
            retries: read(&self.retries),
            hedges: read(&self.hedges),
            hedges_won: read(&self.hedges_won),
            budget_exhausted: read(&self.exhausted),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// 20 % of requests and 10 per second, deposits live 10 s: Finagle's `RetryBudget`. The reserve is
/// there from the start.
impl Default for Purse {
    fn default() -> Self {
        Self::new(TpsBudget::new(Duration::from_secs(10), 10, 0.2))
    }
}

impl fmt::Debug for Purse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stats().fmt(f)
    }
}

#[cfg(all(test, not(whippletree_loom)))]
mod tests {
    use super::*;

    /// How many of 10 000 requests get a retry, each of which asks for one.
    fn granted(ttl: u64, min_per_second: u32, percent: f32) -> u64 {
        let budget = TpsBudget::new(Duration::from_secs(ttl), min_per_second, percent);
        let purse = Purse::new(budget);
        for _ in 0..10_000 {
            purse.deposit();
            purse.retry();
        }
        let stats = purse.stats();
        assert_eq!(stats.retries + stats.budget_exhausted, 10_000);
        stats.retries
    }

    /// Values of Finagle's `RetryBudgetTest`, those that tower's budget can express: it rounds to
    /// one retry per so many requests.
    #[test]
    fn budget_grants_what_finagles_does() {
        for (ttl, min_per_second, percent, expected) in [
            (60, 0, 0.1, 1_000),
            (60, 0, 0.5, 5_000),
            (60, 0, 0.25, 2_500),
            (60, 0, 0.01, 100),
            (60, 0, 0.001, 10),
            (60, 0, 0.0001, 1),
            (1, 10, 0.0, 10),
            (2, 5, 0.0, 10),
            (10, 0, 0.0, 0),
        ] {
            let granted = granted(ttl, min_per_second, percent);
            assert!(granted.abs_diff(expected) <= 1, "{percent}: {granted}, not {expected}");
        }
    }

    #[test]
    fn default_is_20_percent_and_a_reserve_of_100() {
        let purse = Purse::default();
        let granted = (0..1000).filter(|_| purse.retry()).count();
        assert_eq!(granted, 100);
        (0..1000).for_each(|_| purse.deposit());
        assert_eq!((0..1000).filter(|_| purse.hedge()).count(), 200);
        let stats = purse.stats();
        assert_eq!((stats.retries, stats.hedges, stats.budget_exhausted), (100, 200, 1_700));
    }
}
