//! The model: maps and counts.

use std::collections::BTreeMap;

use crate::operations::{Described, Ending, IDS, Item, Wish, Writer};

/// All endpoints ever seen. None is forgotten within the few milliseconds of a run.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) records: BTreeMap<usize, Record>,
}

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) described: Described,
    /// Who lists the endpoint and as what, the last to speak last.
    listed: Vec<(Writer, Described)>,
    /// As the last to speak described it.
    told: Described,
    /// The weight that was set by hand: it stays until a source inserts the endpoint anew or
    /// describes it otherwise, or it becomes another server.
    by_hand: Option<u16>,
    /// How often it became another server.
    pub(crate) generation: usize,
    pub(crate) counts: Counts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) in_flight: u32,
    pub(crate) requests: u64,
    pub(crate) successes: u64,
    pub(crate) failures: u64,
    pub(crate) ignored: u64,
    pub(crate) cancelled: u64,
}

/// Whom a pick may find.
#[derive(Debug, PartialEq)]
pub(crate) enum Allowed {
    OneOf(Vec<usize>),
    Nobody(String),
}

impl Record {
    pub(crate) fn is_present(&self) -> bool {
        !self.listed.is_empty()
    }
}

impl Model {
    pub(crate) fn present(&self) -> impl Iterator<Item = &Record> {
        self.records.values().filter(|record| record.is_present())
    }

    pub(crate) fn insert(&mut self, writer: Writer, described: &Described) {
        let new = || Record {
            described: described.clone(),
            listed: Vec::new(),
            told: described.clone(),
            by_hand: None,
            generation: 0,
            counts: Counts::default(),
        };
        let record = self.records.entry(described.id).or_insert_with(new);
        let back_as_it_was = !record.is_present() && record.told == *described;
        let by_hand = record.by_hand.filter(|_| back_as_it_was);
        record.listed.retain(|(listed, _)| *listed != writer);
        record.listed.push((writer, described.clone()));
        record.describe(described.clone(), by_hand);
    }

    /// Answers whether the writer had listed it.
    pub(crate) fn remove(&mut self, writer: Writer, id: usize) -> bool {
        let Some(record) = self.records.get_mut(&id) else {
            return false;
        };
        let Some(place) = record.listed.iter().position(|(listed, _)| *listed == writer) else {
            return false;
        };
        let spoke_last = place + 1 == record.listed.len();
        record.listed.remove(place);
        if let Some((_, described)) = record.listed.last() {
            if spoke_last {
                let (described, by_hand) = (described.clone(), record.by_hand);
                let moved = described.port != record.described.port;
                record.describe(described, by_hand.filter(|_| !moved));
            }
        }
        true
    }

    /// Answers whether the set is accepted.
    pub(crate) fn replace(&mut self, writer: Writer, set: &[Described]) -> bool {
        let twice =
            (0..IDS).any(|id| set.iter().filter(|described| described.id == id).count() > 1);
        if twice {
            return false;
        }
        for described in set {
            let known = self.records.get(&described.id);
            if !known.is_some_and(|record| record.is_stale_news(writer, described)) {
                self.insert(writer, described);
            }
        }
        self.remove_others(writer, |id| set.iter().any(|described| described.id == id));
        true
    }

    fn remove_others(&mut self, writer: Writer, stays: impl Fn(usize) -> bool) {
        for id in (0..IDS).filter(|id| !stays(*id)) {
            self.remove(writer, id);
        }
    }

