//! The cluster behind its handles. Knows payloads as such, not their type: compiled once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::watch;

use super::builder::{Builder, Connect};
use super::clock;
use super::context::Context;
use super::control::{Applied, Control, Offer, Services, SourceId, check};
use super::lease::LeaseGuard;
use super::registry::Registry;
use super::snapshot::{Miss, Snapshot};
use crate::discover::Change;
use crate::endpoint::{Endpoint, EndpointId, Subset, since};
use crate::error::Error;
use crate::event::{Bus, Event};
use crate::load::{Measure, Nanos};
use crate::policy::{Moment, Policy};
use crate::random::Source as Random;
use crate::sync::{Mutex, Published};

pub(super) struct Shared {
    pub(super) name: Arc<str>,
    /// The policy's name.
    pub(super) policy: Arc<str>,
    pub(super) published: Published<Snapshot>,
    pub(super) control: Mutex<Control>,
    pub(super) sources: Mutex<Registry>,
    pub(super) bus: Bus,
    /// Whether the snapshot has an endpoint to pick: a hint that spares `poll_ready` a look at it.
    pub(super) available: AtomicBool,
    /// The number of snapshots so far; wakes who waits for an endpoint.
    pub(super) version: watch::Sender<u64>,
    connect: Option<Connect>,
    pub(super) random: Random,
    epoch: Instant,
}

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
        let policy = policy_name(&*builder.policy);
        let control = Control::new(
            (builder.policy, Arc::clone(&policy)),
            builder.cost,
            builder.forget_after,
            epoch,
        );
        let empty = control.snapshot(None, &|| random.next(), &mut Vec::new());
        Arc::new(Self {
            published: Published::new(empty),
            control: Mutex::new(control),
            sources: Mutex::new(Registry::default()),
            bus: Bus::new(Arc::clone(&builder.name), builder.event_capacity),
            name: builder.name,
            policy,
            available: AtomicBool::new(false),
            version: watch::Sender::new(0),
            connect,
            random,
            epoch,
        })
    }

    /// `now` as the measurements of this cluster count it.
    pub(super) fn nanos(&self, now: Instant) -> Nanos {
        since(self.epoch, now)
    }

    /// Picks an endpoint and counts the request in.
    pub(super) fn pick(
        &self,
        context: &Context,
        now: Option<Instant>,
    ) -> Result<LeaseGuard, Error> {
        loop {
            let snapshot = self.published.load();
            let measure = snapshot.measure;
            let now = now.or_else(|| (measure == Measure::Latency).then(clock::now));
            let now = now.map(|now| self.nanos(now));
            let moment = Moment { measure, now: now.unwrap_or(0), random: &self.random };
            match snapshot.pick(context, &moment) {
                Ok(node) => return LeaseGuard::begin(node, now),
                Err(Miss::Fault(node, reason)) => {
                    self.tell_fault(reason);
                    return LeaseGuard::begin(node, now);
                }
                Err(Miss::NoEndpoint(error)) => return Err(error),
                Err(Miss::Unprepared(subset)) => self.prepare(subset),
            }
        }
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

    /// Changes the description of a present endpoint; `edit` is the crate's own code.
    pub(super) fn redescribe(
        &self,
        id: &EndpointId,
        edit: impl FnOnce(Endpoint) -> Endpoint,
    ) -> Result<(), Error> {
        let mut applied = Applied::default();
        let mut control = self.control.lock();
        control.redescribe(id, edit, &mut applied)?;
        let old = self.publish(&control, &mut applied);
        drop(control);
        self.settle(applied, old);
        Ok(())
    }

    /// Prepares a subset that a request has named.
    #[cold]
    fn prepare(&self, subset: &Subset) {
        let mut applied = Applied::default();
        let mut control = self.control.lock();
        control.prepare(subset);
        let old = self.publish(&control, &mut applied);
        drop(control);
        self.settle(applied, old);
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
            let now = clock::now();
            let mut control = self.control.lock();
            if !still() {
                drop(control);
                discard(services);
                return committed;
            }
            let forgotten = control.expire(now);
            let lacking: Vec<Vec<Endpoint>> =
                changes.iter().map(|change| control.unconnected(change, &services)).collect();
            if lacking.iter().all(Vec::is_empty) {
                let mut applied = Applied::default();
                for change in changes {
                    control.apply(source, change, &mut services, now, &mut applied);
                }
                // What says nothing new costs no snapshot and wakes nobody.
                let old = applied.is_visible().then(|| self.publish(&control, &mut applied));
                let driver = self.driver(&mut control);
                drop(control);
                if let Some(driver) = driver {
                    driver.start();
                }
                drop(forgotten);
                committed.withdrawn = applied.withdrawn;
                if let Some(old) = old {
                    self.settle(applied, old);
                }
                return committed;
            }
            // The connect closure is the user's code: it runs without the lock, after which the
            // world may have changed and is looked at again.
            drop(control);
            drop(forgotten);
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

    /// Makes what `control` says visible to picks. The caller drops the old snapshot after the
    /// lock: it may hold the last reference to a payload.
    fn publish(&self, control: &Control, applied: &mut Applied) -> Arc<Snapshot> {
        let random = || self.random.next();
        let previous = self.published.load();
        let snapshot = control.snapshot(Some(&previous), &random, &mut applied.events);
        drop(previous);
        let available = snapshot.is_available();
        let old = self.published.swap(Arc::new(snapshot));
        self.available.store(available, Ordering::Release);
        // Still under the lock, so that events stand in the order of the changes.
        self.bus.queue(applied.events.drain(..));
        old
    }

    /// What follows a change, outside the lock.
    fn settle(&self, applied: Applied, old: Arc<Snapshot>) {
        self.version.send_modify(|version| *version += 1);
        self.bus.flush();
        discard((applied.waste, old));
    }

    #[cold]
    fn tell_fault(&self, reason: String) {
        let policy = Arc::clone(&self.policy);
        self.bus.send(Event::PolicyFailed { policy, reason: reason.into() });
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

/// Asked once: a policy is the user's code, also where it only says its name.
fn policy_name(policy: &dyn Policy) -> Arc<str> {
    catch_unwind(AssertUnwindSafe(|| policy.name().into())).unwrap_or_else(|_| "unnamed".into())
}
