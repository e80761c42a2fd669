//! One endpoint as the control side keeps it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::assemble::Candidate;
use super::control::{Applied, SourceId};
use super::facts::Facts;
use crate::endpoint::{Counts, Endpoint, Labels, Member, Node, State, UNLIMITED, Weight};
use crate::event::Event;

pub(super) struct Record {
    /// As picks see it: the last description with what was changed since.
    pub(super) endpoint: Endpoint,
    /// As its source described it last.
    described: Endpoint,
    overrides: Overrides,
    pub(super) node: Arc<Node>,
    past: Past,
    /// Who lists the endpoint, and how each describes it; the last to speak counts.
    pub(super) sources: Vec<(SourceId, Endpoint)>,
    pub(super) facts: Facts,
    pub(super) since: Instant,
}

/// What was changed by hand, whatever the sources say.
#[derive(Default)]
struct Overrides {
    weight: Option<Weight>,
    labels: Option<Labels>,
}

/// What became of payloads that others have replaced.
#[derive(Default)]
struct Past {
    counts: Counts,
    /// Those with requests under way.
    nodes: Vec<Arc<Node>>,
}

impl Record {
    pub(super) fn new(
        source: SourceId,
        endpoint: Endpoint,
        node: Arc<Node>,
        facts: Facts,
        now: Instant,
    ) -> Self {
        Self {
            described: endpoint.clone(),
            overrides: Overrides::default(),
            node,
            past: Past::default(),
            sources: vec![(source, endpoint.clone())],
            endpoint,
            facts,
            since: now,
        }
    }

    pub(super) fn join(&mut self, source: SourceId, endpoint: Endpoint) {
        self.sources.retain(|(listed, _)| *listed != source);
        self.sources.push((source, endpoint));
    }

    /// Whether the source has said this before, and if it has the last word, whether requests go
    /// to its address: they do not after another source has changed that and withdrawn.
    pub(super) fn knows(&self, source: SourceId, endpoint: &Endpoint) -> bool {
        let told = |(listed, told): &(SourceId, Endpoint)| *listed == source && told == endpoint;
        let speaks_last = self.sources.last().is_some_and(told);
        let here = self.endpoint.address() == endpoint.address();
        self.sources.iter().any(told) && (here || !speaks_last)
    }

    pub(super) fn listed_by(&self, source: SourceId) -> bool {
        self.sources.iter().any(|(listed, _)| *listed == source)
    }

    /// Who describes the endpoint if `source` does no longer, should that change anything.
    pub(super) fn heir(&self, source: SourceId) -> Option<&Endpoint> {
        let mut others = self.sources.iter().filter(|(listed, _)| *listed != source);
        others.next_back().map(|(_, endpoint)| endpoint)
    }

    /// Whether the endpoint was described like this when it was here last.
    pub(super) fn was(&self, endpoint: &Endpoint) -> bool {
        self.described == *endpoint
    }

    /// Takes a source's description; what was changed by hand stays.
    pub(super) fn describe(&mut self, endpoint: Endpoint, applied: &mut Applied) {
        self.described = endpoint;
        self.refresh(applied);
    }

    /// From now on the sources' word counts alone.
    pub(super) fn drop_overrides(&mut self) {
        self.overrides = Overrides::default();
    }

    pub(super) fn set_weight(&mut self, weight: Weight, applied: &mut Applied) {
        self.overrides.weight = Some(weight);
        self.refresh(applied);
    }

    pub(super) fn set_labels(&mut self, labels: Labels, applied: &mut Applied) {
        self.overrides.labels = Some(labels);
        self.refresh(applied);
    }

    /// Whether the weight was set by hand.
    pub(super) fn weight_is_set(&self) -> bool {
        self.overrides.weight.is_some()
    }

