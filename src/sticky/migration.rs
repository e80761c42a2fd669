//! Which sessions move, and when.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::hand_over::{HandOver, Hook};
use super::layer::Shared;
use super::pace::Pace;
use super::recent::Recent;
use super::session::SessionId;
use super::visit::{Aim, Visit};
use crate::cluster::Homes;
use crate::endpoint::{EndpointId, Home};
use crate::error::BoxError;
use crate::event::Event;
use crate::sync::Mutex;

/// How often the same trouble or the same relief is told.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Of so many endpoints is remembered what was told; endpoints come and go.
const MOST_TOLD: usize = 1024;

/// The rules by which sessions move, and those that do.
#[derive(Debug)]
pub(super) struct Migration {
    pub(super) max_imbalance: f64,
    pub(super) idle: Option<Duration>,
    pub(super) pace: Pace,
    pub(super) hook: Option<Hook>,
    /// How long the hook may take.
    pub(super) limit: Duration,
    pub(super) recent: Recent,
    pub(super) told: Mutex<HashMap<(EndpointId, News), Told>>,
}

/// What events are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum News {
    Moved,
    Stayed,
}

/// What was told of an endpoint, and what has happened since.
#[derive(Debug, Default)]
pub(super) struct Told {
    at: Option<Instant>,
    since: u64,
}

/// A session on its way. Stays where it is if this is dropped.
pub(super) struct Move {
    shared: Arc<Shared>,
    session: SessionId,
    pub(super) from: EndpointId,
    pub(super) to: EndpointId,
    /// How long ago the session was counted at its home.
    age: Duration,
    settled: Option<EndpointId>,
}

impl Migration {
    /// Where the session has moved, within the last minute.
    pub(super) fn moved(&self, session: SessionId) -> Option<EndpointId> {
        self.recent.moved(session)
    }

    /// How many have been, this one included, if that is to be told now.
    fn tells(&self, endpoint: &EndpointId, news: News, now: Instant) -> Option<u64> {
        let mut told = self.told.lock();
        if told.len() >= MOST_TOLD {
            told.clear();
        }
        let told = told.entry((endpoint.clone(), news)).or_default();
        told.since += 1;
        let due = told.at.is_none_or(|at| now.saturating_duration_since(at) >= TOLD_EVERY);
        due.then(|| {
            told.at = Some(now);
            std::mem::take(&mut told.since)
        })
    }
}

impl Shared {
    /// The move of a session that has been idle for long enough, before its request is sent.
    pub(super) fn leave_idle(self: &Arc<Self>, visit: &Visit) -> Option<Move> {
        let idle = self.migration.idle?;
        // The token is up to one refresh older than the session's last request.
        let Aim::Home(home) = &visit.aim else {
            return None;
        };
        (visit.age >= idle.saturating_add(self.refresh))
            .then(|| self.leave(visit, home, visit.age))
            .flatten()
    }

    /// The move of a session that is at a safe point, if there is a reason and a place to go; `age` is
    /// how long ago it was counted at its home.
    pub(super) fn leave(
        self: &Arc<Self>,
        visit: &Visit,
        home: &EndpointId,
        age: Duration,
    ) -> Option<Move> {
        let now = Homes::now();
        let leaves = self.homes.standing(home) == Some(Home::Leaves);
        let evenness = self.homes.evenness(home, now)?;
        if !leaves && evenness.home < self.migration.max_imbalance * evenness.mean {
            return None;
        }
        let to = self.homes.fewest(visit.subset.as_ref(), home, now)?;
        if !leaves {
            let there = self.homes.evenness(&to, now)?;
            // It must help: not make of the other what this one is now.
            if there.with_one_more() >= evenness.home {
                return None;
            }
            if !self.migration.pace.admits(now) {
                self.counters.deferred.count();
                return None;
            }
        }
        self.migration.recent.begin(visit.id, now).then(|| Move {
            shared: Arc::clone(self),
            session: visit.id,
            from: home.clone(),
            to,
            age,
            settled: None,
        })
    }
}

impl Move {
    /// Starts the application's hand-over, if it has one.
    pub(super) fn hand_over(&self) -> Option<HandOver> {
        let migration = &self.shared.migration;
        let hook = migration.hook.as_ref()?;
        Some(hook.call(self.session, self.from.clone(), self.to.clone(), migration.limit))
    }

    /// Ends the move: the session is at home where it went.
    pub(super) fn settle(mut self) -> EndpointId {
        let (shared, now) = (&self.shared, Homes::now());
        shared.homes.discount(&self.from, self.age, now);
        shared.homes.count(&self.to, shared.active, now);
        shared.counters.moved.count();
        self.settled = Some(self.to.clone());
        if let Some(moved) = shared.migration.tells(&self.from, News::Moved, now) {
            let evenness = shared.homes.evenness(&self.from, now);
            let (left, mean) = evenness
                .map_or((0, 0), |even| (even.home.round() as u32, even.mean.round() as u32));
            let (from, to) = (self.from.clone(), self.to.clone());
            shared.homes.tell(Event::SessionsMoved { from, to, moved, left, mean });
        }
        self.to.clone()
    }

    /// The application could not hand the session over: it stays.
    pub(super) fn stay(self, error: &BoxError) {
        let (shared, now) = (&self.shared, Homes::now());
        shared.counters.stayed.count();
        if shared.migration.tells(&self.from, News::Stayed, now).is_some() {
            let (home, reason) = (self.from.clone(), error.to_string().into());
            shared.homes.tell(Event::SessionStayed { home, reason });
        }
    }
}

impl Drop for Move {
    fn drop(&mut self) {
        let recent = &self.shared.migration.recent;
        recent.end(self.session, self.settled.take(), Homes::now());
    }
}
