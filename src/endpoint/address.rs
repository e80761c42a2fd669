use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::uri::{Authority, Scheme};

use crate::error::Error;

/// Where an endpoint listens: `host:port`, with the scheme `http` or `https` where one was given.
///
/// Parsed once, so that everything behind it (rewriting a request's URI, connecting a socket) can
/// no longer fail on a bad address.
///
/// ```
/// use whippletree::Endpoint;
///
/// let endpoint = Endpoint::new("https://[2001:db8::1]:8443")?;
/// assert_eq!(endpoint.address().host(), "2001:db8::1");
/// assert_eq!(endpoint.address().port(), 8443);
/// assert_eq!(endpoint.address().to_string(), "https://[2001:db8::1]:8443");
/// # Ok::<(), whippletree::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    scheme: Option<Scheme>,
    authority: Authority,
    port: u16,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |reason: &str| Error::config("address", text, reason);
        let (scheme, rest) = match text.split_once("://") {
            None => (None, text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => {
                (Some(Scheme::HTTP), rest)
            }
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => {
                (Some(Scheme::HTTPS), rest)
            }
            Some(_) => return Err(refuse("has a scheme other than http and https")),
        };
        if rest.contains('@') {
            return Err(refuse("has a user name, which an address cannot carry"));
        }
        let (host, port) =
            rest.rsplit_once(':').ok_or_else(|| refuse("has no port: write host:port"))?;
        let port = parse_port(port).ok_or_else(|| refuse("has no valid port"))?;
        check_host(host).map_err(refuse)?;
        let authority = rest.parse().map_err(|_| refuse("is not a valid host and port"))?;
        Ok(Self { scheme, authority, port })
    }

    /// The host name or IP address, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, 1 to 65535.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The scheme, if one was given.
    #[must_use]
    pub fn scheme(&self) -> Option<&Scheme> {
        self.scheme.as_ref()
    }

    /// Host and port as they stand in a URI.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The socket address, if the host is an IP address and not a name.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.host().parse().ok()?;
        Some(SocketAddr::new(ip, self.port))
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        // A zone index (`%eth0`) has no place in a URI, so an IPv6 address is written without.
        let address = SocketAddr::new(address.ip(), address.port());
        let authority = Authority::try_from(address.to_string())
            .expect("an IP address and a port are a valid authority");
        Self { scheme: None, authority, port: address.port() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = &self.scheme {
            write!(f, "{scheme}://")?;
        }
        self.authority.fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn parse_port(text: &str) -> Option<u16> {
    // `u16::from_str` would also take "+80".
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// A host is an IPv6 address in brackets, or a name or IPv4 address of the letters that DNS and
/// service discovery use.
fn check_host(host: &str) -> Result<(), &'static str> {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner
            .parse::<Ipv6Addr>()
            .map(drop)
            .map_err(|_| "has no valid IPv6 address in its brackets");
    }
    if host.is_empty() {
        return Err("has no host");
    }
    if host.contains(':') {
        return Err("has an IPv6 host without brackets: write [host]:port");
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if !host.bytes().all(allowed) {
        return Err("has a host with characters that no host name has");
    }
    if host.len() > 253 {
        return Err("has a host longer than 253 bytes");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_addresses_come_back_as_written() {
        for text in [
            "127.0.0.1:80",
            "[::1]:8080",
            "http://web.test:1",
            "https://web-1.eu_west.test:65535",
            "localhost:9001",
        ] {
            assert_eq!(Address::parse(text).map(|address| address.to_string()).unwrap(), text);
        }
    }

    #[test]
    fn malformed_addresses_are_refused_with_field_value_and_reason() {
        for (text, reason) in [
            ("", "has no port"),
            ("web", "has no port"),
            ("web:", "has no valid port"),
            ("web:0", "has no valid port"),
            ("web:+80", "has no valid port"),
            ("web:65536", "has no valid port"),
            ("web:80/path", "has no valid port"),
            (":80", "has no host"),
            ("::1:80", "without brackets"),
            ("[::1:80", "without brackets"),
            ("[::g]:80", "no valid IPv6"),
            ("ftp://web:80", "scheme"),
            ("me@web:80", "user name"),
            ("we b:80", "characters"),
            ("web\n:80", "characters"),
            ("wéb:80", "characters"),
        ] {
            let message = Address::parse(text).unwrap_err().to_string();
            assert!(message.starts_with("address: \""), "{message}");
            assert!(message.contains(reason), "{text:?} gave {message}");
        }
    }

    #[test]
    fn socket_address_is_known_for_ip_hosts_only() {
        let socket = |text| Address::parse(text).unwrap().socket_addr();
        assert_eq!(socket("[::1]:8080"), Some("[::1]:8080".parse().unwrap()));
        assert_eq!(socket("10.0.0.1:80"), Some("10.0.0.1:80".parse().unwrap()));
        assert_eq!(socket("localhost:80"), None);
    }
}
