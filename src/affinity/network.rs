use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::error::Error;

/// A range of addresses in CIDR notation: `10.0.0.0/8`, `2001:db8::/32`, or one address alone.
///
/// ```
/// use whippletree::affinity::Network;
///
/// let network: Network = "10.0.0.0/8".parse()?;
/// assert!(network.contains("10.1.2.3".parse().unwrap()));
/// assert!(network.contains("::ffff:10.1.2.3".parse().unwrap()));
/// assert!(!network.contains("11.0.0.1".parse().unwrap()));
/// # Ok::<(), whippletree::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// IPv4 as it is mapped into IPv6, so that there is one kind of address.
    base: u128,
    mask: u128,
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether `address` is in the range. An IPv4 address that is mapped into IPv6 counts as what
    /// it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        number(address) & self.mask == self.base
    }
}

fn number(address: IpAddr) -> u128 {
    let address = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    u128::from(address)
}

impl FromStr for Network {
    type Err = Error;

    /// # Errors
    ///
    /// No address, a length beyond 32 or 128, or bits of the address beyond the length.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::config("network", text, reason);
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(bits)),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong("has no IP address"))?;
        let longest: u8 = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => longest,
            Some(bits) => bits.parse().map_err(|_| wrong("has no length after the `/`"))?,
        };
        if bits > longest {
            return Err(wrong(&format!("is longer than {longest} bits")));
        }
        let free = u32::from(longest - bits);
        let mask = u128::MAX.checked_shl(free).unwrap_or(0);
        if number(address) & !mask != 0 {
            return Err(wrong("has bits set beyond its length"));
        }
        Ok(Self { base: number(address), mask, address, bits })
    }
}

impl From<IpAddr> for Network {
    /// The range of this one address.
    fn from(address: IpAddr) -> Self {
        let bits = if address.is_ipv4() { 32 } else { Ipv6Addr::BITS as u8 };
        Self { base: number(address), mask: u128::MAX, address, bits }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn ranges_end_where_their_length_says() {
        assert!(contains("192.168.4.0/22", "192.168.7.255"));
        assert!(!contains("192.168.4.0/22", "192.168.8.0"));
        assert!(contains("2001:db8::/33", "2001:db8:7fff::1"));
        assert!(!contains("2001:db8::/33", "2001:db8:8000::1"));
        assert!(contains("192.0.2.1", "192.0.2.1") && !contains("192.0.2.1", "192.0.2.2"));
        assert!(contains("::1", "::1") && !contains("::1", "::2"));
    }

    #[test]
    fn everything_is_a_range_of_its_family() {
        assert!(contains("0.0.0.0/0", "255.1.2.3") && !contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("::/0", "2001:db8::1") && contains("::/0", "10.0.0.1"));
    }

    #[test]
    fn wrong_ranges_are_refused_by_name() {
        for text in ["", "10", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.1/8", "a/8", "::/-1"] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("network: {text:?} ")), "{error}");
        }
        assert_eq!("10.0.0.0/8".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
    }
}
