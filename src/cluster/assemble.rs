//! From the members to a snapshot: groups, tiers and their pickers.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::snapshot::{Group, Snapshot, Tier};
use crate::endpoint::{Endpoint, Member, Subset};
use crate::error::{Census, Error};
use crate::event::Event;
use crate::load::Cost;
use crate::policy::{Build, P2c, Policy};

/// What a snapshot is made of.
pub(super) struct Plan<'a> {
    pub(super) members: Box<[Member]>,
    pub(super) subsets: &'a [Subset],
    pub(super) policy: &'a dyn Policy,
    pub(super) policy_name: &'a Arc<str>,
    pub(super) cost: Cost,
    /// Since the cluster was made.
    pub(super) now: Duration,
    /// Positions of round robin and the like go on from here.
    pub(super) previous: Option<&'a Snapshot>,
    /// Starts the positions that are new.
    pub(super) random: &'a dyn Fn() -> u64,
    /// Where a panic of the policy is told.
    pub(super) events: &'a mut Vec<Event>,
}

/// Builds a picker for every tier of the whole cluster and of each prepared subset.
pub(super) fn assemble(mut plan: Plan<'_>) -> Snapshot {
    let before = plan.previous.map(|previous| &previous.everyone);
    let everyone = group(&mut plan, None, before);
    let subsets = plan.subsets;
    let subsets = subsets
        .iter()
        .map(|subset| {
            let before = plan.previous.and_then(|previous| previous.group(subset));
            (subset.clone(), group(&mut plan, Some(subset), before))
        })
        .collect();
    let measure = plan.cost.measure();
    // What was told of a build is not told again of a pick.
    let told = plan.events.iter().any(|event| matches!(event, Event::PolicyFailed { .. }));
    Snapshot { members: plan.members, everyone, subsets, measure, faulty: AtomicBool::new(told) }
}

fn group(plan: &mut Plan<'_>, subset: Option<&Subset>, before: Option<&Group>) -> Group {
    let members = &plan.members;
    let mut census = Census { known: members.len(), ..Census::default() };
    let mut tiers: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (place, member) in members.iter().enumerate() {
        if subset.is_some_and(|subset| !subset.contains(&member.endpoint)) {
            census.outside_subset += 1;
        } else if member.endpoint.weight().is_zero() {
            census.weight_zero += 1;
        } else {
            tiers.entry(member.endpoint.priority()).or_default().push(place as u32);
        }
    }
    let tier = |(priority, places): (u32, Vec<u32>)| {
        let endpoints: Vec<&Endpoint> =
            places.iter().map(|&place| &members[place as usize].endpoint).collect();
        let before =
            before.and_then(|group| group.tiers.iter().find(|tier| tier.priority == priority));
        let phase = before
            .and_then(|tier| contained(plan.policy_name, plan.events, || tier.picker.phase()))
            .unwrap_or_else(plan.random);
        let memory = before
            .and_then(|tier| contained(plan.policy_name, plan.events, || tier.picker.memory()))
            .flatten();
        let ranks: Vec<u8> = endpoints.iter().map(|endpoint| endpoint.rank()).collect();
        let (endpoints, ranks) = (&*endpoints, &*ranks);
        let build = Build { endpoints, ranks, phase, now: plan.now, memory };
        let picker = contained(plan.policy_name, plan.events, || plan.policy.build(&build))
            .unwrap_or_else(|| P2c::new().build(&build));
        // The memory may be the last of its kind, and its drop is the policy's code too.
        let _ = contained(plan.policy_name, plan.events, || drop(build));
        let places = (places.len() < members.len()).then(|| places.into_boxed_slice());
        Tier { priority, picker, places }
    };
    Group { tiers: tiers.into_iter().map(tier).collect(), census }
}

/// What the policy's code answers, unless it panics; that is told once per snapshot.
fn contained<T>(policy: &Arc<str>, events: &mut Vec<Event>, work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|panic| {
            if !events.iter().any(|event| matches!(event, Event::PolicyFailed { .. })) {
                let reason = Error::panicked("build", &*panic).to_string().into();
                events.push(Event::PolicyFailed { policy: Arc::clone(policy), reason });
            }
        })
        .ok()
}
