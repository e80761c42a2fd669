//! The morning of the exam: one large school is there first and ends up on one endpoint, then traffic
//! grows eight times.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Request;
use whippletree::Cluster;
use whippletree::sticky::SessionState;

use crate::world::{User, World, endpoint};

const SCHOOL: usize = 200;
/// Eight times the school in all.
const OTHERS: usize = 1400;
/// Every tenth request of a pupil ends a page of the exam.
const PAGE: usize = 10;

struct Pupil {
    user: User,
    requests: usize,
    home: Option<String>,
    /// Whether the last response was a safe point.
    safe: bool,
    cut: usize,
}

impl Pupil {
    /// Not all begin a page at the same moment.
    fn new(number: usize) -> Self {
        Self { user: User::default(), requests: number, home: None, safe: true, cut: 0 }
    }

    /// Works on; `pages` is whether the application says when a page is done.
    async fn work(&mut self, world: &World, pages: bool) {
        self.requests += 1;
        let safe = pages && self.requests % PAGE == 0;
        world.answer_with(if safe { &[("x-session-safe-point", "1")] } else { &[] });
        let request = Request::new(String::new());
        let answer = self.user.request(world, request).await.unwrap();
        let moved_unasked = answer.session.state == SessionState::Moved && !safe;
        let elsewhere = self.home.as_ref().is_some_and(|home| *home != answer.served_by);
        self.cut += usize::from((elsewhere && !self.safe) || moved_unasked);
        self.home = Some(answer.served_by);
        self.safe = safe;
    }
}

/// Sessions by endpoint, as the pupils know it.
fn truth(pupils: &[Pupil]) -> BTreeMap<&str, usize> {
    let mut sessions = BTreeMap::from(["a", "b", "c", "d", "e"].map(|id| (id, 0)));
    for home in pupils.iter().filter_map(|pupil| pupil.home.as_deref()) {
        *sessions.entry(home).or_default() += 1;
    }
    sessions
}

fn busiest(pupils: &[Pupil]) -> f64 {
    let sessions = truth(pupils);
    let most = *sessions.values().max().unwrap() as f64;
    most * sessions.len() as f64 / sessions.values().sum::<usize>() as f64
}

/// The school is at home on `a`, the first that was up; then all five are.
async fn morning(others: usize) -> (World, Vec<Pupil>) {
    let world = World::with(&[("a", 1)], Cluster::builder(), |layer| layer);
    let mut pupils: Vec<Pupil> = (0..SCHOOL).map(Pupil::new).collect();
    for pupil in &mut pupils {
        pupil.work(&world, false).await;
    }
    let five = ["a", "b", "c", "d", "e"].map(|id| endpoint(id, 1));
    world.cluster.replace(five).unwrap();
    assert_eq!(busiest(&pupils), 5.0);
    pupils.extend((0..others).map(Pupil::new));
    (world, pupils)
}

#[tokio::test(start_paused = true)]
async fn new_sessions_alone_even_it_out_as_far_as_arithmetic_allows() {
    // The school is 200 of n: `a` stays at 200, the others share what comes. 200 is below the mean
    // once n is 1000, and then all are equal to within one session.
    for (others, expected) in [(200, 2.5), (400, 200.0 / 120.0), (800, 1.0), (1400, 1.0)] {
        let (world, mut pupils) = morning(others).await;
        for pupil in &mut pupils {
            pupil.work(&world, false).await;
        }
        assert!((busiest(&pupils) - expected).abs() < 0.005, "{others}: {:?}", truth(&pupils));
        assert_eq!(pupils.iter().map(|pupil| pupil.cut).sum::<usize>(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn with_safe_points_it_is_even_within_eighteen_seconds_and_nobody_is_cut() {
    // The hard case: nobody new comes. Each of the 200 on `a` asks eight times as often as before,
    // once a second, and is done with a page every tenth time.
    let (world, mut pupils) = morning(0).await;
    let mut seconds = 0;
    while busiest(&pupils) >= 1.25 {
        for pupil in &mut pupils {
            pupil.work(&world, true).await;
        }
        world.pass(Duration::from_secs(1)).await;
        seconds += 1;
        assert!(seconds <= 60, "{:?}", truth(&pupils));
    }
    // 151 of 200 have to leave, ten a second and ten at once, at the next safe point of each.
    assert!((14..=18).contains(&seconds), "its rate is ten a second: {seconds} s");
    assert_eq!(pupils.iter().map(|pupil| pupil.cut).sum::<usize>(), 0);
    let sessions = truth(&pupils);
    assert!(sessions.values().all(|count| *count < 50), "{sessions:?}");
    assert_eq!(world.layer.counts().new, 200, "nobody was logged out");
}

#[tokio::test(start_paused = true)]
async fn eight_times_the_traffic_and_safe_points_are_even_too() {
    let (world, mut pupils) = morning(OTHERS).await;
    for _ in 0..20 {
        for pupil in &mut pupils {
            pupil.work(&world, true).await;
        }
        world.pass(Duration::from_secs(1)).await;
    }
    assert!(busiest(&pupils) < 1.25, "{:?}", truth(&pupils));
    assert_eq!(pupils.iter().map(|pupil| pupil.cut).sum::<usize>(), 0);
    assert_eq!(world.layer.counts().new as usize, SCHOOL + OTHERS);
}
