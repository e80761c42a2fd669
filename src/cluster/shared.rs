//! The cluster behind its handles. Knows payloads as such, not their type: compiled once.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::builder::{Builder, Connect};
use super::control::{Applied, Control, Offer, Services, SourceId};
use super::driver::Driver;
use super::line::{Line, Usherette};
use super::membership::check;
use super::registry::Registry;
use super::retired::Retired;
use super::snapshot::Snapshot;
use super::witness::Reporter;
use super::{assemble, clock};
use crate::discover::Change;
use crate::endpoint::{Endpoint, EndpointId, Evidence, Node, since};
use crate::error::Error;
use crate::event::{Bus, Event};
use crate::load::Nanos;
use crate::random::Source as Random;
use crate::sync::{Mutex, MutexGuard, Published};

/// When to look again at snapshots that a pick was reading.
const RETIRED: Duration = Duration::from_millis(10);

pub(super) struct Shared {
    pub(super) name: Arc<str>,
    pub(super) published: Published<Snapshot>,
    pub(super) control: Mutex<Control>,
    pub(super) sources: Mutex<Registry>,
    pub(super) bus: Bus,
    /// Whether the snapshot has an endpoint to pick: a hint that spares `poll_ready` a look at it.
    pub(super) available: AtomicBool,
    /// The number of snapshots so far; wakes who waits for an endpoint.
    pub(super) version: watch::Sender<u64>,
    pub(super) random: Random,
    pub(super) driver: Driver,
    /// Who waits for a slot.
    pub(super) line: Line,
    /// What live traffic has said and nobody has judged yet.
    evidence: Mutex<Vec<Option<Testimony>>>,
    /// Snapshots that a pick may still be reading; see [`Retired`].
    retired: Retired,
    connect: Option<Connect>,
    /// What the cluster goes by, to be changed; see [`Cluster::settings`](super::Cluster::settings).
    pub(super) settings: Mutex<Builder>,
    epoch: Instant,
    /// The latest time that a simulation has given, as the measurements count it.
    simulated: AtomicU64,
}

/// What live traffic says of the endpoint with this node.
pub(super) type Testimony = (Arc<Node>, Evidence);

/// What became of changes.
#[derive(Default)]
pub(super) struct Committed {
    /// What hindered those that were not made.
    pub(super) errors: Vec<Error>,
    /// Whether the source has withdrawn what it listed.
    pub(super) withdrawn: bool,
}

impl Shared {
    pub(super) fn new(builder: Builder, connect: Option<Connect>) -> Arc<Self> {
        let epoch = clock::now();
        let random = Random::new(builder.seed);
        Arc::new_cyclic(|shared| {
            let rules = builder.rules();
            let reporter = Reporter::new(Weak::clone(shared), rules.outlier.as_ref());
            let reporter = Arc::new(reporter);
            let usher = Arc::new(Usherette::new(Weak::clone(shared)));
            let mut control = Control::new(rules, reporter, usher, epoch);
            let mut applied = Applied::default();
            let empty = control.snapshot(None, epoch, &|| random.next(), &mut applied);
            Self {
                published: Published::new(empty),
                control: Mutex::new(control),
                sources: Mutex::new(Registry::default()),
                bus: Bus::new(Arc::clone(&builder.name), builder.event_capacity),
                name: Arc::clone(&builder.name),
                available: AtomicBool::new(false),
                version: watch::Sender::new(0),
                driver: Driver::default(),
                line: Line::new(builder.queue),
                settings: Mutex::new(builder),
                evidence: Mutex::new(Vec::new()),
                retired: Retired::default(),
                connect,
                random,
                epoch,
                simulated: AtomicU64::new(0),
            }
        })
    }

    /// `now` as the measurements of this cluster count it.
    pub(super) fn nanos(&self, now: Instant) -> Nanos {
        since(self.epoch, now)
    }

    /// The present, for the control side: the clock's, or the simulation's where that is ahead.
    pub(super) fn now(&self) -> Instant {
        let simulated = Duration::from_nanos(self.simulated.load(Ordering::Relaxed));
        clock::now().max(self.epoch + simulated)
    }

