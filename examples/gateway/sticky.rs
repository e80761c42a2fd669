//! `[sticky]`: sessions that stay with their endpoint, if the file asks for them.

use tower::util::Either;
use tower::{Layer, util::option_layer};
use whippletree::config::StickyConfig;
use whippletree::sticky::Sticky;
use whippletree::{Balance, Error};

use crate::proxy::Shared;

/// The balance, with the sticky layer above it or without.
pub(crate) type Front = Either<Sticky<Balance<Shared>>, Balance<Shared>>;

pub(crate) fn front(
    balance: &Balance<Shared>,
    config: Option<&StickyConfig>,
) -> Result<Front, Error> {
    if config.is_some_and(|config| config.keys.is_empty()) {
        eprintln!(
            "gateway: sticky: no keys: one was made at random, so sessions end with this process"
        );
    }
    let layer = config.map(|config| config.sticky()?.build(balance.cluster())).transpose()?;
    Ok(option_layer(layer).layer(balance.clone()))
}
