//! Drains: from the wish to take an endpoint out of service to the moment at which nobody would
//! notice.
//!
//! ```text
//! drain() ─► no new picks ─► sessions refused ─► empty, or the deadline ─► report, then what follows
//!            snapshot         session_deadline   last lease tells           leases out are told
//! ```
//!
//! The control side owns every drain; the [`Drain`] future only looks on. The last lease of a
//! watched endpoint tells of its end, by a bit of the word that counts requests: who does not drain
//! pays nothing for it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Cluster;
use super::administer::unknown;
use super::control::{Applied, Control};
use super::drain_options::{DrainOptions, Then};
use super::record::Record;
use crate::endpoint::{Admin, DrainEnd, DrainReport, EndpointId};
use crate::error::Error;
use crate::event::Event;

/// The drains of a cluster: those that go on, and the last one of each endpoint that is not ready
/// since.
#[derive(Default)]
pub(super) struct Drains(BTreeMap<EndpointId, Draining>);

struct Draining {
    began: Instant,
    deadline: Option<Instant>,
    /// When requests that ask for the endpoint are refused; none once they are. They may be served
    /// longer than the drain goes on.
    shuts: Option<Instant>,
    /// How long nobody must have asked for the endpoint.
    quiet: Option<Duration>,
    /// How many requests had asked for it when last looked, and since when it is so many.
    asked: (u64, Instant),
    then: Then,
    /// What had been counted when it began: requests that were over, and diverted ones.
    before: (u64, u64),
    /// When it was last seen that anything was in flight.
    busy: bool,
    longest: Duration,
    report: watch::Sender<Option<DrainReport>>,
}

impl Drains {
    /// Begins a drain, or gives the one that goes on already the new deadlines.
    fn begin(
        &mut self,
        id: &EndpointId,
        record: &Record,
        options: &DrainOptions,
        now: Instant,
    ) -> Drain {
        let before = self.0.remove(id).filter(Draining::goes_on);
        let mut drain = before.unwrap_or_else(|| Draining::new(record, now));
        drain.set(options, now);
        let report = drain.report.subscribe();
        self.0.insert(id.clone(), drain);
        Drain::of(report)
    }

    /// When there is something to do for the drains that go on.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.values().flat_map(Draining::times).flatten().min()
    }

    /// Ends the drain of an endpoint that is to serve again, or that is another from now on.
    pub(super) fn undo(&mut self, id: &EndpointId, record: &Record, now: Instant) {
        if let Some(drain) = self.0.remove(id).filter(Draining::goes_on) {
            drain.finish(DrainEnd::Undone, record, now, 0);
        }
        for node in record.nodes() {
            node.load.undrain();
            node.leave.relent();
        }
    }

    pub(super) fn forget(&mut self, id: &EndpointId) {
        self.0.remove(id);
    }

    pub(super) fn goes_on(&self, id: &EndpointId) -> bool {
        self.0.get(id).is_some_and(Draining::goes_on)
    }

    fn going_on(&self) -> impl Iterator<Item = (&EndpointId, &Draining)> {
        self.0.iter().filter(|(_, drain)| drain.goes_on())
    }
}

impl Draining {
    fn new(record: &Record, now: Instant) -> Self {
        Self {
            began: now,
            deadline: None,
            shuts: None,
            quiet: None,
            asked: (asked(record), now),
            then: Then::Stay,
            before: (over(record), diverted(record)),
            busy: !record.is_idle(),
            longest: Duration::ZERO,
            report: watch::Sender::new(None),
        }
    }

    fn set(&mut self, options: &DrainOptions, now: Instant) {
        self.deadline = now.checked_add(options.deadline);
        let shuts = options.session_deadline.and_then(|time| now.checked_add(time));
        self.shuts = shuts.or(self.deadline);
        (self.quiet, self.then) = (options.quiet, options.then);
    }

    fn goes_on(&self) -> bool {
        self.report.borrow().is_none()
    }

    /// When there may be something to do.
    fn times(&self) -> [Option<Instant>; 3] {
        if !self.goes_on() {
            return [self.shuts, None, None];
        }
        let quiet = self.quiet.and_then(|quiet| self.asked.1.checked_add(quiet));
        // While something is in flight, its end says when to look again.
        [self.deadline, self.shuts, quiet.filter(|_| !self.busy)]
    }

    /// Takes note of how things stand; answers whether nothing is left to wait for.
    fn look(&mut self, record: &Record, present: bool, now: Instant) -> bool {
        let idle = record.nodes().all(|node| node.load.is_over());
        if !idle || std::mem::replace(&mut self.busy, false) {
            self.busy = !idle;
            self.longest = now.saturating_duration_since(self.began);
        }
        let asked = asked(record);
        if asked != self.asked.0 {
            self.asked = (asked, now);
        }
        let quiet = self.quiet.is_none_or(|quiet| {
            now.saturating_duration_since(self.asked.1) >= quiet || !admits(record) || !present
        });
        idle && quiet
    }

