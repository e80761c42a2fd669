//! From findings to facts: what probes and the operator say of an endpoint.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::control::{Applied, Control};
use super::facts::{CheckFact, LastCheck, Verdict};
use crate::endpoint::{Admin, EndpointId, Node};
use crate::event::Event;
use crate::health::outlier::Outlier;
use crate::health::{Initial, Standing, Thresholds, Turn};

/// Which probe a verdict comes from.
pub(crate) type ProbeId = u64;

/// What a failing probe does to its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    TakesOut,
    /// It lowers, or raises, the rank.
    Adjusts(i32),
}

/// What the control side has to know of a probe.
#[derive(Clone, Debug)]
pub(crate) struct ProbeRule {
    pub(crate) id: ProbeId,
    pub(crate) name: Arc<str>,
    pub(crate) thresholds: Thresholds,
    pub(crate) initial: Initial,
    pub(crate) effect: Effect,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Passed,
    Failed(Arc<str>),
    /// The endpoint answered that it wants no new requests.
    AsksToLeave,
}

impl Control {
    /// From now on every endpoint has to prove itself to this probe as well.
    pub(super) fn add_probe(&mut self, rule: ProbeRule, now: Instant, applied: &mut Applied) {
        for record in self.present.values_mut() {
            record.change(now, applied, |record, _| {
                record.facts.checks.push(CheckFact::new(&rule, now));
            });
        }
        self.probes.push(rule);
    }

    /// What this probe has found no longer counts.
    pub(super) fn remove_probe(&mut self, probe: ProbeId, now: Instant, applied: &mut Applied) {
        self.probes.retain(|rule| rule.id != probe);
        for record in self.present.values_mut() {
            record.change(now, applied, |record, _| {
                record.facts.checks.retain(|check| check.probe != probe);
            });
        }
    }

    /// Takes in what a check found of the endpoint with this node; none if it is not here any more,
    /// or not to be probed.
    pub(super) fn probed(
        &mut self,
        probe: ProbeId,
        node: &Arc<Node>,
        finding: Finding,
        took: Duration,
        now: Instant,
        applied: &mut Applied,
    ) -> Option<ProbePace> {
        let cancels = self.rules.outlier.as_ref().is_some_and(Outlier::probe_unejects);
        let record = self.present.get_mut(node.id())?;
        if !Arc::ptr_eq(&record.node, node) || record.facts.admin.state == Admin::Maintenance {
            return None;
        }
        let rule = self.probes.iter().find(|rule| rule.id == probe)?;
        let mut returned = false;
        record.change(now, applied, |record, applied| {
            let place = record.facts.checks.iter().position(|check| check.probe == probe);
            let place = place.unwrap_or_else(|| {
                record.facts.checks.push(CheckFact::new(rule, now));
                record.facts.checks.len() - 1
            });
            let id = node.id();
            let check = &mut record.facts.checks[place];
            let left = check.asks_to_leave;
            let turn = check.take(&finding, took, now);
            applied.events.extend(turn.map(|turn| told(turn, id, &check.name, &finding)));
            applied.events.extend(check.told_of_leave(left, id));
            let half_open = matches!(record.facts.outlier.verdict, Verdict::HalfOpen { .. });
            let ejected = record.facts.outlier.verdict != Verdict::Fine;
            let takes_out = rule.effect == Effect::TakesOut;
            if takes_out && finding == Finding::Passed && (half_open || ejected && cancels) {
                record.uneject(now, applied);
                returned = true;
            }
        });
        let check = record.facts.checks.iter().find(|check| check.probe == probe)?;
        let pace = check.pace();
        if returned {
            self.start_interval(now);
        }
        Some(pace)
    }
}

/// How soon a probe looks at an endpoint again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbePace {
    Steady,
    /// The next results decide.
    Transition,
    Down,
}

impl CheckFact {
    fn take(&mut self, finding: &Finding, took: Duration, now: Instant) -> Option<Turn> {
        let failure = match finding {
            Finding::Failed(reason) => Some(Arc::clone(reason)),
            Finding::Passed | Finding::AsksToLeave => None,
        };
        let passed = failure.is_none();
        self.last = Some(LastCheck { failure, took, at: now });
        let before = (self.counter.standing(), self.asks_to_leave);
        // Who has asked to leave and then fails is on its way out, not back.
        self.asks_to_leave = match finding {
            Finding::Passed => false,
            Finding::AsksToLeave => true,
            Finding::Failed(_) => self.asks_to_leave,
        };
        let turn = self.counter.record(passed);
        if before != (self.counter.standing(), self.asks_to_leave) {
            self.since = now;
        }
        turn
    }

    fn told_of_leave(&self, before: bool, endpoint: &EndpointId) -> Option<Event> {
        let (endpoint, probe) = (endpoint.clone(), Arc::clone(&self.name));
        match (before, self.asks_to_leave) {
            (false, true) => Some(Event::AskedToLeave { endpoint, probe }),
            (true, false) => Some(Event::Stayed { endpoint, probe }),
            _ => None,
        }
    }

    fn pace(&self) -> ProbePace {
        if self.counter.in_transition() {
            ProbePace::Transition
        } else if self.is(Standing::Down) {
            ProbePace::Down
        } else {
            ProbePace::Steady
        }
    }
}

fn told(turn: Turn, endpoint: &EndpointId, probe: &Arc<str>, finding: &Finding) -> Event {
    let (endpoint, probe) = (endpoint.clone(), Arc::clone(probe));
    match (turn, finding) {
        (Turn::Down, Finding::Failed(reason)) => {
            Event::ProbeDown { endpoint, probe, reason: Arc::clone(reason) }
        }
        (Turn::Down, _) => Event::ProbeDown { endpoint, probe, reason: "failed".into() },
        (Turn::Up, _) => Event::ProbeUp { endpoint, probe },
    }
}
