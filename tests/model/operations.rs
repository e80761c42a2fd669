//! What may happen to a cluster.

use proptest::collection::vec;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof};
use whippletree::Endpoint;

use crate::strict;

/// How many different ids there are.
pub(crate) const IDS: usize = 5;

/// Who changes the endpoints: the cluster's handle, another source, a stream that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Writer {
    Handle,
    Source,
    Stream,
}

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Insert(Writer, Described),
    Remove(Writer, usize),
    /// May have an id twice, and is then refused.
    Replace(Writer, Vec<Described>),
    /// Changes that the stream delivers at one moment.
    Batch(Vec<Item>),
    /// Takes back all that the source or the stream lists.
    Withdraw(Writer),
    /// Another stream takes the place of the one that is followed.
    Follow,
    SetWeight(usize, u16),
    Pick(Wish),
    /// Ends one of the open leases.
    End(usize, Ending),
}

/// What the stream delivers.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Insert(Described),
    Remove(usize),
    Replace(Vec<Described>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Described {
    pub(crate) id: usize,
    pub(crate) port: u16,
    pub(crate) weight: u16,
    pub(crate) priority: u32,
    pub(crate) role: Option<u8>,
}

impl Described {
    pub(crate) fn endpoint(&self) -> Endpoint {
        let endpoint = Endpoint::new(format!("host:{}", self.port))
            .and_then(|endpoint| endpoint.with_id(strict::id(self.id)))
            .unwrap();
        let endpoint = endpoint.with_weight(self.weight).with_priority(self.priority);
        match self.role {
            Some(role) => endpoint.with_label("role", role.to_string()),
            None => endpoint,
        }
    }
}

/// What a pick asks for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) prefer: Option<usize>,
    pub(crate) exclude: Vec<usize>,
    pub(crate) role: Option<u8>,
    pub(crate) hash: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    Dropped,
    Succeeded,
    Failed,
    Ignored,
    /// Succeeded, it seemed; then its body broke off.
    BrokeOff,
    /// Failed, and what is said later counts no more.
    FailedFirst,
}

/// Runs of up to so many operations.
pub(crate) fn runs(longest: usize) -> impl Strategy<Value = Vec<Operation>> {
    vec(operation(), 1..longest)
}

fn operation() -> BoxedStrategy<Operation> {
    prop_oneof![
        4 => (writer(), described()).prop_map(|(writer, at)| Operation::Insert(writer, at)),
        2 => (writer(), 0..IDS).prop_map(|(writer, id)| Operation::Remove(writer, id)),
        2 => (writer(), vec(described(), 0..4)).prop_map(|(writer, set)| Operation::Replace(writer, set)),
        2 => vec(item(), 1..6).prop_map(Operation::Batch),
        1 => prop_oneof![Just(Writer::Source), Just(Writer::Stream)].prop_map(Operation::Withdraw),
        1 => Just(Operation::Follow),
        1 => (0..IDS, weight()).prop_map(|(id, weight)| Operation::SetWeight(id, weight)),
        6 => wish().prop_map(Operation::Pick),
        4 => (any::<usize>(), ending()).prop_map(|(which, how)| Operation::End(which, how)),
    ]
    .boxed()
}

fn writer() -> impl Strategy<Value = Writer> {
    prop_oneof![Just(Writer::Handle), Just(Writer::Source), Just(Writer::Stream)]
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        4 => described().prop_map(Item::Insert),
        2 => (0..IDS).prop_map(Item::Remove),
        1 => vec(described(), 0..4).prop_map(Item::Replace),
    ]
}

fn described() -> impl Strategy<Value = Described> {
    // Of one port most of the time, for another one is another server.
    let port = prop_oneof![5 => Just(1_u16), 1 => 2_u16..4];
    let role = prop_oneof![2 => Just(None), 3 => (0_u8..2).prop_map(Some)];
    (0..IDS, port, weight(), 0_u32..3, role).prop_map(|(id, port, weight, priority, role)| {
        Described { id, port, weight, priority, role }
    })
}

fn weight() -> impl Strategy<Value = u16> {
    prop_oneof![4 => 1_u16..4, 1 => Just(0), 1 => Just(65_535)]
}

fn wish() -> impl Strategy<Value = Wish> {
    let prefer = prop_oneof![3 => Just(None), 1 => (0..IDS).prop_map(Some)];
    let exclude = prop_oneof![2 => Just(Vec::new()), 2 => vec(0..IDS, 1..6)];
    let role = prop_oneof![3 => Just(None), 1 => (0_u8..3).prop_map(Some)];
    (prefer, exclude, role, any::<Option<u64>>()).prop_map(|(prefer, exclude, role, hash)| Wish {
        prefer,
        exclude,
        role,
        hash,
    })
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        Just(Ending::Dropped),
        Just(Ending::Succeeded),
        Just(Ending::Failed),
        Just(Ending::Ignored),
        Just(Ending::BrokeOff),
        Just(Ending::FailedFirst),
    ]
}
