//! The random choice that stays: gRPC's proposal A68.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use whippletree::discover::Subsetting;
use whippletree::{Endpoint, Weight};

use crate::{endpoint, extremes, fleet, loads, lost, serving, weighing};

fn random(size: usize, seed: u64) -> Subsetting {
    Subsetting::random(size).unwrap().seed(seed)
}

fn ids(members: &[Endpoint]) -> Vec<&str> {
    members.iter().map(|member| member.id().as_str()).collect()
}

#[test]
fn subset_is_that_of_the_proposals_text() {
    // Computed from the text of A68: XXH64 of the address with the seed, the lowest first.
    let order = [1, 3, 5, 2, 8, 9, 4, 0, 6, 7];
    for size in 1..=10 {
        let mut expected: Vec<String> =
            order[..size].iter().map(|n| format!("endpoint-{n}")).collect();
        expected.sort();
        assert_eq!(ids(&random(size, 0).of(fleet(10))), expected);
    }
    assert_eq!(random(11, 0).of(fleet(10)).len(), 10, "a fleet that is smaller is used whole");
}

#[test]
fn same_seed_and_name_find_the_same_members_and_others_find_others() {
    let of = |subsetting: Subsetting| serving(&subsetting.of(fleet(100)));
    assert_eq!(of(random(20, 7)), of(random(20, 7)));
    let named = |name| Subsetting::random(20).unwrap().client(name);
    assert_eq!(of(named("web-7")), of(named("web-7")));
    for (one, other) in [
        (random(20, 7), random(20, 8)),
        (named("web-7"), named("web-8")),
        (Subsetting::random(20).unwrap(), Subsetting::random(20).unwrap()),
    ] {
        assert!(lost(&of(one), &of(other)) > 5);
    }
}

#[test]
fn order_in_which_the_fleet_is_told_does_not_matter() {
    let mut backwards = fleet(100);
    backwards.reverse();
    assert_eq!(random(20, 3).of(fleet(100)), random(20, 3).of(backwards));
}

/// The SRE book has 63 % to 121 % of the mean for 300 clients of 300 endpoints with 90 each. Here it
/// is 70 to 130, and the standard deviation is that of chance: √(300 · 0.3 · 0.7) = 7.9 of 90.
#[test]
fn load_of_many_clients_is_as_even_as_chance() {
    for (size, least, most) in [(90, 0.65, 1.35), (30, 0.40, 1.60), (10, 0.05, 2.0)] {
        for start in [0, 1000, 2000] {
            let clients = (start..start + 300).map(|seed| random(size, seed));
            let loads = loads(clients, &fleet(300));
            let (low, high) = extremes(&loads);
            let bounds = low >= least && high <= most;
            assert!(bounds, "{size} of 300: {low:.2} to {high:.2} of the mean");
            let mean = 300.0 / 300.0;
            let variance = loads.values().map(|load| (load - mean).powi(2)).sum::<f64>() / 300.0;
            let share = size as f64 / 300.0;
            let expected = (300.0 * share * (1.0 - share)).sqrt() / size as f64;
            let ratio = variance.sqrt() / expected;
            assert!((0.85..1.15).contains(&ratio), "deviation {ratio:.2} of what chance has");
        }
    }
}

/// 250 clients with 10 of 1250 each: (1 − 10/1250)^250 = 13.4 %.
#[test]
fn endpoints_that_nobody_uses_are_as_many_as_the_documentation_says() {
    let loads = loads((0..250).map(|seed| random(10, seed)), &fleet(1250));
    let idle = loads.values().filter(|load| **load == 0.0).count() as f64 / 1250.0;
    assert!((0.11..0.16).contains(&idle), "{idle}");
}

#[test]
fn every_priority_has_a_subset_of_its_own() {
    let backup = |n: usize| endpoint(n).with_priority(1);
    let members = random(5, 1).of(fleet(10).into_iter().chain((10..1000).map(backup)));
    let of = |priority| members.iter().filter(|member| member.priority() == priority).count();
    assert_eq!((of(0), of(1)), (5, 5));
}

#[test]
fn endpoint_of_weight_zero_takes_no_place_and_stays_where_it_was() {
    // In the order 1, 3, 5, 2, 8, …: 3 leaves, and 2 takes its place.
    let leaving = |n: usize| if n == 3 { weighing(n, 0) } else { endpoint(n) };
    let members = random(3, 0).of((0..10).map(leaving));
    assert_eq!(ids(&members), ["endpoint-1", "endpoint-2", "endpoint-3", "endpoint-5"]);
    let members = random(3, 0).of((0..10).map(|n| weighing(n, 0)));
    assert_eq!(members.len(), 3, "a fleet that leaves is not listed whole");
}

#[test]
fn bad_sizes_are_refused_by_name_and_value() {
    let error = Subsetting::random(0).unwrap_err();
    assert!(error.is_config());
    assert_eq!(error.to_string(), r#"size: "0" is not at least 1"#);
}

/// One change of a fleet.
#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(usize, u16),
    Remove(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..60_usize, 0..3_u16).prop_map(|(n, weight)| Step::Insert(n, weight)),
        (0..60_usize).prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    #[test]
    fn one_change_of_the_fleet_replaces_at_most_one_member(
        steps in steps(),
        seed: u64,
        size in 1..20_usize,
    ) {
        let mut all = fleet(30);
        let mut before = serving(&random(size, seed).of(all.clone()));
        for step in steps {
            let (Step::Insert(n, _) | Step::Remove(n)) = step;
            all.retain(|known| known.id() != endpoint(n).id());
            if let Step::Insert(n, weight) = step {
                all.push(endpoint(n).with_weight(Weight::from(weight)));
            }
            let members = random(size, seed).of(all.clone());
            let after = serving(&members);
            let able = serving(&all).len();
            prop_assert_eq!(after.len(), size.min(able));
            prop_assert!(members.len() <= 2 * size);
            prop_assert!(lost(&before, &after) <= 1 && lost(&after, &before) <= 1, "{:?}", step);
            before = after;
        }
    }
}
