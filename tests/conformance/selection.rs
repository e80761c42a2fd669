//! Who may be picked.

use whippletree::endpoint::Subset;
use whippletree::{Context, Error};

use crate::strict::{
    Case, Seed, cases, endpoint, excluding, fleet, hold, id, index, pick, preferring, shares,
};

const PICKS: usize = 300;

/// Checks why there is no endpoint.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, message: &str) {
    let error = result.unwrap_err();
    assert!(error.is_no_endpoint());
    assert_eq!(error.to_string(), message);
}

/// Picks so often and answers who was seen, in order.
fn seen(cluster: &whippletree::Cluster<()>, context: &Context) -> Vec<usize> {
    let picks = (0..PICKS).map(|_| index(cluster.pick(context).unwrap().id()));
    let mut seen: Vec<usize> = picks.collect();
    seen.sort_unstable();
    seen.dedup();
    seen
}

#[test]
fn one_endpoint_gets_every_request() {
    for case in cases() {
        let cluster = case.cluster(&fleet(&[7]));
        let leases: Vec<_> = (0..PICKS).map(|_| cluster.pick(&Context::new()).unwrap()).collect();
        assert!(leases.iter().all(|lease| lease.id() == &id(0)));
        assert_eq!(shares(&cluster, 1, PICKS), [PICKS as u64]);
    }
}

#[test]
fn without_endpoints_the_error_says_so() {
    for case in cases() {
        let cluster = case.cluster(&[]);
        refused(cluster.pick(&Context::new()), "no available endpoint: 0 known");
        refused(cluster.pick(&preferring(0)), "no available endpoint: 0 known");
        refused(cluster.pick(&excluding([0])), "no available endpoint: 0 known");
        assert!(!cluster.is_available());
    }
}

#[test]
fn weight_0_is_never_picked_but_serves_who_prefers_it() {
    for case in cases() {
        let cluster = case.cluster(&fleet(&[2, 0, 1, 0]));
        assert!(shares(&cluster, 4, PICKS)[1] == 0);
        let held: Vec<_> = (0..50).map(|_| cluster.pick(&Context::new()).unwrap()).collect();
        assert!(held.iter().all(|lease| [0, 2].contains(&index(lease.id()))));
        assert_eq!(cluster.pick(&preferring(1)).unwrap().id(), &id(1));
        // Also as the last resort it is not picked.
        let message = "no available endpoint: 4 known, 2 with weight 0, 2 excluded by the request";
        refused(cluster.pick(&excluding([0, 2])), message);
    }
}

#[test]
fn all_weights_0_are_as_empty() {
    for case in cases() {
        let cluster = case.cluster(&fleet(&[0, 0, 0]));
        let message = "no available endpoint: 3 known, 3 with weight 0";
        refused(cluster.pick(&Context::new()), message);
        assert!(!cluster.is_available());
        assert_eq!(cluster.pick(&preferring(2)).unwrap().id(), &id(2));
        cluster.insert(endpoint(1)).unwrap();
        assert_eq!(pick(&cluster), 1);
    }
}

#[test]
fn excluded_endpoints_are_passed_over_while_others_exist() {
    for case in cases() {
        for weights in [&[1; 6][..], &[5, 1, 1, 0, 9, 2], &[65_535, 1, 1, 1, 1, 1]] {
            let cluster = case.cluster(&fleet(weights));
            for excluded in 1..64_u32 {
                let ruled_out = |at: &usize| excluded & (1 << at) != 0;
                let context = excluding((0..6).filter(ruled_out));
                let left = |at: &usize| !ruled_out(at) && weights[*at] > 0;
                let picked = cluster.pick(&context);
                match (0..6).filter(left).count() {
                    0 => assert!(picked.unwrap_err().is_no_endpoint()),
                    _ => assert!(left(&index(picked.unwrap().id()))),
                }
            }
        }
    }
}

#[test]
fn those_not_excluded_all_get_their_turn() {
    for case in cases().filter(Case::spreads) {
        let cluster = case.cluster(&fleet(&[1; 40]));
        // 37 of 40 excluded: beyond what random draws or turns passed over find by themselves.
        let context = excluding(0..37);
        let leases: Vec<_> = (0..60).map(|_| cluster.pick(&context).unwrap()).collect();
        for at in 37..40 {
            let got = leases.iter().filter(|lease| index(lease.id()) == at).count();
            assert!(got >= 5, "{got} of 60 for {at}");
        }
    }
}

#[test]
fn all_excluded_is_an_error_with_the_numbers() {
    for case in cases() {
        let cluster = case.cluster(&fleet(&[1, 0, 3, 1]));
        let message = "no available endpoint: 4 known, 1 with weight 0, 3 excluded by the request";
        refused(cluster.pick(&excluding(0..4)), message);
        // An id that is no member is not counted, and one that stands twice is counted once.
        let context = excluding([0, 0, 2, 3, 99]);
        refused(cluster.pick(&context), message);
        // Excluded also if it is preferred.
        refused(cluster.pick(&excluding(0..4).with_prefer(id(1))), message);
    }
}

