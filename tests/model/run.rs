//! One run: every operation on the cluster and on the model, which must agree after each.

use std::future::Future;
use std::pin::Pin;

use futures_util::FutureExt;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;
use whippletree::cluster::Failback;
use whippletree::cluster::{EndpointStatus, Source, State};
use whippletree::discover::Change;
use whippletree::endpoint::Subset;
use whippletree::health::{Failure, Outcome};
use whippletree::{Cluster, Context, Endpoint, Error, Lease, Weight};

use crate::operations::{Described, Ending, Item, Operation, Wish, Writer};
use crate::oracle::{Allowed, Counts, Model};
use crate::strict::{Case, id, index};

pub(crate) fn run(case: &Case, operations: &[Operation]) {
    let mut run = Run::new(case);
    for operation in operations {
        run.step(operation);
        run.compare();
    }
    while !run.leases.is_empty() {
        run.end(0, Ending::Dropped);
    }
    run.compare();
    assert_eq!(crate::strict::in_flight(&run.cluster), 0);
}

type Follower = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Run {
    cluster: Cluster<String>,
    source: Source,
    changes: UnboundedSender<Change>,
    follower: Follower,
    model: Model,
    /// With the number of the server that each is on.
    leases: Vec<(Lease<String>, usize)>,
}

impl Run {
    fn new(case: &Case) -> Self {
        let builder =
            Cluster::builder().policy(std::sync::Arc::clone(&case.policy)).cost(case.cost);
        let builder = builder.failback(Failback::Immediate).outlier(None);
        let cluster = builder.seed(case.seed).connect(|at| at.address().to_string());
        let (changes, follower) = follow(&cluster);
        Self {
            source: cluster.source("source"),
            follower,
            cluster,
            changes,
            model: Model::default(),
            leases: Vec::new(),
        }
    }

    fn step(&mut self, operation: &Operation) {
        match operation {
            Operation::Insert(Writer::Stream, described) => {
                self.batch(&[Item::Insert(described.clone())]);
            }
            Operation::Remove(Writer::Stream, id) => self.batch(&[Item::Remove(*id)]),
            Operation::Replace(Writer::Stream, set) => self.batch(&[Item::Replace(set.clone())]),
            Operation::Batch(items) => self.batch(items),
            Operation::Insert(writer, described) => {
                let endpoint = described.endpoint();
                match writer {
                    Writer::Handle => self.cluster.insert(endpoint).unwrap(),
                    _ => self.source.insert(endpoint).unwrap(),
                }
                self.model.insert(*writer, described);
            }
            Operation::Remove(writer, at) => {
                let removed = match writer {
                    Writer::Handle => self.cluster.remove(&id(*at)),
                    _ => self.source.remove(&id(*at)),
                };
                assert_eq!(removed, self.model.remove(*writer, *at));
            }
            Operation::Replace(writer, set) => self.replace(*writer, set),
            Operation::Withdraw(writer) => {
                match writer {
                    Writer::Stream => self.cluster.source("stream").withdraw(),
                    _ => self.source.withdraw(),
                }
                assert!(self.model.replace(*writer, &[]));
            }
            Operation::Follow => self.follow(),
            Operation::SetWeight(at, weight) => {
                let result = self.cluster.set_weight(&id(*at), Weight::from(*weight));
                assert_eq!(result.is_ok(), self.model.set_weight(*at, *weight));
                assert!(result.is_ok() || result.is_err_and(|error| error.is_config()));
            }
            Operation::Pick(wish) => self.pick(wish),
            Operation::End(which, ending) => {
                if !self.leases.is_empty() {
                    self.end(which % self.leases.len(), *ending);
                }
            }
        }
    }

    fn replace(&mut self, writer: Writer, set: &[Described]) {
        let endpoints = endpoints(set);
        let result = match writer {
            Writer::Handle => self.cluster.replace(endpoints),
            _ => self.source.replace(endpoints),
        };
        assert_eq!(result.is_ok(), self.model.replace(writer, set), "{result:?}");
        assert!(result.is_ok() || result.is_err_and(|error| error.is_config()));
    }

