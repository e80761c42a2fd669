use super::*;
use crate::random::{Source, unit};

const SECOND: Duration = Duration::from_secs(1);

fn timing() -> Timing {
    Timing {
        interval: 5 * SECOND,
        fast_interval: SECOND,
        down_interval: 5 * SECOND,
        jitter: 0.1,
        concurrency: 64,
    }
}

/// A schedule in virtual time, whose checks take no time.
struct World {
    schedule: Schedule,
    start: Instant,
    now: Instant,
    random: Source,
    /// Who was checked when.
    checks: Vec<(Instant, Key)>,
}

impl World {
    fn new(timing: Timing) -> Self {
        let start = Instant::now();
        let schedule = Schedule::new(timing, start, 0.3);
        let random = Source::new(Some(7));
        Self { schedule, start, now: start, random, checks: Vec::new() }
    }

    fn add(&mut self, endpoints: usize) {
        for _ in 0..endpoints {
            self.schedule.add(self.now);
        }
    }

    /// Makes all checks until `until`, each with the result `pace`.
    fn run(&mut self, until: Duration, pace: ProbePace) {
        while let Some(next) = self.schedule.next().filter(|at| *at <= self.start + until) {
            self.now = self.now.max(next);
            self.look(pace);
        }
        self.now = self.start + until;
    }

    fn look(&mut self, pace: ProbePace) {
        while let Some(key) = self.schedule.take(self.now) {
            self.checks.push((self.now, key));
            let unit = unit(self.random.next());
            self.schedule.ended(key, Some(pace), self.now, unit);
        }
    }

    /// The checks in each second.
    fn per_second(&self) -> Vec<usize> {
        let mut seconds = Vec::new();
        for (at, _) in &self.checks {
            let second = (*at - self.start).as_secs() as usize;
            seconds.resize(seconds.len().max(second + 1), 0);
            seconds[second] += 1;
        }
        seconds
    }

