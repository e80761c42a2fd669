//! A request that fails on one endpoint goes to another: the `[failover]` of the file.
//!
//! The library does it; here is what it stands on, one client for all endpoints.

use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use tower::Layer;
use whippletree::balance::{Addressed, Balance};
use whippletree::config::FailoverConfig;
use whippletree::failover::{Failover, FailoverService, Replay};
use whippletree::{Cluster, Error};

/// What is sent to an endpoint: the client's body, kept up to a limit in case it is needed again.
pub(crate) type Outgoing = Replay<Incoming>;

/// One client, and with it one pool of connections, for all endpoints.
pub(crate) type Shared = Addressed<Client<HttpConnector, Outgoing>>;

/// The balancer with failover on top, and its counters.
#[derive(Clone)]
pub(crate) struct Guarded {
    pub(crate) service: FailoverService<Balance<Shared>>,
    pub(crate) cluster: Cluster<Shared>,
    pub(crate) failover: Failover,
}

impl Guarded {
    pub(crate) fn new(balance: Balance<Shared>, config: &FailoverConfig) -> Result<Self, Error> {
        let failover = config.failover()?;
        let layer = config.layer_of(failover.clone())?;
        let cluster = balance.cluster().clone();
        Ok(Self { service: layer.layer(balance), cluster, failover })
    }
}
