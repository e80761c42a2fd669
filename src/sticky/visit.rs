//! One request: whose it is, and where it shall go.

use std::time::Duration;

use http::{Extensions, HeaderMap, Request};

use super::cookie::Protection;
use super::header;
use super::layer::{NewSessions, OnMiss, Shared};
use super::session::{Session, SessionId, SessionState};
use super::token::{Date, LENGTH, Token};
use crate::cluster::{Context, Homes};
use crate::endpoint::{EndpointId, Home, Subset};

/// The most tokens of one request that are checked. More than a browser can have set for one host
/// and its paths; each costs a digest, which must not be a way to keep the balancer busy.
const MOST_TOKENS: usize = 32;

/// How far ahead of the clock a token may be: two balancers' clocks differ, seconds at most where they
/// are kept by NTP. HAProxy takes a day.
const TOLERANCE: Duration = Duration::from_secs(60);

/// What is known of a request's session.
pub(super) struct Visit {
    pub(super) id: SessionId,
    pub(super) aim: Aim,
    /// When the session began.
    pub(super) issued: Date,
    /// How long ago it was counted last.
    pub(super) age: Duration,
    /// Whether the cookie has to be set, whatever happens.
    pub(super) renew: Renew,
    pub(super) date: Date,
    pub(super) protection: Protection,
    /// The endpoints to which a layer above restricts the request.
    pub(super) subset: Option<Subset>,
}

/// Where a request is meant to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// It begins a session.
    Begin,
    Home(EndpointId),
    /// The home cannot serve it, and stays the home.
    Divert(EndpointId),
    /// The home will serve no more. It has no name if it is gone.
    Rebind(Option<EndpointId>),
    /// The session has just moved here.
    Moved(EndpointId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renew {
    IfOld,
    Now,
}

/// A token that is genuine and not too old.
struct Claim {
    token: Token,
    key: usize,
}

impl Shared {
    /// Reads whose request it is, and takes our cookie out of it.
    pub(super) fn receive<B>(&self, request: &mut Request<B>) -> Visit {
        let date = Date::of((self.clock)());
        let claim = self.claim(request.headers(), date);
        header::remove(request.headers_mut(), &self.cookie.name);
        let protection = match self.cookie.is_secure(request) {
            true => Protection::Secure,
            false => Protection::Plain,
        };
        let context: Option<&Context> = request.extensions().get();
        let subset = context.and_then(|context| context.subset.clone());
        let begin = Visit {
            id: SessionId::random(),
            aim: Aim::Begin,
            issued: date,
            age: Duration::ZERO,
            renew: Renew::Now,
            date,
            protection,
            subset,
        };
        match claim {
            None => begin,
            Some(claim) => self.recognise(&claim, begin),
        }
    }

    /// The first genuine token in force. Does not allocate.
    fn claim(&self, headers: &HeaderMap, date: Date) -> Option<Claim> {
        let values = header::values(headers, &self.cookie.name).take(MOST_TOKENS);
        values.filter_map(|value| self.check(value, date)).next()
    }

    fn check(&self, value: &[u8], date: Date) -> Option<Claim> {
        if value.len() != LENGTH {
            self.counters.malformed.count();
            return None;
        }
        let Some((token, key)) = Token::read(value, &self.keys) else {
            self.counters.forged.count();
            return None;
        };
        if token.seen.since(date).max(token.issued.since(date)) > TOLERANCE {
            self.counters.future.count();
            return None;
        }
        if date.since(token.seen) > self.idle || date.since(token.issued) > self.absolute {
            self.counters.expired.count();
            return None;
        }
        Some(Claim { token, key })
    }

    /// Where a known session's request shall go.
    fn recognise(&self, claim: &Claim, begin: Visit) -> Visit {
        let token = &claim.token;
        let home = self.directory.find(claim.key, &token.tag, &self.keys, &self.homes);
        let moved = self.migration.moved(token.session);
        // A request that was under way when its session moved still has the token of before.
        let stale = moved.is_some() && moved != home;
        let renew = if claim.key == 0 && !stale { Renew::IfOld } else { Renew::Now };
        let age = begin.date.since(token.seen);
        let aim = self.aim(moved.or(home));
        Visit { id: token.session, aim, issued: token.issued, age, renew, ..begin }
    }

    fn aim(&self, home: Option<EndpointId>) -> Aim {
        let Some(home) = home else {
            return Aim::Rebind(None);
        };
        match self.homes.standing(&home) {
            None => Aim::Rebind(None),
            Some(Home::Serves | Home::Leaves) => Aim::Home(home),
            Some(Home::Closed) => Aim::Rebind(Some(home)),
            Some(Home::Out { since }) => {
                let out = Homes::now().saturating_duration_since(since);
                match out < self.rebind_after {
                    true => Aim::Divert(home),
                    false => Aim::Rebind(Some(home)),
                }
            }
        }
    }

    /// Tells the balance where the request shall go, and everybody on the way whose it is.
    pub(super) fn steer(&self, visit: &Visit, extensions: &mut Extensions) {
        let asked: Context = extensions.remove().unwrap_or_default();
        let key = visit.id.get();
        let context = match &visit.aim {
            Aim::Begin if self.new_sessions == NewSessions::ByPolicy => asked,
            Aim::Begin => asked.with_new_session(),
            Aim::Home(home) | Aim::Moved(home) => {
                let context = asked.with_stand_in(key);
                // What a layer above prefers comes first.
                let preferred = context.prefer.clone().unwrap_or_else(|| home.clone());
                let context = context.with_prefer(preferred);
                if self.on_miss == OnMiss::Fail { context.or_fail() } else { context }
            }
            Aim::Divert(_) | Aim::Rebind(_) => asked.with_stand_in(key),
        };
        extensions.insert(context);
        extensions.insert(visit.foreseen());
    }
}

impl Visit {
    /// How long ago the session was counted, once its request is answered.
    pub(super) fn counted(&self, refresh: Duration) -> Duration {
        match self.renew == Renew::Now || self.age >= refresh {
            true => Duration::ZERO,
            false => self.age,
        }
    }

    fn foreseen(&self) -> Session {
        let (state, home) = match &self.aim {
            Aim::Begin => (SessionState::New, None),
            Aim::Home(home) => (SessionState::Home, Some(home)),
            Aim::Divert(home) => (SessionState::Diverted, Some(home)),
            Aim::Rebind(_) => (SessionState::Rebound, None),
            Aim::Moved(home) => (SessionState::Moved, Some(home)),
        };
        Session { id: self.id, state, home: home.cloned() }
    }
}
