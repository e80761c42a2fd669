//! The single writer of a cluster: membership in, snapshots out. No I/O, no clock, no lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::assemble::{Plan, assemble};
use super::snapshot::Snapshot;
use crate::discover::Change;
use crate::endpoint::{Address, Endpoint, EndpointId, Member, Node, Payload, Subset};
use crate::error::Error;
use crate::event::Event;
use crate::load::Cost;
use crate::policy::Policy;

/// The most subsets that are kept prepared.
const SUBSETS: usize = 64;

/// The least time until an endpoint that could not be forgotten because of a lease is looked at
/// again: nothing spins, however long the lease lives.
const RECHECK: Duration = Duration::from_secs(1);

/// Which source lists an endpoint. The cluster's own handle is source 0.
pub(super) type SourceId = u64;

/// Payloads for the endpoints that a change brings, by identity and address.
pub(super) type Services = HashMap<(EndpointId, Address), Offer>;

/// A payload, and whether it replaces one that the endpoint has already.
pub(super) enum Offer {
    /// Made by the connect closure: taken only where there is none.
    Made(Payload),
    /// Brought by the caller: always taken.
    Brought(Payload),
}

pub(super) struct Control {
    present: BTreeMap<EndpointId, Record>,
    /// Endpoints that no source lists any more, and when to forget them, if ever. Kept so that one that comes back
    /// is the same endpoint with all that was learnt of it.
    gone: BTreeMap<EndpointId, (Record, Option<Instant>)>,
    /// The same by time, so that nothing has to be searched.
    due: BTreeSet<(Instant, EndpointId)>,
    /// The prepared subsets, the first named first.
    subsets: Vec<Subset>,
    policy: Arc<dyn Policy>,
    policy_name: Arc<str>,
    cost: Cost,
    forget_after: Duration,
    epoch: Instant,
    /// Whether a task waits for [`deadline`](Self::deadline).
    pub(super) driven: bool,
}

struct Record {
    endpoint: Endpoint,
    node: Arc<Node>,
    /// Who lists the endpoint, and how each describes it; the last to speak counts.
    sources: Vec<(SourceId, Endpoint)>,
}

/// What an applied change leaves to do.
#[derive(Default)]
pub(super) struct Applied {
    pub(super) events: Vec<Event>,
    /// What the change has made superfluous, to be dropped outside the lock: a service's drop is
    /// the user's code.
    pub(super) waste: Vec<Arc<Node>>,
    /// As `waste`: payloads that another writer has made superfluous.
    pub(super) spare: Vec<Payload>,
    /// Whether the source has withdrawn what it listed.
    pub(super) withdrawn: bool,
}

impl Applied {
    /// Whether picks have to see anything of it.
    pub(super) fn is_visible(&self) -> bool {
        !self.events.is_empty() || !self.waste.is_empty()
    }
}

impl Control {
    pub(super) fn new(
        (policy, policy_name): (Arc<dyn Policy>, Arc<str>),
        cost: Cost,
        forget_after: Duration,
        epoch: Instant,
    ) -> Self {
        Self {
            present: BTreeMap::new(),
            gone: BTreeMap::new(),
            due: BTreeSet::new(),
            subsets: Vec::new(),
            policy,
            policy_name,
            cost,
            forget_after,
            epoch,
            driven: false,
        }
    }

    /// The endpoints of `change` for which there is no payload yet.
    pub(super) fn unconnected(&self, change: &Change, services: &Services) -> Vec<Endpoint> {
        let lacks = |endpoint: &&Endpoint| {
            let (id, address) = (endpoint.id(), endpoint.address());
            let known = self.address(id) == Some(address);
            !known && !services.contains_key(&(id.clone(), address.clone()))
        };
        match change {
            Change::Insert(endpoint) => [endpoint].into_iter().filter(lacks).cloned().collect(),
            Change::Replace(endpoints) => endpoints.iter().filter(lacks).cloned().collect(),
            Change::Remove(_) => Vec::new(),
        }
    }

