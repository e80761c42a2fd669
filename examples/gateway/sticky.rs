//! `[sticky]`: sessions that stay with their endpoint, if the file asks for them.

use tower::util::Either;
use tower::{Layer, util::option_layer};
use whippletree::config::StickyConfig;
use whippletree::failover::FailoverService;
use whippletree::sticky::Sticky;
use whippletree::{Balance, Error};

use crate::failover::{Guarded, Shared};

/// The balance with its failover, with the sticky layer above it or without: so a session whose
/// home fails it is sent elsewhere before it hears of it.
pub(crate) type Front = Either<Sticky<Guard>, Guard>;

type Guard = FailoverService<Balance<Shared>>;

pub(crate) fn front(guarded: &Guarded, config: Option<&StickyConfig>) -> Result<Front, Error> {
    if config.is_some_and(|config| config.keys.is_empty()) {
        eprintln!(
            "gateway: sticky: no keys: one was made at random, so sessions end with this process"
        );
    }
    let layer = config.map(|config| config.sticky()?.build(&guarded.cluster)).transpose()?;
    Ok(option_layer(layer).layer(guarded.service.clone()))
}
