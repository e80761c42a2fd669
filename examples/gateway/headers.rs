//! What a proxy must take out of a message and put into it (RFC 9110, 7.6.1). Pure functions.
//!
//! The order matters: first everything that belonged to the connection the message came from is
//! removed, then our own headers are added. The other way round a client could have ours removed
//! by naming them in `Connection` (Apache httpd's CVE-2022-31813).

use std::net::IpAddr;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Uri, Version};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Removes what concerns one connection only: `Connection` and all that it names, `Keep-Alive`,
/// `Proxy-*`, `TE`, `Trailer`, `Transfer-Encoding` and `Upgrade`.
///
/// Some names are not for `Connection` to remove: without `Host` or `Content-Length` the next
/// server would read another message than we did, and `X-Forwarded-*` is evidence.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in tokens(headers, &header::CONNECTION).iter().filter_map(|token| name(token)) {
        if !is_protected(&name) {
            headers.remove(name);
        }
    }
    for name in [
        header::CONNECTION,
        KEEP_ALIVE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
    let proxy: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("proxy-")).cloned().collect();
    for name in proxy {
        headers.remove(name);
    }
}

/// Whether the client can take trailers, the one thing that `TE` may say end to end.
pub(crate) fn accepts_trailers(headers: &HeaderMap) -> bool {
    tokens(headers, &header::TE).iter().any(|token| token.eq_ignore_ascii_case(b"trailers"))
}

/// Appends `peer` to the list of addresses that the request has come through.
pub(crate) fn append_forwarded_for(headers: &mut HeaderMap, peer: IpAddr) {
    let peer = peer.to_string();
    let lines = headers.get_all(X_FORWARDED_FOR).iter();
    let lines = lines.map(HeaderValue::as_bytes);
    let mut list: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    list.push(peer.as_bytes());
    // Values from the wire and an address: nothing that a header cannot hold.
    if let Ok(value) = HeaderValue::from_bytes(&list.join(&b", "[..])) {
        headers.insert(X_FORWARDED_FOR, value);
    }
}

/// The host that the client asked for, as a `Host` header for the endpoint.
///
/// An authority in the URI wins (HTTP/2's `:authority`, HTTP/1.1's absolute form). Only HTTP/1.0
/// may go without any; more than one, or something that is no host, is an attempt to have us and
/// the endpoint read two different ones.
pub(crate) fn host(
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Option<HeaderValue>, &'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("more than one host header");
    }
    if let Some(authority) = uri.authority() {
        let without_user = authority.as_str().rsplit('@').next().unwrap_or_default();
        return HeaderValue::from_str(without_user).map(Some).map_err(|_| "malformed authority");
    }
    match host {
        None if version > Version::HTTP_10 => Err("no host header"),
        Some(host) if !is_host(host) => Err("malformed host header"),
        host => Ok(host.cloned()),
    }
}

/// Puts the crumbs that HTTP/2 may break a cookie into together again (RFC 9113, 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1 {
        if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
            headers.insert(header::COOKIE, cookie);
        }
    }
}

/// The members of a comma-separated list over all lines of header `name`.
pub(crate) fn tokens(headers: &HeaderMap, name: &HeaderName) -> Vec<Vec<u8>> {
    let lines = headers.get_all(name).iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    members.map(|member| member.trim_ascii().to_vec()).filter(|member| !member.is_empty()).collect()
}

fn name(token: &[u8]) -> Option<HeaderName> {
    HeaderName::from_bytes(token).ok()
}

fn is_protected(name: &HeaderName) -> bool {
    *name == header::HOST
        || *name == header::CONTENT_LENGTH
        || name.as_str().starts_with("x-forwarded-")
}

fn is_host(value: &HeaderValue) -> bool {
    let is_authority = |text: &[u8]| Authority::try_from(text).is_ok() && !text.contains(&b'@');
    value.is_empty() || is_authority(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers written as `name: value` lines.
    fn headers(text: &str) -> HeaderMap {
        let pairs = text.lines().map(|line| line.split_once(':').expect("a header line"));
        pairs
            .map(|(name, value)| {
                let name: HeaderName = name.parse().expect("a header name");
                (name, HeaderValue::from_str(value.trim()).expect("a header value"))
            })
            .collect::<Vec<_>>()
            .into_iter()
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            })
    }

    fn left(text: &str) -> Vec<String> {
        let mut headers = headers(text);
        remove_hop_by_hop(&mut headers);
        let mut names: Vec<String> = headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn headers_of_the_connection_are_removed() {
        let all = "connection: close\nkeep-alive: timeout=5\nproxy-authorization: x\n\
                   proxy-connection: close\nte: gzip\ntrailer: x-sum\n\
                   transfer-encoding: chunked\nupgrade: foo\naccept: */*";
        assert_eq!(left(all), ["accept"]);
    }

    #[test]
    fn connection_removes_what_it_names_and_nothing_else() {
        assert_eq!(
            left("connection: X-A , x-b,, ,\nconnection: x-c\nx-a: 1\nx-b: 1\nx-c: 1\nx-d: 1"),
            ["x-d"]
        );
        assert_eq!(left("connection: b@d name, x-a\nx-a: 1\nx-b: 1"), ["x-b"]);
    }

    #[test]
    fn connection_cannot_remove_host_length_and_forwarded_for() {
        let kept = ["content-length", "host", "x-forwarded-for", "x-forwarded-proto"];
        let text = "connection: host, content-length, X-Forwarded-For, x-forwarded-proto\n\
                    host: a\ncontent-length: 1\nx-forwarded-for: 10.0.0.1\nx-forwarded-proto: https";
        assert_eq!(left(text), kept);
    }

    #[test]
    fn trailers_are_the_only_te() {
        assert!(accepts_trailers(&headers("te: gzip;q=0.5, Trailers")));
        assert!(!accepts_trailers(&headers("te: trailersx, gzip")));
    }

    #[test]
    fn forwarded_for_grows_at_the_end_into_one_line() {
        let mut headers = headers("x-forwarded-for: 10.0.0.1, 10.0.0.2\nx-forwarded-for: fake");
        append_forwarded_for(&mut headers, IpAddr::from([192, 0, 2, 7]));
        let all: Vec<_> = headers.get_all(X_FORWARDED_FOR).iter().collect();
        assert_eq!(all, ["10.0.0.1, 10.0.0.2, fake, 192.0.2.7"]);
    }

    #[test]
    fn host_comes_from_the_authority_or_from_exactly_one_header() {
        let ask = |uri: &str, text: &str| {
            let uri: Uri = uri.parse().unwrap();
            host(Version::HTTP_11, &uri, &headers(text)).map(|host| host.unwrap())
        };
        assert_eq!(ask("/", "host: a.test:81").unwrap(), "a.test:81");
        assert_eq!(ask("http://user:pass@b.test/", "host: a.test").unwrap(), "b.test");
        assert_eq!(ask("/", "host:").unwrap(), "");
        for wrong in ["host: a\nhost: b", "host: a b", "host: a/b", "host: me@a", "accept: x"] {
            assert!(ask("/", wrong).is_err(), "{wrong}");
        }
        let old = host(Version::HTTP_10, &Uri::from_static("/"), &HeaderMap::new());
        assert_eq!(old, Ok(None));
    }

    #[test]
    fn cookie_crumbs_are_joined() {
        let mut headers = headers("cookie: a=1\ncookie: b=2");
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(header::COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }
}
