//! What is known of an endpoint's fitness, fact by fact, and the one place that combines them.
//!
//! Every fact has one writer: the operator, a probe, the judge of live traffic. None overrides
//! another; an endpoint serves when no fact speaks against it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::endpoint::{Endpoint, Tally};
use crate::health::outlier::{Ejections, Reason, Sample};
use crate::health::{Counter, Standing};

use super::verdicts::{Effect, ProbeId, ProbeRule};
use crate::endpoint::{Admin, Home, State};

pub(super) struct Facts {
    pub(super) admin: AdminFact,
    /// One per probe of the cluster.
    pub(super) checks: Vec<CheckFact>,
    pub(super) outlier: OutlierFact,
    /// What is added to the rank, by who says so.
    pub(super) adjustments: BTreeMap<Arc<str>, i32>,
    /// Since when it has been fit to serve; slow start counts from here.
    pub(super) fit_since: Option<Instant>,
    /// Since when it has not served the sessions that call it home.
    pub(super) out_since: Option<Instant>,
    /// Since when its state is what it is.
    pub(super) state_since: Instant,
    /// Since when its weight is 0, if it is.
    pub(super) weightless_since: Instant,
}

pub(super) struct AdminFact {
    pub(super) state: Admin,
    pub(super) since: Instant,
    pub(super) by: Arc<str>,
    /// Whether a drain has gone on for so long that requests which ask for it are refused too.
    pub(super) shut: bool,
}

pub(super) struct CheckFact {
    pub(super) probe: ProbeId,
    pub(super) name: Arc<str>,
    pub(super) effect: Effect,
    pub(super) counter: Counter,
    /// The endpoint itself asked for no new requests.
    pub(super) asks_to_leave: bool,
    pub(super) since: Instant,
    pub(super) last: Option<LastCheck>,
}

pub(super) struct LastCheck {
    pub(super) failure: Option<Arc<str>>,
    pub(super) took: Duration,
    pub(super) at: Instant,
}

pub(super) struct OutlierFact {
    pub(super) verdict: Verdict,
    pub(super) since: Instant,
    pub(super) ejections: Ejections,
    /// How often it was ejected in all.
    pub(super) times: u64,
    /// Whether it was told that the cap keeps it in.
    pub(super) refused: bool,
    /// The outcomes counted when the current interval began.
    counted: Sample,
}

/// Where an endpoint stands after what live traffic said.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    Fine,
    Ejected {
        until: Instant,
        reason: Reason,
    },
    /// One request or check at a time may show that it is well again. If none is made until then,
    /// for there is no traffic or it is not meant for this endpoint, it gets the benefit of the doubt.
    HalfOpen {
        until: Instant,
        reason: Reason,
    },
}

/// What the facts come to, for who builds a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fitness {
    /// Neither drained nor in maintenance, and with a weight: new requests are meant for it.
    pub(super) wanted: bool,
    /// No evidence speaks against it.
    pub(super) fit: bool,
    /// There is evidence, one way or the other.
    pub(super) proven: bool,
    /// A request that asks for it may have it.
    pub(super) sticky: bool,
    pub(super) on_trial: bool,
}

impl Fitness {
    pub(super) fn is_available(self) -> bool {
        self.wanted && self.fit
    }
}

impl Facts {
    pub(super) fn new(now: Instant, by: &Arc<str>, probes: &[ProbeRule]) -> Self {
        Self {
            admin: AdminFact { state: Admin::Ready, since: now, by: Arc::clone(by), shut: false },
            checks: probes.iter().map(|probe| CheckFact::new(probe, now)).collect(),
            outlier: OutlierFact::new(now),
            adjustments: BTreeMap::new(),
            fit_since: None,
            out_since: None,
            state_since: now,
            weightless_since: now,
        }
    }

    /// What is called the endpoint's state: the first that holds, from the strongest on.
    pub(super) fn state(&self, endpoint: &Endpoint) -> State {
        let leaves = self.leaves(endpoint);
        if self.admin.state == Admin::Maintenance {
            State::Maintenance
        } else if self.admin.state == Admin::Drain || endpoint.weight().is_zero() || leaves {
            State::Drain
        } else if self.stands(Standing::Down) {
            State::Down
        } else if self.stands(Standing::Unproven) {
            State::Unproven
        } else if self.outlier.verdict != Verdict::Fine {
            State::Ejected
        } else {
            State::Up
        }
    }

