//! Random picks, waits, ends, cancellations and changes, with what must hold after every step.

use std::time::Duration;

use tokio::time::Instant;
use whippletree::cluster::Acquire;
use whippletree::{Cluster, Context, Lease};

use crate::queue::peek;
use crate::strict::{Seed, endpoint, excluding, id, preferring};
use crate::{queued, waiting};

const SIZE: usize = 6;
const ENDPOINTS: usize = 3;

/// A request that waits, and what it may go to.
struct Waits {
    acquire: Acquire<()>,
    since: Instant,
    asks: Asks,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Asks {
    Anything,
    AnythingBut(usize),
    HomeFirst(usize),
}

struct World {
    cluster: Cluster<()>,
    limits: [u32; ENDPOINTS],
    leases: Vec<Lease<()>>,
    line: Vec<Waits>,
    served: usize,
}

impl World {
    fn new() -> Self {
        let cluster = queued(&[1, 2, 3], SIZE);
        Self { cluster, limits: [1, 2, 3], leases: Vec::new(), line: Vec::new(), served: 0 }
    }

    fn arrive(&mut self, asks: Asks) {
        let context = match asks {
            Asks::Anything => Context::new(),
            Asks::AnythingBut(other) => excluding([other]),
            Asks::HomeFirst(home) => preferring(home).with_prefer_wait(Duration::from_millis(200)),
        };
        let mut acquire = self.cluster.acquire(&context);
        match peek(&mut acquire) {
            Some(Ok(lease)) => self.leases.push(lease),
            Some(Err(error)) => assert!(error.is_overloaded(), "{error}"),
            None => self.line.push(Waits { acquire, since: Instant::now(), asks }),
        }
    }

    /// Looks who has been served. A request that asks for anything was not overtaken by another of
    /// that kind.
    fn collect(&mut self) {
        let mut passed_over = false;
        let mut still = Vec::new();
        for mut waits in self.line.drain(..) {
            match peek(&mut waits.acquire) {
                Some(Ok(lease)) => {
                    assert!(!passed_over || waits.asks != Asks::Anything, "overtaken");
                    self.served += 1;
                    self.leases.push(lease);
                }
                Some(Err(error)) => {
                    assert!(error.is_overloaded(), "{error}");
                    assert!(waits.since.elapsed() >= Duration::from_secs(1), "too early: {error}");
                }
                None => {
                    assert!(waits.since.elapsed() < Duration::from_millis(1002), "too late");
                    passed_over |= waits.asks == Asks::Anything;
                    still.push(waits);
                }
            }
        }
        self.line = still;
    }

    fn check(&self) {
        let status = self.cluster.status();
        for (status, limit) in status.endpoints.iter().zip(self.limits) {
            // A limit that was lowered lets those end that are there.
            let held = |lease: &&Lease<()>| lease.id() == status.endpoint.id();
            let held = self.leases.iter().filter(held).count() as u32;
            assert!(status.in_flight <= limit.max(held), "{status:?}");
        }
        assert!(waiting(&self.cluster) <= SIZE);
        // Nobody waits for any endpoint while one has room.
        let room = status.endpoints.iter().zip(self.limits);
        let room = room.filter(|(status, limit)| status.in_flight < *limit).count();
        let waits = self.line.iter().filter(|waits| waits.asks == Asks::Anything).count();
        assert!(room == 0 || waits == 0, "{room} have room and {waits} wait");
    }

    async fn step(&mut self, seed: &mut Seed) {
        let at = seed.below(ENDPOINTS);
        match seed.below(16) {
            0..=4 => self.arrive(Asks::Anything),
            5 => self.arrive(Asks::AnythingBut(at)),
            6 => self.arrive(Asks::HomeFirst(at)),
            7..=10 if !self.leases.is_empty() => {
                let ends = seed.below(self.leases.len());
                drop(self.leases.swap_remove(ends));
            }
            11 if !self.line.is_empty() => {
                let leaves = seed.below(self.line.len());
                drop(self.line.remove(leaves));
            }
            12 => {
                self.limits[at] = 1 + seed.below(4) as u32;
                let changed = endpoint(at).with_max_in_flight(self.limits[at]);
                self.cluster.insert(changed).unwrap();
            }
            13 => {
                let context = preferring(at);
                self.leases.extend(self.cluster.pick(&context));
            }
            14 => self.cluster.set_weight(&id(at), (1 + seed.below(3) as u16).into()).unwrap(),
            _ => tokio::time::advance(Duration::from_millis(seed.below(150) as u64)).await,
        }
        self.collect();
        self.check();
    }
}

#[tokio::test(start_paused = true)]
async fn limits_sizes_deadlines_and_the_order_hold_whatever_happens() {
    let mut served = 0;
    for number in 0..60 {
        let mut seed = Seed(number);
        let mut world = World::new();
        for _ in 0..300 {
            world.step(&mut seed).await;
        }
        served += world.served;
        let World { cluster, leases, line, .. } = world;
        drop((leases, line));
        let status = cluster.status();
        assert_eq!(status.queue.waiting, 0);
        assert!(status.endpoints.iter().all(|status| status.in_flight == 0));
    }
    assert!(served > 1000, "{served} requests had to wait and were served");
}
