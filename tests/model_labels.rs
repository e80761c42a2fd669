//! What `model` leaves open: labels that change at run time, subsets of several labels, more
//! subsets than are kept prepared, and leases that live on as guards.
#![allow(clippy::unwrap_used, reason = "tests")]

mod strict;

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use whippletree::cluster::{LeaseGuard, Source};
use whippletree::endpoint::{Labels, Subset};
use whippletree::{Cluster, Context, Endpoint, Lease, Outcome};

use crate::strict::{Case, Seed, id, index};

const IDS: usize = 5;

/// Values of the labels `role` and `zone`, where an endpoint has them.
type Tags = (Option<u8>, Option<u8>);

#[derive(Clone, Debug, PartialEq)]
struct Described {
    id: usize,
    weight: u16,
    priority: u32,
    tags: Tags,
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(usize, Described),
    Remove(usize, usize),
    Replace(usize, Vec<Described>),
    SetWeight(usize, u16),
    SetLabels(usize, Tags),
    Pick {
        prefer: Option<usize>,
        exclude: Vec<usize>,
        subset: Option<Tags>,
    },
    /// More subsets than are kept, so that all that were named before are prepared anew.
    NameManySubsets,
    End {
        which: usize,
        succeeded: bool,
        as_guard: bool,
    },
}

fn tags() -> impl Strategy<Value = Tags> {
    (prop_oneof![Just(None), (0_u8..2).prop_map(Some)], any::<Option<bool>>())
        .prop_map(|(role, zone)| (role, zone.map(u8::from)))
}

