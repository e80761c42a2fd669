//! Who may write: nobody unless it is allowed, and never a page of another site.

use http::header::{HOST, HeaderName, ORIGIN};
use http::request::Parts;

use super::Writes;

/// Fetch metadata: from where a browser was made to send the request.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why the write is refused, if it is.
pub(super) fn refuse(writes: Writes, head: &Parts) -> Option<&'static str> {
    if writes == Writes::Refused {
        return Some("writes are off");
    }
    let text = |name| head.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let site = text(SEC_FETCH_SITE);
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return Some("a page of another site may not write");
    }
    let asked = text(HOST).or_else(|| head.uri.authority().map(|authority| authority.as_str()));
    let own = |origin: &str| {
        let host = origin.split_once("://").map_or("null", |(_, host)| host);
        asked.is_some_and(|asked| asked.eq_ignore_ascii_case(host))
    };
    match text(ORIGIN) {
        Some(origin) if !own(origin) => Some("a page of another origin may not write"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(headers: &[(&'static str, &str)]) -> bool {
        let mut request = http::Request::post("/endpoints/a/drain").header("host", "admin:8404");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        refuse(Writes::Allowed, &request.body(()).unwrap().into_parts().0).is_some()
    }

    #[test]
    fn pages_of_other_sites_are_refused_and_scripts_are_not() {
        assert!(!refused(&[]));
        assert!(!refused(&[("origin", "http://admin:8404"), ("sec-fetch-site", "same-origin")]));
        assert!(!refused(&[("origin", "http://ADMIN:8404"), ("sec-fetch-site", "none")]));
        for headers in [
            [("origin", "http://evil.test")],
            [("origin", "http://admin")],
            [("origin", "http://admin:8404.evil.test")],
            [("origin", "null")],
            [("origin", "")],
            [("sec-fetch-site", "cross-site")],
            [("sec-fetch-site", "same-site")],
            [("sec-fetch-site", "")],
        ] {
            assert!(refused(&headers), "{headers:?}");
        }
    }
}
