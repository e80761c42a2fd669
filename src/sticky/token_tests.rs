use std::collections::HashSet;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::endpoint::EndpointId;

fn keys(keys: &[&str]) -> Keys {
    let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
    Keys::new(&keys, "SRV", "cluster")
}

const KEY: &str = "0123456789abcdef0123456789abcdef";

static KEYS: LazyLock<Keys> = LazyLock::new(|| keys(&[KEY]));

fn token() -> Token {
    let tag = keys(&[KEY]).tag(0, &EndpointId::new("web-1").unwrap());
    Token {
        tag,
        session: SessionId::of(42),
        issued: Date(1_700_000_000_000),
        seen: Date(1_700_000_060_000),
    }
}

fn text(token: &Token, keys: &Keys) -> String {
    let mut text = String::new();
    token.write(keys, &mut text);
    text
}

#[test]
fn token_reads_as_it_was_written() {
    let keys = keys(&[KEY]);
    let text = text(&token(), &keys);
    assert_eq!(text.len(), LENGTH);
    assert_eq!(Token::read(text.as_bytes(), &keys), Some((token(), 0)));
}

#[test]
fn digest_is_hmac_sha_256_over_names_and_payload() {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
    for name in ["whippletree session token", "SRV", "cluster"] {
        mac.update(&(name.len() as u64).to_be_bytes());
        mac.update(name.as_bytes());
    }
    mac.update(&token().payload());
    let expected = mac.finalize().into_bytes();
    assert_eq!(keys(&[KEY]).sign(&token().payload())[..], expected[..MAC]);
}

#[test]
fn no_mutation_of_a_token_is_accepted() {
    let keys = keys(&[KEY, "another key of 32 bytes, or more"]);
    let valid = text(&token(), &keys).into_bytes();
    for at in 0..valid.len() {
        for byte in 0..=255 {
            let mut mutated = valid.clone();
            mutated[at] = byte;
            let accepted = Token::read(&mutated, &keys).is_some();
            assert_eq!(accepted, byte == valid[at], "byte {at} = {byte}");
        }
    }
    for length in 0..valid.len() {
        assert_eq!(Token::read(&valid[..length], &keys), None);
    }
    let doubled = [&valid[..], &valid[..]].concat();
    assert_eq!(Token::read(&doubled, &keys), None);
    assert_eq!(Token::read(&vec![b'A'; 1 << 20], &keys), None);
}

#[test]
fn tokens_are_bound_to_key_cookie_and_cluster() {
    let own = keys(&[KEY]);
    let text = text(&token(), &own);
    let key = KEY.as_bytes().to_vec();
    for others in [
        keys(&["0123456789abcdef0123456789abcdeF"]),
        Keys::new(std::slice::from_ref(&key), "SRV2", "cluster"),
        Keys::new(std::slice::from_ref(&key), "SRV", "cluster2"),
        Keys::new(std::slice::from_ref(&key), "SRVc", "luster"),
        Keys::new(&[key], "", "SRVcluster"),
    ] {
        assert_eq!(Token::read(text.as_bytes(), &others), None);
    }
}

#[test]
fn first_key_signs_and_all_verify() {
    let (old, new) = ("the old key of 32 bytes, or more", "the new key of 32 bytes, or more");
    let before = text(&token(), &keys(&[old]));
    let rotated = keys(&[new, old]);
    assert_eq!(Token::read(before.as_bytes(), &rotated), Some((token(), 1)));
    let after = text(&token(), &rotated);
    assert_eq!(Token::read(after.as_bytes(), &keys(&[new])), Some((token(), 0)));
    assert_eq!(Token::read(after.as_bytes(), &keys(&[old])), None);
}

#[test]
fn tags_depend_on_key_cluster_and_id_alone() {
    let id = |text: &str| EndpointId::new(text).unwrap();
    let tag = |key: &str, name: &str, cluster: &str, text: &str| {
        Keys::new(&[key.as_bytes().to_vec()], name, cluster).tag(0, &id(text))
    };
    let own = tag(KEY, "SRV", "cluster", "10.0.0.1:80");
    assert_eq!(own, tag(KEY, "other", "cluster", "10.0.0.1:80"));
    assert_ne!(own, tag(KEY, "SRV", "cluster", "10.0.0.2:80"));
    assert_ne!(own, tag(KEY, "SRV", "other", "10.0.0.1:80"));
    assert_ne!(own, tag("another key of 32 bytes, or more", "SRV", "cluster", "10.0.0.1:80"));
}

#[test]
fn token_tells_no_address() {
    let keys = keys(&[KEY]);
    let mut tags = HashSet::new();
    for index in 0..1000_u16 {
        let [high, low] = index.to_be_bytes();
        let (octets, port) = ([10, 77, high, low], 8080_u16);
        let address = format!("10.77.{high}.{low}:{port}");
        let tag = keys.tag(0, &EndpointId::new(&address).unwrap());
        assert!(tags.insert(tag));
        let text = text(&Token { tag, ..token() }, &keys);
        let mut bytes = [0; BYTES];
        base64::decode(text.as_bytes(), &mut bytes).unwrap();
        let reversed: Vec<u8> = octets.iter().rev().copied().collect();
        let number = u32::from_be_bytes(octets);
        let mut encoded = String::new();
        base64::encode(address.get(..address.len() / 3 * 3).unwrap().as_bytes(), &mut encoded);
        for needle in [
            address.clone(),
            number.to_string(),
            number.swap_bytes().to_string(),
            format!("{number:08x}"),
            format!("{:08x}", number.swap_bytes()),
            encoded,
        ] {
            assert!(!text.contains(&needle), "{text} has {needle}");
            assert!(!bytes.windows(needle.len()).any(|window| window == needle.as_bytes()));
        }
        for needle in [&octets[..], &reversed] {
            assert!(!bytes.windows(4).any(|window| window == needle), "{address}");
        }
    }
}

#[test]
fn keys_do_not_show() {
    let shown = format!("{:?}", keys(&[KEY, "another key of 32 bytes, or more"]));
    assert_eq!(shown, "2 secret keys");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(9),
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_tokens_are_refused(text in prop::collection::vec(any::<u8>(), LENGTH)) {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        // Of the alphabet, and with the version, so that the digest decides.
        let mut inside: Vec<u8> =
            text.iter().map(|byte| alphabet[usize::from(*byte) % 64]).collect();
        inside[..2].copy_from_slice(b"dz");
        prop_assert_eq!(Token::read(&text, &KEYS), None);
        prop_assert_eq!(Token::read(&inside, &KEYS), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(10),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_token_reads_as_it_was_written(
        tag in any::<[u8; 16]>(),
        session in any::<u64>(),
        issued in 0..=Date::LAST,
        seen in 0..=Date::LAST,
    ) {
        let session = SessionId::of(session);
        let token = Token { tag, session, issued: Date(issued), seen: Date(seen) };
        let keys = keys(&[KEY]);
        prop_assert_eq!(Token::read(text(&token, &keys).as_bytes(), &keys), Some((token, 0)));
    }
}