    /// As [`work`](Self::work), in a simulation's time, which changes follow from now on: what an
    /// hour of it has led to must not be judged by a clock that has not moved.
    pub(super) fn simulate(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        self.simulated.fetch_max(self.nanos(now), Ordering::Relaxed);
        self.work(now)
    }

    /// Puts an endpoint in that comes with its payload.
    pub(super) fn bring(self: &Arc<Self>, source: SourceId, endpoint: Endpoint, offer: Offer) {
        let mut services = Services::new();
        services.insert((endpoint.id().clone(), endpoint.address().clone()), offer);
        self.commit(source, vec![Change::Insert(endpoint)], services);
    }

    /// Withdraws what `source` lists; answers whether it did.
    pub(super) fn withdraw(self: &Arc<Self>, source: SourceId, id: &EndpointId) -> bool {
        self.commit(source, vec![Change::Remove(id.clone())], Services::new()).withdrawn
    }

    pub(super) fn apply(self: &Arc<Self>, source: SourceId, change: Change) -> Result<(), Error> {
        self.commit(source, vec![change], Services::new()).errors.pop().map_or(Ok(()), Err)
    }

    pub(super) fn apply_set(
        self: &Arc<Self>,
        source: SourceId,
        endpoints: Vec<Endpoint>,
    ) -> Result<(), Error> {
        check(&endpoints)?;
        self.apply(source, Change::Replace(endpoints))
    }

