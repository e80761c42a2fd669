use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderName;

use super::cookie::{Cookie, SameSite, Secure};
use super::counters::Counters;
use super::directory::Directory;
use super::hand_over::Hook;
use super::keys::{self, Keys};
use super::layer::{Clock, NewSessions, OnMiss, Shared, StickyLayer};
use super::migration::Migration;
use super::pace::Pace;
use super::recent::Recent;
use super::session::SessionId;
use crate::cluster::{Cluster, Homes};
use crate::endpoint::EndpointId;
use crate::error::{BoxError, Error};
use crate::sync::Mutex;

/// Parameters of a [`StickyLayer`], all with defaults.
#[derive(Clone)]
pub struct Builder {
    cookie: Cookie,
    keys: Vec<Vec<u8>>,
    idle: Duration,
    absolute: Duration,
    active: Duration,
    rebind_after: Duration,
    on_miss: OnMiss,
    new_sessions: NewSessions,
    safe_point: Result<Option<HeaderName>, String>,
    tls_header: Option<String>,
    max_imbalance: f64,
    migrate_idle: Option<Duration>,
    migrate_rate: u32,
    hook: Option<Hook>,
    hand_over_timeout: Duration,
    clock: Clock,
}

impl Builder {
    /// All defaults, no key.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cookie: Cookie::new(),
            keys: Vec::new(),
            idle: Duration::from_secs(30 * 60),
            absolute: Duration::from_secs(8 * 60 * 60),
            active: Duration::from_secs(5 * 60),
            rebind_after: Duration::from_secs(30),
            on_miss: OnMiss::default(),
            new_sessions: NewSessions::default(),
            safe_point: Ok(Some(SAFE_POINT)),
            tls_header: None,
            max_imbalance: 1.25,
            migrate_idle: None,
            migrate_rate: 10,
            hook: None,
            hand_over_timeout: Duration::from_secs(5),
            clock: Arc::new(SystemTime::now),
        }
    }

    /// Names the cookie. Default `SRV`. Layers of one site need names of their own.
    #[must_use]
    pub fn cookie(mut self, name: impl Into<String>) -> Self {
        self.cookie.name = name.into();
        self
    }

    /// Adds a key, 16 bytes or more, best 32 from a generator. The first signs, all verify: to change
    /// keys, put the new one in front, and drop the old one when `absolute` is over. At most 8.
    ///
    /// Balancers with the same keys, cookie and cluster name know one another's sessions. Without any
    /// key one is made at random, with a warning: sessions then end with the process.
    #[must_use]
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.keys.push(key.as_ref().to_vec());
        self
    }

    /// Sets how long a session lasts without a request. Default 30 min.
    ///
    /// A token is renewed when it is an eighth of [`active`](Self::active) old, so a session may end
    /// by that much earlier.
    #[must_use]
    pub fn idle(mut self, time: Duration) -> Self {
        self.idle = time;
        self
    }

    /// Sets how long a session lasts at most. Default 8 h.
    #[must_use]
    pub fn absolute(mut self, time: Duration) -> Self {
        self.absolute = time;
        self
    }

    /// Sets for how long after its last request a session counts as one of its home. Default 5 min;
    /// never longer than `idle`. See [how sessions are counted](super#how-sessions-are-counted).
    #[must_use]
    pub fn active(mut self, time: Duration) -> Self {
        self.active = time;
        self
    }

    /// Sets how long a home may be out before its sessions are given another, from its first moment
    /// out. Default 30 s: most restarts are over by then.
    #[must_use]
    pub fn rebind_after(mut self, time: Duration) -> Self {
        self.rebind_after = time;
        self
    }

    /// Sets what becomes of a request whose home cannot serve it. Default [`OnMiss::Repick`].
    #[must_use]
    pub fn on_miss(mut self, on_miss: OnMiss) -> Self {
        self.on_miss = on_miss;
        self
    }

    /// Sets where sessions begin. Default [`NewSessions::Even`].
    #[must_use]
    pub fn new_sessions(mut self, new_sessions: NewSessions) -> Self {
        self.new_sessions = new_sessions;
        self
    }

    /// Sets the cookie's path. Default `/`.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.cookie.path = path.into();
        self
    }

    /// Sends the cookie to this domain and those below it. Default: to the host that set it alone.
    #[must_use]
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.cookie.domain = Some(domain.into());
        self
    }

    /// Sets whether the cookie comes with requests of other sites. Default [`SameSite::Lax`].
    #[must_use]
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.cookie.same_site = same_site;
        self
    }

    /// Sets whether the cookie is for TLS only. Default [`Secure::WhenTls`].
    #[must_use]
    pub fn secure(mut self, secure: Secure) -> Self {
        self.cookie.secure = secure;
        self
    }

    /// Believes a request header that says `https`, such as `x-forwarded-proto`, that the request came
    /// over TLS. Only for headers that the proxy in front sets or removes. Default: none.
    #[must_use]
    pub fn tls_header(mut self, name: impl Into<String>) -> Self {
        self.tls_header = Some(name.into());
        self
    }

    /// Lets browsers keep the cookie when they are closed, for so long. Default: they do not.
    #[must_use]
    pub fn max_age(mut self, time: Duration) -> Self {
        self.cookie.max_age = Some(time);
        self
    }

    /// Names the response header by which an endpoint says that the session may move to another
    /// after this response, whatever its value. It is taken out of the response. Default
    /// `x-session-safe-point`; the empty name turns it off.
    #[must_use]
    pub fn safe_point(mut self, header: impl Into<String>) -> Self {
        let name = header.into();
        self.safe_point = match name.is_empty() {
            true => Ok(None),
            false => name.parse().map(Some).map_err(|_| name),
        };
        self
    }

    /// Sets from which multiple of the mean sessions move away from an endpoint, at safe points. 1 to
    /// 1000, default 1.25.
    #[must_use]
    pub fn max_imbalance(mut self, multiple: f64) -> Self {
        self.max_imbalance = multiple;
        self
    }

    /// Takes it for a safe point if a session has sent nothing for so long. Only for applications whose
    /// sessions survive a move: those that share them, or hand them over in
    /// [`on_move`](Self::on_move). Default: never.
    #[must_use]
    pub fn migrate_idle(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.migrate_idle = time.into();
        self
    }

    /// Sets how many sessions a second move because of imbalance, at least 1. Default 10: a thousand
    /// in less than two minutes, and no storm on what they share. Sessions that leave an endpoint
    /// in drain are not held back.
    #[must_use]
    pub fn migrate_rate(mut self, per_second: u32) -> Self {
        self.migrate_rate = per_second;
        self
    }

    /// Awaits the application's own hand-over before a session moves: which one, from where, to where.
    /// The user's request waits for it. If it fails, panics or takes longer than
    /// [`hand_over_timeout`](Self::hand_over_timeout), the session stays where it is.
    ///
    /// Needs a tokio runtime with timers; without, it counts as failed.
    #[must_use]
    pub fn on_move<F, T>(mut self, hook: F) -> Self
    where
        F: Fn(SessionId, EndpointId, EndpointId) -> T + Send + Sync + 'static,
        T: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.hook = Some(Hook::new(hook));
        self
    }

    /// Sets how long [`on_move`](Self::on_move) may take. Default 5 s, a little less than a user's
    /// patience.
    #[must_use]
    pub fn hand_over_timeout(mut self, time: Duration) -> Self {
        self.hand_over_timeout = time;
        self
    }

    /// Sets the clock for the dates in tokens. Default the system's. For tests; durations are measured
    /// by tokio's clock.
    #[must_use]
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(now);
        self
    }

    /// Checks the parameters and makes the layer, for services that pick from this cluster.
    ///
    /// # Errors
    ///
    /// A key that is too short, or too many; a cookie that browsers would refuse; times that
    /// contradict one another; an imbalance or a rate out of range. Names the field and the value.
    pub fn build<S>(self, cluster: &Cluster<S>) -> Result<StickyLayer, Error> {
        self.build_for(cluster.homes())
    }

    fn build_for(mut self, homes: Homes) -> Result<StickyLayer, Error> {
        self.cookie.tls_header =
            self.tls_header.as_deref().map(header("tls_header")).transpose()?;
        self.check()?;
        if self.keys.is_empty() {
            tracing::warn!(
                target: "whippletree",
                cluster = homes.name(),
                "sticky sessions without a key: one was made at random, so no session survives this \
                 process and no other balancer knows it"
            );
            self.keys.push(keys::random());
        }
        let safe_point = self.safe_point.unwrap_or_default();
        let active = self.active.min(self.idle);
        Ok(StickyLayer::of(Shared {
            keys: Keys::new(&self.keys, &self.cookie.name, homes.name()),
            homes,
            cookie: self.cookie,
            directory: Directory::new(),
            counters: Counters::default(),
            idle: self.idle,
            absolute: self.absolute,
            active,
            refresh: active / 8,
            rebind_after: self.rebind_after,
            on_miss: self.on_miss,
            new_sessions: self.new_sessions,
            safe_point,
            migration: Migration {
                max_imbalance: self.max_imbalance,
                idle: self.migrate_idle,
                pace: Pace::per_second(self.migrate_rate, Homes::now()),
                hook: self.hook,
                limit: self.hand_over_timeout,
                recent: Recent::default(),
                told: Mutex::default(),
            },
            clock: self.clock,
        }))
    }

    /// Finds out what would hinder [`build`](Self::build), except for the cookie of headers.
    fn check(&self) -> Result<(), Error> {
        keys::check(&self.keys)?;
        self.cookie.check()?;
        let text = |time: Duration| format!("{time:?}");
        if self.idle < SHORTEST {
            return Err(Error::config("idle", text(self.idle), "is less than 80 ms"));
        }
        if self.active < SHORTEST {
            return Err(Error::config("active", text(self.active), "is less than 80 ms"));
        }
        if self.absolute < self.idle {
            return Err(Error::config("absolute", text(self.absolute), "is less than idle"));
        }
        if !(1.0..=1000.0).contains(&self.max_imbalance) {
            return Err(Error::config("max_imbalance", self.max_imbalance, "is not in 1..=1000"));
        }
        if self.migrate_rate == 0 {
            return Err(Error::config("migrate_rate", 0, "is not a number of sessions per second"));
        }
        match &self.safe_point {
            Ok(_) => Ok(()),
            Err(name) => header("safe_point")(name).map(drop),
        }
    }
}

const SAFE_POINT: HeaderName = HeaderName::from_static("x-session-safe-point");

/// Tokens tell milliseconds, and a session is counted in slots of a sixteenth of `active`.
const SHORTEST: Duration = Duration::from_millis(80);

fn header(field: &'static str) -> impl Fn(&str) -> Result<HeaderName, Error> {
    move |name| name.parse().map_err(|_| Error::config(field, name, "is not a header's name"))
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("cookie", &self.cookie)
            .field("keys", &self.keys.len())
            .field("idle", &self.idle)
            .field("absolute", &self.absolute)
            .field("active", &self.active)
            .field("rebind_after", &self.rebind_after)
            .field("on_miss", &self.on_miss)
            .field("new_sessions", &self.new_sessions)
            .finish_non_exhaustive()
    }
}
