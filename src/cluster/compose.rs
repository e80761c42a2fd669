//! From the records to a snapshot.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::assemble::{Candidate, Plan};
use super::control::{Applied, Control};
use super::record::Record;
use super::snapshot::{Group, Snapshot};
use crate::endpoint::{Member, Subset};

/// The most subsets that are kept prepared.
const SUBSETS: usize = 64;

/// So many changes after its last use a prepared subset is let go.
const UNUSED: u64 = 64;

impl Control {
    /// The endpoints as the snapshot is to show them: after a shutdown none is to be picked.
    fn candidates(&self) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> = self.present.values().map(Record::candidate).collect();
        if self.is_closed {
            candidates.iter_mut().for_each(Candidate::close);
        }
        candidates
    }

    /// Builds what picks shall read from now on; see [`Plan`].
    pub(super) fn snapshot(
        &mut self,
        previous: Option<&Snapshot>,
        now: Instant,
        random: &dyn Fn() -> u64,
        applied: &mut Applied,
    ) -> Snapshot {
        let candidates = self.candidates();
        let version = previous.map_or(0, |previous| previous.version + 1);
        let mut plan = Plan::new(&self.rules, &candidates, previous, now, self.epoch, random);
        plan.fail_back = std::mem::take(&mut self.fail_back);
        let everyone = plan.group(None, previous.map(|previous| &*previous.everyone));
        let before = previous.into_iter().flat_map(|previous| &previous.subsets);
        let used = before.filter(|(_, group)| group.used() + UNUSED > version);
        let subsets: HashMap<Subset, Arc<Group>> = used
            .map(|(subset, before)| {
                let group = plan.group(Some(subset), Some(before));
                group.use_in(before.used());
                (subset.clone(), Arc::new(group))
            })
            .collect();
        self.rebuild_at = plan.again;
        let failed = plan.failed.take();
        let told = AtomicBool::new(failed.is_some());
        applied.events.extend(failed);
        let members: Arc<[Member]> =
            candidates.into_iter().map(|candidate| candidate.member).collect();
        let measure = self.rules.cost.measure();
        Snapshot {
            timed: measure.is_timed()
                || everyone.is_ramping()
                || subsets.values().any(|group| group.is_ramping()),
            members,
            everyone: Arc::new(everyone),
            subsets,
            version,
            measure,
            policy: Arc::clone(&self.rules.policy_name),
            generation: self.rules.generation,
            is_closed: self.is_closed,
            faulty: AtomicBool::new(false),
            told,
        }
    }

    /// The same snapshot with one subset more; of too many, the one that was used least recently
    /// goes.
    pub(super) fn prepare(
        &mut self,
        previous: &Snapshot,
        subset: &Subset,
        now: Instant,
        random: &dyn Fn() -> u64,
        applied: &mut Applied,
    ) -> Snapshot {
        let candidates = self.candidates();
        let version = previous.version + 1;
        let mut plan = Plan::new(&self.rules, &candidates, Some(previous), now, self.epoch, random);
        let group = plan.group(Some(subset), None);
        group.use_in(version);
        let mut subsets = previous.subsets.clone();
        if subsets.len() >= SUBSETS {
            let oldest = subsets.iter().min_by_key(|(_, group)| group.used());
            let oldest = oldest.map(|(subset, _)| subset.clone());
            oldest.and_then(|oldest| subsets.remove(&oldest));
        }
        self.rebuild_at = self.rebuild_at.into_iter().chain(plan.again).min();
        let failed = plan.failed.take();
        let told = failed.is_some() || previous.told.load(Ordering::Relaxed);
        applied.events.extend(failed);
        let timed = previous.timed || group.is_ramping();
        subsets.insert(subset.clone(), Arc::new(group));
        Snapshot {
            members: Arc::clone(&previous.members),
            everyone: Arc::clone(&previous.everyone),
            subsets,
            version,
            measure: previous.measure,
            policy: Arc::clone(&previous.policy),
            generation: previous.generation,
            is_closed: previous.is_closed,
            timed,
            faulty: AtomicBool::new(previous.is_faulty()),
            told: AtomicBool::new(told),
        }
    }
}
