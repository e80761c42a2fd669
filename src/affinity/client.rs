use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName, HeaderValue};
use http::request::Parts;

use super::network::Network;

/// A request extension: the address at the other end of the connection that the request came in by.
///
/// Whoever accepts connections puts it there. A framework that has an extension of its own for it
/// is read by [`ClientAddress::peer_from`].
///
/// ```
/// use whippletree::affinity::Peer;
///
/// let request = http::Request::builder().extension(Peer([192, 0, 2, 7].into())).body(())?;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

type PeerOf = Arc<dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync>;

/// Who the client of a request is, where proxies stand in front of this one.
///
/// By default the [`Peer`], and no header is read: anybody can write `X-Forwarded-For`. Say which
/// proxies are [`trusted`](Self::trusted), or [how many](Self::trusted_hops) there always are, and
/// the addresses that these have appended are believed, from the right to the left, up to the first
/// that no trusted proxy vouches for. What a client has written itself stands further left and
/// never matters.
///
/// ```
/// use whippletree::affinity::{ClientAddress, Peer};
///
/// let proxies = ["10.0.0.0/8".parse()?];
/// let client = ClientAddress::new().trusted(proxies);
/// let request = http::Request::builder()
///     .extension(Peer([10, 0, 0, 1].into()))
///     .header("x-forwarded-for", "6.6.6.6, 192.0.2.7, 10.0.0.2")
///     .body(())?;
/// let (parts, ()) = request.into_parts();
/// assert_eq!(client.of(&parts), Some([192, 0, 2, 7].into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct ClientAddress {
    trust: Trust,
    header: Header,
    /// `None` reads [`Peer`].
    peer_of: Option<PeerOf>,
}

#[derive(Clone, Debug, Default)]
enum Trust {
    #[default]
    Nobody,
    Hops(usize),
    Networks(Arc<[Network]>),
}

#[derive(Clone, Copy, Debug, Default)]
enum Header {
    #[default]
    XForwardedFor,
    Forwarded,
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl ClientAddress {
    /// The peer, whatever the headers say.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts proxies in these ranges. From the right, the first address that is in none of them is
    /// the client; the leftmost if all are. A peer that is in none is the client itself, and its
    /// header is ignored.
    ///
    /// At something that is no address the search ends, at the proxy that let it in. Replaces
    /// [`trusted_hops`](Self::trusted_hops).
    #[must_use]
    pub fn trusted(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.trust = Trust::Networks(networks.into_iter().collect());
        self
    }

    /// Trusts so many proxies, whatever their addresses: with 1 the peer is one and the client is
    /// the rightmost address, with 2 the one before it. 0 is the peer.
    ///
    /// With fewer addresses than that, or no address in the place, the peer counts as the client
    /// (as Envoy's `xff_num_trusted_hops` has it). Only where nobody can reach this process past
    /// the proxies: who can, writes what he likes. Replaces [`trusted`](Self::trusted).
    #[must_use]
    pub fn trusted_hops(mut self, hops: usize) -> Self {
        self.trust = if hops == 0 { Trust::Nobody } else { Trust::Hops(hops) };
        self
    }

    /// Reads `Forwarded` (RFC 7239) instead of `X-Forwarded-For`. Choose the one that the proxies
    /// write; the other is the client's.
    #[must_use]
    pub fn forwarded(mut self) -> Self {
        self.header = Header::Forwarded;
        self
    }

    /// Reads the peer from elsewhere than [`Peer`], such as axum's `ConnectInfo`.
    #[must_use]
    pub fn peer_from(
        mut self,
        peer: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        self.peer_of = Some(Arc::new(peer));
        self
    }

    /// The client's address; `None` if the peer is not known. IPv4 mapped into IPv6 comes out as
    /// IPv4.
    #[must_use]
    pub fn of(&self, parts: &Parts) -> Option<IpAddr> {
        let peer = match &self.peer_of {
            Some(peer_of) => peer_of(parts)?,
            None => parts.extensions.get::<Peer>()?.0,
        };
        let peer = peer.to_canonical();
        Some(match &self.trust {
            Trust::Nobody => peer,
            Trust::Hops(hops) => {
                self.header.addresses(&parts.headers).nth(hops - 1).flatten().unwrap_or(peer)
            }
            Trust::Networks(networks) => self.first_untrusted(networks, peer, &parts.headers),
        })
    }

    fn first_untrusted(&self, networks: &[Network], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        let mut before = self.header.addresses(headers);
        while networks.iter().any(|network| network.contains(client)) {
            match before.next() {
                Some(Some(address)) => client = address,
                _ => break,
            }
        }
        client
    }
}

impl fmt::Debug for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAddress")
            .field("trust", &self.trust)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

impl Header {
    /// The entries of all lines from the right to the left; `None` where one is no address.
    fn addresses(self, headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
        let name = match self {
            Self::XForwardedFor => X_FORWARDED_FOR,
            Self::Forwarded => FORWARDED,
        };
        let lines = headers.get_all(name).into_iter().rev().map(HeaderValue::as_bytes);
        // Commas within quotes part an entry too: looking for the quotes would begin at the left,
        // with what the client wrote.
        let entries = lines.flat_map(|line| line.rsplit(|byte| *byte == b','));
        entries.map(move |entry| {
            let entry = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
            match self {
                Self::XForwardedFor => address(entry),
                Self::Forwarded => address(node(entry)?),
            }
        })
    }
}

/// The value of `for` in an element of `Forwarded`, without its quotes.
fn node(element: &str) -> Option<&str> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut nodes = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let node = nodes.next()?.1.trim();
    Some(node.strip_prefix('"').and_then(|node| node.strip_suffix('"')).unwrap_or(node))
}

/// An address as proxies write it: with a port or without, IPv6 in brackets or not.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    address.ok().map(|address| address.to_canonical())
}
