//! Load balancing for tower services.

pub mod balance;
pub mod cluster;
#[cfg(feature = "serde")]
pub mod config;
pub mod discover;
pub mod endpoint;
mod error;
pub mod event;
pub mod health;
mod id;
pub mod load;
pub mod policy;
mod random;
mod sync;

pub use self::balance::{Balance, BalanceLayer};
pub use self::cluster::{Cluster, Context, Lease};
pub use self::endpoint::{Endpoint, EndpointId, Weight};
pub use self::error::{BoxError, Error};
pub use self::health::Outcome;