    fn batch(&mut self, items: &[Item]) {
        for item in items {
            let change = match item {
                Item::Insert(described) => Change::Insert(described.endpoint()),
                Item::Remove(at) => Change::Remove(id(*at)),
                Item::Replace(set) => Change::Replace(endpoints(set)),
            };
            self.changes.send(change).unwrap();
        }
        assert!(self.follower.as_mut().now_or_never().is_none());
        self.model.batch(items);
    }

    /// What the stream before has listed stays, what it delivers from now on is not taken.
    fn follow(&mut self) {
        let (changes, follower) = follow(&self.cluster);
        let endpoint = Endpoint::new("late:1").unwrap();
        self.changes.send(Change::Replace(vec![endpoint])).unwrap();
        assert!(self.follower.as_mut().now_or_never().is_some());
        (self.changes, self.follower) = (changes, follower);
    }

    fn pick(&mut self, wish: &Wish) {
        let picked: Result<Lease<String>, Error> = self.cluster.pick(&context(wish));
        match (picked, self.model.allowed(wish)) {
            (Ok(lease), Allowed::OneOf(allowed)) => {
                let at = index(lease.id());
                assert!(allowed.contains(&at), "{at} is none of {allowed:?}");
                let port = self.model.records[&at].described.port;
                assert_eq!(*lease.service(), format!("host:{port}"), "another server's payload");
                let generation = self.model.begin(at);
                self.leases.push((lease, generation));
            }
            (Err(error), Allowed::Nobody(message)) => {
                assert!(error.is_no_endpoint());
                assert_eq!(error.to_string(), message);
            }
            (picked, allowed) => panic!("{picked:?}, but allowed is {allowed:?}"),
        }
    }

    fn end(&mut self, which: usize, ending: Ending) {
        let failure = Outcome::Failure(Failure::Other);
        let (mut lease, generation) = self.leases.swap_remove(which);
        let reports: &[Outcome] = match ending {
            Ending::Dropped => &[],
            Ending::Succeeded => &[Outcome::Success, Outcome::Ignored],
            Ending::Failed => &[failure],
            Ending::Ignored => &[Outcome::Ignored, Outcome::Success],
            Ending::BrokeOff => &[Outcome::Success, failure],
            Ending::FailedFirst => &[failure, Outcome::Success, failure],
        };
        reports.iter().for_each(|outcome| lease.report(*outcome));
        self.model.end(index(lease.id()), generation, ending);
    }

    fn compare(&self) {
        let status = self.cluster.status().endpoints;
        let present: Vec<_> = self.model.present().collect();
        assert_eq!(self.cluster.len(), present.len());
        assert_eq!(status.len(), present.len());
        for (status, record) in status.iter().zip(&present) {
            assert_eq!(status.endpoint, record.described.endpoint());
            assert_eq!(counts(status), record.counts, "of {}", status.endpoint.id());
            let expected = if record.described.weight == 0 { State::Drain } else { State::Up };
            assert_eq!(status.state, expected);
        }
        let available = present.iter().any(|record| record.described.weight > 0);
        assert_eq!(self.cluster.is_available(), available);
    }
}

fn follow(cluster: &Cluster<String>) -> (UnboundedSender<Change>, Follower) {
    let (changes, stream) = unbounded_channel();
    let stream = UnboundedReceiverStream::new(stream);
    (changes, Box::pin(cluster.follow("stream", stream)))
}

fn endpoints(set: &[Described]) -> Vec<Endpoint> {
    set.iter().map(Described::endpoint).collect()
}

fn context(wish: &Wish) -> Context {
    let mut context = Context::new();
    if let Some(preferred) = wish.prefer {
        context = context.with_prefer(id(preferred));
    }
    if let Some(role) = wish.role {
        context = context.with_subset(Subset::new([("role", role.to_string())]));
    }
    if let Some(hash) = wish.hash {
        context = context.with_hash(hash);
    }
    wish.exclude.iter().fold(context, |context, at| context.with_exclude(id(*at)))
}

fn counts(status: &EndpointStatus) -> Counts {
    Counts {
        in_flight: status.in_flight,
        requests: status.requests,
        successes: status.successes,
        failures: status.failures,
        ignored: status.ignored,
        cancelled: status.cancelled,
    }
}
