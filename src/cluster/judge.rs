//! From evidence to facts: what live traffic says of an endpoint.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::control::{Applied, Control};
use super::facts::Verdict;
use super::record::Record;
use crate::endpoint::{EndpointId, Evidence, Node};
use crate::event::Event;
use crate::health::outlier::{Outlier, Reason, Sample, detect, may_eject};

impl Control {
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
        if !here || self.gone.contains_key(node.id()) {
            // Nobody is judged, so the row is not to stand in the way of the next one.
            return node.absolve();
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
                // Who gets no traffic, as a backup does, is not one of the few to be compared.
                if sample.total() > 0 {
                    ids.push(id.clone());
                    samples.push(sample);
                }
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

    /// Lets those back half whose time is over, and those wholly whom nobody has tried since.
    pub(super) fn release(&mut self, now: Instant, applied: &mut Applied) {
        while self.releases.first().is_some_and(|(until, _)| *until <= now) {
            let Some((due, id)) = self.releases.pop_first() else {
                break;
            };
            let patience = self.rules.outlier.as_ref().map_or(Duration::ZERO, Outlier::patience);
            let trial_until = now.checked_add(patience).unwrap_or(now);
            let Some(record) = self.known(&id) else {
                continue;
            };
            let waits = match record.facts.outlier.verdict.clone() {
                Verdict::Ejected { until, reason } if until == due => {
                    record.change(now, applied, |record, _| {
                        let verdict = Verdict::HalfOpen { until: trial_until, reason };
                        record.facts.outlier.verdict = verdict;
                        record.facts.outlier.since = now;
                    });
                    applied.events.push(Event::HalfOpen(id.clone()));
                    true
                }
                // A check will tell.
                Verdict::HalfOpen { until, .. } if until == due && record.facts.is_probed() => {
                    false
                }
                Verdict::HalfOpen { until, reason } if until == due => {
                    let under_way = !record.node.probation.is_free();
                    if under_way {
                        let verdict = Verdict::HalfOpen { until: trial_until, reason };
                        record.facts.outlier.verdict = verdict;
                    } else {
                        record.change(now, applied, |record, applied| record.uneject(now, applied));
                    }
                    under_way
                }
                _ => false,
            };
            if waits {
                self.releases.insert((trial_until, id));
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
        let Some(record) = self.present.get(id) else {
            return;
        };
        if record.facts.outlier.verdict != Verdict::Fine {
            return record.node.absolve();
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
        self.room = None;
        if let Some(record) = self.known(id) {
            record.change(now, applied, |record, applied| record.uneject(now, applied));
        }
        // The intervals in which it does well shorten its next ejection.
        self.start_interval(now);
    }

    /// Whether the cap leaves room for one more.
    fn may_eject(&mut self, id: &EndpointId) -> bool {
        let Some(cap) = self.rules.outlier.as_ref().map(Outlier::cap) else {
            return false;
        };
        let (ejected, available) = match self.room {
            Some(room) => room,
            None => *self.room.insert(self.count_room()),
        };
        let serves = |record: &Record| record.facts.fitness(&record.endpoint).is_available();
        let own = self.present.get(id).is_some_and(serves);
        may_eject(self.present.len(), ejected, available - usize::from(own), cap)
    }

    /// How many are ejected, and how many serve.
    fn count_room(&self) -> (usize, usize) {
        let out = |record: &&Record| record.facts.outlier.verdict != Verdict::Fine;
        let serves = |record: &&Record| record.facts.fitness(&record.endpoint).is_available();
        let records = || self.present.values();
        (records().filter(out).count(), records().filter(serves).count())
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
            record.node.suspect.store(true, Ordering::Relaxed);
        });
        self.room = None;
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
        self.node.suspect.store(false, Ordering::Relaxed);
        applied.events.push(Event::Returned(self.endpoint.id().clone()));
    }
}
