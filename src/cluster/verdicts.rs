//! From evidence to facts: what probes, live traffic and the operator say of an endpoint.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::control::{Applied, Control};
use super::facts::{CheckFact, LastCheck, Verdict};
use super::record::Record;
use crate::endpoint::Admin;
use crate::endpoint::{EndpointId, Evidence, Node};
use crate::event::Event;
use crate::health::outlier::{Outlier, Reason, Sample, detect, may_eject};
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

    /// Takes in what live traffic says.
    pub(super) fn hear(
        &mut self,
        node: &Arc<Node>,
        evidence: Evidence,
        now: Instant,
        random: &dyn Fn() -> u64,
        applied: &mut Applied,
    ) {
        let here = self.known(node.id()).is_some_and(|record| Arc::ptr_eq(&record.node, node));
        if matches!(evidence, Evidence::TrialPassed | Evidence::TrialFailed) {
            applied.trials.push(Arc::clone(node));
        }
        if !here {
            return;
        }
        match evidence {
            // What is drained is looked at after every round.
            Evidence::Emptied => {}
            Evidence::Streak(reason) => self.eject(node.id(), reason, now, random, applied),
            // What has come since counts more: a trial is one of an endpoint that is half open.
            _ if !self.is_half_open(node.id()) => {}
            Evidence::TrialPassed => self.take_back(node.id(), now, applied),
            Evidence::TrialFailed => {
                self.put_out(node.id(), Reason::TrialFailed, now, random, applied);
            }
        }
    }

    /// Starts an interval for the detectors, unless one is under way.
    pub(super) fn start_interval(&mut self, now: Instant) {
        let Some(outlier) = &self.rules.outlier else {
            return;
        };
        if self.sweep_at.is_none() {
            self.sweep_at = now.checked_add(outlier.interval_time());
            for record in self.present.values_mut() {
                record.facts.outlier.start_interval(&record.node.tally);
            }
        }
    }

    /// Lets the detectors compare what the endpoints did in the interval that has ended.
    pub(super) fn sweep(&mut self, now: Instant, random: &dyn Fn() -> u64, applied: &mut Applied) {
        let Some(outlier) = self.rules.outlier.clone() else {
            return;
        };
        if self.sweep_at.is_none_or(|at| at > now) {
            return;
        }
        let mut ids = Vec::new();
        let mut samples: Vec<Sample> = Vec::new();
        let mut busy = false;
        for (id, record) in &mut self.present {
            let sample = record.facts.outlier.sample(&record.node.tally);
            busy |= sample.failed > 0;
            if record.facts.outlier.verdict == Verdict::Fine {
                busy |= record.facts.outlier.ejections.healthy_interval() > 0;
                ids.push(id.clone());
                samples.push(sample);
            }
        }
        // As long as nothing fails there is nothing to compare, and the next failure starts again.
        self.sweep_at = if busy { now.checked_add(outlier.interval_time()) } else { None };
        if self.sweep_at.is_none() {
            self.reporter.disarm();
        }
        for (index, reason) in detect(&samples, &outlier) {
            self.eject(&ids[index], reason, now, random, applied);
        }
    }

    /// Lets those back half whose time is over.
    pub(super) fn release(&mut self, now: Instant, applied: &mut Applied) {
        while self.releases.first().is_some_and(|(until, _)| *until <= now) {
            let Some((due, id)) = self.releases.pop_first() else {
                break;
            };
            let Some(record) = self.known(&id) else {
                continue;
            };
            match record.facts.outlier.verdict.clone() {
                Verdict::Ejected { until, reason } if until == due => {
                    record.change(now, applied, |record, _| {
                        record.facts.outlier.verdict = Verdict::HalfOpen { reason };
                        record.facts.outlier.since = now;
                    });
                    applied.events.push(Event::HalfOpen(id));
                }
                _ => {}
            }
        }
    }

    fn eject(
        &mut self,
        id: &EndpointId,
        reason: Reason,
        now: Instant,
        random: &dyn Fn() -> u64,
        applied: &mut Applied,
    ) {
        let fine = |record: &Record| record.facts.outlier.verdict == Verdict::Fine;
        if !self.present.get(id).is_some_and(fine) {
            return;
        }
        if self.may_eject(id) {
            return self.put_out(id, reason, now, random, applied);
        }
        if let Some(record) = self.present.get_mut(id) {
            // Heard again after as many failures more: there may be room by then.
            record.node.absolve();
            if !std::mem::replace(&mut record.facts.outlier.refused, true) {
                let endpoint = id.clone();
                applied.events.push(Event::EjectionRefused { endpoint, reason });
            }
        }
    }

    fn is_half_open(&mut self, id: &EndpointId) -> bool {
        let verdict = self.known(id).map(|record| &record.facts.outlier.verdict);
        matches!(verdict, Some(Verdict::HalfOpen { .. }))
    }

    fn take_back(&mut self, id: &EndpointId, now: Instant, applied: &mut Applied) {
        if let Some(record) = self.known(id) {
            record.change(now, applied, |record, applied| record.uneject(now, applied));
        }
        // The intervals in which it does well shorten its next ejection.
        self.start_interval(now);
    }

    /// Whether the cap leaves room for one more.
    fn may_eject(&self, id: &EndpointId) -> bool {
        let Some(outlier) = &self.rules.outlier else {
            return false;
        };
        let out = |record: &&Record| record.facts.outlier.verdict != Verdict::Fine;
        let serves = |(other, record): &(&EndpointId, &Record)| {
            *other != id && record.facts.fitness(&record.endpoint).is_available()
        };
        let ejected = self.present.values().filter(out).count();
        let left = self.present.iter().filter(serves).count();
        may_eject(self.present.len(), ejected, left, outlier.cap())
    }

    fn put_out(
        &mut self,
        id: &EndpointId,
        reason: Reason,
        now: Instant,
        random: &dyn Fn() -> u64,
        applied: &mut Applied,
    ) {
        let Some(outlier) = self.rules.outlier.clone() else {
            return;
        };
        let Some(record) = self.known(id) else {
            return;
        };
        let until = record.facts.outlier.ejections.eject(now, &outlier, random());
        record.change(now, applied, |record, _| {
            let fact = &mut record.facts.outlier;
            fact.verdict = Verdict::Ejected { until, reason: reason.clone() };
            (fact.since, fact.refused) = (now, false);
            fact.times += 1;
            record.node.absolve();
        });
        let lasts = until.saturating_duration_since(now);
        applied.events.push(Event::Ejected { endpoint: id.clone(), reason, lasts });
        self.releases.insert((until, id.clone()));
        self.start_interval(now);
    }
}

impl Record {
    pub(super) fn uneject(&mut self, now: Instant, applied: &mut Applied) {
        if self.facts.outlier.verdict == Verdict::Fine {
            return;
        }
        self.facts.outlier.verdict = Verdict::Fine;
        self.facts.outlier.since = now;
        self.node.absolve();
        applied.events.push(Event::Returned(self.endpoint.id().clone()));
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
