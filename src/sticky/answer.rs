//! One response: where its session is at home from now on, and what the browser is told of it.

use http::header::{CACHE_CONTROL, HeaderMap, HeaderValue, SET_COOKIE};
use http::{Extensions, Response};

use super::header;
use super::layer::Shared;
use super::session::{SafePoint, Session, SessionState};
use super::token::Token;
use super::visit::{Aim, Renew, Visit};
use crate::balance::ServedBy;
use crate::cluster::Homes;
use crate::endpoint::EndpointId;

impl Shared {
    /// Takes note of who has served the request, and sets the cookie if that says anything new.
    /// Answers with the home that the session may leave now: it has served the request, and it says
    /// that the session is at a safe point.
    pub(super) fn answer<B>(
        &self,
        visit: &Visit,
        response: &mut Response<B>,
    ) -> Option<EndpointId> {
        header::remove_set(response.headers_mut(), &self.cookie.name);
        let safe = self.take_safe_point(response);
        let served: Option<&ServedBy> = response.extensions().get();
        // Without that nobody picked: the answer is a layer's own.
        let ServedBy(served) = served.cloned()?;
        let (state, home) = self.settle(visit, served.clone());
        let extensions = response.extensions_mut();
        extensions.insert(Session { id: visit.id, state, home: Some(home.clone()) });
        if visit.renew == Renew::Now
            || !matches!(state, SessionState::Home | SessionState::Diverted)
        {
            self.set(visit, &home, response.headers_mut());
        } else if visit.age >= self.refresh {
            self.recount(visit, &home);
            self.set(visit, &home, response.headers_mut());
        }
        (safe && home == served && state == SessionState::Home).then_some(home)
    }

    /// How the request was served, and where its session is at home; counts both.
    fn settle(&self, visit: &Visit, served: EndpointId) -> (SessionState, EndpointId) {
        let at_home = |home: &EndpointId| match served == *home {
            true => SessionState::Home,
            false => SessionState::Diverted,
        };
        let (state, home) = match &visit.aim {
            Aim::Begin => (SessionState::New, served.clone()),
            Aim::Rebind(_) => (SessionState::Rebound, served.clone()),
            Aim::Home(home) | Aim::Divert(home) => (at_home(home), home.clone()),
            Aim::Moved(home) => {
                self.counters.served(at_home(home));
                return (SessionState::Moved, home.clone());
            }
        };
        self.counters.served(state);
        let now = Homes::now();
        match &visit.aim {
            Aim::Begin => self.homes.count(&home, self.active, now),
            Aim::Rebind(before) => {
                if let Some(before) = before {
                    self.homes.discount(before, visit.age, now);
                }
                self.homes.count(&home, self.active, now);
            }
            Aim::Home(_) | Aim::Divert(_) if visit.renew == Renew::Now => {
                self.recount(visit, &home)
            }
            Aim::Home(_) | Aim::Divert(_) | Aim::Moved(_) => {}
        }
        (state, home)
    }

    /// Counts the session as of now instead of when its token was made.
    fn recount(&self, visit: &Visit, home: &EndpointId) {
        let now = Homes::now();
        self.homes.discount(home, visit.age, now);
        self.homes.count(home, self.active, now);
    }

    /// Tells the browser, and caches that the response is for this user alone.
    pub(super) fn set(&self, visit: &Visit, home: &EndpointId, headers: &mut HeaderMap) {
        let tag = self.keys.tag(0, home);
        let token = Token { tag, session: visit.id, issued: visit.issued, seen: visit.date };
        let cookie = self.cookie.set(visit.protection, |text| token.write(&self.keys, text));
        let Some(cookie) = cookie else {
            debug_assert!(false, "name and attributes were checked");
            return;
        };
        header::remove_set(headers, &self.cookie.name);
        headers.append(SET_COOKIE, cookie);
        self.counters.set.count();
        let is_private = |value: &HeaderValue| {
            let text = value.as_bytes().to_ascii_lowercase();
            text.split(|byte| *byte == b',')
                .map(<[u8]>::trim_ascii)
                .any(|directive| directive == b"private" || directive == b"no-store")
        };
        if !headers.get_all(CACHE_CONTROL).iter().any(is_private) {
            headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
        }
    }

    /// Whether the application says that the session may move; the header is for us alone.
    fn take_safe_point<B>(&self, response: &mut Response<B>) -> bool {
        let header = self.safe_point.as_ref().map(|name| response.headers_mut().remove(name));
        header.flatten().is_some() || has_safe_point(response.extensions())
    }
}

fn has_safe_point(extensions: &Extensions) -> bool {
    extensions.get::<SafePoint>().is_some()
}
