//! What one more request on an endpoint costs.
//!
//! Two things are measured per endpoint, whatever the policy: how many requests are **in flight**
//! and, if asked for, how long it takes to **answer** ([`PeakEwma`]). [`Cost`] says which of them
//! a load-aware policy ([`P2c`](crate::policy::P2c), [`LeastRequest`](crate::policy::LeastRequest))
//! compares. Policy and cost vary independently.
//!
//! | cost | reacts to | choose it when |
//! |---|---|---|
//! | [`Cost::InFlight`] | queues, slow endpoints with a lag of one response | requests cost about the same; costs no clock reading |
//! | [`Cost::PeakEwma`] | latency and queues, failures, silence | endpoints differ in speed, some far away, some may hang |
//!
//! # When is a request over?
//!
//! When its response **body** ends, by default: a download of a minute is load for a minute.
//! Counting to the response head alone makes an endpoint that streams look idle. [`Completion`]
//! selects another moment where the body says nothing about load.
//!
//! Latency, on the other hand, is always the time to the response **head**: how long a body
//! takes depends on its size and on the reader.

mod completion;
mod in_flight;
mod peak_ewma;

use std::time::Duration;

use crate::sync::{AtomicU64, Ordering};

use self::in_flight::InFlight;

pub(crate) use self::in_flight::{Begun, Ended};
use self::peak_ewma::Latency;

pub use self::completion::Completion;
pub use self::peak_ewma::PeakEwma;

/// What a load-aware policy compares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Cost {
    /// The number of requests in flight.
    #[default]
    InFlight,
    /// The peak-sensitive moving average of the latency, times the requests in flight plus one.
    PeakEwma(PeakEwma),
}

impl Cost {
    /// What picks have to read.
    pub(crate) fn measure(self) -> Measure {
        match self {
            Self::InFlight => Measure::InFlight,
            Self::PeakEwma(_) => Measure::Latency,
        }
    }

    /// How latencies are averaged, be it for picks or for statistics only.
    pub(crate) fn parameters(self) -> PeakEwma {
        match self {
            Self::InFlight => PeakEwma::new(),
            Self::PeakEwma(parameters) => parameters,
        }
    }
}

/// The cost of an endpoint that has not answered its first request yet: dearer than any that was
/// measured, also when it is divided by the greatest weight.
const UNKNOWN: f64 = 1e30;

/// A [`Cost`] without its parameters, which the endpoints know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    InFlight,
    /// Needs a clock.
    Latency,
}

impl Measure {
    /// Whether it needs to know the time.
    pub(crate) fn is_timed(self) -> bool {
        self == Self::Latency
    }
}

/// A moment, in nanoseconds since the cluster was built.
pub(crate) type Nanos = u64;

/// The live measurements of one endpoint. They outlive every snapshot.
///
/// Laid out in this order, so that one cache line holds all that a pick touches.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Load {
    in_flight: InFlight,
    /// Timed requests in flight that have their response head already.
    answered: AtomicU64,
    /// When the endpoint last answered, or when it was first asked since it owed no answer.
    progress: AtomicU64,
    latency: Latency,
}

impl Load {
    pub(crate) fn new(parameters: PeakEwma) -> Self {
        Self {
            in_flight: InFlight::default(),
            answered: AtomicU64::new(0),
            progress: AtomicU64::new(0),
            latency: Latency::new(parameters),
        }
    }

    /// Counts a request in, timed if there is a `now`.
    ///
    /// # Errors
    ///
    /// The number in flight, if it is as high as the counter goes: nothing was counted.
    #[inline]
    pub(crate) fn begin(&self, now: Option<Nanos>) -> Result<Begun, u32> {
        self.stamp(now);
        self.in_flight.begin()
    }

    /// As [`begin`](Self::begin), if fewer than `limit` requests are in flight.
    #[inline]
    pub(crate) fn begin_within(&self, limit: u32, now: Option<Nanos>) -> Result<(), u32> {
        self.stamp(now);
        self.in_flight.begin_within(limit)
    }

