//! Drains, undrains, removals and requests in any order (D5), against a model.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use whippletree::cluster::{Admin, Drain, DrainEnd, DrainOptions, Then};
use whippletree::{Cluster, Context, Endpoint, EndpointId, Lease};

#[derive(Clone, Debug)]
enum Step {
    Begin,
    End,
    Drain { deadline: u64, then: Then },
    Set(Admin),
    Insert,
    Remove,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let then = prop_oneof![Just(Then::Stay), Just(Then::Maintenance), Just(Then::Removal)];
    let admin = prop_oneof![Just(Admin::Ready), Just(Admin::Drain), Just(Admin::Maintenance)];
    prop_oneof![
        3 => Just(Step::Begin),
        3 => Just(Step::End),
        2 => (1..60_u64, then).prop_map(|(deadline, then)| Step::Drain { deadline, then }),
        2 => admin.prop_map(Step::Set),
        1 => Just(Step::Insert),
        1 => Just(Step::Remove),
        2 => (1..40_u64).prop_map(Step::Pass),
    ]
}

/// The endpoint, as it should be.
struct Model {
    present: bool,
    admin: Admin,
    shut: bool,
    /// When its sessions are let go, whether or not the drain goes on until then.
    shuts: Option<u64>,
    /// The deadline of the drain that goes on, and what follows it.
    drain: Option<(u64, Then)>,
    /// How the last one has ended.
    ended: Option<DrainEnd>,
    in_flight: usize,
    now: u64,
}

impl Model {
    fn serves(&self) -> bool {
        self.present && self.admin != Admin::Maintenance && !self.shut
    }

    fn settle(&mut self) {
        self.shut |= self.shuts.take_if(|at| *at <= self.now).is_some();
        let Some((deadline, then)) = self.drain else {
            return;
        };
        let end = match self.in_flight {
            0 => DrainEnd::Empty,
            _ if self.now >= deadline => DrainEnd::Deadline,
            _ => return,
        };
        (self.drain, self.ended) = (None, Some(end));
        match then {
            Then::Maintenance if self.present => self.admin = Admin::Maintenance,
            Then::Removal => self.present = false,
            _ => {}
        }
    }

    fn set(&mut self, admin: Admin) {
        if !self.present || admin == self.admin {
            return;
        }
        self.admin = admin;
        if admin == Admin::Ready {
            (self.shut, self.shuts) = (false, None);
            if self.drain.take().is_some() {
                self.ended = Some(DrainEnd::Undone);
            }
        }
    }
}

fn run(steps: &[Step]) {
    let endpoint = Endpoint::new("a:1").unwrap();
    let id: &EndpointId = endpoint.id();
    let cluster = Cluster::builder().forget_after(Duration::from_secs(1 << 30)).connect(|_| ());
    cluster.insert(endpoint.clone()).unwrap();
    let start = Instant::now();
    cluster.work_at(start);
    let asks = Context::new().with_prefer(id.clone());
    let mut leases: VecDeque<Lease<()>> = VecDeque::new();
    let mut drain: Option<Drain> = None;
    let mut model = Model {
        present: true,
        admin: Admin::Ready,
        shut: false,
        shuts: None,
        drain: None,
        ended: None,
        in_flight: 0,
        now: 0,
    };
    for step in steps {
        match step {
            Step::Begin => {
                let lease = cluster.pick(&asks);
                assert_eq!(lease.is_ok(), model.serves(), "{step:?}");
                leases.extend(lease);
                model.in_flight = leases.len();
            }
            Step::End => {
                drop(leases.pop_front());
                model.in_flight = leases.len();
            }
            Step::Drain { deadline, then } => {
                let options = DrainOptions::new().deadline(Duration::from_secs(*deadline));
                let begun = cluster.drain(id, options.then(*then));
                assert_eq!(begun.is_ok(), model.present);
                if let Ok(begun) = begun {
                    drain = Some(begun);
                    if model.admin == Admin::Ready {
                        model.admin = Admin::Drain;
                    }
                    model.ended = None;
                    model.drain = Some((model.now + deadline, *then));
                    model.shuts = Some(model.now + deadline);
                }
            }
            Step::Set(admin) => {
                assert_eq!(cluster.set_admin(id, *admin, "test").is_ok(), model.present);
                model.set(*admin);
            }
            Step::Insert => {
                cluster.insert(endpoint.clone()).unwrap();
                model.present = true;
            }
            Step::Remove => {
                assert_eq!(cluster.remove(id), model.present);
                model.present = false;
            }
            Step::Pass(seconds) => {
                model.now += seconds;
                cluster.work_at(start + Duration::from_millis(model.now * 1000 + 500));
            }
        }
        model.settle();
        check(&cluster, &model, drain.as_ref());
    }
}

fn check(cluster: &Cluster<()>, model: &Model, drain: Option<&Drain>) {
    assert_eq!(cluster.len(), usize::from(model.present));
    if let Some(status) = cluster.status().endpoints.first() {
        assert_eq!(status.in_flight as usize, model.in_flight);
        let admin = status.facts.iter().find(|fact| fact.value == model.admin.as_str());
        assert!(admin.is_some(), "{:?} {:?}", model.admin, status.facts);
    }
    let found = cluster.pick(&Context::new()).is_ok();
    assert_eq!(found, model.present && model.admin == Admin::Ready, "new requests");
    if let Some(drain) = drain {
        assert_eq!(drain.report().map(|report| report.end), model.ended);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn drain_is_what_its_model_says(steps in prop::collection::vec(step(), 1..40)) {
        run(&steps);
    }
}