    /// Changes what is known of the endpoints; `change` is the crate's own code.
    pub(super) fn change<T>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Control, Instant, &mut Applied) -> T,
    ) -> T {
        let now = self.now();
        let mut applied = Applied::default();
        let mut control = self.control();
        control.tick(now, &|| self.random.next(), &mut applied);
        let done = change(&mut control, now, &mut applied);
        let deadline = self.conclude(control, now, applied);
        self.wake(deadline);
        done
    }

    /// Does what is due and judges what traffic has said; answers when something will be due.
    pub(super) fn work(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let evidence = std::mem::take(&mut *self.evidence.lock());
        let random = || self.random.next();
        let mut applied = Applied::default();
        let mut control = self.control();
        control.tick(now, &random, &mut applied);
        for testimony in evidence {
            match testimony {
                Some((node, evidence)) => control.hear(&node, evidence, now, &random, &mut applied),
                None => control.start_interval(now),
            }
        }
        self.conclude(control, now, applied)
    }

    /// Takes in what live traffic says, or only that something has failed. With a task that can
    /// judge it the request does not wait; without, it does so itself.
    pub(super) fn hear(self: &Arc<Self>, testimony: Option<Testimony>) {
        self.evidence.lock().push(testimony);
        if !self.drive() {
            self.work(self.now());
        }
    }

    /// Applies those of the [checked](check) changes whose payloads can be had, as one
    /// snapshot; answers what hindered the others.
    pub(super) fn commit(
        self: &Arc<Self>,
        source: SourceId,
        changes: Vec<Change>,
        services: Services,
    ) -> Committed {
        self.commit_if(&|| true, source, changes, services)
    }

    /// As [`commit`](Self::commit), if `still` says so at the moment of the change.
    pub(super) fn commit_if(
        self: &Arc<Self>,
        still: &dyn Fn() -> bool,
        source: SourceId,
        mut changes: Vec<Change>,
        mut services: Services,
    ) -> Committed {
        let mut committed = Committed::default();
        loop {
            let now = self.now();
            let mut applied = Applied::default();
            let mut control = self.control();
            if !still() {
                drop(control);
                discard(services);
                return committed;
            }
            control.tick(now, &|| self.random.next(), &mut applied);
            let kept: BTreeSet<EndpointId> = changes.iter().filter_map(inserted).collect();
            let lacking: Vec<Vec<Endpoint>> = changes
                .iter()
                .map(|change| control.unconnected(source, change, &kept, &services))
                .collect();
            if lacking.iter().all(Vec::is_empty) {
                for change in changes {
                    control.apply(source, change, &kept, &mut services, now, &mut applied);
                }
                committed.withdrawn = applied.withdrawn;
                let deadline = self.conclude(control, now, applied);
                self.wake(deadline);
                return committed;
            }
            // The connect closure is the user's code: it runs without the lock, after which the
            // world may have changed and is looked at again.
            self.conclude(control, now, applied);
            let mut lacking = lacking.into_iter();
            changes.retain(|_| {
                let result = self.connect(lacking.next().unwrap_or_default(), &mut services);
                result.map_err(|error| committed.errors.push(error)).is_ok()
            });
        }
    }

    fn connect(&self, lacking: Vec<Endpoint>, services: &mut Services) -> Result<(), Error> {
        for endpoint in lacking {
            let Some(connect) = &self.connect else {
                let reason = "has no payload, and the cluster was built without a connect closure";
                return Err(Error::config("endpoint", endpoint.id(), reason));
            };
            let service = catch_unwind(AssertUnwindSafe(|| connect(&endpoint)))
                .map_err(|panic| Error::panicked("connect", &*panic))?;
            let key = (endpoint.id().clone(), endpoint.address().clone());
            services.insert(key, Offer::Made(service));
        }
        Ok(())
    }

    /// The control side, for one change.
    pub(super) fn control(&self) -> MutexGuard<'_, Control> {
        assemble::refuse_reentry();
        self.control.lock()
    }

    /// Ends a change: makes it visible to picks if there is anything to see, and sees to what has
    /// to be done without the lock. Answers when something will be due.
    pub(super) fn conclude(
        self: &Arc<Self>,
        mut control: MutexGuard<'_, Control>,
        now: Instant,
        mut applied: Applied,
    ) -> Option<Instant> {
        control.settle_drains(now, &mut applied);
        // What says nothing new costs no snapshot and wakes nobody.
        let visible = applied.is_visible();
        if visible {
            let random = || self.random.next();
            let previous = self.published.load();
            let snapshot = control.snapshot(Some(&previous), now, &random, &mut applied);
            drop(previous);
            self.show(snapshot, &mut applied);
        }
        control.watch_drains();
        applied.trials.drain(..).for_each(|node| node.probation.give_back());
        let deadline = control.deadline();
        drop(control);
        if visible {
            self.version.send_modify(|version| *version += 1);
            self.serve_all();
        }
        self.bus.flush();
        discard(applied);
        self.tidy(deadline, now)
    }

    /// Lets go of snapshots that nobody reads any more; answers when something will be due.
    pub(super) fn tidy(&self, deadline: Option<Instant>, now: Instant) -> Option<Instant> {
        if self.retired.sweep() {
            return deadline;
        }
        deadline.into_iter().chain(now.checked_add(RETIRED)).min()
    }

    /// Whether there is anything to do now or later.
    pub(super) fn has_work(&self) -> bool {
        !self.evidence.lock().is_empty() || self.control.lock().deadline().is_some()
    }

    /// Publishes a snapshot, still under the lock, so that events stand in the order of the
    /// changes.
    pub(super) fn show(&self, snapshot: Snapshot, applied: &mut Applied) {
        // A closed cluster is not worth waiting for.
        let available = snapshot.surely_available() || snapshot.is_closed;
        self.tell_tiers(&snapshot, &mut applied.events);
        let old = self.published.swap(Arc::new(snapshot));
        self.retired.add(old);
        self.available.store(available, Ordering::Release);
        self.bus.queue(applied.events.drain(..));
    }

    /// What the change means for the tiers of the whole cluster.
    fn tell_tiers(&self, next: &Snapshot, events: &mut Vec<Event>) {
        let before = self.published.load();
        let (before, after) = (&before.everyone.history, &next.everyone.history);
        match (before.panic, after.panic) {
            (false, true) => events.push(Event::PanicEntered),
            (true, false) => events.push(Event::PanicLeft),
            _ => {}
        }
        // The first to serve ever takes over from nobody.
        if before.serving != after.serving && before.has_served() {
            events.push(Event::TierSwitched { from: before.serving, to: after.serving });
        }
    }
}

fn inserted(change: &Change) -> Option<EndpointId> {
    match change {
        Change::Insert(endpoint) => Some(endpoint.id().clone()),
        Change::Remove(_) | Change::Replace(_) => None,
    }
}

/// Drops what may hold the last reference to a payload, whose drop is the user's code: a panic in
/// it must not end a source or a timer.
pub(super) fn discard<T>(garbage: T) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(garbage))) {
        let error = Error::panicked("drop of a payload", &*panic);
        tracing::error!(target: "whippletree", "{error}");
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.driver.stop();
    }
}