    /// What the stream delivers at one moment: the last word on each endpoint counts, as though
    /// the others had not been said. A set that is refused (it is empty, or has an id twice) was
    /// not said either.
    pub(crate) fn batch(&mut self, items: &[Item]) {
        let mut whole: Option<BTreeMap<usize, Described>> = None;
        let mut single: BTreeMap<usize, Option<Described>> = BTreeMap::new();
        for item in items {
            match item {
                Item::Insert(described) => {
                    single.insert(described.id, Some(described.clone()));
                }
                Item::Remove(id) => {
                    single.insert(*id, None);
                }
                Item::Replace(set) => {
                    let by_id: BTreeMap<_, _> =
                        set.iter().map(|described| (described.id, described.clone())).collect();
                    if by_id.len() == set.len() && !set.is_empty() {
                        single.clear();
                        whole = Some(by_id);
                    }
                }
            }
        }
        if let Some(mut whole) = whole {
            whole.retain(|id, _| single.get(id) != Some(&None));
            for (id, described) in &mut whole {
                if let Some(Some(latest)) = single.remove(id) {
                    *described = latest;
                }
            }
            for described in whole.values() {
                let known = self.records.get(&described.id);
                if !known.is_some_and(|record| record.is_stale_news(Writer::Stream, described)) {
                    self.insert(Writer::Stream, described);
                }
            }
            // What follows at once does not leave in between.
            let inserted = |id| matches!(single.get(&id), Some(Some(_)));
            self.remove_others(Writer::Stream, |id| whole.contains_key(&id) || inserted(id));
        }
        for (id, described) in single {
            match described {
                Some(described) => self.insert(Writer::Stream, &described),
                None => drop(self.remove(Writer::Stream, id)),
            }
        }
    }

    /// Answers whether there is such an endpoint.
    pub(crate) fn set_weight(&mut self, id: usize, weight: u16) -> bool {
        match self.records.get_mut(&id).filter(|record| record.is_present()) {
            Some(record) => {
                record.described.weight = weight;
                record.by_hand = Some(weight);
            }
            None => return false,
        }
        true
    }

    pub(crate) fn allowed(&self, wish: &Wish) -> Allowed {
        let outside = |at: &&Described| wish.role.is_some_and(|role| at.role != Some(role));
        let known: Vec<&Described> = self.present().map(|record| &record.described).collect();
        let inside: Vec<&Described> = known.iter().copied().filter(|at| !outside(at)).collect();
        let excluded = |at: &&Described| wish.exclude.contains(&at.id);
        if let Some(preferred) = wish.prefer {
            if inside.iter().any(|at| at.id == preferred && !excluded(at)) {
                return Allowed::OneOf(vec![preferred]);
            }
        }
        let weighted: Vec<&Described> = inside.iter().copied().filter(|at| at.weight > 0).collect();
        let open: Vec<&Described> = weighted.iter().copied().filter(|at| !excluded(at)).collect();
        match open.iter().map(|at| at.priority).min() {
            Some(tier) => {
                let tier = open.iter().filter(|at| at.priority == tier);
                Allowed::OneOf(tier.map(|at| at.id).collect())
            }
            None => {
                let counts = [
                    (inside.len() - weighted.len(), "with weight 0"),
                    (known.len() - inside.len(), "outside the subset"),
                    (weighted.len(), "excluded by the request"),
                ];
                let mut message = format!("no available endpoint: {} known", known.len());
                for (count, what) in counts.iter().filter(|(count, _)| *count > 0) {
                    message.push_str(&format!(", {count} {what}"));
                }
                Allowed::Nobody(message)
            }
        }
    }

    /// Counts a request in; answers the server it is on.
    pub(crate) fn begin(&mut self, id: usize) -> usize {
        let record = self.records.get_mut(&id).unwrap();
        record.counts.in_flight += 1;
        record.counts.requests += 1;
        record.generation
    }

    pub(crate) fn end(&mut self, id: usize, generation: usize, ending: Ending) {
        let record = self.records.get_mut(&id).unwrap();
        if record.generation != generation {
            return;
        }
        let counts = &mut record.counts;
        counts.in_flight -= 1;
        let counter = match ending {
            Ending::Dropped => &mut counts.cancelled,
            Ending::Succeeded => &mut counts.successes,
            Ending::Failed | Ending::BrokeOff | Ending::FailedFirst => &mut counts.failures,
            Ending::Ignored => &mut counts.ignored,
        };
        *counter += 1;
    }
}

impl Record {
    /// Whether the writer has said this before: what others have said since stays.
    fn is_stale_news(&self, writer: Writer, described: &Described) -> bool {
        self.listed.contains(&(writer, described.clone()))
    }

    fn describe(&mut self, described: Described, by_hand: Option<u16>) {
        if self.described.port != described.port {
            self.generation += 1;
            self.counts = Counts::default();
        }
        self.told = described.clone();
        self.described = described;
        self.by_hand = by_hand;
        if let Some(weight) = by_hand {
            self.described.weight = weight;
        }
    }
}
