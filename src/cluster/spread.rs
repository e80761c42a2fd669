//! How requests are spread over the levels of a cluster: over its tiers, and within a tier over
//! near and far. Arithmetic on counts, nothing else.
//!
//! A level counts for more than it has available, because its endpoints can usually carry some of
//! the load of those that are out: with Envoy's factor of 140 %, a level is *whole* while 72 % of it is
//! available. What a level is short of goes to the next, in order, and so on:
//!
//! | available, level by level | what each can carry | shares |
//! |---|---|---|
//! | 72 %, 100 % | 100, 100 | 100 / 0 |
//! | 71 %, 100 % | 99, 100 | 99 / 1 |
//! | 25 %, 100 % | 35, 100 | 35 / 65 |
//! | 25 %, 25 % | 35, 35: short of 100 | 50 / 50, in proportion |
//! | 25 %, 25 %, 20 % | 35, 35, 28: short of 100 | 37 / 35 / 28, the rest of the rounding to the first |
//! | 1 of 5, 2 of 6, 1 of 3, threshold 50 % | 28, 46, 46: 100 and more | 28 / 46 / 26, no panic |
//! | 0 of 5, 2 of 6, 1 of 3, threshold 50 % | 0, 46, 46: short of 100, all below | panic: 37 / 42 / 21, by size |
//!
//! **Panic** is the state in which health is not believed any more: when so much is out at once, more
//! likely the checks are wrong than the endpoints, and what is left would drown in the requests of
//! all. A level in panic serves with all its endpoints.
//!
//! Tiers are [strict](strict_panic) or [proportional]. Near and far within a tier are the
//! [same arithmetic](localities).

/// How much a level counts for, in percent of what it has available (Envoy's
/// `overprovisioning_factor`).
pub(super) const OVERPROVISIONING: u32 = 140;

/// The endpoints of one level, as far as they count: without those in maintenance or draining,
/// which no panic brings back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) total: usize,
    pub(super) available: usize,
    /// Those of which nothing is known yet; not in the total. They speak against a panic as long as
    /// they may turn out to be well.
    pub(super) unproven: usize,
}

/// Who gets how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spread {
    /// Percent of the requests for each level: 100 together, or all 0 if nothing can serve.
    pub(super) shares: Box<[u32]>,
    /// Which levels serve with all their endpoints, available or not. Of levels without a share it
    /// says nothing.
    pub(super) panic: Box<[bool]>,
}

/// Spreads over tiers in proportion to what each can carry; Envoy's algorithm, see the
/// [module](self).
///
/// `overprovisioning` is in percent, Envoy's default 140; so is `panic_threshold`, Envoy's default
/// 50, where 0 is never and more than 100 is taken as 100. A level panics when less than the threshold
/// of it is available, and all the levels together cannot carry everything. If all panic, each
/// gets its share by size.
///
/// One difference: where every level is below 1 % and panic is off, Envoy sends everything to the
/// first level, even if it is another one that has something available. Here the available
/// endpoints share it.
pub(super) fn proportional(
    levels: &[Level],
    overprovisioning: u32,
    panic_threshold: u32,
) -> Spread {
    let carried: Vec<u128> = levels.iter().map(|level| level.carries(overprovisioning)).collect();
    let together = carried.iter().sum::<u128>().min(100);
    let panics = |level: &Level| together < 100 && level.is_below(panic_threshold);
    let panic: Box<[bool]> = levels.iter().map(panics).collect();
    let by = |count: fn(&Level) -> usize| {
        let counts: Vec<u128> = levels.iter().map(|level| count(level) as u128).collect();
        divide(&counts, counts.iter().sum())
    };
    let shares = match together {
        _ if panic.iter().all(|panics| *panics) => by(|level| level.total),
        0 => by(|level| level.available),
        _ => divide(&carried, together),
    };
    Spread { shares, panic }
}

