//! A simulator of a fleet: requests at a steady rate, on a clock of its own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use whippletree::health::Outcome;
use whippletree::load::{Cost, PeakEwma};
use whippletree::policy::Policy;
use whippletree::{Cluster, Context, Lease};

use crate::strict::{fleet, index};

/// What an endpoint does with a request that comes to it at a time since the start.
pub(crate) type Behaviour = fn(usize, Duration) -> Answer;

pub(crate) enum Answer {
    After(Duration, Outcome),
    Never,
    /// Never, and the caller gives up after this time.
    GivenUpAfter(Duration),
}

pub(crate) struct Simulation {
    pub(crate) cluster: Cluster<()>,
    start: Instant,
    now: Duration,
    behaviour: Behaviour,
    /// When which request ends, and how; the number keeps those of one moment in order.
    ends: BinaryHeap<Reverse<(Duration, usize)>>,
    open: Vec<Option<(Lease<()>, Option<Outcome>)>>,
    /// Who was picked when.
    pub(crate) picks: Vec<(Duration, usize)>,
}

impl Simulation {
    pub(crate) fn new(
        policy: Arc<dyn Policy>,
        cost: Cost,
        seed: u64,
        weights: &[u16],
        behaviour: Behaviour,
    ) -> Self {
        // Shown by the test harness when a test fails.
        println!("{policy:?}, {cost:?}, seed {seed}, weights {weights:?}");
        // The cost alone: nobody is ejected.
        let builder = Cluster::builder().policy(policy).cost(cost).seed(seed).outlier(None);
        let cluster = builder.connect(|_| ());
        cluster.replace(fleet(weights)).unwrap();
        Self {
            cluster,
            start: Instant::now(),
            now: Duration::ZERO,
            behaviour,
            ends: BinaryHeap::new(),
            open: Vec::new(),
            picks: Vec::new(),
        }
    }

    pub(crate) fn latency_aware(
        policy: impl Policy,
        seed: u64,
        weights: &[u16],
        behaviour: Behaviour,
    ) -> Self {
        let cost = Cost::PeakEwma(PeakEwma::new());
        Self::new(Arc::new(policy), cost, seed, weights, behaviour)
    }

    pub(crate) fn now(&self) -> Instant {
        self.start + self.now
    }

    /// Sends requests, one every `gap`, for a time.
    pub(crate) fn run(&mut self, gap: Duration, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.send();
            self.pass(gap);
        }
    }

    /// Sends one request and answers who got it.
    pub(crate) fn send(&mut self) -> usize {
        let lease = self.cluster.pick_at(&Context::new(), self.now()).unwrap();
        let at = index(lease.id());
        self.picks.push((self.now, at));
        let (took, outcome) = match (self.behaviour)(at, self.now) {
            Answer::After(took, outcome) => (Some(took), Some(outcome)),
            Answer::Never => (None, None),
            Answer::GivenUpAfter(took) => (Some(took), None),
        };
        if let Some(took) = took {
            self.ends.push(Reverse((self.now + took, self.open.len())));
        }
        self.open.push(Some((lease, outcome)));
        at
    }

    /// Lets time pass, in which requests end.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(Reverse((end, number))) = self.ends.peek().copied() {
            if end > until {
                break;
            }
            self.ends.pop();
            self.now = end;
            let (mut lease, outcome) = self.open[number].take().unwrap();
            match outcome {
                Some(outcome) => lease.report_at(outcome, self.start + end),
                None => lease.cancel_at(self.start + end),
            }
        }
        self.now = until;
    }

    /// How many of the requests since then went to the endpoint, and of how many.
    pub(crate) fn share_since(&self, since: Duration, endpoint: usize) -> (usize, usize) {
        let since = self.picks.iter().filter(|(when, _)| *when >= since);
        let (mut got, mut all) = (0, 0);
        for (_, at) in since {
            all += 1;
            got += usize::from(*at == endpoint);
        }
        (got, all)
    }
}

pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(crate) fn success(took: Duration) -> Answer {
    Answer::After(took, Outcome::Success)
}