    /// Before a request is counted, so that nobody sees it with an old stamp.
    #[inline]
    fn stamp(&self, now: Option<Nanos>) {
        if let Some(now) = now {
            if !self.owes_an_answer() {
                self.progress.store(now, Ordering::Relaxed);
            }
        }
    }

    /// A timed request has its answer. [`close`](Self::close) must follow.
    pub(crate) fn answer(&self, now: Nanos) {
        self.progress.store(now, Ordering::Relaxed);
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// A request that was [answered](Self::answer) is about to [end](Self::end).
    #[inline]
    pub(crate) fn close(&self) {
        self.answered.fetch_sub(1, Ordering::Relaxed);
    }

    /// Records that an answer took the time from `since` to `now`.
    pub(crate) fn sample(&self, since: Nanos, now: Nanos) {
        self.latency.record(now.saturating_sub(since), now);
    }

    /// Records a failure after the time from `since` to `now`, which counts for the penalty at least.
    pub(crate) fn penalize(&self, since: Nanos, now: Nanos) {
        self.penalize_for(since, now, Duration::ZERO);
    }

    /// As [`penalize`](Self::penalize), for this time at least.
    pub(crate) fn penalize_for(&self, since: Nanos, now: Nanos, at_least: Duration) {
        let at_least = Nanos::try_from(at_least.as_nanos()).unwrap_or(Nanos::MAX);
        self.latency.penalize(now.saturating_sub(since).max(at_least), now);
    }

    /// Records that there was no answer in the time from `since` to `now`.
    pub(crate) fn give_up(&self, since: Nanos, now: Nanos) {
        if now > since {
            self.latency.at_least(now - since, now);
        }
    }

    /// Counts a request out; answers who waits for that.
    #[inline]
    #[must_use]
    pub(crate) fn end(&self) -> Ended {
        self.in_flight.end()
    }

    /// A drain waits for the last request to end; see [`InFlight::drain`].
    pub(crate) fn drain(&self) {
        self.in_flight.drain();
    }

    pub(crate) fn undrain(&self) {
        self.in_flight.undrain();
    }

    /// Whether it is drained; see [`InFlight::is_drained`].
    #[inline]
    pub(crate) fn is_drained(&self) -> bool {
        self.in_flight.is_drained()
    }

    /// Whether it is drained and nothing is in flight.
    pub(crate) fn is_over(&self) -> bool {
        self.in_flight.is_over()
    }

    /// Lets who ends a request know that somebody waits for it.
    pub(crate) fn watch(&self) {
        self.in_flight.watch();
    }

    /// Nobody waits any more.
    pub(crate) fn unwatch(&self) {
        self.in_flight.unwatch();
    }

    /// From now on latencies are averaged by these parameters; what was learnt stays.
    pub(crate) fn tune(&self, parameters: PeakEwma, now: Nanos) {
        self.latency.tune(parameters, now);
    }

    /// Starts with a latency that was measured by an earlier process.
    #[cfg(feature = "serde")]
    pub(crate) fn restore_latency(&self, latency: Duration, now: Nanos) {
        self.latency.restore(latency.as_secs_f64(), now);
    }

    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.now()
    }

    /// Requests begun since the endpoint was made, modulo 2^39, and those of them in flight.
    pub(crate) fn begun(&self) -> (u64, u32) {
        self.in_flight.both()
    }

    /// Takes over what another has learnt of the latency.
    pub(crate) fn inherit(&self, other: &Self) {
        self.latency.inherit(&other.latency);
    }

    /// The latency estimate in seconds as it is at `now`, if a latency was ever recorded.
    pub(crate) fn latency(&self, now: Nanos) -> Option<f64> {
        self.latency.at(now)
    }

    /// What one more request costs here, finite and not negative. Only comparable between
    /// endpoints of one cluster.
    #[inline]
    pub(crate) fn cost(&self, measure: Measure, now: Nanos) -> f64 {
        match measure {
            Measure::InFlight => f64::from(self.in_flight()),
            Measure::Latency => self.latency_cost(now),
        }
    }

