//! Who the client is behind proxies: only what trusted ones have written counts.

use std::net::IpAddr;

use http::Request;
use proptest::prelude::*;
use whippletree::affinity::{ClientAddress, Network, Peer};

/// The client that `rule` finds of a request of `peer` with these header lines.
fn client(rule: &ClientAddress, peer: &str, name: &str, lines: &[&str]) -> String {
    let request = Request::get("/").extension(Peer(peer.parse().unwrap()));
    let request = lines.iter().fold(request, |request, line| request.header(name, *line));
    rule.of(&request.body(()).unwrap().into_parts().0).unwrap().to_string()
}

fn xff(rule: &ClientAddress, peer: &str, lines: &[&str]) -> String {
    client(rule, peer, "x-forwarded-for", lines)
}

fn trusting(networks: &[&str]) -> ClientAddress {
    let network = |text: &&str| text.parse::<Network>().unwrap();
    ClientAddress::new().trusted(networks.iter().map(network))
}

#[test]
fn nobody_is_believed_by_default() {
    for rule in [ClientAddress::new(), ClientAddress::new().trusted_hops(0), trusting(&[])] {
        assert_eq!(xff(&rule, "10.0.0.1", &["6.6.6.6"]), "10.0.0.1");
    }
}

#[test]
fn first_untrusted_from_the_right_is_the_client() {
    let rule = trusting(&["10.0.0.0/8", "2001:db8::/32"]);
    for (peer, lines, expected) in [
        ("10.0.0.1", &["6.6.6.6, 192.0.2.7"][..], "192.0.2.7"),
        ("10.0.0.1", &["6.6.6.6, 192.0.2.7 ,10.0.0.3,\t10.0.0.2"], "192.0.2.7"),
        ("10.0.0.1", &["6.6.6.6", "192.0.2.7, 10.0.0.3", "10.0.0.2"], "192.0.2.7"),
        ("2001:db8::1", &["192.0.2.7, 2001:db8::2"], "192.0.2.7"),
        ("::ffff:10.0.0.1", &["192.0.2.7, ::ffff:10.0.0.2"], "192.0.2.7"),
        ("10.0.0.1", &["192.0.2.7:4711, [2001:db8::2]:80, [2001:db8::3]"], "192.0.2.7"),
        // All are trusted: the furthest.
        ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", &[], "10.0.0.1"),
        // The peer is no proxy of ours.
        ("192.0.2.9", &["10.0.0.2"], "192.0.2.9"),
        // Nonsense was let in by 10.0.0.2.
        ("10.0.0.1", &["192.0.2.7, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", &["192.0.2.7,"], "10.0.0.1"),
    ] {
        assert_eq!(xff(&rule, peer, lines), expected, "{peer} {lines:?}");
    }
}

#[test]
fn hops_count_from_the_right() {
    let lines = ["6.6.6.6, 192.0.2.7", "10.0.0.2"];
    for (hops, expected) in
        [(0, "10.0.0.1"), (1, "10.0.0.2"), (2, "192.0.2.7"), (3, "6.6.6.6"), (4, "10.0.0.1")]
    {
        let rule = ClientAddress::new().trusted_hops(hops);
        assert_eq!(xff(&rule, "10.0.0.1", &lines), expected, "{hops}");
    }
    let rule = ClientAddress::new().trusted_hops(1);
    assert_eq!(xff(&rule, "10.0.0.1", &["192.0.2.7, unknown"]), "10.0.0.1");
}

#[test]
fn forwarded_is_read_where_it_is_what_the_proxies_write() {
    let rule = trusting(&["10.0.0.0/8"]).forwarded();
    for (lines, expected) in [
        (&["for=192.0.2.7"][..], "192.0.2.7"),
        (&["for=6.6.6.6, For=\"192.0.2.7:4711\";proto=http;by=10.0.0.1"], "192.0.2.7"),
        (&["proto=https; for=\"[2001:db8::7]:4711\"", "for=10.0.0.2"], "2001:db8::7"),
        (&["for=192.0.2.7, for=_hidden, for=10.0.0.2"], "10.0.0.2"),
        (&["for=192.0.2.7, for=unknown"], "10.0.0.1"),
        (&["by=192.0.2.7"], "10.0.0.1"),
        (&["for=\"6.6.6.6, for=192.0.2.7"], "192.0.2.7"),
    ] {
        assert_eq!(client(&rule, "10.0.0.1", "forwarded", lines), expected, "{lines:?}");
    }
    assert_eq!(xff(&rule, "10.0.0.1", &["192.0.2.7"]), "10.0.0.1");
    let other = trusting(&["10.0.0.0/8"]);
    assert_eq!(client(&other, "10.0.0.1", "forwarded", &["for=192.0.2.7"]), "10.0.0.1");
}

proptest! {
    /// What a client writes stands left of what the first proxy appends about it.
    #[test]
    fn what_the_client_writes_never_matters(
        lines in proptest::collection::vec("[ -~]{0,60}", 0..4),
        client_bits: u32,
        proxies in 0_usize..4,
    ) {
        let address = IpAddr::from((client_bits | 0x8000_0000).to_be_bytes());
        let appended: Vec<String> = std::iter::once(address.to_string())
            .chain((0..proxies).map(|at| format!("10.0.0.{}", at + 2)))
            .collect();
        for (rule, name) in [
            (trusting(&["10.0.0.0/8"]), "x-forwarded-for"),
            (ClientAddress::new().trusted_hops(proxies + 1), "x-forwarded-for"),
            (trusting(&["10.0.0.0/8"]).forwarded(), "forwarded"),
        ] {
            let mark = if name == "forwarded" { "for=" } else { "" };
            let own: Vec<String> = appended.iter().map(|one| format!("{}{}", mark, quoted(one, mark))).collect();
            let own = own.join(", ");
            // As a line of its own, and on the client's last line.
            let mut apart: Vec<&str> = lines.iter().map(String::as_str).collect();
            apart.push(&own);
            prop_assert_eq!(client(&rule, "10.0.0.1", name, &apart), address.to_string());
            let mut joined = lines.clone();
            let last = joined.pop().map_or(own.clone(), |last| format!("{last}, {own}"));
            joined.push(last);
            let joined: Vec<&str> = joined.iter().map(String::as_str).collect();
            prop_assert_eq!(client(&rule, "10.0.0.1", name, &joined), address.to_string());
        }
    }
}

fn quoted(address: &str, mark: &str) -> String {
    if mark.is_empty() { address.to_owned() } else { format!("\"{address}\"") }
}