    /// Applies a change that was [checked](check) and has all its services.
    pub(super) fn apply(
        &mut self,
        source: SourceId,
        change: Change,
        services: &mut Services,
        now: Instant,
        applied: &mut Applied,
    ) {
        match change {
            Change::Insert(endpoint) => self.upsert(source, endpoint, services, now, applied),
            Change::Remove(id) => self.withdraw(source, &id, now, applied),
            Change::Replace(endpoints) => {
                let mut left: BTreeSet<EndpointId> = self
                    .present
                    .iter()
                    .filter(|(_, record)| record.listed_by(source))
                    .map(|(id, _)| id.clone())
                    .collect();
                for endpoint in endpoints {
                    left.remove(endpoint.id());
                    // Not news: what was changed since by others stays.
                    let record = self.present.get(endpoint.id());
                    if record.is_some_and(|record| record.knows(source, &endpoint)) {
                        continue;
                    }
                    self.upsert(source, endpoint, services, now, applied);
                }
                for id in left {
                    self.withdraw(source, &id, now, applied);
                }
            }
        }
    }

    /// Describes a present endpoint anew.
    pub(super) fn redescribe(
        &mut self,
        id: &EndpointId,
        edit: impl FnOnce(Endpoint) -> Endpoint,
        applied: &mut Applied,
    ) -> Result<(), Error> {
        let Some(record) = self.present.get_mut(id) else {
            return Err(Error::config("id", id, "is not the id of an endpoint of this cluster"));
        };
        record.describe(edit(record.endpoint.clone()), applied);
        Ok(())
    }

    /// Prepares a subset; of too many, the one that was named first goes.
    pub(super) fn prepare(&mut self, subset: &Subset) {
        if !self.subsets.contains(subset) {
            if self.subsets.len() == SUBSETS {
                self.subsets.remove(0);
            }
            self.subsets.push(subset.clone());
        }
    }

    /// How many endpoints each source lists.
    pub(super) fn listed(&self) -> HashMap<SourceId, usize> {
        let mut listed = HashMap::new();
        for (source, _) in self.present.values().flat_map(|record| &record.sources) {
            *listed.entry(*source).or_default() += 1;
        }
        listed
    }

