//! Base64 for URLs without padding (RFC 4648, section 5), for lengths that leave no bits over: every
//! text stands for one value and every value for one text.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What no character of the alphabet stands for.
const NONE: u8 = 64;

const VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut values = [NONE; 256];
    let mut at = 0;
    while at < ALPHABET.len() {
        values[ALPHABET[at] as usize] = at as u8;
        at += 1;
    }
    values
}

/// Writes `bytes`, a multiple of three, behind `text`.
pub(super) fn encode(bytes: &[u8], text: &mut String) {
    for group in bytes.chunks_exact(3) {
        let all = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        let character = |shift: u32| char::from(ALPHABET[(all >> shift) as usize & 63]);
        text.extend([18, 12, 6, 0].map(character));
    }
}

/// Reads `text` into `bytes`, if it is that long and of the alphabet.
pub(super) fn decode(text: &[u8], bytes: &mut [u8]) -> Option<()> {
    if bytes.len() % 3 != 0 || text.len() != bytes.len() / 3 * 4 {
        return None;
    }
    for (characters, group) in text.chunks_exact(4).zip(bytes.chunks_exact_mut(3)) {
        let mut all = 0;
        for character in characters {
            let value = VALUES[usize::from(*character)];
            if value == NONE {
                return None;
            }
            all = all << 6 | u32::from(value);
        }
        group.copy_from_slice(&all.to_be_bytes()[1..]);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_the_rfc() {
        // RFC 4648, section 10; the last has both characters that differ from plain base64.
        for (bytes, expected) in
            [(&b"foo"[..], "Zm9v"), (b"foobar", "Zm9vYmFy"), (&[0xfb, 0xff, 0xfe], "-__-")]
        {
            let mut text = String::new();
            encode(bytes, &mut text);
            assert_eq!(text, expected);
            let mut back = vec![0; bytes.len()];
            decode(text.as_bytes(), &mut back).unwrap();
            assert_eq!(back, bytes);
        }
    }

    #[test]
    fn other_lengths_and_characters_are_refused() {
        for text in ["Zm9", "Zm9vY", "Zm9=", "Zm+v", "Zm/v", "Zm v", ""] {
            assert_eq!(decode(text.as_bytes(), &mut [0; 3]), None, "{text}");
        }
    }
}
