//! All that a source lists, and which of it the cluster is told.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Subsetting;
use crate::discover::Change;
use crate::endpoint::{Endpoint, EndpointId};

/// The endpoints of a source whose subset is in use.
#[derive(Default)]
pub(crate) struct Fleet {
    /// What the places were drawn for.
    how: Option<Subsetting>,
    /// By priority, in the order of their draws.
    tiers: BTreeMap<u32, BTreeMap<Place, Endpoint>>,
    /// In which of them an endpoint stands.
    priorities: HashMap<EndpointId, u32>,
    /// The subset, as the cluster was told.
    members: BTreeMap<EndpointId, Endpoint>,
}

/// The order within a priority: what was drawn, and the id where two drew the same.
type Place = (u64, EndpointId);

impl Fleet {
    /// Takes changes of the fleet, applied one after the other; answers what they are for the
    /// subset. A whole set becomes a whole set, so that the cluster can mend what it has missed.
    pub(crate) fn narrow(&mut self, how: &Subsetting, changes: Vec<Change>) -> Vec<Change> {
        let whole = self.take(how, changes);
        let members = self.choose(how);
        let before = std::mem::replace(&mut self.members, members);
        match whole {
            Whole::Set => vec![Change::Replace(self.members.values().cloned().collect())],
            Whole::Single(said) => self.differences(&before, &said),
        }
    }

    /// How many endpoints there are, members or not.
    pub(crate) fn len(&self) -> usize {
        self.priorities.len()
    }

    /// Draws anew if it is for another subset than before.
    fn draw_for(&mut self, how: &Subsetting) {
        if self.how.as_ref() == Some(how) {
            return;
        }
        self.how = Some(how.clone());
        self.priorities.clear();
        let tiers = std::mem::take(&mut self.tiers).into_values();
        tiers.flat_map(BTreeMap::into_values).for_each(|endpoint| self.insert(how, endpoint));
    }

    fn take(&mut self, how: &Subsetting, changes: Vec<Change>) -> Whole {
        self.draw_for(how);
        let mut whole = Whole::Single(BTreeSet::new());
        for change in changes {
            match change {
                Change::Insert(endpoint) => {
                    whole.said(endpoint.id());
                    self.insert(how, endpoint);
                }
                Change::Remove(id) => self.remove(how, &id),
                Change::Replace(endpoints) => {
                    whole = Whole::Set;
                    self.tiers.clear();
                    self.priorities.clear();
                    endpoints.into_iter().for_each(|endpoint| self.insert(how, endpoint));
                }
            }
        }
        whole
    }

    fn insert(&mut self, how: &Subsetting, endpoint: Endpoint) {
        let (id, priority) = (endpoint.id().clone(), endpoint.priority());
        self.remove(how, &id);
        self.priorities.insert(id.clone(), priority);
        self.tiers.entry(priority).or_default().insert((how.draw(&id), id), endpoint);
    }

    fn remove(&mut self, how: &Subsetting, id: &EndpointId) {
        let Some(priority) = self.priorities.remove(id) else {
            return;
        };
        if let Entry::Occupied(mut tier) = self.tiers.entry(priority) {
            tier.get_mut().remove(&(how.draw(id), id.clone()));
            if tier.get().is_empty() {
                tier.remove();
            }
        }
    }

    fn choose(&self, how: &Subsetting) -> BTreeMap<EndpointId, Endpoint> {
        let members = self.tiers.values().flat_map(|tier| how.choose(tier.values()));
        members.map(|member| (member.id().clone(), member)).collect()
    }

    /// What the cluster has to be told: who left, who came or is another, and what the source has
    /// `said` anew, as that too may have a meaning there.
    fn differences(
        &self,
        before: &BTreeMap<EndpointId, Endpoint>,
        said: &BTreeSet<EndpointId>,
    ) -> Vec<Change> {
        let left = before.keys().filter(|id| !self.members.contains_key(*id));
        let news = self.members.iter().filter(|(id, member)| {
            said.contains(*id) || before.get(*id).is_none_or(|old| old != *member)
        });
        let news = news.map(|(_, member)| Change::Insert(member.clone()));
        left.cloned().map(Change::Remove).chain(news).collect()
    }
}

/// What changes amount to.
enum Whole {
    Set,
    /// Single changes, which describe these endpoints.
    Single(BTreeSet<EndpointId>),
}

impl Whole {
    fn said(&mut self, id: &EndpointId) {
        if let Self::Single(said) = self {
            said.insert(id.clone());
        }
    }
}