/// Whether strict tiers, of which the first with anything available gets everything, are to panic:
/// when every one of them that has endpoints is below the threshold (in percent, 0 is never).
///
/// A single tier below it is no reason. The tiers behind it are there for just this case, and a
/// backup that is well serves better than the dead ones of the first tier. Proportional tiers are as
/// patient in other words: Envoy lets none panic while all together can carry everything.
pub(super) fn strict_panic(levels: &[Level], panic_threshold: u32) -> bool {
    let mut used = levels.iter().filter(|level| level.total + level.unproven > 0).peekable();
    used.peek().is_some() && used.all(|level| level.is_below(panic_threshold))
}

/// Spreads over near and far, the nearest first: the own zone, the rest of the own region,
/// elsewhere. All 0 if nothing is available.
///
/// Everything stays in the own zone while that is whole, and what it is short of goes to the next
/// level, as with [`proportional`] tiers. There is no panic here: it is the tier's business, and a tier
/// in panic is one level.
///
/// Within a level the policy picks among all its endpoints, so that several zones of one region
/// share in proportion to the endpoints that they have available. Envoy's other scheme, a weight per
/// zone times `min(1, 1.4 · available / total)`, would bind the policy's hands there and add
/// nothing. What no count of endpoints can tell is how many callers a zone has: where the own zone is
/// smaller than its callers need, prefer none.
pub(super) fn localities(levels: &[Level; 3], overprovisioning: u32) -> Box<[u32]> {
    proportional(levels, overprovisioning, 0).shares
}

impl Level {
    /// How many percent of all requests it can carry.
    fn carries(&self, overprovisioning: u32) -> u128 {
        let available = u128::from(overprovisioning) * self.available as u128;
        available.checked_div(self.total as u128).unwrap_or(0).min(100)
    }

    /// Whether less than so many percent are available; 0 % are of an empty level, as in Envoy.
    fn is_below(&self, threshold: u32) -> bool {
        let threshold = u128::from(threshold.min(100));
        let unproven = self.unproven as u128;
        let (total, hopeful) = (self.total as u128 + unproven, self.available as u128 + unproven);
        100 * hopeful < threshold * total || (total == 0 && threshold > 0)
    }
}

