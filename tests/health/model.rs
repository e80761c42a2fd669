//! A day in the life of a cluster, at random, against a simple model of what it promises.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use whippletree::cluster::{Admin, FactKind};
use whippletree::event::Event;
use whippletree::health::Outcome;
use whippletree::{Cluster, Context, Lease};

use crate::strict::{Seed, endpoint, excluding, fleet, id, index, preferring};
use crate::world::{FAILED, World, seconds};

const IDS: usize = 8;

/// As the builder's default.
const FORGET_AFTER: f64 = 300.0;

#[derive(Clone, Debug)]
enum Operation {
    /// So many requests with this outcome wherever they go.
    Send(Outcome, usize),
    /// Requests to this endpoint, if it takes them.
    SendTo(usize, Outcome, usize),
    Begin(Wish),
    /// Ends one of the requests under way; without an outcome its caller gives up.
    End(usize, Option<Outcome>),
    Insert(usize),
    Remove(usize),
    Weight(usize, u16),
    Admin(usize, Admin),
    /// Lets time pass, in seconds.
    Pass(f64),
}

#[derive(Clone, Debug)]
enum Wish {
    Anyone,
    Not(usize),
    Prefer(usize),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let at = || 0..IDS;
    let outcome = || {
        prop_oneof![
            3 => Just(Outcome::Success),
            3 => Just(FAILED),
            1 => Just(Outcome::Ignored)
        ]
    };
    let wish = prop_oneof![
        4 => Just(Wish::Anyone),
        1 => at().prop_map(Wish::Not),
        1 => at().prop_map(Wish::Prefer)
    ];
    let admin = prop_oneof![
        4 => Just(Admin::Ready),
        1 => Just(Admin::Drain),
        1 => Just(Admin::Maintenance)
    ];
    let time = prop_oneof![5 => 0.0..2.0, 5 => 2.0..15.0, 2 => 15.0..400.0, 1 => 400.0..7_200.0];
    let operation = prop_oneof![
        4 => (outcome(), 1..30_usize).prop_map(|(outcome, count)| Operation::Send(outcome, count)),
        6 => (at(), outcome(), 1..12_usize)
            .prop_map(|(at, outcome, count)| Operation::SendTo(at, outcome, count)),
        5 => wish.prop_map(Operation::Begin),
        5 => (any::<usize>(), proptest::option::of(outcome()))
            .prop_map(|(which, outcome)| Operation::End(which, outcome)),
        1 => at().prop_map(Operation::Insert),
        1 => at().prop_map(Operation::Remove),
        1 => (at(), 0..3_u16).prop_map(|(at, weight)| Operation::Weight(at, weight)),
        2 => (at(), admin).prop_map(|(at, admin)| Operation::Admin(at, admin)),
        6 => time.prop_map(Operation::Pass),
    ];
    proptest::collection::vec(operation, 1..250)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Fine,
    Ejected,
    HalfOpen,
}

struct Known {
    present: bool,
    removed_at: f64,
    admin: Admin,
    weight: u16,
    verdict: Verdict,
    /// The request on trial, by number.
    trial: Option<usize>,
}

impl Known {
    fn new() -> Self {
        let (admin, verdict) = (Admin::Ready, Verdict::Fine);
        Self { present: true, removed_at: 0.0, admin, weight: 1, verdict, trial: None }
    }

    fn is_wanted(&self) -> bool {
        self.present && self.admin == Admin::Ready && self.weight > 0
    }
}

