use std::fmt;

use crate::endpoint::EndpointId;

/// Request and response extension: what the layer knows of the session that a request belongs to.
///
/// On a request it says what is about to happen, on its response what has happened: the
/// [home](Self::home) of a new session is only known then.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// Who it is, the same until the session ends.
    pub id: SessionId,
    /// How the request found it.
    pub state: SessionState,
    /// Where it is at home, from this request on.
    pub home: Option<EndpointId>,
}

/// A session's identity: a random number, which says nothing of its user or its endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

/// How a request found its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionState {
    /// There was none: it begins.
    New,
    /// At home.
    Home,
    /// Its home could not serve this request. It stays its home.
    Diverted,
    /// Its home serves it no more: from now on another endpoint does, without a hand-over.
    Rebound,
    /// It has moved at a safe point: from the next request on its home is another. With
    /// [`migrate_idle`](super::Builder::migrate_idle), from this one on.
    Moved,
}

/// Response extension: after this response the session may move to another endpoint, without loss.
///
/// What the header [`safe_point`](super::Builder::safe_point) is for servers, this is for layers
/// and services in the same process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SafePoint;

/// Request extension: the request came over TLS, so its cookie shall be
/// [`Secure`](super::Secure::WhenTls). For acceptors; a request whose URI has the scheme `https`
/// needs it not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OverTls;

impl SessionId {
    pub(super) fn random() -> Self {
        Self(rand::random())
    }

    pub(super) fn of(id: u64) -> Self {
        Self(id)
    }

    /// The number itself.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl SessionState {
    /// The state in one lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Home => "home",
            Self::Diverted => "diverted",
            Self::Rebound => "rebound",
            Self::Moved => "moved",
        }
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
