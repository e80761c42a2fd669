//! Numbered clients on a ring of endpoints: Finagle's deterministic aperture.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use whippletree::Endpoint;
use whippletree::discover::Subsetting;

use crate::{endpoint, extremes, fleet, loads, lost, serving, weighing};

fn clients(clients: u32, least: usize) -> impl Iterator<Item = Subsetting> {
    let one = move |client| Subsetting::aperture(client, clients).unwrap().least(least).unwrap();
    (0..clients).map(one)
}

fn client(client: u32, clients: u32) -> Subsetting {
    Subsetting::aperture(client, clients).unwrap()
}

fn weights(members: &[Endpoint]) -> Vec<u16> {
    let mut weights: Vec<u16> = members.iter().map(|member| member.weight().get()).collect();
    weights.sort_unstable();
    weights
}

/// Finagle's own example of whole endpoints: 24 of them, 12 clients, the first has half of them.
#[test]
fn section_that_ends_between_endpoints_has_whole_ones() {
    assert_eq!(weights(&client(0, 12).of(fleet(24))), [100; 12]);
}

/// And of parts: 18 endpoints, 4 clients; the second has from 4.5 to 18.
#[test]
fn section_that_ends_within_an_endpoint_has_a_part_of_it() {
    let mut expected = vec![100; 14];
    expected[0] = 50;
    assert_eq!(weights(&client(1, 4).of(fleet(18))), expected);
}

#[test]
fn clients_of_the_same_load_load_endpoints_the_same() {
    let sizes = [(1, 1), (3, 1000), (4, 18), (7, 100), (10, 101), (12, 24), (97, 1000), (300, 300)];
    for (count, size) in sizes.into_iter().chain([(301, 300), (1000, 40), (1000, 13), (50, 997)]) {
        for least in [1, 12, 20] {
            let (low, high) = extremes(&loads(clients(count, least), &fleet(size)));
            // What is left is the rounding of parts to hundredths.
            let told = format!("{count} clients of {size}, {least}: {low:.4} to {high:.4}");
            assert!(low > 0.98 && high < 1.02, "{told}");
        }
    }
}

#[test]
fn every_client_has_the_least_or_all_and_not_many_more() {
    for (count, size) in [(1, 40), (4, 18), (7, 100), (97, 1000), (300, 300), (1000, 13)] {
        for client in clients(count, 12) {
            let members = client.of(fleet(size)).len();
            let per_client = size.div_ceil(count as usize);
            assert!(members >= 12.min(size), "{members} of {size} for {count}");
            assert!(members <= 12 + per_client + 2, "{members} of {size} for {count}");
        }
    }
}

#[test]
fn fleet_that_one_section_covers_is_used_whole_and_as_it_is() {
    let fleet = vec![weighing(1, 3), weighing(2, 0), endpoint(3)];
    assert_eq!(client(2, 5).of(fleet.clone()), fleet);
    assert_eq!(client(0, 1).of(fleet.clone()), fleet);
}

#[test]
fn weights_count_within_their_parts() {
    let doubled = (0..18).map(|n| weighing(n, 2));
    let mut expected = vec![200; 14];
    expected[0] = 100;
    assert_eq!(weights(&client(1, 4).of(doubled)), expected);
    let heavy = (0..18).map(|n| weighing(n, u16::MAX));
    let mut expected = vec![u16::MAX; 14];
    expected[0] = 32_768;
    assert_eq!(weights(&client(1, 4).of(heavy)), expected);
}

#[test]
fn endpoints_of_weight_zero_stay_listed_and_move_nobody() {
    let leaving = |n: usize| if n % 5 == 0 { weighing(n, 0) } else { endpoint(n) };
    let with: Vec<Endpoint> = (0..100).map(leaving).collect();
    let without: Vec<Endpoint> = (0..100).filter(|n| n % 5 != 0).map(endpoint).collect();
    let mut listed = BTreeSet::new();
    for client in clients(10, 12) {
        let members = client.of(with.clone());
        assert_eq!(serving(&members), serving(&client.of(without.clone())));
        listed.extend(members.into_iter().map(|member| member.id().to_string()));
    }
    assert_eq!(listed.len(), 100, "each is with somebody");
    let leaving = client(0, 10).of((0..100).map(|n| weighing(n, 0)));
    assert_eq!(weights(&leaving), [0; 20], "a fleet that leaves is not listed whole");
}

#[test]
fn bad_numbers_are_refused_by_name_and_value() {
    for (client, clients) in [(3, 3), (0, 0), (7, 2)] {
        let error = Subsetting::aperture(client, clients).unwrap_err();
        let told = format!(r#"client: "{client}" is not below the number of clients, {clients}"#);
        assert_eq!(error.to_string(), told);
    }
    let error = client(0, 3).least(0).unwrap_err();
    assert_eq!(error.to_string(), r#"least: "0" is not at least 1"#);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    /// The ends of a section move by less than one endpoint, and one stands in between; only where
    /// a section must become longer or shorter by a whole distance, so many more change.
    #[test]
    fn one_endpoint_more_moves_the_ends_of_a_section_by_one(
        size in 30..200_usize,
        count in 1..60_u32,
        which in any::<prop::sample::Index>(),
    ) {
        let number = which.index(count as usize) as u32;
        let before = serving(&client(number, count).of(fleet(size)));
        let after = serving(&client(number, count).of(fleet(size + 1)));
        let distances = |size: usize| (12 * count as usize).div_ceil(size);
        let jump = if distances(size) == distances(size + 1) { 0 } else { size.div_ceil(count as usize) + 1 };
        let (gone, come) = (lost(&before, &after), lost(&after, &before));
        prop_assert!(gone <= 2 + jump && come <= 3, "{gone} gone, {come} come, {size} for {count}");
    }
}
