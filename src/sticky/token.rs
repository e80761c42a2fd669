//! What the cookie holds, 54 bytes as 72 characters:
//!
//! ```text
//! version 2 │ endpoint tag 16 │ session 8 │ issued 6 │ last seen 6 │ HMAC-SHA-256, first half 16
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::base64;
use super::keys::{Keys, MAC, Tag};
use super::session::SessionId;

const VERSION: [u8; 2] = *b"w1";

const PAYLOAD: usize = 38;

const BYTES: usize = PAYLOAD + MAC;

/// The token's length as text.
pub(super) const LENGTH: usize = BYTES / 3 * 4;

/// A session as its token tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) tag: Tag,
    pub(super) session: SessionId,
    /// When the session began.
    pub(super) issued: Date,
    /// When it was counted last.
    pub(super) seen: Date,
}

/// Milliseconds since 1970, as many as 48 bits hold: until the year 10 889.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Date(u64);

impl Date {
    const LAST: u64 = (1 << 48) - 1;

    pub(super) fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(Self::LAST).min(Self::LAST))
    }

    /// The time from an earlier date to this one; none if that is later.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    fn to_bytes(self) -> [u8; 6] {
        let [_, _, bytes @ ..] = self.0.to_be_bytes();
        bytes
    }

    fn from_bytes(bytes: [u8; 6]) -> Self {
        Self(bytes.iter().fold(0, |date, byte| date << 8 | u64::from(*byte)))
    }
}

impl Token {
    /// Writes the token, signed, behind `text`.
    pub(super) fn write(&self, keys: &Keys, text: &mut String) {
        let payload = self.payload();
        let mut bytes = [0; BYTES];
        bytes[..PAYLOAD].copy_from_slice(&payload);
        bytes[PAYLOAD..].copy_from_slice(&keys.sign(&payload));
        base64::encode(&bytes, text);
    }

    /// Reads a token that one of the keys has signed, and says which. Does not allocate.
    pub(super) fn read(text: &[u8], keys: &Keys) -> Option<(Self, usize)> {
        let mut bytes = [0; BYTES];
        base64::decode(text, &mut bytes)?;
        let payload = bytes.strip_prefix(&VERSION).and(bytes.get(..PAYLOAD))?;
        let key = keys.verify(payload, &bytes[PAYLOAD..])?;
        Some((Self::parse(payload)?, key))
    }

    fn payload(&self) -> [u8; PAYLOAD] {
        let mut payload = [0; PAYLOAD];
        payload[..2].copy_from_slice(&VERSION);
        payload[2..18].copy_from_slice(&self.tag);
        payload[18..26].copy_from_slice(&self.session.get().to_be_bytes());
        payload[26..32].copy_from_slice(&self.issued.to_bytes());
        payload[32..].copy_from_slice(&self.seen.to_bytes());
        payload
    }

    fn parse(payload: &[u8]) -> Option<Self> {
        Some(Self {
            tag: payload.get(2..18)?.try_into().ok()?,
            session: SessionId::of(u64::from_be_bytes(payload.get(18..26)?.try_into().ok()?)),
            issued: Date::from_bytes(payload.get(26..32)?.try_into().ok()?),
            seen: Date::from_bytes(payload.get(32..38)?.try_into().ok()?),
        })
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
