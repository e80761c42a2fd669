//! The rules with delays and adjusted ranks; `tests/sequences/ranked.rs` has the others.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::endpoint::Endpoint;

/// Candidates with their effective ranks, ordered by id.
type Field = Vec<(char, u8)>;

/// Who serves, and until when at least if a better one waits.
type Verdict = (char, Option<Duration>);

type Memory = Option<Arc<dyn Any + Send + Sync>>;

/// Builds again, and leaves the memory for the next time.
fn build(policy: Ranked, memory: &mut Memory, now: Duration, field: &Field) -> Verdict {
    let endpoint = |(id, _): &(char, u8)| Endpoint::new(format!("{id}:1")).unwrap();
    let endpoints: Vec<Endpoint> = field.iter().map(endpoint).collect();
    let endpoints: Vec<&Endpoint> = endpoints.iter().collect();
    let ranks: Vec<u8> = field.iter().map(|(_, rank)| *rank).collect();
    let (endpoints, ranks, before) = (&*endpoints, &*ranks, memory.take());
    let picker = policy.build(&Build { endpoints, ranks, phase: 0, now, memory: before });
    *memory = picker.memory();
    let term = memory.as_deref().unwrap().downcast_ref::<Term>().unwrap();
    (term.serving.as_str().chars().next().unwrap(), picker.rebuild_at())
}

/// Builds at these seconds from these candidates (`a200 b100`), and expects these verdicts.
fn check(policy: Ranked, steps: &[(u64, &str, &str)]) {
    let mut memory = None;
    for (now, field, expected) in steps {
        let field = field.split_whitespace().map(|text| text.split_at(1));
        let field = field.map(|(id, rank)| (id.parse().unwrap(), rank.parse().unwrap()));
        let now = Duration::from_secs(*now);
        let (serving, due) = build(policy, &mut memory, now, &field.collect());
        let due = due.map(|due| format!(" until {}", due.as_secs())).unwrap_or_default();
        assert_eq!(format!("{serving}{due}"), *expected, "at {now:?} of {steps:?}");
    }
}

const DELAY: Ranked = Ranked::new().preempt_delay(Duration::from_secs(10));

#[test]
fn higher_rank_serves_after_the_delay_and_not_before() {
    check(
        DELAY,
        &[
            (0, "a200 b100", "a"),
            (5, "b100", "b"),
            (20, "a200 b100", "b until 30"),
            // Built again for another reason.
            (29, "a200 b100 c50", "b until 30"),
            (30, "a200 b100 c50", "a"),
            (31, "a200 b100 c50", "a"),
        ],
    );
}

#[test]
fn delay_begins_anew_when_the_higher_one_was_out_or_lower_meanwhile() {
    check(
        DELAY,
        &[
            (0, "b100", "b"),
            (1, "a200 b100", "b until 11"),
            (9, "b100", "b"),
            (10, "a200 b100", "b until 20"),
            (19, "a90 b100", "b"),
            (19, "a100 b100", "b"),
            (20, "a200 b100", "b until 30"),
            (35, "a200 b100", "a"),
        ],
    );
}

#[test]
fn nobody_waits_when_the_serving_one_is_out() {
    let start = (0, "c100", "c");
    check(DELAY, &[start, (1, "a200 b150 c100", "c until 11"), (2, "a200 b150", "a")]);
    check(DELAY, &[start, (1, "a200 b150 c100", "c until 11"), (2, "b150", "b")]);
    // A higher one that comes at the same moment serves at once too.
    check(DELAY, &[start, (1, "d90", "d"), (2, "a200 b150", "a")]);
}

#[test]
fn requests_move_once_though_a_lower_one_has_waited_long_enough() {
    check(
        DELAY,
        &[
            (0, "c100", "c"),
            (1, "b150 c100", "c until 11"),
            (8, "a200 b150 c100", "c until 18"),
            (11, "a200 b150 c100", "c until 18"),
            (18, "a200 b150 c100", "a"),
        ],
    );
    // The highest comes and goes: the other has not lost its time.
    check(
        DELAY,
        &[
            (0, "c100", "c"),
            (1, "b150 c100", "c until 11"),
            (8, "a200 b150 c100", "c until 18"),
            (10, "b150 c100", "c until 11"),
            (11, "b150 c100", "b"),
        ],
    );
}

