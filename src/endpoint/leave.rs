//! By what requests learn that they have to end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

/// Whether the drain of an endpoint has lasted too long, and who is to hear of it.
///
/// The tasks of requests that wait for the endpoint have a seat each. A seat is taken by the first
/// wait and given back at the end; seats are used again, so that nothing is allocated once there are
/// as many as requests were ever in flight.
#[derive(Debug, Default)]
pub(crate) struct Leave {
    forced: AtomicBool,
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    taken: Vec<Option<Waker>>,
    free: Vec<u32>,
}

/// A place among those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat(u32);

impl Leave {
    /// Tells every request in flight, and those that should not have begun any more.
    pub(crate) fn force(&self) {
        self.forced.store(true, Ordering::SeqCst);
        let told: Vec<Waker> = self.seats.lock().taken.iter().flatten().cloned().collect();
        told.iter().for_each(Waker::wake_by_ref);
    }

    /// Requests may stay from now on.
    pub(crate) fn relent(&self) {
        self.forced.store(false, Ordering::SeqCst);
    }

    pub(crate) fn is_forced(&self) -> bool {
        self.forced.load(Ordering::SeqCst)
    }

    /// Wakes this task when the requests have to end; ask [`is_forced`](Self::is_forced) after it.
    pub(crate) fn wait(&self, seat: &mut Option<Seat>, waker: &Waker) {
        let mut seats = self.seats.lock();
        match seat {
            Some(Seat(place)) => match &mut seats.taken[*place as usize] {
                Some(known) => known.clone_from(waker),
                empty => *empty = Some(waker.clone()),
            },
            None => *seat = Some(seats.sit(waker.clone())),
        }
    }

    pub(crate) fn give_back(&self, Seat(place): Seat) {
        let mut seats = self.seats.lock();
        let waker = seats.taken[place as usize].take();
        seats.free.push(place);
        drop(seats);
        // The task's, and so is its drop.
        drop(waker);
    }
}

impl Seats {
    fn sit(&mut self, waker: Waker) -> Seat {
        if let Some(place) = self.free.pop() {
            self.taken[place as usize] = Some(waker);
            return Seat(place);
        }
        self.taken.push(Some(waker));
        // No more than the 2^24 requests that can be in flight, and who holds their leases.
        Seat((self.taken.len() - 1) as u32)
    }
}

#[cfg(all(test, not(whippletree_loom)))]
mod tests {
    use super::*;

    #[test]
    fn seats_are_used_again() {
        let (leave, waker) = (Leave::default(), Waker::noop());
        let mut seats = [None, None];
        seats.iter_mut().for_each(|seat| leave.wait(seat, waker));
        assert_eq!(seats, [Some(Seat(0)), Some(Seat(1))]);
        leave.give_back(Seat(0));
        seats[0] = None;
        leave.wait(&mut seats[0], waker);
        leave.wait(&mut seats[1], waker);
        assert_eq!(seats, [Some(Seat(0)), Some(Seat(1))]);
        leave.force();
        assert!(leave.is_forced());
    }
}
