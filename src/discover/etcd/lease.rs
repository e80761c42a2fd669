use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::api::{self, KeptAlive, Lease};
use crate::discover::remote::{Ask, Site};
use crate::error::BoxError;

/// The longest answer that is read: a lease and a header are some 200 bytes.
const LONGEST: usize = 64 * 1024;

/// What a registration asks of etcd.
pub(super) struct Leases {
    pub(super) site: Site,
    pub(super) key: String,
    pub(super) ttl: Duration,
}

impl Leases {
    /// A new lease, with the key on it.
    pub(super) async fn establish(&mut self, value: &str) -> Result<i64, BoxError> {
        let lease: Lease = self.ask(&api::grant(self.ttl.as_secs())).await?;
        self.put(value, lease.id).await?;
        Ok(lease.id)
    }

    pub(super) async fn put(&mut self, value: &str, lease: i64) -> Result<(), BoxError> {
        let _: serde_json::Value = self.ask(&api::put(&self.key, value, lease)).await?;
        Ok(())
    }

    /// Keeps the lease alive, and the key there; answers whether there is such a lease.
    pub(super) async fn keep(&mut self, value: &str, lease: i64) -> Result<bool, BoxError> {
        let kept: KeptAlive = self.ask(&api::keep_alive(lease)).await?;
        if kept.result.ttl <= 0 {
            return Ok(false);
        }
        let ask = api::put_missing(&self.key, value, lease);
        let _: serde_json::Value = self.ask(&ask).await?;
        Ok(true)
    }

    pub(super) async fn revoke(&mut self, lease: i64) -> Result<(), BoxError> {
        let _: serde_json::Value = self.ask(&api::revoke(lease)).await?;
        Ok(())
    }

    async fn ask<T: DeserializeOwned>(&mut self, ask: &Ask) -> Result<T, BoxError> {
        let site = &mut self.site;
        let body = site.ask(ask, site.timeout).await?.into_body().whole(LONGEST);
        let text = timeout(site.timeout, body).await;
        let text = text.map_err(|_| site.blame(ask, "the answer did not end in time"))?;
        let text = text.map_err(|error| site.blame(ask, error))?;
        Ok(serde_json::from_slice(&text).map_err(|error| site.blame(ask, error))?)
    }
}