    /// Kept out of line, so that the usual cost stays a handful of instructions where it is read.
    #[inline(never)]
    fn latency_cost(&self, now: Nanos) -> f64 {
        let requests = f64::from(self.in_flight()) + 1.0;
        match (self.latency(now), self.owes_an_answer()) {
            // Never measured: free for one request, which measures it; then dearer than anything
            // that was measured, until that one has answered.
            (None, false) => 0.0,
            (None, true) => UNKNOWN * requests,
            (Some(latency), false) => latency * requests,
            // Silence counts as latency: an endpoint that hangs grows dearer with every moment,
            // long before its first timeout.
            (Some(latency), true) => {
                let silent = now.saturating_sub(self.progress.load(Ordering::Relaxed));
                let silent = (silent as f64 / 1e9).min(peak_ewma::LONGEST);
                latency.max(silent) * requests
            }
        }
    }

    /// Whether a timed request has no response head yet.
    ///
    /// Two words, so there are moments at which they do not fit together; none of them does harm.
    ///
    /// - A request ends by leaving `answered`, then `in_flight`. Who reads between these two sees a
    ///   debt that is none. A cost then takes the time since the last answer for silence: the
    ///   endpoint looks dearer to that one pick. A request that begins then does not renew the
    ///   stamp, so that its own wait seems to have begun with the last answer, until the endpoint
    ///   answers again or has nothing in flight. It looks dearer meanwhile, never cheaper.
    /// - A debt that is there is missed only if a request begins and is answered between the two
    ///   reads. That answer has just renewed the stamp: the silence is 0 either way. (Who sees a
    ///   request gone from `in_flight` sees it gone from `answered` too, by the release of `end`.)
    ///
    /// A single count, up with every timed request and down with its answer, would have no such
    /// moment and would cost every pick a second locked addition.
    fn owes_an_answer(&self) -> bool {
        u64::from(self.in_flight()) > self.answered.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(whippletree_loom)))]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;
    const COST: Measure = Measure::Latency;

    fn answer(load: &Load, since: Nanos, now: Nanos) {
        load.answer(now);
        load.sample(since, now);
    }

    fn end(load: &Load) {
        load.close();
        assert!(!load.end().is_marked());
    }

    #[test]
    fn unmeasured_endpoint_is_free_for_one_request_only() {
        let load = Load::new(PeakEwma::new());
        assert_eq!(load.cost(COST, 0), 0.0);
        load.begin(Some(0)).unwrap();
        assert!(load.cost(COST, 1) > peak_ewma::LONGEST);
        answer(&load, 0, 20_000_000);
        end(&load);
        assert!((load.cost(COST, 20_000_000) - 0.02).abs() < 1e-6);
    }

    #[test]
    fn silence_makes_an_endpoint_dearer_and_an_answer_ends_it() {
        let load = Load::new(PeakEwma::new().decay(Duration::from_secs(3600)));
        load.sample(0, 10_000_000);
        load.begin(Some(0)).unwrap();
        let early = load.cost(COST, 10_000_000);
        let late = load.cost(COST, SECOND);
        assert!(late > 90.0 * early, "{early} {late}");
        load.answer(SECOND);
        assert!(load.cost(COST, SECOND) < 0.021);
        end(&load);
    }

    #[test]
    fn a_long_body_is_not_silence() {
        let load = Load::new(PeakEwma::new().decay(Duration::from_secs(3600)));
        load.begin(Some(0)).unwrap();
        answer(&load, 0, 10_000_000);
        // Still in flight an hour later: the body streams. Two in flight cost twice one.
        assert!(load.cost(COST, 3600 * SECOND) <= 0.02);
        end(&load);
    }

    #[test]
    fn failing_fast_does_not_look_fast() {
        let load = Load::new(PeakEwma::new());
        load.sample(0, 20_000_000);
        load.penalize(20_000_000, 21_000_000);
        assert!(load.cost(COST, 21_000_000) >= 4.99);
    }

    #[test]
    fn endpoint_that_asks_for_time_gets_it() {
        let load = Load::new(PeakEwma::new());
        load.penalize_for(0, 1_000_000, Duration::from_secs(60));
        assert!((load.cost(COST, 1_000_000) - 60.0).abs() < 1e-3);
        load.penalize_for(0, 1_000_000, Duration::MAX);
        assert!(load.cost(COST, 1_000_000) <= peak_ewma::LONGEST);
    }
}
