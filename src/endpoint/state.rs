use std::fmt;

/// Whether an endpoint serves: the first of these that holds, from [`Maintenance`](Self::Maintenance)
/// on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It is out for work: no requests at all.
    Maintenance,
    /// It takes no new requests, only those that ask for it: drained by the operator, or its
    /// weight is 0, or it has asked to leave.
    Drain,
    /// A probe has found it unfit.
    Down,
    /// No probe has found it fit yet.
    Unproven,
    /// Live traffic spoke against it.
    Ejected,
    /// It gets requests.
    Up,
}

/// What the operator wants of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Admin {
    /// To serve.
    #[default]
    Ready,
    /// To take no new requests; those that ask for it are served.
    Drain,
    /// To take no requests at all. When it is [ready](Self::Ready) again it has to prove itself to
    /// the probes before it serves.
    Maintenance,
}

impl State {
    /// The state in one lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Maintenance => "maintenance",
            Self::Drain => "drain",
            Self::Down => "down",
            Self::Unproven => "unproven",
            Self::Ejected => "ejected",
            Self::Up => "up",
        }
    }
}

impl Admin {
    /// The state in one lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
