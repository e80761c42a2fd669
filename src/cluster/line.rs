//! The line of requests that wait for a slot.
//!
//! ```text
//! join   put yourself at the end ─► mark every endpoint ─► look once more ─► wait
//! end    of a request on a marked endpoint ─► give the slot to the first in line who may use it
//! leave  drop: out of the line; what was granted meanwhile ends, and is the next one's
//! ```
//!
//! **No wake-up is lost.** The mark and the number in flight are one word
//! ([`InFlight`](crate::load)). Whoever joins looks for a slot after the marks are made: a request that
//! ended before is seen then, one that ends later sees the mark. What else makes room (a raised limit,
//! another endpoint) is a new snapshot; who publishes one serves the line afterwards, under the
//! lock under which joiners read it.
//!
//! **One slot wakes one.** Who ends a request picks for the first in line and hands it the lease:
//! there is no race for the slot afterwards, and no herd. A lease that was granted and not fetched
//! ends with the future that waited for it, as any request does, and so it goes to the next.
//!
//! **Order of locks**: the line, then the control side. A lease must not be dropped under the line's
//! lock, since its end may need it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Instant;

use super::context::{Context, IfFull};
use super::lease::LeaseGuard;
use super::queue::{Queue, QueueStatus};
use super::snapshot::Snapshot;
use super::{Shared, clock};
use crate::endpoint::{Node, Usher};
use crate::error::Error;
use crate::sync::Mutex;

pub(super) struct Line {
    pub(super) queue: Option<Queue>,
    /// Whether anybody waits: a hint that spares picks the lock.
    occupied: AtomicBool,
    places: Mutex<Places>,
}

/// Who waits, in order.
#[derive(Default)]
pub(super) struct Places {
    next: Ticket,
    waiting: BTreeMap<Ticket, Waiter>,
    /// What became of those who have not asked yet.
    granted: BTreeMap<Ticket, Grant>,
    /// How many of those who wait ask for something in particular.
    particular: usize,
    pub(super) counts: QueueStatus,
}

/// What must not be done under the lock.
#[derive(Default)]
pub(super) struct After {
    /// Those whose wait is over.
    woken: Vec<Waker>,
    /// Leases that were begun in vain, to be dropped.
    undone: Vec<LeaseGuard>,
}

pub(super) type Ticket = u64;

pub(super) type Grant = Result<LeaseGuard, Error>;

struct Waiter {
    context: Context,
    /// Whether it waits for the endpoint that it prefers and for no other.
    if_full: IfFull,
    waker: Option<Waker>,
}

impl Line {
    pub(super) fn new(queue: Option<Queue>) -> Self {
        let queue = queue.filter(|queue| queue.most() > 0);
        Self { queue, occupied: AtomicBool::new(false), places: Mutex::new(Places::default()) }
    }

    #[inline]
    pub(super) fn is_occupied(&self) -> bool {
        self.occupied.load(Ordering::Relaxed)
    }

    pub(super) fn status(&self) -> QueueStatus {
        let places = self.places.lock();
        QueueStatus { waiting: places.waiting.len(), ..places.counts }
    }

    /// Does something with the line, and [what follows from it](After) when it is unlocked.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Places, &mut After) -> T) -> T {
        let mut after = After::default();
        let mut places = self.places.lock();
        let done = work(&mut places, &mut after);
        self.occupied.store(!places.waiting.is_empty(), Ordering::Relaxed);
        drop(places);
        after.woken.into_iter().for_each(Waker::wake);
        done
    }
}

impl Waiter {
    /// Whether a request that does without this one may still be of use to others.
    fn is_particular(&self) -> bool {
        let Context { asked, prefer, subset, .. } = &self.context;
        prefer.is_some() || subset.is_some() || !asked.exclude.is_empty()
    }

    /// Whether it could use a slot of this endpoint, as far as what it asks for goes. It does not wait
    /// for an endpoint that would not serve it.
    fn may_use(&self, node: &Node, snapshot: &Snapshot) -> bool {
        let Context { asked, prefer, subset, .. } = &self.context;
        if self.if_full == IfFull::Wait && snapshot.preferred(&self.context).is_some() {
            return prefer.as_ref() == Some(node.id());
        }
        let inside = subset.as_ref().is_none_or(|subset| subset.contains(&node.endpoint()));
        inside && !asked.exclude.contains(node.id())
    }
}

impl Places {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Puts a request at the end.
    pub(super) fn push(&mut self, context: &Context, if_full: IfFull) -> Ticket {
        self.next += 1;
        let waiter = Waiter { context: context.clone(), if_full, waker: None };
        self.particular += usize::from(waiter.is_particular());
        self.waiting.insert(self.next, waiter);
        self.next
    }

    /// Takes a request out, with what was granted to it. The lease is to be dropped without the
    /// lock, and so is the waker.
    pub(super) fn remove(&mut self, ticket: Ticket) -> (Option<Grant>, Option<Waker>) {
        let waiter = self.waiting.remove(&ticket);
        self.particular -= usize::from(waiter.as_ref().is_some_and(Waiter::is_particular));
        (self.granted.remove(&ticket), waiter.and_then(|waiter| waiter.waker))
    }