    fn finish(&self, end: DrainEnd, record: &Record, now: Instant, forced: u32) -> DrainReport {
        let took = now.saturating_duration_since(self.began);
        let report = DrainReport {
            end,
            completed: over(record).saturating_sub(self.before.0),
            diverted: diverted(record).saturating_sub(self.before.1),
            forced,
            longest: if forced > 0 { took } else { self.longest },
            took,
        };
        self.report.send_replace(Some(report));
        report
    }
}

/// Whether it serves requests that ask for it.
fn admits(record: &Record) -> bool {
    record.facts.admin.state != Admin::Maintenance && !record.facts.admin.shut
}

fn over(record: &Record) -> u64 {
    let counts = record.counts();
    counts.requests.saturating_sub(counts.in_flight.into())
}

fn asked(record: &Record) -> u64 {
    record.nodes().map(|node| node.asked.served.load(Ordering::Relaxed)).sum()
}

fn diverted(record: &Record) -> u64 {
    record.nodes().map(|node| node.asked.diverted.load(Ordering::Relaxed)).sum()
}

impl Control {
    /// Begins to drain an endpoint; one that goes on already gets the new deadlines.
    fn drain(
        &mut self,
        id: &EndpointId,
        options: &DrainOptions,
        now: Instant,
        applied: &mut Applied,
    ) -> Result<Drain, Error> {
        let record = self.present.get(id).ok_or_else(|| unknown(id))?;
        let drain = self.drains.begin(id, record, options, now);
        if record.facts.admin.state == Admin::Ready {
            self.administer(id, Admin::Drain, Arc::clone(&options.by), now, applied)?;
        }
        Ok(drain)
    }

    /// Begins to drain all endpoints, also those that have left and have requests under way.
    pub(super) fn drain_all(
        &mut self,
        options: &DrainOptions,
        now: Instant,
        applied: &mut Applied,
    ) -> Vec<(Drain, EndpointId)> {
        let ids: Vec<EndpointId> = self.present.keys().cloned().collect();
        let present = |id| Some((self.drain(&id, options, now, applied).ok()?, id));
        let mut drains: Vec<_> = ids.into_iter().filter_map(present).collect();
        for (id, (record, _)) in self.gone.iter().filter(|(_, (record, _))| !record.is_idle()) {
            let drain = self.drains.begin(id, record, options, now);
            drains.push((drain, id.clone()));
        }
        drains
    }

    /// Looks at every drain that goes on: sessions that are refused from now on, endpoints that are
    /// empty, deadlines that have come.
    pub(super) fn settle_drains(&mut self, now: Instant, applied: &mut Applied) {
        let open = |drain: &Draining| drain.goes_on() || drain.shuts.is_some_and(|at| at <= now);
        let open = self.drains.0.iter().filter(|(_, drain)| open(drain));
        let ids: Vec<EndpointId> = open.map(|(id, _)| id.clone()).collect();
        for id in ids {
            if let Some(report) = self.settle_drain(&id, now, applied) {
                applied.events.push(Event::Drained { endpoint: id.clone(), report });
                self.follow_up(&id, now, applied);
            }
        }
    }

    fn settle_drain(
        &mut self,
        id: &EndpointId,
        now: Instant,
        applied: &mut Applied,
    ) -> Option<DrainReport> {
        let drain = self.drains.0.get_mut(id)?;
        let (record, present) = match self.present.get_mut(id) {
            Some(record) => (record, true),
            None => (&mut self.gone.get_mut(id)?.0, false),
        };
        let is_due = |at: &mut Instant| *at <= now;
        if drain.shuts.take_if(is_due).is_some() {
            record.change(now, applied, |record, _| record.facts.admin.shut = true);
        }
        if !drain.goes_on() {
            return None;
        }
        if drain.look(record, present, now) {
            return Some(drain.finish(DrainEnd::Empty, record, now, 0));
        }
        // Of one whose last request does not tell yet, it is not known whether it is empty.
        let told = record.nodes().all(|node| node.load.is_drained());
        if !told || drain.deadline.take_if(is_due).is_none() {
            return None;
        }
        drain.shuts = None;
        let forced = record.counts().in_flight;
        record.change(now, applied, |record, _| record.facts.admin.shut = true);
        record.nodes().for_each(|node| node.leave.force());
        Some(drain.finish(DrainEnd::Deadline, record, now, forced))
    }

