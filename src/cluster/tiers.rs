//! Which tier serves: by priority, by what is left of each, and by what was before.

use std::time::{Duration, Instant};

use super::spread::{self, Level};

/// How requests are spread over the tiers of [priority](crate::Endpoint::with_priority).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Spill {
    /// A tier is used only when no endpoint of those before it is available (HAProxy's `backup`).
    #[default]
    Strict,
    /// What a tier lacks goes to the next: each can carry 1.4 times the share of it that is
    /// available (Envoy's overprovisioning factor). 71 % available means 99 % of the requests.
    Proportional,
}

/// When requests go back to a tier that has recovered. Counts for [`Spill::Strict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failback {
    /// As soon as one of its endpoints is available.
    Immediate,
    /// When one of its endpoints has been available for so long without interruption.
    After(Duration),
    /// When [`Cluster::fail_back`](super::Cluster::fail_back) is called, or the tier that serves
    /// fails.
    Manual,
}

impl Default for Failback {
    /// After 10 s: long enough that a server which dies again in its first seconds does not take
    /// its requests along.
    fn default() -> Self {
        Self::After(Duration::from_secs(10))
    }
}

/// What happens while fewer endpoints are available than the
/// [panic threshold](super::Builder::panic_threshold) asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Panic {
    /// Health is ignored: all endpoints serve, except those that are drained, in maintenance or
    /// not yet proven. That many are seldom sick; more often their judge is (Envoy's default).
    #[default]
    FailOpen,
    /// Nothing is picked: the request fails, instead of bringing the last ones down.
    FailClosed,
}

/// The rules about tiers.
#[derive(Clone, Copy, Debug)]
pub(super) struct TierRules {
    pub(super) spill: Spill,
    pub(super) failback: Failback,
    pub(super) panic: Panic,
    /// In percent; 0 is off.
    pub(super) threshold: u32,
}

impl Default for TierRules {
    fn default() -> Self {
        Self {
            spill: Spill::default(),
            failback: Failback::default(),
            panic: Panic::default(),
            threshold: 50,
        }
    }
}

/// The endpoints of one priority, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tier {
    pub(super) priority: u32,
    pub(super) level: Level,
}

/// What a decision has to know of those before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    /// The tier that requests go to first.
    pub(super) serving: Option<u32>,
    /// The best tier that has ever served: going back to it is failing back, while a tier that
    /// is new is used at once.
    best: Option<u32>,
    /// A better tier than the serving one, and since when it could serve.
    waiting: Option<(u32, Instant)>,
    pub(super) panic: bool,
}

/// Which tiers serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// Places in the list of tiers, in the order in which they stand in for one another.
    pub(super) order: Vec<usize>,
    /// The share of each tier in percent, where not all goes to the first.
    pub(super) shares: Option<Box<[u32]>>,
    /// Whether health is ignored, for each tier.
    pub(super) open: Box<[bool]>,
    /// Whether requests that fall to the tier are refused, for each tier.
    pub(super) closed: Box<[bool]>,
    pub(super) history: History,
    /// When to decide again, though nothing else has changed.
    pub(super) again: Option<Instant>,
}

/// Decides over `tiers`, which are in order of priority and not empty.
pub(super) fn decide(
    tiers: &[Tier],
    rules: &TierRules,
    before: &History,
    now: Instant,
) -> Decision {
    let levels: Vec<Level> = tiers.iter().map(|tier| tier.level).collect();
    let (shares, panics) = match rules.spill {
        Spill::Strict => {
            let panic = spread::strict_panic(&levels, rules.threshold);
            (None, vec![panic; tiers.len()].into_boxed_slice())
        }
        Spill::Proportional => {
            let spread = spread::proportional(&levels, spread::OVERPROVISIONING, rules.threshold);
            // Of a level that gets nothing the panic says nothing.
            let used = spread.panic.iter().zip(&spread.shares);
            let panics = used.map(|(panics, share)| *panics && *share > 0).collect();
            (Some(spread.shares), panics)
        }
    };
    let nowhere = vec![false; tiers.len()].into_boxed_slice();
    let panic = panics.contains(&true);
    let (open, closed) = match rules.panic {
        Panic::FailOpen => (panics, nowhere),
        Panic::FailClosed => (nowhere, panics),
    };
    // Whom nobody believes to be well comes after everybody else.
    let (mut able, hopeless): (Vec<usize>, Vec<usize>) = (0..tiers.len())
        .filter(|place| !closed[*place] && (open[*place] || tiers[*place].level.available > 0))
        .partition(|place| tiers[*place].level.available > 0);
    let (first, waiting, again) = if able.is_empty() {
        able.clone_from(&hopeless);
        first(tiers, &able, rules, before, now)
    } else {
        let chosen = first(tiers, &able, rules, before, now);
        able.extend(hopeless);
        chosen
    };
    let serving = first.map(|place| tiers[place].priority);
    let order = first.into_iter().chain(able.into_iter().filter(|place| Some(*place) != first));
    let best = serving.into_iter().chain(before.best).min();
    let history = History { serving, best, waiting, panic };
    Decision { order: order.collect(), shares, open, closed, history, again }
}