    /// What was granted to a request.
    pub(super) fn fetch(&mut self, ticket: Ticket) -> Option<Grant> {
        self.granted.remove(&ticket)
    }

    /// What was granted to a request; if nothing yet, `waker` takes the place of the one before,
    /// which is handed back.
    pub(super) fn poll(&mut self, ticket: Ticket, waker: Waker) -> Result<Grant, Option<Waker>> {
        match (self.fetch(ticket), self.waiting.get_mut(&ticket)) {
            (Some(grant), _) => Ok(grant),
            (None, Some(waiter)) => Err(waiter.waker.replace(waker)),
            (None, None) => Err(Some(waker)),
        }
    }

    /// From now on the request takes any endpoint.
    pub(super) fn divert(&mut self, ticket: Ticket) {
        if let Some(waiter) = self.waiting.get_mut(&ticket) {
            waiter.if_full = IfFull::Divert;
        }
    }

    fn grant(&mut self, ticket: Ticket, grant: Grant, after: &mut After) {
        let (_, waker) = self.remove(ticket);
        self.granted.insert(ticket, grant);
        after.woken.extend(waker);
    }
}

impl Shared {
    /// Picks for a request while others wait: it gets what none of them can use.
    #[cold]
    pub(super) fn pick_behind(self: &Arc<Self>, context: &Context, now: Option<Instant>) -> Grant {
        self.line.with(|places, after| {
            self.take(places, after, Ticket::MAX, context, IfFull::Divert, now)
        })
    }

    /// Picks for a request that stands in line with this ticket, or behind all with the largest.
    ///
    /// What it finds is handed on if somebody in line may use it. That is rare: who ends a request
    /// serves the line, so that a slot is free here for the moment before alone.
    pub(super) fn take(
        self: &Arc<Self>,
        places: &mut Places,
        after: &mut After,
        ticket: Ticket,
        context: &Context,
        if_full: IfFull,
        now: Option<Instant>,
    ) -> Grant {
        loop {
            let lease =
                self.pick_or_undo(context, now, if_full, &mut |lease| after.undone.push(lease))?;
            let mut before = places.waiting.range(..ticket).peekable();
            if before.peek().is_none() {
                return Ok(lease);
            }
            let snapshot = self.published.load();
            let earlier = before.find(|(_, waiter)| waiter.may_use(lease.node(), &snapshot));
            match earlier.map(|(earlier, _)| *earlier) {
                None => return Ok(lease),
                Some(earlier) => places.grant(earlier, Ok(lease), after),
            }
        }
    }

    /// Marks every endpoint: who ends a request from now on serves the line.
    pub(super) fn watch(&self) {
        let snapshot = self.published.load();
        snapshot.members.iter().for_each(|member| member.node.load.watch());
    }

    /// A request has ended on this endpoint: the first in line who may use its slot gets it.
    #[cold]
    fn serve(self: &Arc<Self>, node: &Node) {
        self.line.with(|places, after| {
            if places.waiting.is_empty() {
                node.load.unwatch();
            } else if self.published.load().everyone.is_ramping() {
                // Limits grow with the time, which nobody tells.
                self.serve_where(places, after, |_| true, usize::MAX);
            } else {
                let snapshot = self.published.load();
                self.serve_where(places, after, |waiter| waiter.may_use(node, &snapshot), 1);
            }
        });
    }

    /// There may be room where there was none: everyone in line looks again.
    pub(super) fn serve_all(self: &Arc<Self>) {
        self.line.with(|places, after| {
            if !places.waiting.is_empty() {
                self.watch();
                self.serve_where(places, after, |_| true, usize::MAX);
            }
        });
    }

    /// Goes through the line and picks for those who may use what is free, for `most` of them.
    fn serve_where(
        self: &Arc<Self>,
        places: &mut Places,
        after: &mut After,
        may: impl Fn(&Waiter) -> bool,
        most: usize,
    ) {
        let mut grants: Vec<(Ticket, Grant)> = Vec::new();
        for (&ticket, waiter) in places.waiting.iter().filter(|(_, waiter)| may(waiter)) {
            if grants.len() == most {
                break;
            }
            let undo = &mut |lease| after.undone.push(lease);
            let now = Some(clock::now());
            match self.pick_or_undo(&waiter.context, now, waiter.if_full, undo) {
                Err(error) if error.is_overloaded() => {
                    // The others ask for nothing else, so there is nothing for them either.
                    if places.particular == 0 {
                        break;
                    }
                }
                grant => grants.push((ticket, grant)),
            }
        }
        for (ticket, grant) in grants {
            places.grant(ticket, grant, after);
        }
    }
}

/// Whom the nodes of a cluster tell that a slot is free. Does not keep the cluster alive.
pub(super) struct Usherette(Weak<Shared>);

impl Usherette {
    pub(super) fn new(shared: Weak<Shared>) -> Self {
        Self(shared)
    }
}

impl Usher for Usherette {
    fn freed(&self, node: &Node) {
        if let Some(shared) = self.0.upgrade() {
            shared.serve(node);
        }
    }
}
