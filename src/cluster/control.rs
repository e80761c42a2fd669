//! The single writer of a cluster: membership in, snapshots out. No I/O, no clock, no lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::drain::Drains;
use super::facts::Facts;
use super::record::Record;
use super::rules::Rules;
use super::verdicts::{ProbeId, ProbeRule};
use super::witness::Reporter;
use crate::discover::Change;
use crate::endpoint::{Address, Endpoint, EndpointId, Node, Payload, Usher, Witness};
use crate::error::Error;
use crate::event::Event;

/// Which source lists an endpoint. The cluster's own handle is source 0.
pub(super) type SourceId = u64;

/// The source that a cluster's own handle writes for.
pub(super) const HANDLE: SourceId = 0;

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
    pub(super) rules: Rules,
    pub(super) present: BTreeMap<EndpointId, Record>,
    /// Endpoints that no source lists any more, and when to forget them, if ever. Kept so that one
    /// that comes back is the same endpoint with all that was learnt of it.
    pub(super) gone: BTreeMap<EndpointId, (Record, Option<Instant>)>,
    /// The same by time, so that nothing has to be searched.
    pub(super) due: BTreeSet<(Instant, EndpointId)>,
    /// When ejections end.
    pub(super) releases: BTreeSet<(Instant, EndpointId)>,
    /// When the detectors compare the endpoints next, if they do.
    pub(super) sweep_at: Option<Instant>,
    /// When the snapshot has to be built anew, though nothing else has changed.
    pub(super) rebuild_at: Option<Instant>,
    /// Whether the best tier shall serve, whichever did before.
    pub(super) fail_back: bool,
    pub(super) probes: Vec<ProbeRule>,
    next_probe: ProbeId,
    /// Changes with every change of who is here, as whom, and whether to be probed.
    pub(super) roster: u64,
    /// What becomes visible with the next snapshot.
    pending: Vec<Event>,
    /// How many are ejected and how many serve, while that is known to hold.
    pub(super) room: Option<(usize, usize)>,
    /// Who the nodes testify to.
    pub(super) reporter: Arc<Reporter>,
    /// Who the nodes tell of slots that others wait for.
    usher: Arc<dyn Usher>,
    pub(super) drains: Drains,
    #[cfg(feature = "serde")]
    pub(super) imported: super::export::Imported,
    /// Whether picks find nothing any more, for good.
    pub(super) is_closed: bool,
    /// Who set the facts that nobody has set.
    pub(super) nobody: Arc<str>,
    pub(super) epoch: Instant,
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
    /// Endpoints whose trial is over: the next may be made once picks see what it has led to.
    pub(super) trials: Vec<Arc<Node>>,
    /// Whether the source has withdrawn what it listed.
    pub(super) withdrawn: bool,
    /// Whether picks have to see anything of it, told or not.
    pub(super) news: bool,
}

impl Applied {
    /// Whether picks have to see anything of it.
    pub(super) fn is_visible(&self) -> bool {
        self.news || !self.events.is_empty()
    }
}

impl Control {
    pub(super) fn new(
        rules: Rules,
        reporter: Arc<Reporter>,
        usher: Arc<dyn Usher>,
        epoch: Instant,
    ) -> Self {
        Self {
            usher,
            rules,
            present: BTreeMap::new(),
            gone: BTreeMap::new(),
            due: BTreeSet::new(),
            releases: BTreeSet::new(),
            sweep_at: None,
            rebuild_at: None,
            fail_back: false,
            probes: Vec::new(),
            next_probe: 0,
            roster: 0,
            pending: Vec::new(),
            room: None,
            reporter,
            drains: Drains::default(),
            #[cfg(feature = "serde")]
            imported: super::export::Imported::new(),
            is_closed: false,
            nobody: "default".into(),
            epoch,
        }
    }