    fn follow_up(&mut self, id: &EndpointId, now: Instant, applied: &mut Applied) {
        match self.drains.0.get(id).map(|drain| drain.then) {
            Some(Then::Maintenance) => {
                let by = self.present.get(id).map(|record| Arc::clone(&record.facts.admin.by));
                let by = by.unwrap_or_else(|| Arc::clone(&self.nobody));
                // An error says that it was removed meanwhile, which is more.
                let _ = self.administer(id, Admin::Maintenance, by, now, applied);
            }
            Some(Then::Removal) => self.remove(id, now, applied),
            Some(Then::Stay) | None => {}
        }
    }

    /// Lets the last request of every drained endpoint tell of its end. After the snapshot that
    /// says so: a request that was picked before and is counted later then finds out.
    pub(super) fn watch_drains(&mut self) {
        for (id, _) in self.drains.going_on() {
            let gone = || self.gone.get(id).map(|(record, _)| record);
            let record = self.present.get(id).or_else(gone);
            record.into_iter().flat_map(Record::nodes).for_each(|node| node.load.drain());
        }
    }
}

impl<S: Send + Sync + 'static> Cluster<S> {
    /// Takes an endpoint out of service without losing anything: no new requests from now on, those
    /// under way finish, and the returned future says when all have.
    ///
    /// Requests that [ask for it](crate::Context::with_prefer), as those of sessions do, are served
    /// until the [session deadline](DrainOptions::session_deadline). At the
    /// [deadline](DrainOptions::deadline) the drain is over in any case. Requests that are still in
    /// flight are then told: response bodies end with an [error](Error::is_drained), responses that
    /// are waited for too, and who holds a lease hears it by
    /// [`LeaseGuard::forced`](super::LeaseGuard::forced) or
    /// [`HeldLease::forced`](crate::balance::HeldLease::forced).
    ///
    /// The drain is the cluster's: it goes on if the future is dropped, and it outlives changes of
    /// the endpoint's weight, of the policy, and that a source removes the endpoint and lists it
    /// again. To drain a second time gives the drain new deadlines, for both futures. To
    /// [make it ready](Self::set_admin) ends it.
    ///
    /// Deadlines take tokio's timers; without them see [`work_at`](Self::work_at).
    ///
    /// # Errors
    ///
    /// An id that no present endpoint has.
    ///
    /// ```
    /// use std::time::Duration;
    /// use whippletree::cluster::{DrainOptions, State};
    /// use whippletree::{Cluster, Context, Endpoint};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let cluster = Cluster::builder().connect(|_| ());
    /// let endpoint = Endpoint::new("a:80")?;
    /// cluster.insert(endpoint.clone())?;
    /// let lease = cluster.pick(&Context::new())?;
    ///
    /// let drain = cluster.drain(endpoint.id(), DrainOptions::new().by("alice"))?;
    /// assert!(cluster.pick(&Context::new()).is_err());
    /// drop(lease);
    /// let report = drain.await;
    /// assert!(report.is_empty());
    /// assert_eq!(report.completed, 1);
    /// assert_eq!(cluster.status().endpoints[0].state, State::Drain);
    /// # Ok::<(), whippletree::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn drain(&self, id: &EndpointId, options: DrainOptions) -> Result<Drain, Error> {
        let drain = |control: &mut Control, now: Instant, applied: &mut Applied| {
            control.drain(id, &options, now, applied)
        };
        let drain = self.shared.change(drain)?;
        // What is empty from the start has nobody to tell of it.
        self.shared.change(|_, _, _| ());
        Ok(drain)
    }

    /// The drain of an endpoint that goes on, or the last one if the endpoint was not made ready
    /// since; none if it is not drained.
    #[must_use]
    pub fn drained(&self, id: &EndpointId) -> Option<Drain> {
        let control = self.shared.control();
        control.drains.0.get(id).map(|drain| Drain::of(drain.report.subscribe()))
    }
}

/// The end of a drain, to be awaited; made by [`Cluster::drain`].
///
/// # Cancel safety
///
/// Cancel safe: the drain goes on without it, and [`Cluster::drained`] finds it again.
#[must_use = "the future says when the endpoint is empty"]
pub struct Drain {
    report: watch::Receiver<Option<DrainReport>>,
    done: Pin<Box<dyn Future<Output = DrainReport> + Send + Sync>>,
}

impl Drain {
    fn of(report: watch::Receiver<Option<DrainReport>>) -> Self {
        let mut updates = report.clone();
        let done = async move {
            // An error says that the drain is gone, with what it has said last.
            let _ = updates.wait_for(Option::is_some).await;
            let last = *updates.borrow();
            last.unwrap_or(DrainReport::ABANDONED)
        };
        Self { report, done: Box::pin(done) }
    }

    /// The report, if the drain is over.
    #[must_use]
    pub fn report(&self) -> Option<DrainReport> {
        *self.report.borrow()
    }
}

impl Future for Drain {
    type Output = DrainReport;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<DrainReport> {
        self.done.as_mut().poll(task)
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("report", &self.report()).finish_non_exhaustive()
    }
}
