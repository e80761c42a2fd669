use std::time::Duration;

use tokio::time::Instant;

use crate::random::{Source, unit};

/// How long changes are gathered after a set was delivered: ten snapshots a second at most. Ours:
/// an endpoint that is gone is noticed by its connections sooner than by any registry.
const GATHER: Duration = Duration::from_millis(100);

/// By what part times are longer or shorter at random, so that a fleet does not ask in step.
const JITTER: f64 = 0.1;

/// When the next set may be delivered: the first change at once, a storm of them gathered.
#[derive(Debug, Default)]
pub(in crate::discover) struct Pace {
    last: Option<Instant>,
}

impl Pace {
    pub(in crate::discover) fn due(&self) -> Instant {
        self.last.map_or_else(Instant::now, |last| last + GATHER)
    }

    pub(in crate::discover) fn delivered(&mut self) {
        self.last = Some(Instant::now());
    }
}

/// `time`, a tenth longer or shorter at random.
pub(in crate::discover) fn jittered(time: Duration) -> Duration {
    time.mul_f64(1.0 - JITTER + 2.0 * JITTER * unit(Source::Thread.next()))
}
