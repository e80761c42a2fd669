//! Policies that panic or pick what they must not: requests are served all the same, and it is
//! told once.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use whippletree::event::{Event, Events};
use whippletree::policy::{Build, Candidates, Pick, Policy, RoundRobin};
use whippletree::{Cluster, Context};

use crate::strict::{endpoint, excluding, fleet, id, in_flight, index, shares};

/// Where the policy is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Build,
    Pick,
    Phase,
    Memory,
    MemoryDrop,
    OutOfRange,
    Excluded,
    Cost,
}

/// Round robin with a fault, as long as it is switched on.
#[derive(Debug)]
struct Faulty {
    fault: Fault,
    on: Arc<AtomicBool>,
}

struct FaultyPick {
    fault: Fault,
    on: Arc<AtomicBool>,
    sound: Box<dyn Pick>,
}

impl Policy for Faulty {
    fn name(&self) -> &str {
        "faulty"
    }

    fn build(&self, build: &Build<'_>) -> Box<dyn Pick> {
        let (fault, on) = (self.fault, Arc::clone(&self.on));
        assert!(fault != Fault::Build || !on.load(Ordering::Relaxed), "planted in build");
        Box::new(FaultyPick { fault, on, sound: RoundRobin::new().build(build) })
    }
}

impl Pick for FaultyPick {
    fn pick(&self, candidates: &Candidates<'_>) -> Option<usize> {
        if !self.on.load(Ordering::Relaxed) {
            return self.sound.pick(candidates);
        }
        match self.fault {
            Fault::Pick => panic!("planted in pick"),
            Fault::OutOfRange => Some(candidates.len()),
            Fault::Excluded => (0..candidates.len()).find(|at| !candidates.allows(*at)),
            Fault::Cost => Some(candidates.cost(candidates.len()) as usize),
            _ => self.sound.pick(candidates),
        }
    }

    fn phase(&self) -> u64 {
        let planted = self.fault == Fault::Phase && self.on.load(Ordering::Relaxed);
        assert!(!planted, "planted in phase");
        self.sound.phase()
    }

    fn memory(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        let planted = |fault| self.fault == fault && self.on.load(Ordering::Relaxed);
        assert!(!planted(Fault::Memory), "planted in memory");
        planted(Fault::MemoryDrop).then(|| Arc::new(Bomb) as _)
    }
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("planted in drop");
    }
}

/// A cluster of three whose policy is at fault.
fn faulty(fault: Fault) -> (Cluster<()>, Events, Arc<AtomicBool>) {
    let on = Arc::new(AtomicBool::new(true));
    let policy = Faulty { fault, on: Arc::clone(&on) };
    let cluster = Cluster::builder().policy(policy).seed(1).connect(|_| ());
    let events = cluster.subscribe();
    (cluster, events, on)
}

/// What was said of the policy.
fn faults(events: &mut Events) -> Vec<String> {
    let told = std::iter::from_fn(|| events.try_next());
    let fault = |event| match event {
        Event::PolicyFailed { policy, reason } => Some(format!("{policy}: {reason}")),
        _ => None,
    };
    told.filter_map(fault).collect()
}

/// Checks that everybody is served, by whom they may be, and that it is told once per change.
fn check(fault: Fault, context: &Context, reason: &str) {
    let (cluster, mut events, on) = faulty(fault);
    cluster.replace(fleet(&[1, 1, 1])).unwrap();
    for _ in 0..200 {
        let lease = cluster.pick(context).unwrap();
        assert_ne!(index(lease.id()), 1, "excluded");
    }
    assert_eq!(faults(&mut events), [reason]);
    assert_eq!(in_flight(&cluster), 0);
    // Again after the next change, and no more once the policy has come to its senses.
    cluster.insert(endpoint(0).with_label("new", "")).unwrap();
    drop(cluster.pick(context).unwrap());
    assert_eq!(faults(&mut events), [reason]);
    on.store(false, Ordering::Relaxed);
    cluster.insert(endpoint(3)).unwrap();
    assert_eq!(shares(&cluster, 4, 400), [100; 4]);
    assert_eq!(faults(&mut events), [""; 0]);
}

#[test]
fn policy_at_fault_serves_and_is_told_once_per_change() {
    let context = excluding([1]);
    check(Fault::Build, &context, "faulty: build panicked: planted in build");
    check(Fault::Pick, &context, "faulty: pick panicked: planted in pick");
    check(Fault::OutOfRange, &context, "faulty: picked index 3, which is not allowed");
    check(Fault::Excluded, &context, "faulty: picked index 1, which is not allowed");
    let out_of_range =
        "faulty: pick panicked: index out of bounds: the len is 3 but the index is 3";
    check(Fault::Cost, &context, out_of_range);
}

/// `Event::PolicyFailed`: "Told once per change."
#[test]
fn policy_that_panics_for_several_tiers_is_told_once_per_change() {
    for (fault, reason) in [
        (Fault::Build, "faulty: build panicked: planted in build"),
        (Fault::Pick, "faulty: pick panicked: planted in pick"),
    ] {
        let (cluster, mut events, _on) = faulty(fault);
        cluster.replace((0..3).map(|at| endpoint(at).with_priority(at as u32))).unwrap();
        for excluded in 0..3 {
            drop(cluster.pick(&excluding(0..excluded)).unwrap());
        }
        assert_eq!(faults(&mut events), [reason], "{fault:?}");
    }
}

/// Phase and memory are asked of the old picker when the next one is built: under the lock, after
/// the change was made and before it is published.
#[test]
fn change_is_published_though_the_phase_or_the_memory_panics() {
    [Fault::Phase, Fault::Memory, Fault::MemoryDrop].into_iter().for_each(change_is_published);
}

fn change_is_published(fault: Fault) {
    let (cluster, mut events, on) = faulty(fault);
    cluster.replace(fleet(&[1, 1])).unwrap();
    let change = std::panic::AssertUnwindSafe(|| cluster.insert(endpoint(2)));
    let inserted = std::panic::catch_unwind(change);
    assert!(inserted.is_ok(), "the panic came through");
    assert_eq!(cluster.len(), 3);
    assert_eq!(faults(&mut events).len(), 1);
    on.store(false, Ordering::Relaxed);
    cluster.remove(&id(0));
    assert_eq!(cluster.len(), 2);
    assert_eq!(shares(&cluster, 3, 100), [0, 50, 50]);
}
