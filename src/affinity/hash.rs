use std::fmt;

use xxhash_rust::xxh64::xxh64;

use crate::error::Error;
use crate::policy::hash::crc32_key;

/// A shorter secret could be guessed: as many bytes as SipHash's key has.
const SHORTEST_SECRET: usize = 16;

/// How the bytes of a key become the 64 bits that a hash policy picks by.
///
/// Fixed by specification, so the same on every machine and in every version. Default
/// [`xxh64`](Self::xxh64) with seed 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(Function);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Function {
    Xxh64(u64),
    Crc32,
    SipHash(u64, u64),
}

impl KeyHash {
    /// XXH64. Envoy and gRPC hash header values with seed 0.
    ///
    /// Another seed makes other keys meet. It is no protection against clients who choose their
    /// keys: some collisions of XXH64 do not depend on the seed.
    #[must_use]
    pub const fn xxh64(seed: u64) -> Self {
        Self(Function::Xxh64(seed))
    }

    /// CRC-32 (IEEE), as nginx's `hash … consistent`. For
    /// [`RingHash::ketama`](crate::policy::RingHash::ketama) only: it has 32 bits.
    #[must_use]
    pub const fn crc32() -> Self {
        Self(Function::Crc32)
    }

    /// SipHash-1-3 under a secret that the processes share, at least 16 bytes. Without it nobody
    /// can tell which keys meet, and so no client can choose keys that all meet at one endpoint.
    ///
    /// # Errors
    ///
    /// A shorter secret. The error does not repeat it.
    ///
    /// ```
    /// use whippletree::affinity::KeyHash;
    ///
    /// let hash = KeyHash::secret("yawning-otter-4711")?;
    /// assert_eq!(hash.hash("ada"), KeyHash::secret("yawning-otter-4711")?.hash("ada"));
    /// assert_ne!(hash.hash("ada"), KeyHash::secret("yawning-otter-4712")?.hash("ada"));
    /// # Ok::<(), whippletree::Error>(())
    /// ```
    pub fn secret(secret: impl AsRef<[u8]>) -> Result<Self, Error> {
        let secret = secret.as_ref();
        if secret.len() < SHORTEST_SECRET {
            let given = format!("{} bytes", secret.len());
            let reason = format!("is shorter than {SHORTEST_SECRET} bytes");
            return Err(Error::config("hash_secret", given, reason));
        }
        Ok(Self(Function::SipHash(xxh64(secret, 0), xxh64(secret, 1))))
    }

    /// The hash of `key`.
    #[must_use]
    pub fn hash(&self, key: impl AsRef<[u8]>) -> u64 {
        let key = key.as_ref();
        match self.0 {
            Function::Xxh64(seed) => xxh64(key, seed),
            Function::Crc32 => crc32_key(key),
            Function::SipHash(k0, k1) => siphash::<1, 3>(k0, k1, key),
        }
    }
}

impl Default for KeyHash {
    fn default() -> Self {
        Self::xxh64(0)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Function::Xxh64(seed) => write!(f, "Xxh64({seed})"),
            Function::Crc32 => f.write_str("Crc32"),
            Function::SipHash(..) => f.write_str("SipHash(…)"),
        }
    }
}

/// SipHash-c-d (Aumasson and Bernstein 2012).
fn siphash<const C: usize, const D: usize>(k0: u64, k1: u64, bytes: &[u8]) -> u64 {
    let mut state = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let mut words = bytes.chunks_exact(8);
    words.by_ref().for_each(|word| absorb::<C>(&mut state, word_of(word)));
    let length = (bytes.len() as u64) << 56;
    absorb::<C>(&mut state, length | word_of(words.remainder()));
    state[2] ^= 0xff;
    (0..D).for_each(|_| round(&mut state));
    state.iter().fold(0, |hash, word| hash ^ word)
}

/// Up to eight bytes, little endian.
fn word_of(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

fn absorb<const ROUNDS: usize>(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    (0..ROUNDS).for_each(|_| round(state));
    state[0] ^= word;
}

fn round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *c = c.wrapping_add(*d);
    *b = b.rotate_left(13) ^ *a;
    *d = d.rotate_left(16) ^ *c;
    *a = a.rotate_left(32).wrapping_add(*d);
    *c = c.wrapping_add(*b);
    *d = d.rotate_left(21) ^ *a;
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hasher};

    use super::*;

    #[test]
    fn siphash_2_4_of_the_papers_appendix_comes_out() {
        let bytes: Vec<u8> = (0..15).collect();
        let hash = siphash::<2, 4>(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908, &bytes);
        assert_eq!(hash, 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn siphash_1_3_is_that_of_the_standard_library() {
        let bytes: Vec<u8> = (0..100).collect();
        for length in 0..bytes.len() {
            let mut hasher = DefaultHasher::new();
            hasher.write(&bytes[..length]);
            assert_eq!(siphash::<1, 3>(0, 0, &bytes[..length]), hasher.finish(), "{length}");
        }
    }

    #[test]
    fn default_is_envoys_and_a_seed_changes_it() {
        assert_eq!(KeyHash::default().hash("some-value"), 1_094_076_000_777_946_959);
        assert_ne!(KeyHash::xxh64(1).hash("a"), KeyHash::xxh64(2).hash("a"));
        assert_eq!(KeyHash::crc32().hash("test"), 3_632_233_996);
    }

    #[test]
    fn secret_is_never_shown() {
        let error = KeyHash::secret("short-secret").unwrap_err().to_string();
        assert_eq!(error, r#"hash_secret: "12 bytes" is shorter than 16 bytes"#);
        let hash = KeyHash::secret([7; 16]).unwrap();
        assert_eq!(format!("{hash:?}"), "SipHash(…)");
    }
}