    pub(super) fn fitness(&self, endpoint: &Endpoint) -> Fitness {
        let leaves = self.leaves(endpoint);
        let unproven = self.stands(Standing::Unproven);
        let healthy = !self.stands(Standing::Down) && !unproven;
        let fit = healthy && self.outlier.verdict == Verdict::Fine;
        let half_open = matches!(self.outlier.verdict, Verdict::HalfOpen { .. });
        let wanted = self.admin.state == Admin::Ready && !endpoint.weight().is_zero() && !leaves;
        Fitness {
            wanted,
            fit,
            proven: !unproven,
            sticky: fit && self.admin.state != Admin::Maintenance && !self.admin.shut,
            on_trial: half_open && healthy && wanted && !self.is_probed(),
        }
    }

    /// What the endpoint is to the sessions that call it home.
    pub(super) fn home(&self, fitness: Fitness) -> Home {
        // The operator's word, whatever becomes of the endpoint then.
        let closed = self.admin.shut || self.admin.state == Admin::Maintenance;
        match (fitness.sticky, fitness.wanted) {
            (true, true) => Home::Serves,
            (true, false) => Home::Leaves,
            (false, _) if closed => Home::Closed,
            (false, _) => Home::Out { since: self.out_since.unwrap_or(self.state_since) },
        }
    }

    /// The rank with all adjustments, as VRRP bounds it.
    pub(super) fn rank(&self, endpoint: &Endpoint) -> u8 {
        let failing = self.checks.iter().filter(|check| check.is(Standing::Down));
        let checks = failing.filter_map(|check| match check.effect {
            Effect::Adjusts(by) => Some(by),
            Effect::TakesOut => None,
        });
        let sum = checks.chain(self.adjustments.values().copied()).fold(0, i32::saturating_add);
        i32::from(endpoint.rank()).saturating_add(sum).clamp(1, 254) as u8
    }

    /// Whether it has asked for no new requests, itself or by its source.
    fn leaves(&self, endpoint: &Endpoint) -> bool {
        let takes_out = |check: &&CheckFact| check.effect == Effect::TakesOut;
        endpoint.is_draining()
            || self.checks.iter().filter(takes_out).any(|check| check.asks_to_leave)
    }

    /// Whether probes decide on it: one of them then makes the trial after an ejection.
    pub(super) fn is_probed(&self) -> bool {
        self.checks.iter().any(|check| check.effect == Effect::TakesOut)
    }

    fn stands(&self, standing: Standing) -> bool {
        self.checks.iter().any(|check| check.effect == Effect::TakesOut && check.is(standing))
    }
}

impl CheckFact {
    pub(super) fn new(probe: &ProbeRule, now: Instant) -> Self {
        Self {
            probe: probe.id,
            name: Arc::clone(&probe.name),
            effect: probe.effect,
            counter: Counter::new(probe.thresholds, probe.initial),
            asks_to_leave: false,
            since: now,
            last: None,
        }
    }

    pub(super) fn is(&self, standing: Standing) -> bool {
        self.counter.standing() == standing
    }
}

impl OutlierFact {
    fn new(now: Instant) -> Self {
        Self {
            verdict: Verdict::Fine,
            since: now,
            ejections: Ejections::default(),
            times: 0,
            refused: false,
            counted: Sample::default(),
        }
    }

    /// Forgets what traffic has said.
    pub(super) fn pardon(&mut self, now: Instant) {
        let (times, counted) = (self.times, self.counted);
        *self = Self { times, counted, ..Self::new(now) };
    }

    /// What was counted since the last call.
    pub(super) fn sample(&mut self, tally: &Tally) -> Sample {
        let total = tally.sample();
        let before = std::mem::replace(&mut self.counted, total);
        Sample {
            succeeded: total.succeeded.saturating_sub(before.succeeded),
            failed: total.failed.saturating_sub(before.failed),
        }
    }

    /// Starts an interval at what is counted now.
    pub(super) fn start_interval(&mut self, tally: &Tally) {
        self.counted = tally.sample();
    }
}
