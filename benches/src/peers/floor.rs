//! The least that a pick by two choices can cost, and the least that a new snapshot can cost.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;

/// One endpoint's count of requests, alone on its cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Slot {
    in_flight: AtomicU32,
}

/// Two random cache lines read, one `ArcSwap` load, one increment and one decrement: no health, no
/// weights, no service, nothing kept by the caller.
#[derive(Debug)]
pub struct Floor {
    slots: ArcSwap<Vec<Slot>>,
}

impl Floor {
    /// `endpoints` slots, none in use.
    pub fn new(endpoints: usize) -> Self {
        let slots = (0..endpoints).map(|_| Slot::default()).collect();
        Self { slots: ArcSwap::from_pointee(slots) }
    }

    /// One pick and its end.
    pub fn pick(&self) {
        let slots = self.slots.load();
        let draw = draw();
        let first = &slots[below(draw as u32, slots.len())].in_flight;
        let second = &slots[below((draw >> 32) as u32, slots.len())].in_flight;
        let less = first.load(Ordering::Relaxed) <= second.load(Ordering::Relaxed);
        let chosen = black_box(if less { first } else { second });
        chosen.fetch_add(1, Ordering::Relaxed);
        chosen.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A published list of endpoints, each behind its own `Arc`.
#[derive(Debug)]
pub struct ArcList {
    entries: ArcSwap<Vec<Arc<Slot>>>,
}

impl ArcList {
    /// A list of `endpoints` entries.
    pub fn new(endpoints: usize) -> Self {
        let entries = (0..endpoints).map(|_| Arc::default()).collect();
        Self { entries: ArcSwap::from_pointee(entries) }
    }

    /// Publishes a copy with one entry more.
    pub fn add(&self) {
        let old = self.entries.load_full();
        let mut entries = Vec::with_capacity(old.len() + 1);
        entries.extend(old.iter().cloned());
        entries.push(Arc::default());
        self.entries.store(Arc::new(entries));
    }

    /// Publishes a copy without the last entry.
    pub fn remove(&self) {
        let old = self.entries.load_full();
        let kept = old.len().saturating_sub(1);
        self.entries.store(Arc::new(old[..kept].to_vec()));
    }

    /// Publishes a copy with another last entry.
    pub fn change(&self) {
        let mut entries = self.entries.load_full().to_vec();
        if let Some(last) = entries.last_mut() {
            *last = Arc::default();
        }
        self.entries.store(Arc::new(entries));
    }
}

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0x853c_49e6_748f_ea9b) };
}

/// The next number of Marsaglia's xorshift64 (13, 7, 17).
fn draw() -> u64 {
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        x
    })
}

fn below(draw: u32, bound: usize) -> usize {
    ((u64::from(draw) * bound as u64) >> 32) as usize
}
