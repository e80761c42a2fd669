use bytes::{Buf, Bytes};

/// Cuts a text that arrives in pieces into JSON objects, without looking at what is in them.
///
/// Holds one incomplete object, up to a limit, and one piece.
#[derive(Debug)]
pub(super) struct Splitter {
    piece: Bytes,
    /// The object as far as it has arrived.
    object: Vec<u8>,
    most: usize,
    /// How many braces and brackets are open within the object.
    depth: usize,
    text: Text,
    list: List,
}

/// Whether the position is within a JSON string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Outside,
    Inside,
    /// After a backslash.
    Escaped,
}

/// Whether the objects stand in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    /// They follow one another, as the frames of a watch do.
    No,
    ToBegin,
    Begun,
    Ended,
}

impl Splitter {
    /// For objects one after the other, each of at most so many bytes.
    pub(super) fn sequence(most: usize) -> Self {
        Self::new(most, List::No)
    }

    /// For a list of objects, each of at most so many bytes.
    #[cfg_attr(
        not(feature = "consul"),
        allow(dead_code, reason = "only its answer is a bare list")
    )]
    pub(super) fn list(most: usize) -> Self {
        Self::new(most, List::ToBegin)
    }

    fn new(most: usize, list: List) -> Self {
        let (piece, object) = (Bytes::new(), Vec::new());
        Self { piece, object, most, depth: 0, text: Text::Outside, list }
    }

    /// Takes the next piece, once [`next`](Self::next) has found nothing more.
    pub(super) fn push(&mut self, piece: Bytes) {
        self.piece = piece;
    }

    /// Whether the text may end here.
    pub(super) fn may_end(&self) -> bool {
        self.object.is_empty() && matches!(self.list, List::No | List::Ended)
    }

    /// The next object, if it is complete.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, &'static str> {
        if self.object.is_empty() && !self.begin()? {
            return Ok(None);
        }
        let end = self.scan();
        let taken = end.unwrap_or(self.piece.len());
        if self.object.len() + taken > self.most {
            return Err("one JSON object is longer than allowed");
        }
        self.object.extend_from_slice(&self.piece[..taken]);
        self.piece.advance(taken);
        Ok(end.map(|_| std::mem::take(&mut self.object)))
    }

    /// Goes to the beginning of an object; answers whether there is one.
    fn begin(&mut self) -> Result<bool, &'static str> {
        while let Some(byte) = self.piece.first() {
            match (byte, self.list) {
                (b'{', List::No | List::Begun) => return Ok(true),
                (b' ' | b'\t' | b'\r' | b'\n', _) | (b',', List::Begun) => {}
                (b'[', List::ToBegin) => self.list = List::Begun,
                (b']', List::Begun) => self.list = List::Ended,
                (_, List::No) => return Err("something other than a JSON object"),
                _ => return Err("something other than a list of JSON objects"),
            }
            self.piece.advance(1);
        }
        Ok(false)
    }

    /// Where in the piece the object ends.
    fn scan(&mut self) -> Option<usize> {
        for (at, byte) in self.piece.iter().enumerate() {
            match (self.text, byte) {
                (Text::Outside, b'"') => self.text = Text::Inside,
                (Text::Outside, b'{' | b'[') => self.depth += 1,
                (Text::Outside, b'}' | b']') => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                (Text::Inside, b'"') => self.text = Text::Outside,
                (Text::Inside, b'\\') => self.text = Text::Escaped,
                (Text::Escaped, _) => self.text = Text::Inside,
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(splitter: &mut Splitter, pieces: &[&[u8]]) -> Result<Vec<String>, &'static str> {
        let mut found = Vec::new();
        for piece in pieces {
            splitter.push(Bytes::copy_from_slice(piece));
            while let Some(object) = splitter.next()? {
                found.push(String::from_utf8(object).unwrap());
            }
        }
        Ok(found)
    }

    #[test]
    fn braces_and_quotes_within_texts_do_not_count() {
        let text = br#" {"a":"}\"{"} {"b":[{}, "\\"]}  {"c"#;
        let mut splitter = Splitter::sequence(100);
        let found = split(&mut splitter, &[text]).unwrap();
        assert_eq!(found, [r#"{"a":"}\"{"}"#, r#"{"b":[{}, "\\"]}"#]);
        assert!(!splitter.may_end(), "the third is incomplete");
    }

    #[test]
    fn list_has_a_beginning_and_an_end() {
        let mut splitter = Splitter::list(100);
        assert!(!splitter.may_end());
        assert_eq!(split(&mut splitter, &[b"[{\"a\":1}, {}", b""]).unwrap().len(), 2);
        assert!(!splitter.may_end());
        assert_eq!(split(&mut splitter, &[b"]\n"]).unwrap().len(), 0);
        assert!(splitter.may_end());
        assert!(split(&mut splitter, &[b"{}"]).is_err());
    }

    #[test]
    fn other_things_than_objects_are_errors() {
        for text in ["<html>", "12", "[{}]", "null", "}"] {
            assert!(split(&mut Splitter::sequence(100), &[text.as_bytes()]).is_err(), "{text}");
        }
        for text in ["<html>", "{}", "[1]", "[null]"] {
            assert!(split(&mut Splitter::list(100), &[text.as_bytes()]).is_err(), "{text}");
        }
    }

    #[test]
    fn object_without_end_is_refused_at_the_limit() {
        let mut splitter = Splitter::sequence(1000);
        let piece: &[u8] = &[b'{'; 100];
        assert_eq!(split(&mut splitter, &[piece; 10]), Ok(vec![]));
        assert!(split(&mut splitter, &[piece]).is_err());
        assert!(splitter.object.len() <= 1000);
    }

    proptest! {
        #[test]
        fn objects_are_the_same_wherever_the_text_is_cut(
            texts in proptest::collection::vec("[a{}\"\\\\\\[\\]]{0,8}", 1..5),
            cut in 1_usize..7,
        ) {
            let object = |text| serde_json::json!({ "text": [text] }).to_string();
            let objects: Vec<String> = texts.into_iter().map(object).collect();
            let whole = objects.join("\n");
            let pieces: Vec<&[u8]> = whole.as_bytes().chunks(cut).collect();
            prop_assert_eq!(split(&mut Splitter::sequence(1000), &pieces).unwrap(), objects);
        }

        #[test]
        fn nothing_makes_it_panic(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..9),
        ) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let _ = split(&mut Splitter::sequence(10), &pieces);
            let _ = split(&mut Splitter::list(10), &pieces);
        }
    }
}
