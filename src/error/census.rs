//! The numbers that explain why nobody could serve.

use std::fmt;
use std::time::Duration;

/// How many endpoints a cluster knew when it found none to pick, and why each was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) known: usize,
    pub(crate) down: usize,
    pub(crate) unproven: usize,
    pub(crate) ejected: usize,
    pub(crate) draining: usize,
    pub(crate) in_maintenance: usize,
    pub(crate) weight_zero: usize,
    pub(crate) outside_subset: usize,
    pub(crate) excluded: usize,
    /// Whether so few are available that nothing is picked.
    pub(crate) closed: bool,
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} known", self.known)?;
        for (count, what) in [
            (self.down, "down"),
            (self.unproven, "not yet proven"),
            (self.ejected, "ejected"),
            (self.draining, "draining"),
            (self.in_maintenance, "in maintenance"),
            (self.weight_zero, "with weight 0"),
            (self.outside_subset, "outside the subset"),
            (self.excluded, "excluded by the request"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        if self.closed {
            f.write_str(": fewer are available than the panic threshold asks for")?;
        }
        Ok(())
    }
}

/// Why there is no room for a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Crowd {
    /// So many endpoints would have been possible, and are full.
    Full(usize),
    /// And so many requests wait for them already.
    QueueFull { endpoints: usize, waiting: usize },
    /// And none had room for it in this time.
    TooLong { endpoints: usize, waited: Duration },
    /// A throttle lets only a part through.
    Throttled { requests: u64, accepted: u64 },
}

impl fmt::Display for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Full(1) => f.write_str("1 endpoint, at its limit"),
            Self::Full(endpoints) => write!(f, "{endpoints} endpoints, all at their limit"),
            Self::QueueFull { endpoints, waiting } => {
                write!(f, "{}, and {waiting} requests wait already", Self::Full(endpoints))
            }
            Self::TooLong { endpoints, waited } => {
                write!(f, "{}, for {waited:?} that the request waited", Self::Full(endpoints))
            }
            Self::Throttled { requests, accepted } => {
                write!(f, "of the last {requests} requests only {accepted} were accepted")
            }
        }
    }
}
