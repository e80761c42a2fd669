//! Ranked: who serves as endpoints come and go, by VRRP's rule.

use std::time::Duration;

use whippletree::cluster::Failback;
use whippletree::policy::Ranked;
use whippletree::{Cluster, Context, Endpoint, EndpointId};

fn id(name: &str) -> EndpointId {
    EndpointId::new(name).unwrap()
}

/// `a200` is the endpoint `a` of rank 200, `a` the same of rank 100; `a!` has weight 0.
fn endpoint(text: &str) -> Endpoint {
    let (name, rank) = text.split_at(1);
    let endpoint = Endpoint::new(format!("{name}:1")).unwrap().with_id(name).unwrap();
    match rank {
        "" => endpoint,
        "!" => endpoint.with_weight(0),
        rank => endpoint.with_rank(rank.parse().unwrap()).unwrap(),
    }
}

fn cluster(rule: Ranked, start: &str) -> Cluster<()> {
    let cluster = Cluster::builder().policy(rule).connect(|_| ());
    cluster.replace(start.split_whitespace().map(endpoint)).unwrap();
    cluster
}

/// Who serves, by name, without anything in particular and then excluding so.
fn serving(cluster: &Cluster<()>, exclude: &str) -> String {
    let exclude = exclude.split_whitespace().map(id);
    let context = exclude.fold(Context::new(), Context::with_exclude);
    cluster.pick(&context).map_or("nobody".into(), |lease| lease.id().to_string())
}

/// Makes one change after the other (`-a` takes `a` out, anything else is put in) and expects who
/// serves at first and after each.
#[track_caller]
fn check(rule: Ranked, start: &str, changes: &str, expected: &str) {
    let cluster = cluster(rule, start);
    let mut got = vec![serving(&cluster, "")];
    for change in changes.split_whitespace() {
        match change.strip_prefix('-') {
            Some(name) => assert!(cluster.remove(&id(name))),
            None => cluster.insert(endpoint(change)).unwrap(),
        }
        // However often and with whatever held.
        let _held: Vec<_> = (0..20).map(|_| cluster.pick(&Context::new())).collect();
        got.push(serving(&cluster, ""));
    }
    assert_eq!(got.join(" "), expected, "{rule:?} from {start} with {changes}");
}

const RULES: [Ranked; 3] = [
    Ranked::new(),
    Ranked::new().no_preempt(),
    Ranked::new().preempt_delay(Duration::from_secs(3_600)),
];

#[test]
fn highest_rank_serves_first_whatever_the_order_and_the_weights() {
    for rule in RULES {
        check(rule, "a b200 c", "", "b");
        check(rule, "c254 b1 a253", "", "c");
        check(rule, "b a c", "", "a");
        check(rule, "a! b c200", "", "c");
        check(rule, "a! b! c!", "", "nobody");
    }
}

#[test]
fn next_by_rank_serves_when_the_serving_one_is_out() {
    for rule in RULES {
        check(rule, "a200 b150 c", "-a -b -c", "a b c nobody");
        check(rule, "a200 b c150", "-b -a", "a a c");
        check(rule, "a200 b c", "a!", "a b");
        check(rule, "a b", "-a -b b a", "a b nobody b b");
    }
}

#[test]
fn higher_rank_that_comes_back_serves_as_the_rule_says() {
    let [preempt, no_preempt, delay] = RULES;
    check(preempt, "a200 b", "-a a200 -a a200", "a b a b a");
    for rule in [no_preempt, delay] {
        check(rule, "a200 b", "-a a200 -a a200", "a b b b b");
        // Until the one that serves is out: then it is not one step to the next, but to the best.
        check(rule, "a200 b", "-a a200 c150 -b", "a b b b a");
        check(rule, "a200 b", "a! a200 b!", "a b b a");
    }
}

#[test]
fn equal_rank_moves_nobody() {
    for rule in RULES {
        check(rule, "b c", "a -b b", "b b a a");
        check(rule, "b200 c200", "-b b200 a200 -c", "b c c c a");
    }
}

#[test]
fn change_of_a_rank_is_a_reason_to_move_by_preemption_only() {
    let [preempt, no_preempt, delay] = RULES;
    check(preempt, "a200 b", "a90 a200 b201 b200", "a b a b b");
    for rule in [no_preempt, delay] {
        check(rule, "a200 b", "a90 a200 b201 a1 -a", "a a a a a b");
    }
}

#[test]
fn excluding_request_gets_the_next_by_rank_and_moves_nobody() {
    for rule in RULES {
        let cluster = cluster(rule, "a b200 c150 d250");
        for (exclude, expected) in
            [("d", "b"), ("", "d"), ("d b", "c"), ("b", "d"), ("d b c", "a"), ("a b c d", "nobody")]
        {
            assert_eq!(serving(&cluster, exclude), expected, "without {exclude}");
        }
        // Also when the serving one is not the highest.
        cluster.remove(&id("d"));
        cluster.remove(&id("b"));
        cluster.insert(endpoint("b200")).unwrap();
        let now = serving(&cluster, "");
        let other = if now == "c" { "b" } else { "c" };
        assert_eq!(serving(&cluster, &now), other);
        assert_eq!(serving(&cluster, &format!("{now} {other}")), "a");
    }
}

/// What has nothing to do with the rank of anybody.
#[test]
fn other_changes_move_nobody() {
    for rule in RULES {
        let cluster = cluster(rule, "a200 b150 c");
        cluster.remove(&id("a"));
        cluster.insert(endpoint("d150").with_label("new", "")).unwrap();
        cluster.set_weight(&id("d"), 1_000.into()).unwrap();
        cluster.insert(endpoint("c")).unwrap();
        cluster.remove(&id("c"));
        assert_eq!(serving(&cluster, ""), "b");
    }
}

/// Each tier has its own order, and priorities come first.
#[test]
fn ranks_order_within_a_priority() {
    let tier = |text| endpoint(text).with_priority(1);
    let builder = Cluster::builder().policy(Ranked::new().no_preempt());
    let cluster = builder.failback(Failback::Immediate).connect(|_| ());
    cluster.replace([endpoint("a1"), tier("b200"), tier("c254")]).unwrap();
    assert_eq!(serving(&cluster, ""), "a");
    assert_eq!(serving(&cluster, "a"), "c");
    cluster.remove(&id("a"));
    assert_eq!(serving(&cluster, ""), "c");
    cluster.insert(endpoint("a1")).unwrap();
    assert_eq!(serving(&cluster, ""), "a", "back at once, without preemption");
}
