use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::uri::{Authority, Scheme};

use crate::error::Error;

/// Where an endpoint listens: `host:port`, with the scheme `http` or `https` where one was given.
///
/// Parsed once, so that everything behind it (rewriting a request's URI, connecting a socket) can
/// no longer fail on a bad address.
///
/// Its [`Display`](fmt::Display) is canonical, so that one address has one text however it was
/// written: the port always (with a scheme it may be left out, then it is 80 or 443), names in
/// lower case, IPv6 addresses as RFC 5952 shortens them, no slash at the end.
///
/// ```
/// use whippletree::Endpoint;
///
/// let endpoint = Endpoint::new("https://[2001:db8:0::1]/")?;
/// assert_eq!(endpoint.address().host(), "2001:db8::1");
/// assert_eq!(endpoint.address().port(), 443);
/// assert_eq!(endpoint.address().to_string(), "https://[2001:db8::1]:443");
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
        let (scheme, rest) = split_scheme(text).map_err(refuse)?;
        if rest.contains('@') {
            return Err(refuse("has a user name, which an address cannot carry"));
        }
        let (host, port) = split_port(rest);
        let port = match (port, &scheme) {
            (Some(port), _) => parse_port(port).ok_or_else(|| refuse("has no valid port"))?,
            (None, Some(scheme)) => default_port(scheme),
            (None, None) => return Err(refuse("has no port: write host:port")),
        };
        let authority = format!("{}:{port}", canonical_host(host).map_err(refuse)?);
        let authority = authority.parse().map_err(|_| refuse("is not a valid host and port"))?;
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

/// Parts the scheme from the rest; after a scheme the root path may stand, as in any URL.
fn split_scheme(text: &str) -> Result<(Option<Scheme>, &str), &'static str> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok((None, text));
    };
    let scheme = if scheme.eq_ignore_ascii_case("http") {
        Scheme::HTTP
    } else if scheme.eq_ignore_ascii_case("https") {
        Scheme::HTTPS
    } else {
        return Err("has a scheme other than http and https");
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('/') {
        return Err("has a path, which an address cannot carry");
    }
    Ok((Some(scheme), rest))
}

/// Parts the port from the host, whose brackets may contain colons.
fn split_port(rest: &str) -> (&str, Option<&str>) {
    let after_brackets = rest.rfind(']').unwrap_or(0);
    match rest.rfind(':').filter(|at| *at >= after_brackets) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    }
}

fn parse_port(text: &str) -> Option<u16> {
    // `u16::from_str` would also take "+80".
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// RFC 9110, sections 4.2.1 and 4.2.2.
fn default_port(scheme: &Scheme) -> u16 {
    if *scheme == Scheme::HTTPS { 443 } else { 80 }
}

/// A host is an IPv6 address in brackets, or a name or IPv4 address of the letters that DNS and
/// service discovery use.
fn canonical_host(host: &str) -> Result<String, &'static str> {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let ip: Result<Ipv6Addr, _> = inner.parse();
        return ip
            .map(|ip| format!("[{ip}]"))
            .map_err(|_| "has no valid IPv6 address in its brackets");
    }
    if host.is_empty() {
        return Err("has no host");
    }
    if host.contains(':') {
        return Err("has an IPv6 host without brackets: write [host]:port");
    }
    check_name(host)?;
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return Err("has a host of digits that is no IPv4 address");
    }
    Ok(host.to_ascii_lowercase())
}

/// The limits of DNS (RFC 1035, section 2.3.4), which allow a name to end in one dot: the root.
fn check_name(name: &str) -> Result<(), &'static str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > 253 {
        return Err("has a host longer than 253 bytes");
    }
    name.split('.').try_for_each(check_label)
}