struct Run {
    world: World,
    known: BTreeMap<usize, Known>,
    /// Numbered, with the endpoint and when they began.
    leases: Vec<(usize, usize, Lease<()>)>,
    begun: usize,
    time: f64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let builder = Cluster::builder().event_capacity(1 << 16);
        let world = World::new(builder.seed(seed), fleet(&[1; IDS]));
        let known = (0..IDS).map(|at| (at, Known::new())).collect();
        Self { world, known, leases: Vec::new(), begun: 0, time: 0.0 }
    }

    fn step(&mut self, operation: &Operation) {
        match operation {
            Operation::Send(outcome, count) => {
                for _ in 0..*count {
                    if self.begin(&Wish::Anyone) {
                        self.end(self.leases.len() - 1, Some(*outcome));
                    }
                }
            }
            Operation::SendTo(at, outcome, count) => {
                for _ in 0..*count {
                    if self.begin(&Wish::Prefer(*at)) {
                        self.end(self.leases.len() - 1, Some(*outcome));
                    }
                }
            }
            Operation::Begin(wish) => drop(self.begin(wish)),
            Operation::End(which, outcome) => {
                if !self.leases.is_empty() {
                    self.end(which % self.leases.len(), *outcome);
                }
            }
            Operation::Insert(at) => self.insert(*at),
            Operation::Remove(at) => {
                let known = self.known.get_mut(at).unwrap();
                assert_eq!(self.world.cluster.remove(&id(*at)), known.present);
                if known.present {
                    (known.present, known.removed_at) = (false, self.time);
                }
            }
            Operation::Weight(at, weight) => {
                let done = self.world.cluster.set_weight(&id(*at), (*weight).into());
                let known = self.known.get_mut(at).unwrap();
                assert_eq!(done.is_ok(), known.present);
                if known.present {
                    known.weight = *weight;
                }
            }
            Operation::Admin(at, admin) => {
                let done = self.world.cluster.set_admin(&id(*at), *admin, "model");
                let known = self.known.get_mut(at).unwrap();
                assert_eq!(done.is_ok(), known.present);
                if known.present {
                    if known.admin == Admin::Maintenance && *admin != Admin::Maintenance {
                        known.verdict = Verdict::Fine;
                    }
                    known.admin = *admin;
                }
            }
            Operation::Pass(time) => {
                self.time += time;
                self.world.after(*time);
            }
        }
        self.listen();
    }

    fn insert(&mut self, at: usize) {
        self.world.cluster.insert(endpoint(at)).unwrap();
        let status = self.world.status(at);
        let known = self.known.get_mut(&at).unwrap();
        if known.present {
            known.weight = 1;
            return;
        }
        known.present = true;
        known.weight = status.endpoint.weight().get();
        let busy = self.leases.iter().any(|(_, there, _)| *there == at);
        if self.time - known.removed_at > FORGET_AFTER - 1.0 && !busy {
            // Forgotten, or about to be.
            let value = status.fact(FactKind::Outlier).unwrap().value;
            known.verdict = verdict(value);
            known.admin = match status.fact(FactKind::Admin).unwrap().value {
                "ready" => Admin::Ready,
                "drain" => Admin::Drain,
                _ => Admin::Maintenance,
            };
        }
    }

    /// Whether fewer than half of those that count are available.
    fn panics(&self) -> bool {
        let wanted = || self.known.values().filter(|known| known.is_wanted());
        let fine = wanted().filter(|known| known.verdict == Verdict::Fine).count();
        2 * fine < wanted().count()
    }

    /// Answers whether there was an endpoint for it.
    fn begin(&mut self, wish: &Wish) -> bool {
        let (context, excluded) = match wish {
            Wish::Anyone => (Context::new(), None),
            Wish::Not(at) => (excluding([*at]), Some(*at)),
            Wish::Prefer(at) => (preferring(*at), None),
        };
        let panic = self.panics();
        let wanted = self.known.values().any(Known::is_wanted);
        assert_eq!(self.world.cluster.status().panic, panic);
        let picked = self.world.cluster.pick_at(&context, self.world.now);
        let Ok(lease) = picked else {
            assert!(!wanted || excluded.is_some(), "nobody, though there is one: {picked:?}");
            return self.preferred_is_out(wish);
        };
        let at = index(lease.id());
        assert_ne!(Some(at), excluded);
        let waits = |known: &Known| {
            known.is_wanted() && known.verdict == Verdict::HalfOpen && known.trial.is_none()
        };
        let any_waits = self.known.iter().any(|(at, known)| waits(known) && Some(*at) != excluded);
        let known = self.known.get_mut(&at).unwrap();
        assert!(known.present, "{at} is gone");
        let asked_for = matches!(wish, Wish::Prefer(wished) if *wished == at)
            && known.verdict == Verdict::Fine
            && known.admin != Admin::Maintenance;
        assert!(asked_for || known.is_wanted(), "{at} is not to be picked");
        let trial = waits(known);
        assert!(
            known.verdict == Verdict::Fine || trial || panic,
            "{at} is {:?}, its trial {:?}",
            known.verdict,
            known.trial
        );
        let fine = |known: &Known| known.is_wanted() && known.verdict == Verdict::Fine;
        let others = self.known.values().any(fine);
        let known = self.known.get_mut(&at).unwrap();
        assert!(asked_for || trial || panic || others || !any_waits, "a trial was due");
        if trial {
            known.trial = Some(self.begun);
        }
        self.leases.push((self.begun, at, lease));
        self.begun += 1;
        true
    }

    /// Nobody was found: not for lack of the endpoint that was asked for.
    fn preferred_is_out(&self, wish: &Wish) -> bool {
        if let Wish::Prefer(at) = wish {
            let known = &self.known[at];
            let serves = known.present && known.admin != Admin::Maintenance;
            assert!(!serves || known.verdict != Verdict::Fine, "{at} was asked for");
        }
        false
    }

    fn end(&mut self, which: usize, outcome: Option<Outcome>) {
        let (number, at, mut lease) = self.leases.swap_remove(which);
        match outcome {
            Some(outcome) => {
                lease.report_at(outcome, self.world.now);
                drop(lease);
            }
            None => lease.cancel_at(self.world.now),
        }
        let known = self.known.get_mut(&at).unwrap();
        if known.trial == Some(number) {
            known.trial = None;
        }
        self.listen();
    }

    /// Takes in what the cluster tells, which must be possible as things stand.
    fn listen(&mut self) {
        while let Some(event) = self.world.events.try_next() {
            let (at, from, to) = match &event {
                Event::Ejected { endpoint, .. } => (index(endpoint), None, Verdict::Ejected),
                Event::HalfOpen(id) => (index(id), Some(Verdict::Ejected), Verdict::HalfOpen),
                Event::Returned(id) => (index(id), Some(Verdict::HalfOpen), Verdict::Fine),
                Event::Missed(count) => panic!("{count} events missed"),
                _ => continue,
            };
            let known = self.known.get_mut(&at).unwrap();
            let before = std::mem::replace(&mut known.verdict, to);
            match from {
                Some(from) => assert_eq!(before, from, "{event:?}"),
                None => assert_ne!(before, Verdict::Ejected, "{event:?}"),
            }
            if (before, to) == (Verdict::Fine, Verdict::Ejected) {
                self.cap_holds();
            }
        }
    }

    fn cap_holds(&self) {
        let present = || self.known.values().filter(|known| known.present);
        let out = present().filter(|known| known.verdict != Verdict::Fine).count();
        let most = usize::max(1, present().count() / 2);
        assert!(out <= most, "{out} are out of {}", present().count());
        let serves = |known: &Known| known.is_wanted() && known.verdict == Verdict::Fine;
        assert!(self.known.values().any(serves), "the last one was ejected");
    }

    fn compare(&self) {
        let status = self.world.cluster.status();
        let present = self.known.iter().filter(|(_, known)| known.present);
        let present: Vec<(&usize, &Known)> = present.collect();
        assert_eq!(status.endpoints.len(), present.len());
        for (status, (at, known)) in status.endpoints.iter().zip(present) {
            assert_eq!(*status.endpoint.id(), id(*at));
            let said = status.fact(FactKind::Outlier).unwrap();
            assert_eq!(verdict(said.value), known.verdict, "of {at}");
            let held = self.leases.iter().filter(|(_, there, _)| there == at).count();
            assert_eq!(status.in_flight as usize, held, "of {at}");
            let ended = status.successes + status.failures + status.ignored + status.cancelled;
            assert_eq!(status.requests, ended + held as u64, "of {at}");
            assert_eq!(status.reason().is_none(), known.is_wanted() && said.value == "ok");
        }
    }
}

fn verdict(value: &str) -> Verdict {
    match value {
        "ok" => Verdict::Fine,
        "ejected" => Verdict::Ejected,
        "half_open" => Verdict::HalfOpen,
        other => panic!("{other}"),
    }
}

#[test]
fn cluster_keeps_its_promises_all_day() {
    let seed = Seed(20_262);
    let config = Config {
        cases: 150,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed.0),
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&operations(), |operations| {
        let mut run = Run::new(seed.0);
        for operation in &operations {
            run.step(operation);
            run.compare();
        }
        while !run.leases.is_empty() {
            run.end(0, None);
        }
        run.compare();
        run.world.after(seconds(86_400.0).as_secs_f64());
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
