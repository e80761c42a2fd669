//! Round robin: nginx's order, exact shares, and no restart.

use std::collections::BTreeSet;
use std::thread;

use whippletree::Context;
use whippletree::policy::RoundRobin;

use crate::cluster;
use crate::strict::{endpoint, excluding, fleet, id, index, pick, shares};

/// Checks that the order of turns is `golden`, from a start that the seed decides.
fn check(weights: &[u16], golden: &[usize]) {
    let mut starts = BTreeSet::new();
    for seed in 0..100 {
        let cluster = cluster(RoundRobin::new(), seed, weights);
        let turns: Vec<usize> = (0..3 * golden.len()).map(|_| pick(&cluster)).collect();
        let turned = |start: &usize| {
            let expected = golden.iter().cycle().skip(*start);
            turns.iter().zip(expected).all(|(turn, expected)| turn == expected)
        };
        let start = (0..golden.len()).find(turned);
        starts.insert(start.unwrap_or_else(|| panic!("{weights:?}, seed {seed}: {turns:?}")));
    }
    assert!(starts.len() > golden.len() / 2, "{weights:?} starts at {starts:?} only");
}

/// The first is the example in nginx's commit 52327e0627f4; the others follow from its rule.
#[test]
fn order_is_that_of_nginx_from_a_random_start() {
    check(&[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]);
    check(&[1, 1], &[0, 1]);
    check(&[1, 1, 1], &[0, 1, 2]);
    check(&[2, 1], &[0, 1, 0]);
    check(&[3, 2, 1], &[0, 1, 0, 2, 1, 0]);
    check(&[4, 2, 1], &[0, 1, 0, 2, 0, 1, 0]);
    check(&[4, 3, 2, 1], &[0, 1, 2, 0, 1, 3, 0, 2, 1, 0]);
    check(&[11, 3], &[0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0]);
    check(&[1, 2, 3], &[2, 1, 0, 2, 1, 2]);
    check(&[10, 1, 1, 1], &[0, 0, 0, 1, 0, 0, 2, 0, 0, 3, 0, 0, 0]);
    check(&[5, 5, 5, 1], &[0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
    // What weights have in common does not matter, nor do endpoints of weight 0.
    check(&[50, 0, 10, 10], &[0, 0, 2, 0, 3, 0, 0]);
    check(&[300, 300, 300], &[0, 1, 2]);
}

#[test]
fn shares_are_exact_over_each_cycle_with_many_threads() {
    for (weights, cycle) in [(&[1, 1, 1][..], 3), (&[5, 1, 1], 7), (&[17, 23, 37], 77)] {
        let cluster = cluster(RoundRobin::new(), 3, weights);
        let cycles = 120;
        // Four threads share the turns of whole cycles, whoever is faster.
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| shares(&cluster, weights.len(), cycle * cycles / 4));
            }
        });
        for (endpoint, weight) in cluster.status().endpoints.iter().zip(weights) {
            assert_eq!(endpoint.requests, u64::from(*weight) * cycles as u64, "{weights:?}");
        }
    }
}

#[test]
fn descriptions_that_change_leave_the_order_alone() {
    let cluster = cluster(RoundRobin::new(), 5, &[5, 1, 1]);
    let mut turns = Vec::new();
    for turn in 0..70 {
        turns.push(pick(&cluster));
        cluster.insert(endpoint(0).with_weight(5).with_label("turn", turn.to_string())).unwrap();
    }
    let counts = [0, 1, 2].map(|at| turns.iter().filter(|turn| **turn == at).count());
    assert_eq!(counts, [50, 10, 10]);
    assert!(turns.windows(8).all(|eight| eight[0] == eight[7]), "{turns:?}");
}

/// haproxy#1282: a server farm that changes all the time sent everybody to its first server.
#[test]
fn a_change_does_not_send_everybody_back_to_the_first() {
    for seed in 0..20 {
        let cluster = cluster(RoundRobin::new(), seed, &[1, 1, 1, 1]);
        let mut counts = [0; 5];
        for _ in 0..500 {
            counts[pick(&cluster)] += 1;
            cluster.insert(endpoint(4)).unwrap();
            counts[pick(&cluster)] += 1;
            cluster.remove(&id(4));
        }
        // 225 each of the four would be fair.
        assert!(counts[..4].iter().all(|count| (150..=300).contains(count)), "{counts:?}");
    }
}

#[test]
fn a_change_keeps_the_phase_as_a_fraction_of_the_cycle() {
    for seed in 0..50 {
        let cluster = cluster(RoundRobin::new(), seed, &[1; 4]);
        let next = (pick(&cluster) + 1) % 4;
        cluster.replace(fleet(&[1; 5])).unwrap();
        let after = pick(&cluster) as f64 / 5.0;
        let before = next as f64 / 4.0;
        // A place of the old cycle is a quarter wide, one of the new a fifth.
        assert!((before - 0.2..before + 0.25).contains(&after), "{before} became {after}");
    }
}

#[test]
fn exclusions_take_the_next_turn_and_the_others_keep_their_proportions() {
    let cluster = cluster(RoundRobin::new(), 1, &[1; 5]);
    let context = excluding([1, 3]);
    let mut counts = [0; 5];
    for _ in 0..300 {
        counts[index(cluster.pick(&context).unwrap().id())] += 1;
    }
    // Who stands behind one that is excluded takes its turns too.
    assert_eq!([counts[1], counts[3]], [0, 0]);
    assert!([0, 2, 4].iter().all(|at| counts[*at] >= 60), "{counts:?}");
    let unrestricted: Vec<usize> =
        (0..5).map(|_| index(cluster.pick(&Context::new()).unwrap().id())).collect();
    assert_eq!(unrestricted.iter().collect::<BTreeSet<_>>().len(), 5);
}
