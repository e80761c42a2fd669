use std::io::Read;
use std::path::PathBuf;

use http::HeaderValue;

use crate::error::BoxError;

/// The longest token. Ours: one of a service account has about a kilobyte.
const LONGEST: u64 = 64 * 1024;

/// What proves who asks.
#[derive(Clone, Debug)]
pub(super) enum Token {
    None,
    /// Read for every request.
    File(PathBuf),
}

impl Token {
    /// The value of the header `authorization`. The file is a few bytes in memory: reading it
    /// blocks no longer than a log line.
    pub(super) fn header(&self) -> Result<Option<HeaderValue>, BoxError> {
        let Self::File(path) = self else {
            return Ok(None);
        };
        let blame = |error: &dyn std::fmt::Display| format!("token {}: {error}", path.display());
        let mut token = String::new();
        let file = std::fs::File::open(path).map_err(|error| blame(&error))?;
        file.take(LONGEST).read_to_string(&mut token).map_err(|error| blame(&error))?;
        let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
        let mut value = value.map_err(|error| blame(&error))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}
