//! What a stream delivers until it is applied.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context as TaskContext, Poll};

use super::follower::{Arrival, End, Poller};
use super::rest::Rest;
use crate::discover::Change;
use crate::error::Error;

/// The most changes that are applied at a time: enough to make one snapshot of a storm, few enough
/// to let a large one be seen before it ends.
const BATCH: usize = 1024;

/// So many endpoints may whole sets have together, beyond the last, before the stream has to wait
/// until they are applied: bounds the memory of a source that tells a large set again and again.
const HELD: usize = 1 << 16;

/// The changes to be applied next, together.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) arrivals: Vec<Arrival>,
    /// The endpoints of whole sets among them.
    held: usize,
    /// Whether an error is among them, after which the stream may have to be started anew.
    is_error: bool,
}

impl Gathered {
    /// Takes what the stream delivers. Ready when that is to be applied: it is much, an error or
    /// the end, or the rest is over. The stream is polled meanwhile, as its own timers run.
    pub(super) fn gather(
        &mut self,
        poll: &mut Poller<'_>,
        task: &mut TaskContext<'_>,
        rest: &mut Rest,
    ) -> Poll<Option<End>> {
        while !self.is_full() && self.held < HELD {
            match catch_unwind(AssertUnwindSafe(|| poll(task))) {
                Ok(Poll::Ready(Some(arrival))) => self.push(arrival),
                Ok(Poll::Ready(None)) => return Poll::Ready(Some(End::Finished)),
                Ok(Poll::Pending) => break,
                Err(panic) => {
                    return Poll::Ready(Some(End::Panicked(Error::panicked("source", &*panic))));
                }
            }
        }
        let urgent = self.is_full() || self.is_error;
        if self.is_empty() || !urgent && rest.poll(task).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(None)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// Whether there are as many changes as are applied at a time.
    pub(super) fn is_full(&self) -> bool {
        self.arrivals.len() >= BATCH
    }

    fn push(&mut self, arrival: Arrival) {
        match &arrival {
            Arrival::Change(Ok(Change::Replace(endpoints))) => self.held += endpoints.len(),
            Arrival::Change(Err(_)) => self.is_error = true,
            Arrival::Change(Ok(_)) | Arrival::Service(..) => {}
        }
        self.arrivals.push(arrival);
    }
}
