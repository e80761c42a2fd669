use std::sync::Arc;

use super::ClusterConfig;
use crate::affinity::{AffinityLayer, ClientAddress, Key, KeyHash, Network};
use crate::error::Error;
use crate::policy::{self, Maglev, Policy, Rendezvous, RingHash};

const HASHING: [&str; 4] = ["ring_hash", "ketama", "maglev", "rendezvous"];

impl ClusterConfig {
    /// The layer that gives requests the key of `hash_on`, to be put above the balance; `None`
    /// without `hash_on`.
    ///
    /// The policy `ketama` has keys hashed by CRC-32, as nginx; the others by XXH64, as Envoy and
    /// gRPC; all by SipHash if there is a `hash_secret`.
    ///
    /// # Errors
    ///
    /// A malformed value, `hash_on` without a policy that hashes, or a key that is of no effect.
    ///
    /// ```
    /// use whippletree::config::ClusterConfig;
    ///
    /// let text = "policy = \"maglev\"\nhash_on = \"cookie:user\"\nbounded = 1.25";
    /// let config: ClusterConfig = toml::from_str(text)?;
    /// assert!(config.affinity()?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn affinity(&self) -> Result<Option<AffinityLayer>, Error> {
        let Some(text) = &self.hash_on else {
            return self.without_key().map(|()| None);
        };
        let mut key: Key = text.parse()?;
        let policy = self.policy.as_deref().unwrap_or("p2c");
        if !HASHING.contains(&policy) {
            let reason = format!("needs a policy of {}, not {policy}", HASHING.join(", "));
            return Err(Error::config("hash_on", text, reason));
        }
        match key.client_mut() {
            Some(client) => *client = self.client()?,
            None => self.without_client()?,
        }
        Ok(Some(AffinityLayer::new(key).hashed_by(self.key_hash(policy)?)))
    }

    fn key_hash(&self, policy: &str) -> Result<KeyHash, Error> {
        match &self.hash_secret {
            Some(secret) => KeyHash::secret(secret),
            None if policy == "ketama" => Ok(KeyHash::crc32()),
            None => Ok(KeyHash::default()),
        }
    }

    fn client(&self) -> Result<ClientAddress, Error> {
        let client = ClientAddress::new();
        match (self.trusted_hops, &self.trusted) {
            (Some(hops), Some(_)) => {
                Err(Error::config("trusted_hops", hops, "and trusted exclude one another"))
            }
            (Some(hops), None) => Ok(client.trusted_hops(hops)),
            (None, Some(networks)) => {
                let network = |text: &String| {
                    let reason = "is no address or network such as 10.0.0.0/8";
                    text.parse().map_err(|_| Error::config("trusted", text, reason))
                };
                let networks: Vec<Network> =
                    networks.iter().map(network).collect::<Result<_, _>>()?;
                Ok(client.trusted(networks))
            }
            (None, None) => Ok(client),
        }
    }

    /// Refuses keys that would be of no effect.
    fn without_key(&self) -> Result<(), Error> {
        match &self.hash_secret {
            Some(_) => Err(Error::config("hash_secret", "…", "needs hash_on")),
            None => self.without_client(),
        }
    }

    fn without_client(&self) -> Result<(), Error> {
        let reason = "needs hash_on = \"client_ip\"";
        match (self.trusted_hops, &self.trusted) {
            (Some(hops), _) => Err(Error::config("trusted_hops", hops, reason)),
            (_, Some(networks)) => Err(Error::config("trusted", networks.join(", "), reason)),
            (None, None) => Ok(()),
        }
    }

    /// The policy of this name, bounded if asked for.
    pub(super) fn picks_by(&self) -> Result<Option<Arc<dyn Policy>>, Error> {
        let name = self.policy.as_deref();
        let Some(factor) = self.bounded else {
            return name.map(policy::by_name).transpose();
        };
        Ok(Some(match name {
            Some("ring_hash") => Arc::new(RingHash::new().bounded(factor)?),
            Some("ketama") => Arc::new(RingHash::ketama().bounded(factor)?),
            Some("maglev") => Arc::new(Maglev::new().bounded(factor)?),
            Some("rendezvous") => Arc::new(Rendezvous::new().bounded(factor)?),
            other => {
                other.map(policy::by_name).transpose()?;
                let policy = other.unwrap_or("p2c");
                let reason = format!("needs a policy of {}, not {policy}", HASHING.join(", "));
                return Err(Error::config("bounded", factor, reason));
            }
        }))
    }
}