#[test]
fn subset_confines_the_pick() {
    for case in cases() {
        let role = |role: &'static str| move |at| endpoint(at).with_label("role", role);
        let replicas = (0..3).map(role("replica"));
        let primary = [role("primary")(3), role("primary")(4).with_weight(0), endpoint(5)];
        let cluster = case.cluster(&replicas.chain(primary).collect::<Vec<_>>());
        let within = |role| Context::new().with_subset(Subset::new([("role", role)]));

        assert_eq!(seen(&cluster, &within("primary")), [3]);
        assert!(seen(&cluster, &within("replica")).iter().all(|at| *at < 3));
        assert_eq!(seen(&cluster, &within("replica").with_exclude(id(0)).with_exclude(id(2))), [1]);
        // Preferred, but outside: as if not preferred. Inside with weight 0: served.
        assert_eq!(seen(&cluster, &within("primary").with_prefer(id(0))), [3]);
        assert_eq!(seen(&cluster, &within("primary").with_prefer(id(4))), [4]);
        let message = "no available endpoint: 6 known, 1 with weight 0, 4 outside the subset, \
                       1 excluded by the request";
        refused(cluster.pick(&within("primary").with_exclude(id(3))), message);
        let message = "no available endpoint: 6 known, 6 outside the subset";
        refused(cluster.pick(&within("witness")), message);

        // The subset follows the members.
        cluster.insert(endpoint(5).with_label("role", "witness")).unwrap();
        assert_eq!(seen(&cluster, &within("witness")), [5]);
        cluster.remove(&id(3));
        assert!(cluster.pick(&within("primary")).unwrap_err().is_no_endpoint());
    }
}

#[test]
fn tiers_are_strict_and_the_next_serves_when_one_cannot() {
    for case in cases() {
        let tier = |at: usize| endpoint(at).with_priority([0, 0, 5, 5, 9][at]);
        let cluster = case.cluster(&(0..5).map(tier).collect::<Vec<_>>());
        // However busy the first tier is.
        let _busy = hold(&cluster, &[500, 500]);
        assert!(seen(&cluster, &Context::new()).iter().all(|at| *at < 2));
        assert!(seen(&cluster, &excluding([0, 1])).iter().all(|at| [2, 3].contains(at)));
        assert_eq!(seen(&cluster, &excluding([0])), [1]);
        assert_eq!(seen(&cluster, &excluding(0..4)), [4]);
        let message = "no available endpoint: 5 known, 5 excluded by the request";
        refused(cluster.pick(&excluding(0..5)), message);
        assert_eq!(seen(&cluster, &preferring(4)), [4]);

        cluster.insert(tier(0).with_weight(0)).unwrap();
        cluster.remove(&id(1));
        assert!(seen(&cluster, &Context::new()).iter().all(|at| [2, 3].contains(at)));
        cluster.insert(tier(0)).unwrap();
        assert_eq!(seen(&cluster, &Context::new()), [0]);
    }
}

/// A run of picks, held and let go, with exclusions and changes of the members.
fn run(case: &Case, seed: u64) -> Vec<usize> {
    let mut own = Seed(7);
    let cluster = case.seeded(seed, &fleet(&[1, 2, 3, 1, 1]));
    let mut held: Vec<whippletree::Lease<()>> = Vec::new();
    let mut picked = Vec::new();
    for step in 0..400 {
        match own.below(8) {
            0 => {
                // Not dropped: with a latency cost that would bring the real time in.
                let ended = (!held.is_empty()).then(|| held.swap_remove(own.below(held.len())));
                ended.into_iter().for_each(|lease| lease.cancel_at(moment(step)));
            }
            1 if step % 3 == 0 => cluster.insert(endpoint(own.below(7)).with_weight(3)).unwrap(),
            2 => held.push(cluster.pick_at(&excluding([own.below(5)]), moment(step)).unwrap()),
            _ => held.push(cluster.pick_at(&Context::new(), moment(step)).unwrap()),
        }
        picked.extend(held.last().map(|lease: &whippletree::Lease<()>| index(lease.id())));
    }
    picked
}

/// Before the cluster was made, so always its time 0, whatever the clock says.
fn moment(step: u64) -> std::time::Instant {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let start = *START.get_or_init(std::time::Instant::now);
    start + std::time::Duration::from_nanos(step)
}

#[test]
fn same_seed_gives_the_same_run_and_another_seed_another() {
    moment(0);
    for case in cases() {
        let runs: Vec<_> = (0..4).map(|seed| run(&case, seed)).collect();
        assert_eq!(run(&case, 0), runs[0]);
        let differ = runs.iter().any(|other| *other != runs[0]);
        assert_eq!(differ, case.spreads(), "whether the seed has an effect");
    }
}

#[test]
fn extreme_weights_never_panic_and_keep_their_meaning() {
    const EXTREMES: [u16; 4] = [0, 1, 2, 65_535];
    for case in cases() {
        for code in 0..256_usize {
            let weights: Vec<u16> = (0..4).map(|at| EXTREMES[code >> (2 * at) & 3]).collect();
            let cluster = case.cluster(&fleet(&weights));
            for at in 0..4 {
                for context in [Context::new(), excluding([at]), excluding(0..at)] {
                    if let Ok(lease) = cluster.pick(&context) {
                        assert!(weights[index(lease.id())] > 0, "{weights:?}");
                    }
                }
            }
            assert_eq!(cluster.is_available(), weights.iter().any(|weight| *weight > 0));
        }
    }
}
