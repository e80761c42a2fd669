use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::endpoint::EndpointId;
use crate::error::Error;

/// Half of SHA-256's output is kept, the least that RFC 2104 (section 5) allows.
pub(super) const MAC: usize = 16;

/// What stands for an endpoint in a token: a keyed digest of its id.
pub(super) type Tag = [u8; 16];

/// The shortest key: 128 bits, the strength of the rest.
const SHORTEST: usize = 16;

/// The most keys: every forged token costs one check with each.
const MOST: usize = 8;

/// The keys of a layer, bound to the cookie's name and the cluster's: a token of one does not pass
/// for another. The first signs, all verify.
#[derive(Clone)]
pub(super) struct Keys(Box<[Key]>);

/// HMAC-SHA-256 with what is the same in every message taken in already.
#[derive(Clone)]
struct Key {
    tokens: Hmac<Sha256>,
    tags: Hmac<Sha256>,
}

impl Keys {
    pub(super) fn new(keys: &[Vec<u8>], cookie: &str, cluster: &str) -> Self {
        Self(keys.iter().map(|key| Key::new(key, cookie, cluster)).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn sign(&self, payload: &[u8]) -> [u8; MAC] {
        let mac = self.0[0].tokens.clone().chain_update(payload).finalize().into_bytes();
        half(&mac)
    }

    /// The key that has signed this, compared in constant time.
    pub(super) fn verify(&self, payload: &[u8], mac: &[u8]) -> Option<usize> {
        self.0.iter().position(|key| {
            mac.len() == MAC
                && key.tokens.clone().chain_update(payload).verify_truncated_left(mac).is_ok()
        })
    }

    /// What stands for the endpoint in a token of this key.
    pub(super) fn tag(&self, key: usize, id: &EndpointId) -> Tag {
        half(&self.0[key].tags.clone().chain_update(id.as_str()).finalize().into_bytes())
    }
}

impl Key {
    fn new(key: &[u8], cookie: &str, cluster: &str) -> Self {
        let begin = |purpose: &str, names: &[&str]| {
            let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
            // Each with its length, so that no two lists of names read alike.
            let names = [purpose].into_iter().chain(names.iter().copied());
            names.fold(mac, |mac, name| {
                mac.chain_update((name.len() as u64).to_be_bytes()).chain_update(name)
            })
        };
        Self {
            tokens: begin("whippletree session token", &[cookie, cluster]),
            tags: begin("whippletree endpoint tag", &[cluster]),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secret keys", self.len())
    }
}

/// Refuses keys that protect nothing. The error does not say what they are.
pub(super) fn check(keys: &[Vec<u8>]) -> Result<(), Error> {
    if keys.len() > MOST {
        return Err(Error::config("keys", keys.len(), format!("are more than {MOST}")));
    }
    match keys.iter().position(|key| key.len() < SHORTEST) {
        Some(short) => {
            let value = format!("{} bytes", keys[short].len());
            let reason = format!("are less than the {SHORTEST} that a key needs");
            Err(Error::config(format!("keys[{short}]"), value, reason))
        }
        None => Ok(()),
    }
}

/// A key for this process alone.
pub(super) fn random() -> Vec<u8> {
    rand::random::<[u8; 32]>().to_vec()
}

fn half(mac: &[u8]) -> [u8; MAC] {
    let mut half = [0; MAC];
    half.copy_from_slice(&mac[..MAC]);
    half
}