    fn gaps(&self, key: Key) -> Vec<Duration> {
        let times: Vec<Instant> =
            self.checks.iter().filter(|(_, who)| *who == key).map(|(at, _)| *at).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

#[test]
fn no_second_carries_more_than_twice_the_mean_of_ten_thousand() {
    let mut world = World::new(timing());
    world.add(10_000);
    world.run(300 * SECOND, ProbePace::Steady);
    let seconds = world.per_second();
    assert_eq!(seconds.len(), 300);
    let most = *seconds.iter().max().unwrap();
    let least = *seconds.iter().min().unwrap();
    assert!(most <= 2 * 2000 && least >= 1000, "{least} to {most} a second");
    // It stays even: the last minute is no worse than the first.
    let late = seconds[240..].iter().max().unwrap();
    assert!(*late <= 2200, "{late} a second in the end");
}

#[test]
fn fast_checks_of_a_whole_set_are_spread_as_well() {
    let mut world = World::new(timing());
    world.add(1000);
    world.run(60 * SECOND, ProbePace::Transition);
    let seconds = world.per_second();
    assert!(seconds[10..59].iter().all(|checks| (900..=1100).contains(checks)), "{seconds:?}");
}

#[test]
fn few_are_checked_at_once_and_then_at_places_of_their_own() {
    let mut world = World::new(timing());
    world.add(3);
    world.look(ProbePace::Steady);
    assert_eq!(world.checks.len(), 3);
    world.run(600 * SECOND, ProbePace::Steady);
    for key in 0..3 {
        let gaps = world.gaps(key);
        assert!(gaps.len() > 115, "{}", gaps.len());
        assert!(gaps[0] >= 2 * SECOND && gaps[0] <= 8 * SECOND, "{gaps:?}");
        let fits = |gap: &Duration| *gap >= 4 * SECOND && *gap <= 6 * SECOND;
        assert!(gaps[1..].iter().all(fits), "{gaps:?}");
    }
    let phases = world.gaps(0).iter().zip(world.gaps(1)).filter(|(a, b)| *a == b).count();
    assert!(phases < 3, "the jitter is each one's own");
}

#[test]
fn newcomers_are_checked_at_once_until_they_are_many() {
    let mut world = World::new(timing());
    world.add(1);
    world.run(60 * SECOND, ProbePace::Steady);
    world.checks.clear();
    world.add(500);
    world.look(ProbePace::Steady);
    assert_eq!(world.checks.len(), AT_ONCE);
    world.run(65 * SECOND, ProbePace::Steady);
    let first: BTreeSet<Key> = world.checks.iter().map(|(_, key)| *key).collect();
    assert_eq!(first.len(), 501, "each within one interval");
    let most = *world.per_second()[60..].iter().max().unwrap();
    assert!(most <= 2 * 100 + AT_ONCE, "{most}");
}

#[test]
fn balancers_that_start_together_do_not_check_in_step() {
    let random = Source::new(Some(1));
    let start = Instant::now();
    let mut buckets = vec![0; 500];
    for _ in 0..100 {
        let mut schedule = Schedule::new(timing(), start, unit(random.next()));
        let keys: Vec<Key> = (0..50).map(|_| schedule.add(start)).collect();
        while let Some(key) = schedule.take(start) {
            schedule.ended(key, Some(ProbePace::Steady), start, unit(random.next()));
        }
        // The second interval: each is due there, or at the end of the one before.
        for key in keys {
            if let Stage::Waiting { due } = schedule.slots[&key].stage {
                buckets[((due - start).as_millis() as usize / 10) % 500] += 1;
            }
        }
    }
    let most = *buckets.iter().max().unwrap();
    assert!(most <= 3 * 10, "{most} in 10 ms, where 10 are the mean");
}

#[test]
fn a_late_wake_spreads_what_is_overdue_anew() {
    let mut world = World::new(timing());
    world.add(1000);
    world.run(20 * SECOND, ProbePace::Steady);
    // Nobody looks for ten intervals.
    world.now = world.start + 70 * SECOND;
    world.checks.clear();
    world.look(ProbePace::Steady);
    assert!(world.checks.len() < 20, "{} in a burst", world.checks.len());
    world.run(90 * SECOND, ProbePace::Steady);
    let seconds = &world.per_second()[70..89];
    assert!(seconds.iter().all(|checks| (100..=400).contains(checks)), "{seconds:?}");
}

#[test]
fn at_most_so_many_are_under_way_and_nobody_is_checked_twice_at_a_time() {
    let mut schedule = Schedule::new(Timing { concurrency: 2, ..timing() }, Instant::now(), 0.0);
    let now = schedule.epoch;
    let keys: Vec<Key> = (0..5).map(|_| schedule.add(now)).collect();
    assert_eq!((schedule.take(now), schedule.take(now)), (Some(keys[0]), Some(keys[1])));
    assert_eq!((schedule.take(now), schedule.next()), (None, None));
    // Those who waited for a place have their turn in their order, however late it is.
    let late = now + 60 * SECOND;
    schedule.ended(keys[0], Some(ProbePace::Steady), late, 0.5);
    assert_eq!((schedule.take(late), schedule.take(late)), (Some(keys[2]), None));
    schedule.ended(keys[1], None, late, 0.5);
    assert_eq!(schedule.take(late), Some(keys[3]));
}

#[test]
fn the_removed_are_not_checked_and_their_last_check_still_counts_as_under_way() {
    let mut schedule = Schedule::new(Timing { concurrency: 1, ..timing() }, Instant::now(), 0.0);
    let now = schedule.epoch;
    let (a, b) = (schedule.add(now), schedule.add(now));
    let c = schedule.add(now);
    assert_eq!(schedule.take(now), Some(a));
    schedule.remove(a);
    schedule.remove(b);
    assert_eq!(schedule.take(now), None, "the check of the removed one is not over");
    schedule.ended(a, Some(ProbePace::Down), now, 0.5);
    assert_eq!(schedule.take(now), Some(c));
    schedule.ended(c, None, now, 0.5);
    schedule.remove(c);
    assert_eq!((schedule.next(), schedule.due.len(), schedule.slots.len()), (None, 0, 0));
}

#[test]
fn the_pace_decides_how_soon() {
    for (pace, least, most) in [
        (ProbePace::Transition, 400, 1600),
        (ProbePace::Steady, 2000, 8000),
        (ProbePace::Down, 10_000, 40_000),
    ] {
        let timing = Timing { down_interval: 20 * SECOND, ..timing() };
        let mut schedule = Schedule::new(timing, Instant::now(), 0.0);
        let now = schedule.epoch;
        let key = schedule.add(now);
        schedule.take(now);
        schedule.ended(key, Some(pace), now, 0.5);
        let next = (schedule.next().unwrap() - now).as_millis();
        assert!((least..=most).contains(&next), "{pace:?}: {next} ms");
    }
}
