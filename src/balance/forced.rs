//! The way in which a request hears that it has to end.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::futures::OwnedNotified;

use crate::cluster::LeaseGuard;

/// What a request waits with; none before it has waited for the first time.
pub(super) type Told = Option<OwnedNotified>;

/// Whether the request has to end. If not, its task is woken when it has to.
pub(super) fn poll_forced(
    mut told: Pin<&mut Told>,
    guard: &LeaseGuard,
    task: &mut Context<'_>,
) -> bool {
    loop {
        if told.is_none() {
            told.set(Some(guard.listen()));
        }
        // After it listens: one or the other is seen.
        if guard.is_forced() {
            return true;
        }
        let heard = told.as_mut().as_pin_mut().map(|told| told.poll(task));
        if heard == Some(Poll::Pending) {
            return false;
        }
        told.set(None);
    }
}
