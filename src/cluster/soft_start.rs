//! Slow start in a snapshot: who is in it, and what that means for near and far.

use std::time::Instant;

use super::assemble::Plan;
use super::spread::{self, Level};
use crate::health::SlowStart;
use crate::policy::Ramp;

/// What an endpoint that is past its slow start counts for.
const WHOLE: usize = 1_000;

/// How often during a slow start the shares of near and far are worked out anew; ours: steps of 5 %.
const STEPS: u32 = 20;

impl Plan<'_> {
    /// Slow start, if some of the endpoints are in it.
    pub(super) fn ramp(&mut self, places: &[u32], serves: impl Fn(&u32) -> bool) -> Option<Ramp> {
        let slow_start = self.rules.slow_start?;
        let mut first = None;
        let mut since = vec![None; places.len()];
        for (place, since) in places.iter().zip(&mut since).filter(|(place, _)| serves(place)) {
            if let Some((fit, end)) = self.starts(*place, slow_start) {
                *since = Some(self.nanos(fit));
                first = first.into_iter().chain([end]).min();
            }
        }
        self.again(first);
        first.is_some().then(|| Ramp { slow_start, since: since.into() })
    }

    /// Whether any endpoint of the tier is past its slow start. If none is, none starts slowly: they
    /// are cold together.
    pub(super) fn is_warm(&self, places: &[u32]) -> bool {
        let Some(slow_start) = self.rules.slow_start else {
            return true;
        };
        let fit = |place: &&u32| self.candidates[**place as usize].fitness.fit;
        places.iter().filter(fit).any(|place| self.starts(*place, slow_start).is_none())
    }

    /// From when to when an endpoint starts slowly, if it does.
    fn starts(&self, place: u32, slow_start: SlowStart) -> Option<(Instant, Instant)> {
        let since = self.candidates[place as usize].fit_since?;
        let end = since.checked_add(slow_start.window())?;
        (end > self.now).then_some((since, end))
    }

    /// The share of each zone within its tier, in percent. An endpoint that starts slowly counts for
    /// as much as it may carry: else a newcomer who is alone in the own zone would get everything.
    pub(super) fn parts(&mut self, zones: &[Vec<u32>; 3], open: bool, warm: bool) -> Box<[u32]> {
        if zones[1..].iter().all(Vec::is_empty) {
            return [100, 0, 0].into();
        }
        let mut levels = zones.each_ref().map(|places| self.level(places));
        if let Some(slow_start) = self.rules.slow_start.filter(|_| warm && !open) {
            for (level, places) in levels.iter_mut().zip(zones) {
                let carried = places.iter().map(|place| self.carries(*place, slow_start));
                let available = carried.sum();
                *level = Level { total: WHOLE * level.total, available, ..*level };
                if available % WHOLE != 0 {
                    self.again(self.now.checked_add(slow_start.window() / STEPS));
                }
            }
        }
        spread::localities(&levels, spread::OVERPROVISIONING)
    }

    /// How much of its share an endpoint may carry, of [`WHOLE`].
    fn carries(&self, place: u32, slow_start: SlowStart) -> usize {
        let candidate = &self.candidates[place as usize];
        let since = candidate.fit_since.filter(|_| candidate.fitness.is_available());
        since.map_or(0, |since| {
            let factor = slow_start.factor(self.now.saturating_duration_since(since));
            (factor * WHOLE as f64) as usize
        })
    }
}
