//! Wall time of a loop that one or several threads run at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Time for each of `threads` threads to make `iters` steps: that of the slowest.
///
/// `worker` is called once in each thread and returns the step. The step is made once before the
/// clock starts, so that thread-local state is there, and the threads start together.
///
/// Divided by `iters` this is the wall time of one step as one thread sees it while the others do
/// the same. Threads that share nothing show the same time at any number of threads.
pub fn elapsed<W, F>(threads: usize, iters: u64, worker: F) -> Duration
where
    W: FnMut(),
    F: Fn() -> W + Sync,
{
    if threads == 1 {
        let mut step = worker();
        step();
        return lap(iters, &mut step);
    }
    let line = StartLine::new(threads);
    thread::scope(|scope| {
        let runners: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut step = worker();
                    step();
                    line.wait();
                    lap(iters, &mut step)
                })
            })
            .collect();
        runners
            .into_iter()
            .map(|runner| runner.join().expect("a bench step does not panic"))
            .max()
            .unwrap_or_default()
    })
}

fn lap(iters: u64, step: &mut impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..iters {
        step();
    }
    start.elapsed()
}

/// A barrier that spins: the threads leave it within a cache miss of each other, which a barrier
/// that sleeps cannot do.
struct StartLine {
    missing: AtomicUsize,
}

impl StartLine {
    fn new(threads: usize) -> Self {
        Self { missing: AtomicUsize::new(threads) }
    }

    fn wait(&self) {
        self.missing.fetch_sub(1, Ordering::AcqRel);
        while self.missing.load(Ordering::Acquire) > 0 {
            // With fewer cores than threads the other one needs this core to arrive.
            thread::yield_now();
        }
    }
}