impl Decision {
    /// The last tier that requests are sent to as things are.
    pub(super) fn last_used(&self, tiers: &[Tier]) -> Option<u32> {
        let shares = self.shares.iter().flatten().zip(tiers);
        let spread = shares.filter(|(share, _)| **share > 0).map(|(_, tier)| tier.priority);
        spread.chain(self.history.serving).max()
    }
}

type First = (Option<usize>, Option<(u32, Instant)>, Option<Instant>);

/// Which of the tiers that can serve does so first, which one waits to, and until when.
fn first(
    tiers: &[Tier],
    able: &[usize],
    rules: &TierRules,
    before: &History,
    now: Instant,
) -> First {
    let Some(&best) = able.first() else {
        return (None, None, None);
    };
    let held = able.iter().find(|place| Some(tiers[**place].priority) == before.serving);
    let priority = tiers[best].priority;
    let returns = before.best.is_some_and(|known| priority >= known);
    let Some(&held) = held.filter(|held| **held != best && returns) else {
        return (Some(best), None, None);
    };
    let since = match before.waiting {
        Some((waiting, since)) if waiting == priority => since,
        _ => now,
    };
    match rules.failback {
        Failback::Immediate => (Some(best), None, None),
        Failback::Manual => (Some(held), Some((priority, since)), None),
        Failback::After(time) => match since.checked_add(time) {
            Some(due) if due <= now => (Some(best), None, None),
            due => (Some(held), Some((priority, since)), due),
        },
    }
}

impl History {
    /// Whether any tier has ever served.
    pub(super) fn has_served(&self) -> bool {
        self.best.is_some()
    }

    /// Forgets which tier serves, so that the best one does next.
    pub(super) fn release(&mut self) {
        self.serving = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Available endpoints of 4 per tier, second by second; the tier that serves at each.
    fn check(failback: Failback, seconds: &str, serving: &str) {
        let rules = TierRules { failback, threshold: 0, ..TierRules::default() };
        let start = Instant::now();
        let mut history = History::default();
        let mut served = String::new();
        for (second, counts) in seconds.split_whitespace().enumerate() {
            let tier = |(priority, available): (usize, char)| Tier {
                priority: priority as u32,
                level: Level {
                    total: 4,
                    available: available.to_digit(10).unwrap() as usize,
                    unproven: 0,
                },
            };
            let tiers: Vec<Tier> = counts.chars().enumerate().map(tier).collect();
            let now = start + Duration::from_secs(second as u64);
            history = decide(&tiers, &rules, &history, now).history;
            served.push_str(&history.serving.map_or("-".to_owned(), |tier| tier.to_string()));
        }
        assert_eq!(served, serving, "{failback:?}: {seconds}");
    }

    #[test]
    fn strict_tiers_stand_in_one_after_the_other() {
        check(Failback::Immediate, "44 14 04 00 01 11 44", "001-100");
    }

    #[test]
    fn recovered_tier_waits_until_it_was_stable() {
        let after = Failback::After(Duration::from_secs(3));
        check(after, "44 04 44 44 44 44 44", "0111100");
        // An interruption starts the time anew; a failure of the serving tier ends the wait.
        check(after, "44 04 44 44 04 44 44 44 44", "011111110");
        check(after, "44 04 44 40", "0110");
    }

    #[test]
    fn failback_by_hand_waits_for_ever_unless_the_serving_tier_fails() {
        check(Failback::Manual, "44 04 44 44 44 44 40 44", "01111100");
    }

    #[test]
    fn better_tier_that_is_new_is_used_at_once() {
        check(Failback::Manual, "04 44", "10");
    }
}