    /// When there will be something to forget.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Forgets what has been gone for long enough. What still has leases is looked at again later.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Arc<Node>> {
        let mut waste = Vec::new();
        while self.due.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, id)) = self.due.pop_first() else {
                break;
            };
            let Some((record, _)) = self.gone.remove(&id) else {
                continue;
            };
            if record.node.load.in_flight() > 0 {
                self.leave(id, record, now.checked_add(self.forget_after.max(RECHECK)));
            } else {
                waste.push(record.node);
            }
        }
        waste
    }

    /// Keeps what was learnt of an endpoint that left; for ever, if the time is beyond what a clock
    /// can tell.
    fn leave(&mut self, id: EndpointId, record: Record, until: Option<Instant>) {
        self.due.extend(until.map(|until| (until, id.clone())));
        self.gone.insert(id, (record, until));
    }

    /// Takes an endpoint that left back in.
    fn come_back(&mut self, id: &EndpointId) -> Option<Record> {
        let (record, until) = self.gone.remove(id)?;
        if let Some(until) = until {
            self.due.remove(&(until, id.clone()));
        }
        Some(record)
    }

    /// Builds what picks shall read from now on; see [`assemble`].
    pub(super) fn snapshot(
        &self,
        previous: Option<&Snapshot>,
        random: &dyn Fn() -> u64,
        events: &mut Vec<Event>,
    ) -> Snapshot {
        let member = |record: &Record| Member {
            endpoint: record.endpoint.clone(),
            node: Arc::clone(&record.node),
        };
        let members = self.present.values().map(member).collect();
        assemble(Plan {
            members,
            subsets: &self.subsets,
            policy: &*self.policy,
            policy_name: &self.policy_name,
            cost: self.cost,
            previous,
            random,
            events,
        })
    }

    /// Where the endpoint of this id listens, present or gone.
    fn address(&self, id: &EndpointId) -> Option<&Address> {
        let gone = || self.gone.get(id).map(|(record, _)| record);
        self.present.get(id).or_else(gone).map(|record| record.endpoint.address())
    }

    fn upsert(
        &mut self,
        source: SourceId,
        endpoint: Endpoint,
        services: &mut Services,
        now: Instant,
        applied: &mut Applied,
    ) {
        let id = endpoint.id().clone();
        if let Some(record) = self.come_back(&id) {
            self.present.insert(id.clone(), record);
            applied.events.push(Event::Added(id.clone()));
        }
        let known = self.address(&id) == Some(endpoint.address());
        let service = match services.remove(&(id.clone(), endpoint.address().clone())) {
            Some(Offer::Brought(service)) => Some(service),
            Some(Offer::Made(service)) if !known => Some(service),
            Some(Offer::Made(service)) => {
                applied.spare.push(service);
                None
            }
            None => None,
        };
        let node = service.map(|service| {
            let parameters = self.cost.parameters();
            Arc::new(Node::new(endpoint.clone(), service, parameters, self.epoch, now))
        });
        match (self.present.get_mut(&id), node) {
            (Some(record), node) => {
                record.join(source, endpoint.clone());
                applied.waste.extend(node.map(|node| std::mem::replace(&mut record.node, node)));
                record.describe(endpoint, applied);
            }
            (None, Some(node)) => {
                let sources = vec![(source, endpoint.clone())];
                let record = Record { endpoint, node, sources };
                self.present.insert(id.clone(), record);
                applied.events.push(Event::Added(id));
            }
            (None, None) => debug_assert!(false, "the caller brings every payload that lacks"),
        }
    }

    fn withdraw(&mut self, source: SourceId, id: &EndpointId, now: Instant, applied: &mut Applied) {
        let Some(record) = self.present.get_mut(id) else {
            return;
        };
        applied.withdrawn |= record.listed_by(source);
        let spoke_last = record.sources.last().is_some_and(|(last, _)| *last == source);
        record.sources.retain(|(listed, _)| *listed != source);
        if let Some((_, endpoint)) = record.sources.last() {
            // Another address would need another payload: that waits for its source to speak.
            if spoke_last && endpoint.address() == record.endpoint.address() {
                record.describe(endpoint.clone(), applied);
            }
            return;
        }
        if let Some(record) = self.present.remove(id) {
            self.leave(id.clone(), record, now.checked_add(self.forget_after));
            applied.events.push(Event::Removed(id.clone()));
        }
    }
}

/// Refuses a set that has an id twice.
pub(crate) fn check(endpoints: &[Endpoint]) -> Result<(), Error> {
    let mut ids: Vec<&EndpointId> = endpoints.iter().map(Endpoint::id).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::config("id", pair[0], "stands twice in one set")),
        None => Ok(()),
    }
}

impl Record {
    fn join(&mut self, source: SourceId, endpoint: Endpoint) {
        self.sources.retain(|(listed, _)| *listed != source);
        self.sources.push((source, endpoint));
    }

    /// Whether the source has said this before, and if it has the last word, whether requests go
    /// to its address: they do not after another source has changed that and withdrawn.
    fn knows(&self, source: SourceId, endpoint: &Endpoint) -> bool {
        let told = |(listed, told): &(SourceId, Endpoint)| *listed == source && told == endpoint;
        let speaks_last = self.sources.last().is_some_and(told);
        let here = self.endpoint.address() == endpoint.address();
        self.sources.iter().any(told) && (here || !speaks_last)
    }

    fn listed_by(&self, source: SourceId) -> bool {
        self.sources.iter().any(|(listed, _)| *listed == source)
    }

    fn describe(&mut self, endpoint: Endpoint, applied: &mut Applied) {
        if self.endpoint == endpoint {
            return;
        }
        applied.events.push(Event::Updated(endpoint.id().clone()));
        self.node.describe(endpoint.clone());
        self.endpoint = endpoint;
    }
}
