//! Reading JSON from strangers.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::error::BoxError;

/// How much of a text from outside stands in an error, in characters.
const EXCERPT: usize = 200;

/// A list of at most `MOST` elements: the memory of a list can be a hundred times its text.
pub(in crate::discover) fn at_most<'de, D, T, const MOST: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct AtMost<T, const MOST: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for AtMost<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MOST} elements")
        }

        fn visit_unit<E: Error>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(element) = seq.next_element()? {
                if list.len() == MOST {
                    return Err(A::Error::custom(format!("more than {MOST} elements")));
                }
                list.push(element);
            }
            Ok(list)
        }
    }

    // `null` is how Go writes a list without elements.
    deserializer.deserialize_any(AtMost::<T, MOST>(PhantomData))
}

/// A 64-bit number, which Google's JSON form of protobuf writes as a text.
#[cfg(feature = "etcd")]
pub(in crate::discover) fn number<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<i64, D::Error> {
    struct Number;

    impl Visitor<'_> for Number {
        type Value = i64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a 64-bit number, or one as a text")
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<i64, E> {
            Ok(number)
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<i64, E> {
            // Ids are unsigned in protobuf, and nothing but compared: any one-to-one reading does.
            Ok(number as i64)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<i64, E> {
            let unsigned = || text.parse().map(|number: u64| number as i64);
            text.parse().or_else(|_| unsigned()).map_err(|_| E::custom("is no 64-bit number"))
        }
    }

    deserializer.deserialize_any(Number)
}

/// A text from outside as a short piece of one line.
pub(in crate::discover) fn excerpt(text: &[u8]) -> String {
    // Four bytes are the most that a character has.
    let text = String::from_utf8_lossy(&text[..text.len().min(4 * EXCERPT)]);
    let mut chars = text.trim().chars();
    let short: String = chars.by_ref().take(EXCERPT).collect();
    let short = short.replace(char::is_control, " ");
    if chars.next().is_some() { format!("{short}…") } else { short }
}

/// A text within a path or a query (RFC 3986, section 2.3: all but unreserved characters).
#[cfg(any(feature = "consul", feature = "kube"))]
pub(in crate::discover) fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// What was refused of a set, in one error: the first few, and how many there are.
pub(in crate::discover) fn some_of(refused: Vec<String>) -> Option<BoxError> {
    let more = refused.len().saturating_sub(3);
    let shown = refused.into_iter().take(3).collect::<Vec<_>>().join("; ");
    match (shown.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(shown.into()),
        (false, more) => Some(format!("{shown}; and {more} more").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct List {
        #[serde(default, deserialize_with = "at_most::<_, _, 3>")]
        list: Vec<u8>,
    }

    #[test]
    fn list_of_more_than_is_allowed_is_an_error() {
        let list = |text| serde_json::from_str(text).map(|list: List| list.list);
        assert_eq!(list(r#"{"list":[1,2,3]}"#).unwrap(), [1, 2, 3]);
        assert_eq!(list(r#"{"list":null}"#).unwrap(), [0_u8; 0]);
        assert_eq!(list("{}").unwrap(), [0_u8; 0]);
        let error = list(r#"{"list":[1,2,3,4]}"#).unwrap_err();
        assert!(error.to_string().starts_with("more than 3 elements"), "{error}");
    }

    #[test]
    fn excerpts_are_short_and_one_line() {
        assert_eq!(excerpt(b" a\nb\x1b[0m "), "a b [0m");
        assert_eq!(excerpt("ä".repeat(1000).as_bytes()).chars().count(), EXCERPT + 1);
        assert_eq!(excerpt(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn three_of_many_refusals_are_shown() {
        let refused = |count: usize| some_of((0..count).map(|at| at.to_string()).collect());
        assert!(refused(0).is_none());
        assert_eq!(refused(3).unwrap().to_string(), "0; 1; 2");
        assert_eq!(refused(5).unwrap().to_string(), "0; 1; 2; and 2 more");
    }
}
