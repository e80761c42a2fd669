//! Hashes of keys.

use xxhash_rust::xxh64::xxh64;

/// XXH64 with seed 0, which Envoy and gRPC hash header values with.
///
/// ```
/// use whippletree::policy::hash::xxh64_key;
///
/// assert_eq!(xxh64_key("some-value"), 1_094_076_000_777_946_959);
/// ```
#[must_use]
pub fn xxh64_key(key: impl AsRef<[u8]>) -> u64 {
    xxh64(key.as_ref(), 0)
}

/// CRC-32 (IEEE), which nginx and pingora hash keys with, in the low 32 bits.
///
/// For [`RingHash::ketama`](super::RingHash::ketama), which looks at no others. As the high bits
/// are 0, other policies should be given [`xxh64_key`].
///
/// ```
/// use whippletree::policy::hash::crc32_key;
///
/// assert_eq!(crc32_key("test"), 3_632_233_996);
/// ```
#[must_use]
pub fn crc32_key(key: impl AsRef<[u8]>) -> u64 {
    crc32fast::hash(key.as_ref()).into()
}