/// Turns parts of a whole into percent, rounded down, until 100 are given away. What rounding
/// leaves goes to the first that has a part; without any, all are 0.
fn divide(parts: &[u128], whole: u128) -> Box<[u32]> {
    let mut left = 100;
    let mut share = |part: &u128| {
        let share = (100 * part).checked_div(whole).unwrap_or(0).min(left);
        left -= share;
        share as u32
    };
    let mut shares: Box<[u32]> = parts.iter().map(&mut share).collect();
    if let Some(first) = parts.iter().position(|part| *part > 0) {
        shares[first] += left as u32;
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    /// `1/4 0/0` are the levels, available of total.
    fn levels(text: &str) -> Vec<Level> {
        let level = |(available, total): (&str, &str)| Level {
            total: total.parse().unwrap(),
            available: available.parse().unwrap(),
            unproven: 0,
        };
        text.split_whitespace().map(|text| level(text.split_once('/').unwrap())).collect()
    }

    /// `70 30!` are the shares, with a mark at levels in panic.
    fn show(spread: &Spread) -> String {
        let mark = |panic: &bool| if *panic { "!" } else { "" };
        let shares = spread.shares.iter().zip(&spread.panic);
        let shares = shares.map(|(share, panic)| format!("{share}{}", mark(panic)));
        shares.collect::<Vec<_>>().join(" ")
    }

    fn check(overprovisioning: u32, panic_threshold: u32, cases: &[(&str, &str)]) {
        for (given, expected) in cases {
            let spread = proportional(&levels(given), overprovisioning, panic_threshold);
            assert_eq!(show(&spread), *expected, "{given}");
        }
    }

    /// The cases of Envoy's load_balancer_impl_base_test without degraded hosts.
    #[test]
    fn tiers_share_as_in_envoys_tests() {
        check(100, 50, &[("2/4 2/4", "50 50")]);
        check(
            140,
            50,
            &[
                ("0/1 0/1", "50! 50!"),
                ("0/1 0/2", "34! 66!"),
                ("0/1 0/2 1/1", "0 0 100"),
                ("2/4 2/4", "70 30"),
                ("1/1 1/1", "100 0"),
                ("1/2 1/2", "70 30"),
                ("1/4 2/2", "35 65"),
                ("1/4 1/4", "50! 50!"),
                ("1/2 1/2 1/2", "70 30 0"),
                ("1/4 2/2 1/2", "35 65 0"),
                ("1/4 1/4 1/4", "35 35 30"),
                ("1/5 1/5 1/5", "34! 33! 33!"),
                ("0/5 0/5 5/5", "0 0 100"),
                ("0/5 0/5 4/5", "0 0 100"),
                ("0/5 0/5 2/5", "34! 33! 33!"),
                ("0/5 0/3 0/2", "50! 30! 20!"),
                ("0/5 2/6 1/3", "37! 42! 21!"),
                // Ours: with one more they can carry everything together.
                ("1/5 2/6 1/3", "28 46 26"),
                ("0/0 0/6 0/3", "0! 67! 33!"),
            ],
        );
    }

    /// Envoy leaves excluded hosts (not checked yet) out of the health, but counts them in a panic;
    /// here they are in no count at all, so that only the case without panic is the same.
    #[test]
    fn excluded_endpoints_shrink_a_level() {
        check(140, 50, &[("1/1 1/5", "100 0"), ("0/0 1/4", "0! 100!"), ("0/3 1/4", "43! 57!")]);
    }

    /// Envoy's priority.rst, and where its tables contradict its code, the code.
    #[test]
    fn tiers_share_as_envoys_documentation_says() {
        check(
            140,
            0,
            &[
                ("100/100 100/100", "100 0"),
                ("72/100 72/100", "100 0"),
                ("71/100 71/100", "99 1"),
                ("50/100 50/100", "70 30"),
                ("25/100 100/100", "35 65"),
                ("25/100 25/100", "50 50"),
                ("100/100 100/100 100/100", "100 0 0"),
                ("72/100 72/100 100/100", "100 0 0"),
                ("71/100 71/100 100/100", "99 1 0"),
                ("50/100 50/100 100/100", "70 30 0"),
                ("25/100 100/100 100/100", "35 65 0"),
                ("25/100 25/100 100/100", "35 35 30"),
                ("25/100 25/100 20/100", "37 35 28"),
                ("0/100 100/100", "0 100"),
                ("71/100 100/100", "99 1"),
            ],
        );
    }

    #[test]
    fn less_than_1_percent_without_panic_is_shared_by_who_is_available() {
        check(140, 0, &[("0/1000 5/1000", "0 100"), ("2/1000 6/1000", "25 75"), ("0/9", "0")]);
        check(0, 0, &[("1/1 1/1", "50 50")]);
    }

    #[test]
    fn endpoints_that_may_turn_out_to_be_well_hold_a_panic_off() {
        let level = |available, total, unproven| Level { total, available, unproven };
        for (levels, expected) in [
            (&[level(0, 1, 2)][..], false),
            (&[level(0, 9, 1)], true),
            (&[level(0, 0, 3)], false),
            (&[level(0, 2, 0), level(0, 0, 1)], false),
        ] {
            assert_eq!(strict_panic(levels, 50), expected, "{levels:?}");
        }
    }

    #[test]
    fn strict_tiers_panic_only_all_together() {
        let cases = [
            ("", 50, false),
            ("0/0 0/0", 50, false),
            ("0/4", 50, true),
            ("1/4", 50, true),
            ("2/4", 50, false),
            ("0/4 2/2", 50, false),
            ("0/4 1/2", 50, false),
            ("0/4 1/3", 50, true),
            ("1/4 0/0", 50, true),
            ("4/4 0/4", 50, false),
            ("0/4 0/4", 0, false),
            ("3/4", 100, true),
            ("4/4", u32::MAX, false),
        ];
        for (given, threshold, expected) in cases {
            assert_eq!(strict_panic(&levels(given), threshold), expected, "{given}, {threshold} %");
        }
    }

    #[test]
    fn own_zone_is_preferred_as_far_as_it_goes() {
        let cases = [
            ("3/3 9/9 20/20", "100 0 0"),
            ("5/7 9/9 20/20", "100 0 0"),
            ("2/3 9/9 20/20", "93 7 0"),
            ("1/2 0/9 20/20", "70 0 30"),
            ("1/4 1/4 20/20", "35 35 30"),
            ("0/3 9/9 20/20", "0 100 0"),
            ("0/0 0/0 1/20", "0 0 100"),
            ("1/4 0/0 1/4", "50 0 50"),
            ("0/3 0/9 0/20", "0 0 0"),
        ];
        for (given, expected) in cases {
            let levels: [Level; 3] = levels(given).try_into().unwrap();
            let panic = [false; 3].into();
            assert_eq!(show(&Spread { shares: localities(&levels, 140), panic }), expected);
        }
    }

    /// What holds for all counts.
    fn invariants(levels: &[Level], overprovisioning: u32, threshold: u32) {
        let spread = proportional(levels, overprovisioning, threshold);
        let told = format!("{levels:?}, {overprovisioning} %, {threshold} %: {spread:?}");
        let anything = |count: fn(&Level) -> usize| levels.iter().any(|level| count(level) > 0);
        let all_panic = spread.panic.iter().all(|panics| *panics);
        let serves =
            anything(|level| level.available) || all_panic && anything(|level| level.total);
        let sum: u64 = spread.shares.iter().map(|share| u64::from(*share)).sum();
        assert_eq!(sum, if serves { 100 } else { 0 }, "{told}");
        for (at, level) in levels.iter().enumerate() {
            let can = if all_panic { level.total } else { level.available };
            assert!(can > 0 || spread.shares[at] == 0, "{told}");
            let reason = threshold > 0 && (level.total == 0 || level.available < level.total);
            assert!(reason || !spread.panic[at], "{told}");
        }
        if let Some(first) = levels.first().filter(|_| !all_panic) {
            let carries = first.carries(overprovisioning) as u32;
            assert!(spread.shares[0] >= carries, "less than it can carry: {told}");
        }
        if strict_panic(levels, threshold) {
            assert!(levels.iter().all(|level| level.is_below(threshold)), "{told}");
        }
    }

    #[test]
    fn invariants_hold_for_all_small_counts() {
        let pairs = (0..=4).flat_map(|total| (0..=total).map(move |available| (total, available)));
        let pairs: Vec<Level> =
            pairs.map(|(total, available)| Level { total, available, unproven: 0 }).collect();
        let check = |levels: &[Level]| {
            for threshold in [0, 1, 50, 100] {
                for overprovisioning in [0, 100, 140] {
                    invariants(levels, overprovisioning, threshold);
                }
            }
        };
        check(&[]);
        for one in &pairs {
            check(&[*one]);
            for two in &pairs {
                check(&[*one, *two]);
                pairs.iter().for_each(|three| check(&[*one, *two, *three]));
            }
        }
    }

    fn any_level() -> impl Strategy<Value = Level> {
        let most =
            prop_oneof![0..10_usize, 0..100_000_usize, Just(u32::MAX as usize), Just(usize::MAX)];
        let part = (most, 0..=1_000_usize);
        part.prop_map(|(total, part)| {
            let available = (total as u128 * part as u128 / 1_000) as usize;
            Level { total, available, unproven: 0 }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(7),
            ..ProptestConfig::default()
        })]

        #[test]
        fn invariants_hold_for_any_counts(
            levels in prop::collection::vec(any_level(), 0..9),
            overprovisioning in prop_oneof![100..200_u32, any::<u32>()],
            threshold in prop_oneof![0..=100_u32, any::<u32>()],
        ) {
            invariants(&levels, overprovisioning, threshold);
        }

        #[test]
        fn one_more_available_never_takes_from_its_own_level(
            mut levels in prop::collection::vec((1..50_usize, 0..50_usize), 1..5),
            at in any::<prop::sample::Index>(),
        ) {
            let at = at.index(levels.len());
            let spread = |pairs: &[(usize, usize)]| {
                let level = |(total, available): &(usize, usize)| {
                    Level { total: *total, available: (*available).min(*total), unproven: 0 }
                };
                proportional(&pairs.iter().map(level).collect::<Vec<_>>(), 140, 0).shares
            };
            let before = spread(&levels);
            levels[at].1 += 1;
            // The rest of the rounding is less than one for each level.
            prop_assert!(spread(&levels)[at] + levels.len() as u32 > before[at]);
        }
    }
}