fn check_label(label: &str) -> Result<(), &'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !label.bytes().all(allowed) {
        return Err("has a host with characters that no host name has");
    }
    if label.is_empty() {
        return Err("has a host with an empty label: two dots, or one at the beginning");
    }
    if label.len() > 63 {
        return Err("has a host with a label longer than 63 bytes");
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err("has a host with a label that begins or ends with a hyphen");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn well_formed_addresses_come_back_as_written() {
        for text in [
            "127.0.0.1:80",
            "[::1]:8080",
            "http://web.test:1",
            "https://web-1.eu_west.test:65535",
            "localhost:9001",
            "web.test.:80",
            "_http._tcp.web:80",
            "1-2.3a:80",
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
            ("web:80/", "has no valid port"),
            ("[::1]", "has no port"),
            ("https://web:", "has no valid port"),
            ("https://web/path", "has a path"),
            ("https://web//", "has a path"),
            ("https://", "has no host"),
            ("https:///", "has no host"),
            ("https://[::1", "without brackets"),
            ("https://[::1]80", "without brackets"),
            ("256.1.1.1:80", "no IPv4 address"),
            ("1.2.3:80", "no IPv4 address"),
            ("1:80", "no IPv4 address"),
            ("127.0.0.1.:80", "no IPv4 address"),
            ("010.0.0.1:80", "no IPv4 address"),
            ("a..b:80", "empty label"),
            (".a:80", "empty label"),
            ("a..:80", "empty label"),
            ("..:80", "empty label"),
            (".:80", "empty label"),
            ("-a.b:80", "hyphen"),
            ("a.b-:80", "hyphen"),
            (&format!("{}:80", "a".repeat(64)), "longer than 63"),
            (&format!("{}:80", ["a"; 128].join(".")), "longer than 253"),
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
    fn longest_label_and_longest_name_are_accepted() {
        let label = "a".repeat(63);
        assert!(Address::parse(&format!("{label}:80")).is_ok());
        let longest = [&*label, &label, &label, &label[..61]].join(".");
        assert_eq!(longest.len(), 253);
        assert!(Address::parse(&format!("https://{longest}.:65535")).is_ok());
        assert!(Address::parse(&format!("{longest}a:80")).is_err());
    }

    #[test]
    fn one_address_has_one_text_however_it_was_written() {
        for (text, canonical) in [
            ("https://a", "https://a:443"),
            ("https://a/", "https://a:443"),
            ("https://a:443/", "https://a:443"),
            ("HTTPS://A:0443", "https://a:443"),
            ("http://a", "http://a:80"),
            ("http://[::1]", "http://[::1]:80"),
            ("[0:0::0:1]:080", "[::1]:80"),
            ("Web.Test:80", "web.test:80"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.to_string(), canonical);
            assert_eq!(address, Address::parse(canonical).unwrap());
            assert_eq!(address.authority().port_u16(), Some(address.port()));
        }
    }

    #[test]
    fn socket_address_is_known_for_ip_hosts_only() {
        let socket = |text| Address::parse(text).unwrap().socket_addr();
        assert_eq!(socket("[::1]:8080"), Some("[::1]:8080".parse().unwrap()));
        assert_eq!(socket("10.0.0.1:80"), Some("10.0.0.1:80".parse().unwrap()));
        assert_eq!(socket("localhost:80"), None);
    }

    /// Nearly an address, more often than not.
    const NEARLY: &str = concat!(
        r"(|http://|HTTPS://)",
        r"([a-bA-B0-2:_\[\]-]{0,4}|\[::[1f:.]{1,4}\]|[0-9]{1,3}([.][0-9]{1,3}){3})",
        r"[.]{0,2}[a-z0-9-]{0,3}(:[0-9+]{0,5})?/{0,2}",
    );

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back_the_same(text in prop_oneof![".{0,80}", NEARLY]) {
            if let Ok(address) = Address::parse(&text) {
                let canonical = address.to_string();
                let again = Address::parse(&canonical).unwrap();
                prop_assert_eq!(&again, &address);
                prop_assert_eq!(again.to_string(), canonical);
            }
        }
    }
}