    /// The endpoints of `change` for which there is no payload yet; `kept` as for
    /// [`apply`](Self::apply).
    pub(super) fn unconnected(
        &self,
        source: SourceId,
        change: &Change,
        kept: &BTreeSet<EndpointId>,
        services: &Services,
    ) -> Vec<Endpoint> {
        let lacks = |endpoint: &&Endpoint| {
            let (id, address) = (endpoint.id(), endpoint.address());
            let known = self.address(id) == Some(address);
            !known && !services.contains_key(&(id.clone(), address.clone()))
        };
        match change {
            Change::Insert(endpoint) => [endpoint].into_iter().filter(lacks).cloned().collect(),
            Change::Remove(id) => {
                self.heir(source, id).filter(lacks).cloned().into_iter().collect()
            }
            Change::Replace(endpoints) => {
                let listed: BTreeSet<&EndpointId> = endpoints.iter().map(Endpoint::id).collect();
                let goes = |id: &&EndpointId| !listed.contains(id) && !kept.contains(*id);
                let left = self.present.keys().filter(goes);
                let heirs = left.filter_map(|id| self.heir(source, id));
                endpoints.iter().chain(heirs).filter(lacks).cloned().collect()
            }
        }
    }

    /// Applies a change that was [checked](check) and has all its services. What a whole set
    /// leaves out stays if it is `kept`, by a further change that is applied together with it:
    /// for a moment it would be another source's endpoint, with a payload of its own.
    pub(super) fn apply(
        &mut self,
        source: SourceId,
        change: Change,
        kept: &BTreeSet<EndpointId>,
        services: &mut Services,
        now: Instant,
        applied: &mut Applied,
    ) {
        match change {
            Change::Insert(endpoint) => self.upsert(source, endpoint, services, now, applied),
            Change::Remove(id) => self.withdraw(source, &id, services, now, applied),
            Change::Replace(endpoints) => {
                let mut left: BTreeSet<EndpointId> = self
                    .present
                    .iter()
                    .filter(|(id, record)| record.listed_by(source) && !kept.contains(*id))
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
                    self.withdraw(source, &id, services, now, applied);
                }
            }
        }
    }

    /// Changes a present endpoint.
    pub(super) fn edit(
        &mut self,
        id: &EndpointId,
        now: Instant,
        applied: &mut Applied,
        edit: impl FnOnce(&mut Record, &mut Applied),
    ) -> Result<(), Error> {
        let Some(record) = self.present.get_mut(id) else {
            return Err(Error::config("id", id, "is not the id of an endpoint of this cluster"));
        };
        record.change(now, applied, edit);
        self.roster += 1;
        Ok(())
    }

    /// The earliest time at which there will be something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = self.due.first().map(|(due, _)| *due);
        let release = self.releases.first().map(|(until, _)| *until);
        let times = [due, release, self.sweep_at, self.rebuild_at, self.drains.due()];
        times.into_iter().flatten().min()
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Instant, random: &dyn Fn() -> u64, applied: &mut Applied) {
        self.room = None;
        self.expire(now, applied);
        self.release(now, applied);
        self.sweep(now, random, applied);
        if self.rebuild_at.is_some_and(|at| at <= now) {
            self.rebuild_at = None;
            applied.news = true;
        }
        applied.events.append(&mut self.pending);
    }

    /// Lets the next round of work show what has happened.
    pub(super) fn show_soon(&mut self, events: Vec<Event>, now: Instant) {
        self.pending.extend(events);
        self.rebuild_at = Some(now);
    }

    pub(super) fn next_probe(&mut self) -> ProbeId {
        self.next_probe += 1;
        self.next_probe
    }

    /// How many endpoints each source lists.
    pub(super) fn listed(&self) -> HashMap<SourceId, usize> {
        let mut listed = HashMap::new();
        for (source, _) in self.present.values().flat_map(|record| &record.sources) {
            *listed.entry(*source).or_default() += 1;
        }
        listed
    }

    /// Where the endpoint of this id listens, present or gone.
    fn address(&self, id: &EndpointId) -> Option<&Address> {
        let gone = || self.gone.get(id).map(|(record, _)| record);
        self.present.get(id).or_else(gone).map(|record| record.endpoint.address())
    }

    /// Who describes the endpoint when `source`, which lists it, does no longer.
    fn heir(&self, source: SourceId, id: &EndpointId) -> Option<&Endpoint> {
        self.present.get(id).filter(|record| record.listed_by(source))?.heir(source)
    }

    /// The record of an endpoint that is here or was.
    pub(super) fn known(&mut self, id: &EndpointId) -> Option<&mut Record> {
        match self.present.get_mut(id) {
            Some(record) => Some(record),
            None => self.gone.get_mut(id).map(|(record, _)| record),
        }
    }

    fn upsert(
        &mut self,
        source: SourceId,
        endpoint: Endpoint,
        services: &mut Services,
        now: Instant,
        applied: &mut Applied,
    ) {
        self.roster += 1;
        let id = endpoint.id().clone();
        let mut anew = self.present.contains_key(&id);
        if let Some(mut record) = self.come_back(&id) {
            anew = !record.was(&endpoint);
            record.facts.fit_since = None;
            self.present.insert(id.clone(), record);
            applied.events.push(Event::Added(id.clone()));
        }
        let moved = self.address(&id).is_some_and(|address| address != endpoint.address());
        let node = self.node(&endpoint, services, applied);
        match (self.present.get_mut(&id), node) {
            (Some(record), Some(node)) if moved => {
                // Another server: nothing that was learnt of the first one holds.
                self.drains.undo(&id, record, now);
                let facts = Facts::new(now, &self.nobody, &self.probes);
                record.join(source, endpoint.clone());
                record.drop_overrides();
                applied.waste.push(record.start_over(node, facts));
                record.change(now, applied, |record, applied| record.describe(endpoint, applied));
            }
            (Some(record), node) => {
                record.join(source, endpoint.clone());
                if anew {
                    record.drop_overrides();
                }
                record.change(now, applied, |record, applied| {
                    if let Some(node) = node {
                        record.replace(node, applied);
                    }
                    record.describe(endpoint, applied);
                });
            }
            (None, Some(node)) => {
                let facts = Facts::new(now, &self.nobody, &self.probes);
                let mut record = Record::new(source, endpoint, node, facts, now);
                record.change(now, applied, |_, _| {});
                self.present.insert(id.clone(), record);
                #[cfg(feature = "serde")]
                self.recall(&id, now, applied);
                applied.events.push(Event::Added(id));
            }
            (None, None) => debug_assert!(false, "the caller brings every payload that lacks"),
        }
    }

    /// A node with the payload that is on offer, if it is to be taken.
    fn node(
        &mut self,
        endpoint: &Endpoint,
        services: &mut Services,
        applied: &mut Applied,
    ) -> Option<Arc<Node>> {
        let known = self.address(endpoint.id()) == Some(endpoint.address());
        let payload = match services.remove(&(endpoint.id().clone(), endpoint.address().clone()))? {
            Offer::Made(payload) if known => {
                applied.spare.push(payload);
                return None;
            }
            Offer::Made(payload) | Offer::Brought(payload) => payload,
        };
        let parameters = self.rules.cost.parameters();
        let (endpoint, epoch) = (endpoint.clone(), self.epoch);
        let witness: Arc<dyn Witness> = Arc::clone(&self.reporter) as _;
        let usher = Arc::clone(&self.usher);
        Some(Arc::new(Node::new(endpoint, payload, parameters, epoch, Some(witness), usher)))
    }

    fn withdraw(
        &mut self,
        source: SourceId,
        id: &EndpointId,
        services: &mut Services,
        now: Instant,
        applied: &mut Applied,
    ) {
        let Some(record) = self.present.get_mut(id) else {
            return;
        };
        self.roster += 1;
        applied.withdrawn |= record.listed_by(source);
        let spoke_last = record.sources.last().is_some_and(|(last, _)| *last == source);
        record.sources.retain(|(listed, _)| *listed != source);
        if let Some((heir, endpoint)) = record.sources.last().cloned() {
            if spoke_last && endpoint.address() == record.endpoint.address() {
                record.change(now, applied, |record, applied| record.describe(endpoint, applied));
            } else if spoke_last {
                self.upsert(heir, endpoint, services, now, applied);
            }
            return;
        }
        if let Some(record) = self.present.remove(id) {
            self.leave(id.clone(), record, now.checked_add(self.rules.forget_after));
            applied.events.push(Event::Removed(id.clone()));
        }
    }
}
