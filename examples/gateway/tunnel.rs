//! Upgraded connections: after a 101 the two sides speak a protocol that is not our business.
//!
//! A tunnel is load like any request, often for hours. Its lease comes as an extension of the 101
//! and is held until the tunnel closes, so that least-loaded policies and a drain see it.

use hyper::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Response, Version};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use whippletree::balance::HeldLease;

use super::headers::tokens;
use super::shutdown::Guard;

/// The protocol that a request asks to switch to, or that a 101 agrees to.
///
/// `None` for `h2c` too: a tunnel in HTTP/2 would carry requests past everything we do here.
pub(crate) fn protocol(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    let is = |word: &'static [u8]| move |token: &Vec<u8>| token.eq_ignore_ascii_case(word);
    let protocols = tokens(headers, &UPGRADE);
    let is_asked = tokens(headers, &CONNECTION).iter().any(is(b"upgrade"));
    // HTTP/1.0 has no upgrades (RFC 9110, 7.8), HTTP/2 has others.
    if version != Version::HTTP_11 || !is_asked || protocols.is_empty() {
        return None;
    }
    if protocols.iter().any(is(b"h2c")) {
        return None;
    }
    HeaderValue::from_bytes(&protocols.join(&b", "[..])).ok()
}

/// Marks a message as one that switches to `protocol`.
pub(crate) fn mark(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// Joins the client's side with the endpoint's, which answered with the 101 `response`.
///
/// Bytes flow once that response has been sent. A shutdown waits for `guard`.
pub(crate) fn open<B>(client: OnUpgrade, response: &mut Response<B>, guard: Guard) {
    let endpoint = hyper::upgrade::on(&mut *response);
    let lease = response.extensions_mut().remove::<HeldLease>();
    tokio::spawn(async move {
        let held = (lease, guard);
        // Either may fail: the client is gone before it saw the 101. Both sides are closed then.
        if let Ok((client, endpoint)) = tokio::try_join!(client, endpoint) {
            let (mut client, mut endpoint) = (TokioIo::new(client), TokioIo::new(endpoint));
            // An end of one direction is passed on and the other goes on, as with plain TCP.
            // The end of its endpoint's drain closes it.
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut endpoint) => {}
                () = forced(held.0.as_ref()) => {}
            }
        }
    });
}

async fn forced(lease: Option<&HeldLease>) {
    match lease {
        Some(lease) => lease.forced().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrade_needs_http_1_1_and_connection_and_is_never_h2c() {
        let ask = |version, connection: &'static str, upgrade: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONNECTION, HeaderValue::from_static(connection));
            headers.insert(UPGRADE, HeaderValue::from_static(upgrade));
            protocol(version, &headers)
        };
        let socket = Some(HeaderValue::from_static("websocket"));
        assert_eq!(ask(Version::HTTP_11, "keep-alive, Upgrade", "websocket"), socket);
        assert_eq!(ask(Version::HTTP_10, "upgrade", "websocket"), None);
        assert_eq!(ask(Version::HTTP_2, "upgrade", "websocket"), None);
        assert_eq!(ask(Version::HTTP_11, "keep-alive", "websocket"), None);
        assert_eq!(ask(Version::HTTP_11, "upgrade", " ,"), None);
        assert_eq!(ask(Version::HTTP_11, "upgrade", "websocket, H2C"), None);
    }
}
