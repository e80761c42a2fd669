use std::time::Duration;

use serde::Deserialize;

use crate::cluster::Queue;

/// A queue for requests that find all endpoints at their limits; every key has the default of
/// [`Queue`]. Without limits (`max_in_flight` of the endpoints) it is never used.
///
/// It is no part of [`ClusterConfig`](super::ClusterConfig): put it where your configuration has
/// what concerns requests, and hand [`queue`](Self::queue) to the builder.
///
/// ```
/// use std::time::Duration;
/// use whippletree::cluster::Queue;
/// use whippletree::config::QueueConfig;
///
/// let config: QueueConfig = toml::from_str("size = 100\ntimeout = \"500ms\"")?;
/// assert_eq!(config.queue(), Queue::new().size(100).timeout(Duration::from_millis(500)));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct QueueConfig {
    /// How many requests may wait at once; 1000 by default, 0 is no queue.
    pub size: Option<usize>,
    /// How long a request may wait, such as `5s`, the default.
    #[serde(with = "humantime_serde")]
    pub timeout: Option<Duration>,
}

impl QueueConfig {
    /// The parameters.
    #[must_use]
    pub fn queue(&self) -> Queue {
        let mut queue = Queue::new();
        if let Some(size) = self.size {
            queue = queue.size(size);
        }
        if let Some(timeout) = self.timeout {
            queue = queue.timeout(timeout);
        }
        queue
    }
}
