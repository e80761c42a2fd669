use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{COOKIE, HeaderName, HeaderValue};
use http::request::Parts;

use super::client::ClientAddress;
use super::hash::KeyHash;
use crate::error::Error;

/// What of a request is its key. Requests with equal keys meet at one endpoint.
///
/// Values are taken as they were sent, byte for byte: nothing is decoded, and where there are
/// several of a name the first counts. An empty value is no key.
///
/// Parses from `header:NAME`, `cookie:NAME`, `query:NAME`, `path` and `client_ip`.
///
/// ```
/// use whippletree::affinity::Key;
///
/// let key: Key = "header:X-User".parse()?;
/// assert_eq!(format!("{key:?}"), "header:x-user");
/// let error = "headers:x-user".parse::<Key>().unwrap_err();
/// assert!(error.to_string().starts_with(r#"hash_on: "headers:x-user" is none of header:NAME"#));
/// # Ok::<(), whippletree::Error>(())
/// ```
#[derive(Clone)]
pub struct Key(Part);

#[derive(Clone)]
enum Part {
    Header(HeaderName),
    Cookie(Arc<str>),
    Path,
    Query(Arc<str>),
    Client(ClientAddress),
    Custom(Arc<Custom>),
}

type HashOf = dyn Fn(&Parts) -> Option<u64> + Send + Sync;

/// A user's closure whose panics stay within.
struct Custom {
    hash: Box<HashOf>,
    /// Whether a panic was logged already: one bad line of code should not fill the log.
    told: AtomicBool,
}

impl Key {
    /// The value of the header `name`.
    ///
    /// # Errors
    ///
    /// Not the name of a header.
    pub fn header(name: &str) -> Result<Self, Error> {
        let wrong = |_| Error::config("hash_on", format!("header:{name}"), "names no header");
        name.parse().map(|name| Self(Part::Header(name))).map_err(wrong)
    }

    /// The value of the cookie `name`, in upper and lower case as written.
    ///
    /// # Errors
    ///
    /// Not the name of a cookie (a token of RFC 9110).
    pub fn cookie(name: &str) -> Result<Self, Error> {
        // Header names are the same tokens.
        if name.parse::<HeaderName>().is_err() {
            return Err(Error::config("hash_on", format!("cookie:{name}"), "names no cookie"));
        }
        Ok(Self(Part::Cookie(name.into())))
    }

    /// The path, without the query.
    #[must_use]
    pub fn path() -> Self {
        Self(Part::Path)
    }

    /// The value of the parameter `name` of the query, in upper and lower case as written. (nginx's
    /// `$arg_name` pays no heed to the case.)
    ///
    /// # Errors
    ///
    /// A name that is empty or has one of `&=#` or white space, which no parameter's has.
    pub fn query(name: &str) -> Result<Self, Error> {
        let alien = |c: char| c.is_whitespace() || c.is_control() || "&=#".contains(c);
        if name.is_empty() || name.contains(alien) {
            return Err(Error::config("hash_on", format!("query:{name}"), "names no parameter"));
        }
        Ok(Self(Part::Query(name.into())))
    }

    /// The client's address, as text, without the port.
    ///
    /// Clients behind one NAT have one key; a bound keeps these from sinking an endpoint.
    #[must_use]
    pub fn client(address: ClientAddress) -> Self {
        Self(Part::Client(address))
    }

    /// Any 64 bits that a closure makes of the request's head, used as they are; `None` is no key.
    ///
    /// Should be well spread over all 64 bits: return a [`KeyHash::hash`]. A panic is no key
    /// either; the first one is logged.
    ///
    /// ```
    /// use http::request::Parts;
    /// use whippletree::affinity::{Key, KeyHash};
    ///
    /// let tenant = |parts: &Parts| {
    ///     let tenant = parts.uri.path().split('/').nth(1)?;
    ///     Some(KeyHash::default().hash(tenant))
    /// };
    /// let key = Key::custom(tenant);
    /// let (parts, ()) = http::Request::get("/acme/orders/1").body(())?.into_parts();
    /// assert_eq!(key.hash(&parts, KeyHash::default()), Some(KeyHash::default().hash("acme")));
    /// # Ok::<(), http::Error>(())
    /// ```
    pub fn custom(hash: impl Fn(&Parts) -> Option<u64> + Send + Sync + 'static) -> Self {
        Self(Part::Custom(Arc::new(Custom { hash: Box::new(hash), told: AtomicBool::new(false) })))
    }

    /// The hash of the request's key, if it has one.
    #[must_use]
    pub fn hash(&self, parts: &Parts, by: KeyHash) -> Option<u64> {
        let value = match &self.0 {
            Part::Header(name) => parts.headers.get(name)?.as_bytes(),
            Part::Cookie(name) => cookie(parts, name)?,
            Part::Path => parts.uri.path().as_bytes(),
            Part::Query(name) => query(parts.uri.query()?, name)?.as_bytes(),
            Part::Client(client) => return Some(address(client.of(parts)?, by)),
            Part::Custom(custom) => return custom.hash(parts),
        };
        (!value.is_empty()).then(|| by.hash(value))
    }

    /// How the client is found, if its address is the key.
    #[cfg(feature = "serde")]
    pub(crate) fn client_mut(&mut self) -> Option<&mut ClientAddress> {
        match &mut self.0 {
            Part::Client(client) => Some(client),
            _ => None,
        }
    }
}

fn cookie<'a>(parts: &'a Parts, name: &str) -> Option<&'a [u8]> {
    let lines = parts.headers.get_all(COOKIE).into_iter().map(HeaderValue::as_bytes);
    let mut pairs = lines.flat_map(|line| line.split(|byte| *byte == b';'));
    pairs.find_map(|pair| {
        let pair = pair.trim_ascii();
        pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
    })
}

fn query<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// The hash of the address as text, as Envoy's and nginx's: written without allocating.
fn address(address: IpAddr, by: KeyHash) -> u64 {
    const LONGEST: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();
    let mut text = [0; LONGEST];
    let mut rest = &mut text[..];
    let written = write!(rest, "{address}");
    debug_assert!(written.is_ok(), "an address fits");
    let length = LONGEST - rest.len();
    by.hash(&text[..length])
}

impl Custom {
    fn hash(&self, parts: &Parts) -> Option<u64> {
        let result = catch_unwind(AssertUnwindSafe(|| (self.hash)(parts)));
        result.unwrap_or_else(|panic| {
            self.tell(&*panic);
            None
        })
    }

    #[cold]
    fn tell(&self, panic: &(dyn std::any::Any + Send)) {
        if !self.told.swap(true, Ordering::Relaxed) {
            let error = Error::panicked("key", panic);
            tracing::error!(target: "whippletree", "{error}; told once, the request has no key");
        }
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once(':') {
            Some(("header", name)) => Self::header(name),
            Some(("cookie", name)) => Self::cookie(name),
            Some(("query", name)) => Self::query(name),
            None if text == "path" => Ok(Self::path()),
            None if text == "client_ip" => Ok(Self::client(ClientAddress::new())),
            _ => {
                let known = "is none of header:NAME, cookie:NAME, query:NAME, path, client_ip";
                Err(Error::config("hash_on", text, known))
            }
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Part::Header(name) => write!(f, "header:{name}"),
            Part::Cookie(name) => write!(f, "cookie:{name}"),
            Part::Path => f.write_str("path"),
            Part::Query(name) => write!(f, "query:{name}"),
            Part::Client(client) => write!(f, "client_ip ({client:?})"),
            Part::Custom(_) => f.write_str("custom"),
        }
    }
}
