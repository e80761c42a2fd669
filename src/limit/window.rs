//! Counts over the last while, forgotten bit by bit.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Parts in which the window is forgotten: each is 2 s of the default 2 min.
const PARTS: u32 = 60;

/// What has been counted in the last while.
#[derive(Debug)]
pub(super) struct Window {
    part: Duration,
    /// The parts in which anything was counted, the oldest first, each with its beginning.
    parts: VecDeque<(Instant, Counts)>,
    sum: Counts,
}

/// What became of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Those that were to be sent.
    pub(super) requests: u64,
    /// Those of them that were accepted.
    pub(super) accepted: u64,
    /// Those that were refused by who was asked.
    pub(super) refused: u64,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        let part = (length / PARTS).max(Duration::from_nanos(1));
        Self { part, parts: VecDeque::new(), sum: Counts::default() }
    }

    /// The sums at this moment.
    pub(super) fn at(&mut self, now: Instant) -> Counts {
        let age = |begun: Instant| now.saturating_duration_since(begun);
        while let Some((_, counts)) =
            self.parts.front().filter(|(begun, _)| age(*begun) >= self.part * PARTS)
        {
            self.sum = self.sum.less(*counts);
            self.parts.pop_front();
        }
        self.sum
    }

    /// Counts something.
    pub(super) fn count(&mut self, now: Instant, count: impl Fn(&mut Counts)) {
        self.at(now);
        let last = self.parts.back().map(|(begun, _)| now.saturating_duration_since(*begun));
        if last.is_none_or(|age| age >= self.part) {
            self.parts.push_back((now, Counts::default()));
        }
        if let Some((_, counts)) = self.parts.back_mut() {
            count(counts);
            count(&mut self.sum);
        }
    }
}

impl Counts {
    fn less(self, other: Self) -> Self {
        Self {
            requests: self.requests - other.requests,
            accepted: self.accepted - other.accepted,
            refused: self.refused - other.refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(counts: &mut Counts) {
        counts.requests += 1;
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut window = Window::new(Duration::from_secs(120));
        window.count(at(0), request);
        window.count(at(1), request);
        window.count(at(60), request);
        assert_eq!(window.at(at(119)).requests, 3);
        assert_eq!(window.at(at(120)).requests, 1);
        assert_eq!(window.at(at(179)).requests, 1);
        assert_eq!(window.at(at(180)), Counts::default());
    }

    #[test]
    fn memory_is_bounded_and_odd_clocks_do_no_harm() {
        let begin = Instant::now();
        let mut window = Window::new(Duration::from_secs(1));
        for step in 0..100_000 {
            window.count(begin + Duration::from_micros(step * 100), request);
            assert!(window.parts.len() <= PARTS as usize + 1);
        }
        window.count(begin, request);
        let mut none = Window::new(Duration::ZERO);
        none.count(begin, request);
        assert_eq!(none.at(begin).requests, 1);
        assert_eq!(none.at(begin + Duration::from_secs(1)), Counts::default());
    }
}