#[test]
fn of_equal_ranks_who_has_waited_longest_serves() {
    let start = [(0, "c100", "c"), (1, "b200 c100", "c until 11")];
    let late = |step| [start[0], start[1], (5, "a200 b200 c100", "c until 11"), step];
    check(DELAY, &late((11, "a200 b200 c100", "b")));
    check(DELAY, &late((99, "a200 b200 c100", "b")));
    check(DELAY, &[(0, "c1", "c"), (1, "a9 b9 c1", "c until 11"), (11, "a9 b9 c1", "a")]);
}

/// A check that fails lowers a rank by 20, as keepalived's `track_script` with `weight -20`.
#[test]
fn evidence_against_the_serving_one_counts_as_a_higher_rank_of_the_other() {
    let steps = |then: [&'static str; 3]| {
        let builds = ["a110 b100", "a90 b100", "a110 b100"];
        let step = |at: usize| (at as u64, builds[at], then[at]);
        [step(0), step(1), step(2)]
    };
    check(Ranked::new(), &steps(["a", "b", "a"]));
    check(Ranked::new().no_preempt(), &steps(["a", "a", "a"]));
    check(DELAY, &steps(["a", "a until 11", "a"]));
}

#[test]
fn extremes_neither_overflow_nor_move() {
    let never = Ranked::new().preempt_delay(Duration::MAX);
    check(never, &[(5, "b1", "b"), (6, "a254 b1", "b"), (u64::MAX, "a254 b1", "b")]);
    let none = Ranked::new().preempt_delay(Duration::ZERO);
    check(none, &[(5, "b1", "b"), (5, "a254 b1", "a")]);
    // The clock went back: the time begins anew.
    check(DELAY, &[(5, "b1", "b"), (9, "a2 b1", "b until 19"), (7, "a2 b1", "b until 17")]);
}

#[test]
fn memory_of_another_kind_is_ignored() {
    let endpoint = Endpoint::new("a:1").unwrap();
    let memory: Option<Arc<dyn Any + Send + Sync>> = Some(Arc::new("a note"));
    let now = Duration::ZERO;
    let build = Build { endpoints: &[&endpoint], ranks: &[100], phase: 0, now, memory };
    assert_eq!(DELAY.build(&build).rebuild_at(), None);
}

/// The rule, read off the whole history: far from fast, and without any memory but that.
fn verdict(delay: Option<Duration>, before: Option<char>, past: &[(Duration, Field)]) -> Verdict {
    let (now, field) = past.last().unwrap();
    let rank = |field: &Field, id| field.iter().find(|at| at.0 == id).map(|at| at.1);
    let top = field.iter().map(|at| at.1).max().unwrap();
    let mut highest = field.iter().filter(|at| at.1 == top).map(|at| at.0);
    let Some(serving) = before.filter(|id| rank(field, *id).is_some()) else {
        return (highest.next().unwrap(), None);
    };
    let is_higher = |field: &Field, id| rank(field, id) > rank(field, serving);
    let since = |id| {
        let run = past.iter().rev().take_while(|(_, field)| is_higher(field, id));
        run.last().map(|(at, _)| *at)
    };
    let waiting = highest.filter_map(|id| Some((since(id)?, id)));
    match (delay, waiting.min()) {
        (Some(delay), Some((since, best))) if since + delay <= *now => (best, None),
        (Some(delay), Some((since, _))) => (serving, Some(since + delay)),
        _ => (serving, None),
    }
}

fn any_field() -> impl Strategy<Value = Field> {
    let ranks = prop::collection::vec(prop::option::weighted(0.7, 1..4_u8), 3);
    ranks.prop_map(|ranks| {
        let some: Field =
            "abc".chars().zip(ranks).filter_map(|(id, rank)| Some((id, rank?))).collect();
        if some.is_empty() { vec![('d', 1)] } else { some }
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(9),
        ..ProptestConfig::default()
    })]

    #[test]
    fn who_serves_follows_from_the_history(
        steps in prop::collection::vec((0..5_u64, any_field()), 1..30),
        delay in prop::option::of(0..8_u64),
    ) {
        let delay = delay.map(Duration::from_secs);
        let policy = Ranked { delay };
        let (mut memory, mut before, mut now) = (None, None, Duration::ZERO);
        let mut past = Vec::new();
        for (pause, field) in steps {
            now += Duration::from_secs(pause);
            let got = build(policy, &mut memory, now, &field);
            past.push((now, field));
            prop_assert_eq!(got, verdict(delay, before, &past), "{:?}", past);
            before = Some(got.0);
        }
    }
}