fn described() -> impl Strategy<Value = Described> {
    (0..IDS, 0_u16..3, 0_u32..2, tags()).prop_map(|(id, weight, priority, tags)| Described {
        id,
        weight,
        priority,
        tags,
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let ids = || vec(0..IDS, 0..4);
    let wanted = (any::<Option<u8>>(), ids(), prop_oneof![Just(None), tags().prop_map(Some)]);
    prop_oneof![
        4 => (0_usize..2, described()).prop_map(|(writer, at)| Operation::Insert(writer, at)),
        1 => (0_usize..2, 0..IDS).prop_map(|(writer, id)| Operation::Remove(writer, id)),
        1 => (0_usize..2, vec(described(), 0..4))
            .prop_map(|(writer, set)| Operation::Replace(writer, set)),
        1 => (0..IDS, 0_u16..3).prop_map(|(id, weight)| Operation::SetWeight(id, weight)),
        4 => (0..IDS, tags()).prop_map(|(id, tags)| Operation::SetLabels(id, tags)),
        8 => wanted.prop_map(|(prefer, exclude, subset)| Operation::Pick {
            prefer: prefer.map(|at| usize::from(at) % IDS),
            exclude,
            subset,
        }),
        1 => Just(Operation::NameManySubsets),
        3 => (any::<usize>(), any::<bool>(), any::<bool>())
            .prop_map(|(which, succeeded, as_guard)| Operation::End { which, succeeded, as_guard }),
    ]
}

fn labels((role, zone): Tags) -> Vec<(&'static str, String)> {
    let label = |key, value: Option<u8>| value.map(|value| (key, value.to_string()));
    label("role", role).into_iter().chain(label("zone", zone)).collect()
}

fn endpoint(described: &Described) -> Endpoint {
    let labels: Labels = labels(described.tags).into_iter().collect();
    strict::endpoint(described.id)
        .with_weight(described.weight)
        .with_priority(described.priority)
        .with_labels(labels)
}

type ByHand = (Option<u16>, Option<Tags>);

#[derive(Debug)]
struct Record {
    described: Described,
    /// Who lists the endpoint and as what, the last to speak last.
    listed: Vec<(usize, Described)>,
    /// As the last to speak described it.
    told: Described,
    /// What was set by hand: it stays until a source inserts the endpoint anew or describes it
    /// otherwise.
    by_hand: ByHand,
    /// In flight, requests, successes, cancelled.
    counts: [u64; 4],
}

impl Record {
    fn describe(&mut self, told: Described) {
        self.told = told.clone();
        let (weight, tags) = self.by_hand;
        self.described = Described {
            weight: weight.unwrap_or(told.weight),
            tags: tags.unwrap_or(told.tags),
            ..told
        };
    }
}

/// All endpoints ever seen, for none is forgotten within a run.
#[derive(Debug, Default)]
struct Model(BTreeMap<usize, Record>);

impl Model {
    fn present(&self) -> Vec<&Record> {
        self.0.values().filter(|record| !record.listed.is_empty()).collect()
    }

    /// Answers whether there is such an endpoint.
    fn edit(&mut self, id: usize, edit: impl FnOnce(&mut ByHand)) -> bool {
        let Some(record) = self.0.get_mut(&id).filter(|record| !record.listed.is_empty()) else {
            return false;
        };
        edit(&mut record.by_hand);
        record.describe(record.told.clone());
        true
    }

    fn insert(&mut self, writer: usize, described: &Described) {
        let new = || Record {
            described: described.clone(),
            listed: Vec::new(),
            told: described.clone(),
            by_hand: (None, None),
            counts: [0; 4],
        };
        let record = self.0.entry(described.id).or_insert_with(new);
        if !record.listed.is_empty() || record.told != *described {
            record.by_hand = (None, None);
        }
        record.listed.retain(|(listed, _)| *listed != writer);
        record.listed.push((writer, described.clone()));
        record.describe(described.clone());
    }

    fn remove(&mut self, writer: usize, id: usize) -> bool {
        let Some(record) = self.0.get_mut(&id) else {
            return false;
        };
        let Some(place) = record.listed.iter().position(|(listed, _)| *listed == writer) else {
            return false;
        };
        record.listed.remove(place);
        let spoke_last = place == record.listed.len();
        if let (true, Some((_, described))) = (spoke_last, record.listed.last().cloned()) {
            record.describe(described);
        }
        true
    }

    fn replace(&mut self, writer: usize, set: &[Described]) -> bool {
        let times = |id| set.iter().filter(|described| described.id == id).count();
        if (0..IDS).any(|id| times(id) > 1) {
            return false;
        }
        for described in set {
            let said = (writer, described.clone());
            let record = self.0.get(&described.id);
            if !record.is_some_and(|record| record.listed.contains(&said)) {
                self.insert(writer, described);
            }
        }
        for id in (0..IDS).filter(|id| times(*id) == 0) {
            self.remove(writer, id);
        }
        true
    }

    /// Whom a pick may find; nobody if empty.
    fn allowed(
        &self,
        prefer: Option<usize>,
        exclude: &[usize],
        subset: Option<Tags>,
    ) -> Vec<usize> {
        let matches = |wanted: Option<u8>, has| wanted.is_none() || wanted == has;
        let inside = |at: &&Described| {
            subset.is_none_or(|(role, zone)| matches(role, at.tags.0) && matches(zone, at.tags.1))
        };
        let open: Vec<&Described> = self
            .present()
            .into_iter()
            .map(|record| &record.described)
            .filter(|at| !exclude.contains(&at.id) && inside(at))
            .collect();
        if let Some(at) = open.iter().find(|at| prefer == Some(at.id)) {
            return vec![at.id];
        }
        let weighted = || open.iter().filter(|at| at.weight > 0);
        let tier = weighted().map(|at| at.priority).min();
        weighted().filter(|at| Some(at.priority) == tier).map(|at| at.id).collect()
    }
}

struct Run {
    cluster: Cluster<()>,
    source: Source,
    model: Model,
    leases: Vec<Lease<()>>,
    guards: Vec<LeaseGuard>,
}

fn context(prefer: Option<usize>, exclude: &[usize], subset: Option<Tags>) -> Context {
    let mut context = strict::excluding(exclude.iter().copied());
    if let Some(at) = prefer {
        context = context.with_prefer(id(at));
    }
    match subset {
        Some(tags) => context.with_subset(Subset::new(labels(tags))),
        None => context,
    }
}

impl Run {
    fn new(case: &Case) -> Self {
        let cluster = case.cluster(&[]);
        let source = cluster.source("source");
        let model = Model::default();
        Self { cluster, source, model, leases: Vec::new(), guards: Vec::new() }
    }

    fn step(&mut self, operation: &Operation) {
        match operation {
            Operation::Insert(writer, at) => {
                let inserted = match writer {
                    0 => self.cluster.insert(endpoint(at)),
                    _ => self.source.insert(endpoint(at)),
                };
                inserted.unwrap();
                self.model.insert(*writer, at);
            }
            Operation::Remove(writer, at) => {
                let removed = match writer {
                    0 => self.cluster.remove(&id(*at)),
                    _ => self.source.remove(&id(*at)),
                };
                assert_eq!(removed, self.model.remove(*writer, *at));
            }
            Operation::Replace(writer, set) => {
                let endpoints = set.iter().map(endpoint);
                let replaced = match writer {
                    0 => self.cluster.replace(endpoints),
                    _ => self.source.replace(endpoints),
                };
                assert_eq!(replaced.is_ok(), self.model.replace(*writer, set));
                assert!(replaced.is_ok() || replaced.is_err_and(|error| error.is_config()));
            }
            Operation::SetWeight(at, weight) => {
                let set = self.cluster.set_weight(&id(*at), (*weight).into());
                let known = self.model.edit(*at, |by_hand| by_hand.0 = Some(*weight));
                assert_eq!(set.is_ok(), known);
            }
            Operation::SetLabels(at, tags) => {
                let set = self.cluster.set_labels(&id(*at), labels(*tags).into_iter().collect());
                let known = self.model.edit(*at, |by_hand| by_hand.1 = Some(*tags));
                assert_eq!(set.is_ok(), known);
                assert!(set.is_ok() || set.is_err_and(|error| error.is_config()));
            }
            Operation::Pick { prefer, exclude, subset } => {
                let picked = self.cluster.pick(&context(*prefer, exclude, *subset));
                let allowed = self.model.allowed(*prefer, exclude, *subset);
                match picked {
                    Ok(lease) => {
                        let at = index(lease.id());
                        assert!(allowed.contains(&at), "{at} is none of {allowed:?}");
                        let counts = &mut self.model.0.get_mut(&at).unwrap().counts;
                        counts[0] += 1;
                        counts[1] += 1;
                        self.leases.push(lease);
                    }
                    Err(error) => {
                        assert!(error.is_no_endpoint(), "{error}");
                        assert!(allowed.is_empty(), "{error}, but allowed is {allowed:?}");
                    }
                }
            }
            Operation::NameManySubsets => {
                for number in 0..65 {
                    let nobody = Subset::new([("number", number.to_string())]);
                    let picked = self.cluster.pick(&Context::new().with_subset(nobody));
                    assert!(picked.is_err_and(|error| error.is_no_endpoint()));
                }
            }
            Operation::End { which, succeeded, as_guard } => {
                if !self.leases.is_empty() {
                    let lease = self.leases.swap_remove(which % self.leases.len());
                    self.end(lease, *succeeded, *as_guard);
                }
            }
        }
    }

    fn end(&mut self, mut lease: Lease<()>, succeeded: bool, as_guard: bool) {
        let counts = &mut self.model.0.get_mut(&index(lease.id())).unwrap().counts;
        if succeeded {
            lease.report(Outcome::Success);
            counts[2] += 1;
        }
        if as_guard {
            // In flight until the run is over; a success is one already.
            self.guards.push(lease.into_guard());
        } else {
            counts[0] -= 1;
            counts[3] += u64::from(!succeeded);
        }
    }

    fn compare(&self) {
        let status = self.cluster.status().endpoints;
        let present = self.model.present();
        assert_eq!(status.len(), present.len());
        for (status, record) in status.iter().zip(present) {
            assert_eq!(status.endpoint, endpoint(&record.described));
            let [in_flight, requests, successes, cancelled] = record.counts;
            assert_eq!(u64::from(status.in_flight), in_flight);
            assert_eq!((status.requests, status.successes), (requests, successes));
            // One that has succeeded and is still in flight stands in both.
            assert!(status.cancelled <= cancelled);
            let open = self.guards.iter().any(|guard| guard.id() == status.endpoint.id());
            assert!(open || status.cancelled == cancelled);
        }
    }

    fn finish(mut self) {
        self.leases.clear();
        self.guards.clear();
        assert_eq!(strict::in_flight(&self.cluster), 0);
        // Those who had left come back with all that was counted.
        let everybody: Vec<_> = self.model.0.keys().map(|at| strict::endpoint(*at)).collect();
        self.cluster.replace(everybody).unwrap();
        let status = self.cluster.status().endpoints;
        assert_eq!(status.len(), self.model.0.len());
        for (status, record) in status.iter().zip(self.model.0.values()) {
            let [_, requests, successes, _] = record.counts;
            let expected = (0, requests, successes, requests - successes);
            let found = (status.in_flight, status.requests, status.successes, status.cancelled);
            assert_eq!(found, expected, "of {}", status.endpoint.id());
        }
    }
}

#[test]
fn labels_and_subsets_behave_as_their_model() {
    for (number, case) in strict::cases().enumerate() {
        let seed = Seed(2_000 + number as u64);
        let config = Config {
            cases: 24,
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(seed.0),
            ..Config::default()
        };
        let outcome = TestRunner::new(config).run(&vec(operation(), 1..60), |operations| {
            let mut run = Run::new(&case);
            for operation in &operations {
                run.step(operation);
                run.compare();
            }
            run.finish();
            Ok(())
        });
        outcome.unwrap_or_else(|failure| panic!("{case:?}: {failure}"));
    }
}

/// A matter of chance while it is wrong, about one round in thirty; never fails once it is right.
#[test]
fn of_many_who_remove_an_endpoint_at_once_one_is_told_that_it_did() {
    let cluster = Cluster::builder().connect(|_| ());
    for round in 0..500 {
        cluster.insert(strict::endpoint(0)).unwrap();
        let start = std::sync::Barrier::new(4);
        let remove = || {
            start.wait();
            usize::from(cluster.remove(&id(0)))
        };
        let removed: usize = std::thread::scope(|scope| {
            let removers: Vec<_> = (0..4).map(|_| scope.spawn(remove)).collect();
            removers.into_iter().map(|remover| remover.join().unwrap()).sum()
        });
        assert_eq!(removed, 1, "in round {round}");
    }
}
