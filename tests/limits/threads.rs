//! Many threads at once, with an auditor of their own beside the cluster's counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use whippletree::cluster::Queue;
use whippletree::{Cluster, Context, Endpoint, EndpointId};

use crate::strict::{Seed, cases, in_flight};
use crate::{limited, waiting};

/// Counts who is in, endpoint by endpoint.
struct Audit {
    limit: u32,
    inside: AtomicU32,
    most: AtomicU32,
}

fn audited(endpoint: &Endpoint) -> Arc<Audit> {
    let limit = endpoint.max_in_flight().map_or(0, std::num::NonZeroU32::get);
    Arc::new(Audit { limit, inside: AtomicU32::new(0), most: AtomicU32::new(0) })
}

impl Audit {
    fn enter(&self) {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(inside <= self.limit, "{inside} of {}", self.limit);
        self.most.fetch_max(inside, Ordering::SeqCst);
    }

    fn leave(&self) {
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn eight_threads_that_pick_never_exceed_a_limit() {
    for case in cases().filter(|case| case.spreads()) {
        let builder = Cluster::builder().policy(case.policy.clone()).cost(case.cost);
        let cluster = builder.connect(audited);
        cluster.replace(limited(&[1, 2, 3])).unwrap();
        let picked = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let (cluster, picked) = (&cluster, &picked);
                scope.spawn(move || {
                    for round in 0..3000 {
                        let context = Context::new().with_hash(round * 8 + thread);
                        match cluster.pick(&context) {
                            Ok(lease) => {
                                lease.service().enter();
                                std::hint::spin_loop();
                                lease.service().leave();
                                picked.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(error) => assert!(error.is_overloaded(), "{error}"),
                        }
                    }
                });
            }
        });
        assert_eq!(in_flight(&cluster), 0);
        assert!(picked.into_inner() > 1000, "{case:?}");
    }
}

/// Every task waits, works, and now and then gives up: each that waits to its end is served, for
/// there is time enough. A wake-up that was lost would leave one behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn everyone_who_waits_is_served_though_others_give_up() {
    let queue = Queue::new().size(1000).timeout(Duration::from_secs(60));
    let cluster = Cluster::builder().queue(queue).connect(audited);
    cluster.replace(limited(&[1, 2, 2])).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        tasks.spawn(work(cluster.clone(), Seed(number)));
    }
    let all = tokio::time::timeout(Duration::from_secs(50), tasks.join_all());
    let served: usize = all.await.expect("somebody waits for ever").into_iter().sum();
    assert!(served > 200 * 20, "{served}");
    assert_eq!((in_flight(&cluster), waiting(&cluster)), (0, 0));
    assert_eq!(cluster.status().queue.timed_out, 0);
}

async fn work(cluster: Cluster<Arc<Audit>>, mut seed: Seed) -> usize {
    let mut served = 0;
    for _ in 0..40 {
        let context = match seed.below(8) {
            0 => Context::new().with_exclude(EndpointId::new("e0000").unwrap()),
            1 => Context::new()
                .with_prefer(EndpointId::new("e0001").unwrap())
                .with_prefer_wait(Duration::from_micros(200)),
            _ => Context::new(),
        };
        let acquire = cluster.acquire(&context);
        if seed.below(4) == 0 {
            let patience = Duration::from_micros(seed.below(300) as u64);
            let _ = tokio::time::timeout(patience, acquire).await;
            continue;
        }
        let lease = acquire.await.unwrap();
        lease.service().enter();
        tokio::task::yield_now().await;
        lease.service().leave();
        served += 1;
    }
    served
}
