//! What the engines share: how they are asked over HTTP, and how what they say becomes a stream.
//!
//! Nothing here trusts the other side. Whatever is read is read piece by piece, up to a limit; a
//! bad record is told and left out; and between two requests there is always something to wait
//! for.

mod bounded;
mod client;
mod feed;
#[cfg(any(feature = "etcd", feature = "kube"))]
mod pace;
mod plain;
mod reader;
#[cfg(any(feature = "etcd", feature = "kube"))]
mod roster;
mod site;
mod splitter;

#[cfg(any(feature = "consul", feature = "kube"))]
pub(super) use self::bounded::escaped;
#[cfg(feature = "etcd")]
pub(super) use self::bounded::number;
pub(super) use self::bounded::{at_most, excerpt, some_of};
pub(super) use self::client::Client;
pub(super) use self::feed::{Engine, Said, feeds};
#[cfg(any(feature = "etcd", feature = "kube"))]
pub(super) use self::pace::{Pace, jittered};
pub(super) use self::reader::Reader;
#[cfg(any(feature = "etcd", feature = "kube"))]
pub(super) use self::roster::Roster;
#[cfg(any(feature = "etcd", feature = "kube"))]
pub(super) use self::site::Failure;
pub(super) use self::site::{Ask, Site};

pub use self::feed::Feed;

/// The most endpoints that a source takes: ten times what a large fleet has.
pub(super) const MOST_ENDPOINTS: usize = 100_000;

/// The most text that a source's records may have together, in bytes: 640 for each of
/// [`MOST_ENDPOINTS`].
pub(super) const MOST_BYTES: usize = 64 * 1024 * 1024;

/// The most bytes of one frame of a watch, or of one page of a list. Ours: an etcd fragment has at
/// most 2 MiB, a third more in base64.
pub(super) const MOST_FRAME: usize = 8 * 1024 * 1024;
