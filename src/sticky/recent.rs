use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::session::SessionId;
use crate::endpoint::EndpointId;
use crate::sync::Mutex;

/// How long a move is remembered: requests of the session that were sent before it have been
/// answered by then, and it does not move again before.
const KEPT: Duration = Duration::from_secs(60);

/// The most moves that are remembered. When it is reached, no session moves until one is forgotten.
const MOST: usize = 65_536;

/// The sessions that move, or have moved within a minute.
///
/// A browser sends several requests at once. When one of them moves the session, the others still
/// carry the token of before, and the last answer would put the old home back.
#[derive(Debug, Default)]
pub(super) struct Recent {
    moves: Mutex<Moves>,
    /// Their number, so that nobody takes the lock while there are none.
    len: AtomicUsize,
}

#[derive(Debug, Default)]
struct Moves {
    /// Where the session has moved; `None` while it is being handed over.
    sessions: HashMap<SessionId, Option<EndpointId>>,
    /// When each is forgotten, in that order.
    due: VecDeque<(Instant, SessionId)>,
}

impl Recent {
    /// Where the session has moved, if it has.
    pub(super) fn moved(&self, session: SessionId) -> Option<EndpointId> {
        if self.len.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.moves.lock().sessions.get(&session).cloned().flatten()
    }

    /// Claims a session for a move; false if it is moving or has moved of late.
    pub(super) fn begin(&self, session: SessionId, now: Instant) -> bool {
        let mut moves = self.moves.lock();
        moves.forget(now);
        let free = moves.sessions.len() < MOST && !moves.sessions.contains_key(&session);
        if free {
            moves.sessions.insert(session, None);
        }
        self.len.store(moves.sessions.len(), Ordering::Release);
        free
    }

    /// Remembers where a claimed session has moved, or frees it again if it has not.
    pub(super) fn end(&self, session: SessionId, to: Option<EndpointId>, now: Instant) {
        let mut moves = self.moves.lock();
        match to {
            Some(to) => {
                moves.sessions.insert(session, Some(to));
                let due = now.checked_add(KEPT).map(|due| (due, session));
                moves.due.extend(due);
            }
            None => drop(moves.sessions.remove(&session)),
        }
        self.len.store(moves.sessions.len(), Ordering::Release);
    }
}

impl Moves {
    fn forget(&mut self, now: Instant) {
        while self.due.front().is_some_and(|(due, _)| *due <= now) {
            let oldest = self.due.pop_front();
            oldest.and_then(|(_, session)| self.sessions.remove(&session));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_moves_once_a_minute() {
        let (recent, start) = (Recent::default(), Instant::now());
        let (session, to) = (SessionId::of(7), EndpointId::new("b").unwrap());
        assert_eq!(recent.moved(session), None);
        assert!(recent.begin(session, start));
        assert!(!recent.begin(session, start), "it is moving");
        assert_eq!(recent.moved(session), None, "it has not moved yet");
        recent.end(session, Some(to.clone()), start);
        assert_eq!(recent.moved(session), Some(to));
        assert!(!recent.begin(session, start + KEPT / 2));
        assert!(recent.begin(session, start + KEPT));
        recent.end(session, None, start);
        assert!(recent.begin(session, start), "a move that failed may be tried again");
    }
}
