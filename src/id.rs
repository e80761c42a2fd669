//! The identity of an endpoint, apart from the endpoint: errors name it too.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use xxhash_rust::xxh64::xxh64;

use crate::error::Error;
use crate::random::mix;

/// The longest id in bytes: the longest address, `https://`, a DNS name of 253 with its dot and a port, fits.
const LONGEST: usize = 272;

/// The identity of an endpoint within its cluster.
///
/// Cheap to clone and to compare: it carries the hash of its text, so that two different ids
/// differ in one comparison of integers. Ordered by text, which is the order in which a cluster
/// keeps its endpoints, the same in every process.
///
/// ```
/// use whippletree::EndpointId;
///
/// let id = EndpointId::new("web-1")?;
/// assert_eq!(id.as_str(), "web-1");
/// assert!(EndpointId::new("").is_err());
/// # Ok::<(), whippletree::Error>(())
/// ```
#[derive(Clone)]
pub struct EndpointId {
    text: Arc<str>,
    hash: u64,
}

impl EndpointId {
    /// Takes `text` as an id.
    ///
    /// # Errors
    ///
    /// A text that is empty, longer than 272 bytes, or has control characters.
    pub fn new(text: impl AsRef<str>) -> Result<Self, Error> {
        let text = text.as_ref();
        let refuse = |reason: &str| Err(Error::config("id", text, reason));
        if text.is_empty() {
            return refuse("is empty");
        }
        if text.len() > LONGEST {
            return refuse("is longer than 272 bytes");
        }
        if text.chars().any(char::is_control) {
            return refuse("has a control character");
        }
        Ok(Self::unchecked(text))
    }

    /// Takes a text that is known to be neither empty nor too long and to have no control
    /// characters, as an address is.
    pub(crate) fn unchecked(text: &str) -> Self {
        Self { text: text.into(), hash: xxh64(text.as_bytes(), 0) }
    }

    /// A number that is as good as random for every pair of id and `hash`, and always the same.
    pub(crate) fn mixed_with(&self, hash: u64) -> u64 {
        mix(self.hash ^ mix(hash))
    }

    /// The id as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for EndpointId {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.text == other.text
    }
}

impl Eq for EndpointId {}

impl PartialOrd for EndpointId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EndpointId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for EndpointId {
    // The text, not the stored hash: `Borrow<str>` demands that both hash alike.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Borrow<str> for EndpointId {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl AsRef<str> for EndpointId {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl std::str::FromStr for EndpointId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}
