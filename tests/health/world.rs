//! A cluster in a time of its own, without a runtime: what traffic says is judged on the spot.

use std::time::{Duration, Instant};

use whippletree::cluster::{Builder, EndpointStatus, State};
use whippletree::event::{Event, Events};
use whippletree::health::{Failure, Outcome};
use whippletree::{Cluster, Context, Endpoint, Lease};

use crate::strict::{id, index, preferring};

pub(crate) const FAILED: Outcome = Outcome::Failure(Failure::Server);

pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

pub(crate) struct World {
    pub(crate) cluster: Cluster<()>,
    pub(crate) events: Events,
    pub(crate) now: Instant,
}

impl World {
    pub(crate) fn new(builder: Builder, endpoints: Vec<Endpoint>) -> Self {
        let cluster = builder.seed(20_261).connect(|_| ());
        cluster.replace(endpoints).unwrap();
        let events = cluster.subscribe();
        Self { cluster, events, now: Instant::now() }
    }

    pub(crate) fn after(&mut self, time: f64) {
        self.now += seconds(time);
        self.cluster.work_at(self.now);
    }

    pub(crate) fn begin(&self, context: &Context) -> Lease<()> {
        self.cluster.pick_at(context, self.now).unwrap()
    }

    pub(crate) fn end(&self, mut lease: Lease<()>, outcome: Outcome) -> usize {
        lease.report_at(outcome, self.now);
        index(lease.id())
    }

    /// One request to whomever the policy picks.
    pub(crate) fn send(&self, outcome: impl Fn(usize) -> Outcome) -> usize {
        let lease = self.begin(&Context::new());
        let outcome = outcome(index(lease.id()));
        self.end(lease, outcome)
    }

    /// The request that the endpoint gets on trial: one of the next few.
    pub(crate) fn trial(&self, at: usize) -> Lease<()> {
        for _ in 0..20 {
            let lease = self.begin(&Context::new());
            if index(lease.id()) == at {
                return lease;
            }
            self.end(lease, Outcome::Ignored);
        }
        panic!("no request goes to {at}");
    }

    /// So many requests that the endpoint gets.
    pub(crate) fn on(&self, at: usize, outcome: Outcome, requests: usize) {
        for _ in 0..requests {
            let lease = self.begin(&preferring(at));
            assert_eq!(index(lease.id()), at, "it does not take requests");
            self.end(lease, outcome);
        }
    }

    /// Has live traffic eject the endpoint.
    pub(crate) fn eject(&self, at: usize) {
        self.on(at, FAILED, 5);
        assert_eq!(self.state(at), State::Ejected);
    }

    pub(crate) fn status(&self, at: usize) -> EndpointStatus {
        let mut found = self.cluster.status().endpoints.into_iter();
        found.find(|status| *status.endpoint.id() == id(at)).unwrap()
    }

    pub(crate) fn state(&self, at: usize) -> State {
        self.status(at).state
    }

    pub(crate) fn ejected(&self) -> usize {
        let endpoints = self.cluster.status().endpoints;
        endpoints.iter().filter(|status| status.state == State::Ejected).count()
    }

    /// What has happened since the last call, one word each, with the endpoint's number.
    pub(crate) fn told(&mut self) -> String {
        let told = std::iter::from_fn(|| self.events.try_next()).map(|event| word(&event));
        told.collect::<Vec<_>>().join(" ")
    }
}

fn word(event: &Event) -> String {
    match event {
        Event::Added(id) => format!("added{}", index(id)),
        Event::Updated(id) => format!("updated{}", index(id)),
        Event::Removed(id) => format!("removed{}", index(id)),
        Event::Ejected { endpoint, .. } => format!("ejected{}", index(endpoint)),
        Event::EjectionRefused { endpoint, .. } => format!("refused{}", index(endpoint)),
        Event::HalfOpen(id) => format!("half{}", index(id)),
        Event::Returned(id) => format!("returned{}", index(id)),
        Event::Administered { endpoint, state, .. } => format!("{state}{}", index(endpoint)),
        Event::PanicEntered => "panic".to_owned(),
        Event::PanicLeft => "calm".to_owned(),
        Event::TierSwitched { from, to } => {
            let name = |tier: &Option<u32>| tier.map_or("none".to_owned(), |tier| tier.to_string());
            format!("tier{}to{}", name(from), name(to))
        }
        other => format!("{other:?}"),
    }
}