    fn refresh(&mut self, applied: &mut Applied) {
        let mut endpoint = self.described.clone();
        if let Some(weight) = self.overrides.weight {
            endpoint = endpoint.with_weight(weight);
        }
        if let Some(labels) = &self.overrides.labels {
            endpoint = endpoint.with_labels(labels.clone());
        }
        if self.endpoint == endpoint {
            return;
        }
        applied.events.push(Event::Updated(endpoint.id().clone()));
        self.node.describe(endpoint.clone());
        self.endpoint = endpoint;
    }

    /// Puts another payload in. What the endpoint has counted and learnt of its latency stays;
    /// requests under way finish on the old payload and are counted until they end.
    pub(super) fn replace(&mut self, node: Arc<Node>, applied: &mut Applied) {
        node.load.inherit(&self.node.load);
        node.sessions.inherit(&self.node.sessions);
        self.facts.outlier.start_interval(&node.tally);
        let old = std::mem::replace(&mut self.node, node);
        self.past.nodes.push(old);
        self.settle_past(applied);
        // Picks have to find the new payload, also where the description stays the same.
        applied.news = true;
    }

    /// Adds up what old payloads have counted, once their last requests have ended.
    pub(super) fn settle_past(&mut self, applied: &mut Applied) {
        let over = |node: &Arc<Node>| node.load.in_flight() == 0;
        let (over, under_way) = std::mem::take(&mut self.past.nodes).into_iter().partition(over);
        self.past.nodes = under_way;
        for node in Vec::<Arc<Node>>::into_iter(over) {
            self.past.counts = self.past.counts + node.counts();
            applied.waste.push(node);
        }
    }

    /// Becomes another endpoint under the same id; hands back the node that it was.
    pub(super) fn start_over(&mut self, node: Arc<Node>, facts: Facts) -> Arc<Node> {
        self.since = facts.state_since;
        self.facts = facts;
        self.past = Past::default();
        std::mem::replace(&mut self.node, node)
    }

    /// Makes a change, of whatever kind, and keeps the clocks that hang on what it leads to: since
    /// when the state is what it is, and since when the endpoint has been fit to serve.
    pub(super) fn change(
        &mut self,
        now: Instant,
        applied: &mut Applied,
        change: impl FnOnce(&mut Self, &mut Applied),
    ) {
        let before = (self.state(), self.facts.fitness(&self.endpoint), self.rank());
        let had_weight = !self.endpoint.weight().is_zero();
        change(self, applied);
        if had_weight {
            self.facts.weightless_since = now;
        }
        let (state, fitness) = (self.state(), self.facts.fitness(&self.endpoint));
        if state != before.0 {
            self.facts.state_since = now;
        }
        if !fitness.sticky {
            self.facts.fit_since = None;
            self.facts.out_since.get_or_insert(now);
        } else if self.facts.fit_since.is_none() {
            self.facts.fit_since = Some(now);
        }
        if fitness.sticky {
            self.facts.out_since = None;
        }
        applied.news |= (state, fitness, self.rank()) != before;
    }

    pub(super) fn candidate(&self) -> Candidate {
        let fitness = self.facts.fitness(&self.endpoint);
        let member = Member {
            endpoint: self.endpoint.clone(),
            node: Arc::clone(&self.node),
            rank: self.rank(),
            sticky: fitness.sticky,
            home: self.facts.home(fitness),
            on_trial: fitness.on_trial,
            limit: self.endpoint.max_in_flight().map_or(UNLIMITED, NonZeroU32::get),
        };
        let (state, fit_since) = (self.state(), self.facts.fit_since);
        Candidate { member, fitness, state, fit_since }
    }

    pub(super) fn rank(&self) -> u8 {
        self.facts.rank(&self.endpoint)
    }

    /// Requests and outcomes, on this payload and those before it.
    pub(super) fn counts(&self) -> Counts {
        self.nodes().fold(self.past.counts, |sum, node| sum + node.counts())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.nodes().all(|node| node.load.in_flight() == 0)
    }

    /// The payload's node, and those of payloads before it that have requests under way.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.past.nodes.iter().chain([&self.node])
    }

    pub(super) fn state(&self) -> State {
        self.facts.state(&self.endpoint)
    }
}
