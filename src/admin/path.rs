//! What a path asks for.

use http::Method;

use crate::endpoint::EndpointId;

pub(super) enum Call {
    Health,
    Stats,
    Endpoint(EndpointId, Verb),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Itself,
    Drain,
    Ready,
    Maintenance,
    Weight,
}

impl Verb {
    /// Whether the method changes something by this verb.
    pub(super) fn takes(self, method: &Method) -> bool {
        match self {
            Self::Itself => matches!(*method, Method::PUT | Method::DELETE),
            Self::Weight => method == Method::PUT,
            Self::Drain | Self::Ready | Self::Maintenance => method == Method::POST,
        }
    }
}

impl Call {
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Health | Self::Stats => "GET, HEAD",
            Self::Endpoint(_, Verb::Itself) => "GET, HEAD, PUT, DELETE",
            Self::Endpoint(_, Verb::Weight) => "PUT",
            Self::Endpoint(..) => "POST",
        }
    }
}

/// The call with this path, if there is one.
pub(super) fn parse(path: &str) -> Option<Call> {
    match path {
        "/healthz" => return Some(Call::Health),
        "/stats.json" => return Some(Call::Stats),
        _ => {}
    }
    let mut parts = path.strip_prefix("/endpoints/")?.split('/');
    let id = EndpointId::new(decode(parts.next()?)?).ok()?;
    let verb = match (parts.next(), parts.next()) {
        (None, None) => Verb::Itself,
        (Some("drain"), None) => Verb::Drain,
        (Some("ready"), None) => Verb::Ready,
        (Some("maintenance"), None) => Verb::Maintenance,
        (Some("weight"), None) => Verb::Weight,
        _ => return None,
    };
    Some(Call::Endpoint(id, verb))
}

/// The value of a key of the query, decoded; an error if it is malformed.
pub(super) fn query(query: Option<&str>, key: &str) -> Result<Option<String>, ()> {
    let pairs = query.unwrap_or_default().split('&');
    let mut found = pairs.filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name == key).then_some(value)
    });
    found.next().map(|value| decode(value).ok_or(())).transpose()
}

/// Takes percent-encoding off.
fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_decoded_and_unknown_paths_are_none() {
        for (path, id, expected) in [
            ("/endpoints/a", "a", Verb::Itself),
            ("/endpoints/http%3A%2f%2Fa:80/drain", "http://a:80", Verb::Drain),
            ("/endpoints/a%25/weight", "a%", Verb::Weight),
        ] {
            let Some(Call::Endpoint(found, verb)) = parse(path) else { panic!("{path}") };
            assert_eq!((found.as_str(), verb), (id, expected));
        }
        for path in [
            "/",
            "/endpoints",
            "/endpoints/",
            "/endpoints/a/b",
            "/endpoints/a/drain/b",
            "/endpoints/%",
            "/endpoints/%zz",
            "/endpoints/%ff",
            "/endpoints/%00",
        ] {
            assert!(parse(path).is_none(), "{path}");
        }
    }

    #[test]
    fn query_values_are_found_by_their_key() {
        assert_eq!(query(Some("a=1&deadline=3%30s"), "deadline"), Ok(Some("30s".to_owned())));
        assert_eq!(query(Some("xdeadline=1"), "deadline"), Ok(None));
        assert_eq!(query(Some("deadline=%"), "deadline"), Err(()));
        assert_eq!(query(None, "deadline"), Ok(None));
    }
}
