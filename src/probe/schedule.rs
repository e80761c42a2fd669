//! When to check whom. No clock, no I/O: `now` is an argument.
//!
//! Every endpoint has a phase, its place within the interval, and keeps it: it is due at
//! `phase + n · interval`, each time a little earlier or later. So the jitter of one round does not
//! add to that of the next, and endpoints never drift into one bunch. Phases follow the multiples
//! of the golden ratio, which spread evenly however many there are (Weyl, 1916).

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::cluster::ProbePace;

/// How many endpoints that come together are checked at once; the others within an interval, so
/// that a large set is no burst. As many as are checked at a time by default.
const AT_ONCE: usize = 64;

/// The golden ratio's fractional part: of all numbers the one whose multiples bunch least.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// Who is checked, as the runner counts them.
pub(super) type Key = u64;

/// How often, and how many at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) interval: Duration,
    pub(super) fast_interval: Duration,
    pub(super) down_interval: Duration,
    /// The share of the interval by which a check may be early or late.
    pub(super) jitter: f64,
    pub(super) concurrency: usize,
}

impl Timing {
    /// The most time between two checks at the steady pace: the first early, the second late.
    pub(super) fn longest_round(&self) -> Duration {
        self.interval.mul_f64(1.0 + 2.0 * self.jitter)
    }

    fn period(&self, pace: ProbePace) -> Duration {
        match pace {
            ProbePace::Steady => self.interval,
            ProbePace::Transition => self.fast_interval,
            ProbePace::Down => self.down_interval,
        }
    }
}

pub(super) struct Schedule {
    timing: Timing,
    epoch: Instant,
    slots: HashMap<Key, Slot>,
    due: BTreeSet<(Instant, Key)>,
    in_flight: usize,
    next_key: Key,
    /// The phase that was given last.
    phase: f64,
    at_once: Allowance,
    /// Whether those who are due wait for checks to end.
    crowded: bool,
}

struct Slot {
    phase: f64,
    pace: ProbePace,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting { due: Instant },
    InFlight { since: Instant },
}

/// How many may still be checked at once in this interval.
struct Allowance {
    since: Instant,
    left: usize,
}

impl Schedule {
    /// `phase`, in `0.0..1.0`, is where the first endpoint's place is: random, so that several
    /// balancers do not check in step.
    pub(super) fn new(timing: Timing, epoch: Instant, phase: f64) -> Self {
        Self {
            timing,
            epoch,
            slots: HashMap::new(),
            due: BTreeSet::new(),
            in_flight: 0,
            next_key: 0,
            phase,
            at_once: Allowance { since: epoch, left: AT_ONCE },
            crowded: false,
        }
    }

    /// Takes one in, to be checked at once unless many come together.
    pub(super) fn add(&mut self, now: Instant) -> Key {
        let key = self.next_key;
        self.next_key += 1;
        self.phase = (self.phase + GOLDEN).fract();
        let pace = ProbePace::Transition;
        let at_once = self.at_once.take(now, self.timing.interval);
        let place = || self.place_after(now, self.phase, self.timing.interval);
        let due = if at_once { now } else { place() };
        let stage = Stage::Waiting { due };
        self.slots.insert(key, Slot { phase: self.phase, pace, stage });
        self.due.insert((due, key));
        key
    }

    /// Forgets one. If it is being checked, that goes on until it [ends](Self::ended).
    pub(super) fn remove(&mut self, key: Key) {
        if let Some(Slot { stage: Stage::Waiting { due }, .. }) = self.slots.remove(&key) {
            self.due.remove(&(due, key));
        }
    }

    /// Who is to be checked now, if anybody is and may be: its check is under way from here on.
    pub(super) fn take(&mut self, now: Instant) -> Option<Key> {
        self.catch_up(now);
        let Some((due, key)) = self.due.first().filter(|(due, _)| *due <= now).copied() else {
            self.crowded = false;
            return None;
        };
        if self.in_flight >= self.timing.concurrency {
            self.crowded = true;
            return None;
        }
        self.due.remove(&(due, key));
        self.in_flight += 1;
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.stage = Stage::InFlight { since: due };
        }
        Some(key)
    }

    /// The check of `key` is over. `unit` is random, in `0.0..1.0`.
    pub(super) fn ended(&mut self, key: Key, pace: Option<ProbePace>, now: Instant, unit: f64) {
        self.in_flight -= 1;
        let Some(slot) = self.slots.get(&key) else {
            return;
        };
        let Stage::InFlight { since } = slot.stage else {
            return;
        };
        let (phase, pace) = (slot.phase, pace.unwrap_or(slot.pace));
        let period = self.timing.period(pace);
        let place = self.place_after(since + period / 2, phase, period);
        let due = jittered(place, period.mul_f64(self.timing.jitter), unit).max(now);
        self.wait(key, pace, due);
    }

    /// When somebody is to be checked next; none while it takes the end of a check.
    pub(super) fn next(&self) -> Option<Instant> {
        let may = self.in_flight < self.timing.concurrency;
        self.due.first().filter(|_| may).map(|(due, _)| *due)
    }

    /// After a time in which nobody looked (a paused process, a sleeping machine) all are overdue:
    /// they go back to their places, instead of being checked in one burst.
    fn catch_up(&mut self, now: Instant) {
        let late = |due: Instant| now.saturating_duration_since(due) > self.timing.interval;
        if self.crowded || !self.due.first().is_some_and(|(due, _)| late(*due)) {
            return;
        }
        let overdue: Vec<Key> =
            self.due.iter().take_while(|(due, _)| *due < now).map(|(_, key)| *key).collect();
        for key in overdue {
            if let Some(Slot { phase, pace, stage: Stage::Waiting { due } }) = self.slots.get(&key)
            {
                let (phase, pace, due) = (*phase, *pace, *due);
                self.due.remove(&(due, key));
                let place = self.place_after(now, phase, self.timing.period(pace));
                self.wait(key, pace, place);
            }
        }
    }

    fn wait(&mut self, key: Key, pace: ProbePace, due: Instant) {
        if let Some(slot) = self.slots.get_mut(&key) {
            (slot.pace, slot.stage) = (pace, Stage::Waiting { due });
            self.due.insert((due, key));
        }
    }

    /// The first of the moments `phase + n · period` that is later than `after`.
    fn place_after(&self, after: Instant, phase: f64, period: Duration) -> Instant {
        let elapsed = after.saturating_duration_since(self.epoch);
        let offset = period.mul_f64(phase);
        let Some(past) = elapsed.checked_sub(offset) else {
            return self.epoch + offset;
        };
        // At most a day, which a `u64` of nanoseconds holds.
        let into = (past.as_nanos() % period.as_nanos()) as u64;
        after + (period - Duration::from_nanos(into))
    }
}

impl Allowance {
    fn take(&mut self, now: Instant, interval: Duration) -> bool {
        if now.saturating_duration_since(self.since) >= interval {
            *self = Self { since: now, left: AT_ONCE };
        }
        let taken = self.left > 0;
        self.left -= usize::from(taken);
        taken
    }
}

/// `at`, or up to `most` earlier or later.
fn jittered(at: Instant, most: Duration, unit: f64) -> Instant {
    let later = at + most.mul_f64(2.0 * unit);
    later.checked_sub(most).unwrap_or(later)
}

#[cfg(test)]
mod tests;
