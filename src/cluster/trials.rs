//! Who gets a request on trial after its ejection, and which request that is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::context::Context;
use crate::endpoint::Member;

/// How many endpoints a request looks at for one that is free for a trial: a few, for a hundred may
/// be on trial and hang.
const LOOKS: usize = 4;

/// The endpoints that get one request at a time, on trial.
///
/// A trial may cost a user an error. So not every request is one: if half of a hundred endpoints
/// come off their ejection together, the next fifty requests shall not all go to suspects.
pub(super) struct Trials {
    /// Their places among the members.
    places: Box<[u32]>,
    /// One request in so many is a trial, as long as others can serve: as many as there are others,
    /// two at least.
    every: u64,
    /// Requests so far. Goes on over snapshots.
    turn: Arc<AtomicU64>,
}

impl Trials {
    pub(super) fn new(places: Box<[u32]>, available: usize, before: Option<&Self>) -> Self {
        let before = before.filter(|before| !before.places.is_empty());
        let turn = before.map(|before| Arc::clone(&before.turn)).unwrap_or_default();
        Self { places, every: available.max(2) as u64, turn }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether any of them is free for a trial.
    pub(super) fn is_open(&self, members: &[Member]) -> bool {
        self.places.iter().any(|place| members[*place as usize].node.probation.is_free())
    }

    /// The endpoint to try with this request, if it is this one's turn and it does not rule the
    /// endpoint out. The slot is taken: others look for one at the same moment.
    #[cold]
    pub(super) fn take_turn<'a>(
        &self,
        members: &'a [Member],
        context: &Context,
    ) -> Option<&'a Member> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if turn % self.every != 0 {
            return None;
        }
        let start = (turn / self.every) as usize % self.places.len();
        let (before, from) = self.places.split_at(start);
        take(from.iter().chain(before).take(LOOKS), members, context)
    }

    /// Any of them, for a request that nobody else can serve.
    #[cold]
    pub(super) fn take_any<'a>(
        &self,
        members: &'a [Member],
        context: &Context,
    ) -> Option<&'a Member> {
        take(self.places.iter(), members, context)
    }
}

fn take<'a, 'b>(
    places: impl Iterator<Item = &'b u32>,
    members: &'a [Member],
    context: &Context,
) -> Option<&'a Member> {
    let members = places.map(|place| &members[*place as usize]);
    let mut fitting = members.filter(|member| {
        !context.asked.exclude.contains(member.endpoint.id()) && !member.is_full(1.0)
    });
    fitting.find(|member| member.node.probation.take())
}
