//! The one place where a clock is read.

use std::time::Instant;

/// Tokio's clock, which tests can pause; the system's monotonic clock otherwise.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
