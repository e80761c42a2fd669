//! The request's `Cookie` headers: finding our cookie in them, and taking it out.

use bytes::BytesMut;
use http::header::{COOKIE, Entry, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};

/// How many bytes of all `Cookie` headers are looked at: the longest request head that common servers
/// take (hyper's limit is some 400 KiB, nginx's 32 KiB, Node's 16 KiB).
pub(super) const MOST_BYTES: usize = 64 * 1024;

/// The values of the cookies of this name, in their order, of the first 64 KiB. One pass; does not
/// allocate.
pub(super) fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let mut left = MOST_BYTES;
    let texts = headers.get_all(COOKIE).iter().map(move |value| {
        let looked_at = value.len().min(left);
        left -= looked_at;
        &value.as_bytes()[..looked_at]
    });
    texts.flat_map(move |text| text.split(|byte| *byte == b';').filter_map(|pair| of(pair, name)))
}

/// The value, if the pair `name=value` is of this name.
fn of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// Takes the cookies of this name out of the request, wherever they stand, and leaves the others as
/// they are.
pub(super) fn remove(headers: &mut HeaderMap, name: &str) {
    let ours = |value: &HeaderValue| pairs(value).any(|pair| of(pair, name).is_some());
    if headers.get_all(COOKIE).iter().any(ours) {
        replace(headers, COOKIE, |value| without(&value, name));
    }
}

/// Takes cookies of this name out of what is set.
pub(super) fn remove_set(headers: &mut HeaderMap, name: &str) {
    let ours =
        |value: &HeaderValue| pairs(value).next().is_some_and(|pair| of(pair, name).is_some());
    if headers.get_all(SET_COOKIE).iter().any(ours) {
        replace(headers, SET_COOKIE, |value| (!ours(&value)).then_some(value));
    }
}

/// Replaces every value of a header by what `with` makes of it.
fn replace(
    headers: &mut HeaderMap,
    name: HeaderName,
    with: impl Fn(HeaderValue) -> Option<HeaderValue>,
) {
    if let Entry::Occupied(entry) = headers.entry(name) {
        let (name, values) = entry.remove_entry_mult();
        let left: Vec<HeaderValue> = values.filter_map(with).collect();
        headers.extend(left.into_iter().map(|value| (name.clone(), value)));
    }
}

fn pairs(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b';')
}

/// The header without the cookies of this name; nothing if no other is left.
fn without(value: &HeaderValue, name: &str) -> Option<HeaderValue> {
    let mut left = BytesMut::with_capacity(value.len());
    for pair in pairs(value).filter(|pair| of(pair, name).is_none()) {
        if !left.is_empty() {
            left.extend_from_slice(b"; ");
        }
        left.extend_from_slice(pair.trim_ascii());
    }
    // Parts of a valid value are one.
    (!left.is_empty()).then(|| HeaderValue::from_maybe_shared(left.freeze()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let values = values.iter().map(|value| (COOKIE, HeaderValue::from_bytes(value).unwrap()));
        values.collect()
    }

    #[test]
    fn cookies_are_found_by_their_exact_name() {
        for (text, expected) in [
            (&b"SRV=a"[..], &["a"][..]),
            (b"x=1; SRV=a; y=2", &["a"]),
            (b"SRV=a;SRV=b ;\tSRV=c=d", &["a", "b", "c=d"]),
            (b"srv=a; SRVX=b; XSRV=c; SRV = d; SRV", &[]),
            (b"x=\"; SRV=a", &["a"]),
            (b"SRV=", &[""]),
            (b";;; = ;", &[]),
        ] {
            let headers = headers(&[text]);
            let found: Vec<&[u8]> = values(&headers, "SRV").collect();
            let expected: Vec<&[u8]> = expected.iter().map(|value| value.as_bytes()).collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn no_more_than_the_cap_is_looked_at() {
        let long = vec![b'x'; MOST_BYTES - 5];
        let headers = headers(&[&long, b"SRV=ab", b"SRV=c"]);
        let found: Vec<&[u8]> = values(&headers, "SRV").collect();
        assert_eq!(found, [b"a"]);
    }

    #[test]
    fn only_ours_is_taken_out() {
        let name = "SRV";
        for (before, after) in [
            (&[&b"SRV=a"[..]][..], &[][..]),
            (&[b"x=1; SRV=a; y=2"], &[&b"x=1; y=2"[..]]),
            (&[b"SRV=a", b"x=\xff"], &[b"x=\xff"]),
            (&[b"x=1;y=2"], &[b"x=1;y=2"]),
            (&[b"SRV=a; SRV=b; SRVX=c"], &[b"SRVX=c"]),
        ] {
            let mut cookies = headers(before);
            remove(&mut cookies, name);
            assert_eq!(cookies, headers(after), "{before:?}");
        }
    }

    #[test]
    fn endpoints_may_set_every_cookie_but_ours() {
        let set = ["SRV=x; Path=/", "a=SRV=x", "b=1; SRV=2"].map(HeaderValue::from_static);
        let mut headers: HeaderMap = set.map(|value| (SET_COOKIE, value)).into_iter().collect();
        remove_set(&mut headers, "SRV");
        let left: Vec<&HeaderValue> = headers.get_all(SET_COOKIE).iter().collect();
        assert_eq!(left, ["a=SRV=x", "b=1; SRV=2"]);
    }
}
