//! Prints, as Markdown, how even the shares of the hash policies are, whose keys move when an
//! endpoint leaves or cannot serve, and how many requests leave home to keep a bound.
//!
//! ```text
//! cargo run --profile bench -p whippletree-bench --bin affinity
//! ```
//!
//! Every number is a count, the same on every machine and at every run.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use whippletree::policy::Policy;
use whippletree::policy::hash::{Maglev, Rendezvous, RingHash, xxh64_key};
use whippletree::{Cluster, Context, EndpointId, Error};
use whippletree_bench::fixtures;
use whippletree_bench::service::Unit;

const SIZES: [usize; 3] = [10, 100, 1_000];
/// Keys per endpoint, so that chance adds some 3.5 % to the peak of a thousand.
const KEYS: usize = 10_000;
const FACTORS: [f64; 4] = [1.1, 1.25, 1.5, 2.0];
/// Requests of the experiment with bounds.
const REQUESTS: usize = 200_000;
/// Of these, in flight at the same time per endpoint.
const IN_FLIGHT: usize = 10;
/// Different keys of that experiment; the n-th is asked for in proportion to 1 / n^1.1.
const RANKS: usize = 100_000;

type Named = (&'static str, Arc<dyn Policy>);

fn main() -> Result<(), Error> {
    evenness()?;
    bounds()
}

fn policies(factor: Option<f64>) -> Result<[Named; 6], Error> {
    let ring = |least| RingHash::new().ring_size(least..=8_388_608);
    let (small, large) = (ring(1024)?, ring(131_072)?);
    let (nginx, scores) = (RingHash::ketama(), Rendezvous::new());
    let (maglev, larger) = (Maglev::new(), Maglev::new().table_size(655_373)?);
    Ok(match factor {
        None => [
            ("RingHash::ketama, 160 points each", Arc::new(nginx)),
            ("RingHash, at least 1024 points", Arc::new(small)),
            ("RingHash, at least 131 072 points", Arc::new(large)),
            ("Maglev, 65 537 slots", Arc::new(maglev)),
            ("Maglev, 655 373 slots", Arc::new(larger)),
            ("Rendezvous", Arc::new(scores)),
        ],
        Some(factor) => [
            ("RingHash::ketama, 160 points each", Arc::new(nginx.bounded(factor)?)),
            ("RingHash, at least 1024 points", Arc::new(small.bounded(factor)?)),
            ("RingHash, at least 131 072 points", Arc::new(large.bounded(factor)?)),
            ("Maglev, 65 537 slots", Arc::new(maglev.bounded(factor)?)),
            ("Maglev, 655 373 slots", Arc::new(larger.bounded(factor)?)),
            ("Rendezvous", Arc::new(scores.bounded(factor)?)),
        ],
    })
}

fn cluster(policy: &Arc<dyn Policy>, size: usize) -> Cluster<Unit> {
    fixtures::cluster(Cluster::builder().policy(Arc::clone(policy)), size)
}

fn homes(cluster: &Cluster<Unit>, keys: usize, out: Option<&EndpointId>) -> Vec<EndpointId> {
    let context = |key| {
        let context = Context::new().with_hash(xxh64_key(format!("key {key}")));
        out.into_iter().fold(context, |context, out| context.with_exclude(out.clone()))
    };
    let home = |key| cluster.pick(&context(key)).map(|lease| lease.id().clone());
    (0..keys).map(home).collect::<Result<_, _>>().expect("all endpoints are available")
}

/// The share of the keys that moved although their endpoint is there still, in percent.
fn strays(before: &[EndpointId], after: &[EndpointId], lost: &EndpointId) -> f64 {
    let moved = before.iter().zip(after).filter(|(before, after)| before != after);
    let strays = moved.filter(|(before, _)| *before != lost).count();
    100.0 * strays as f64 / before.len() as f64
}

fn evenness() -> Result<(), Error> {
    println!("### shares and disruption\n");
    println!(
        "| | endpoints | peak / mean | least / mean | moved, of one out | moved beside, removed |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
    for (name, policy) in policies(None)? {
        for size in SIZES {
            let cluster = cluster(&policy, size);
            let keys = size * KEYS;
            let before = homes(&cluster, keys, None);
            let mut counts: HashMap<&EndpointId, usize> = HashMap::new();
            before.iter().for_each(|home| *counts.entry(home).or_default() += 1);
            let mean = |count: Option<&usize>| *count.unwrap_or(&0) as f64 / KEYS as f64;
            let (peak, least) = (mean(counts.values().max()), mean(counts.values().min()));
            let least = if counts.len() < size { 0.0 } else { least };

            let lost = fixtures::endpoint(size / 2);
            let out = homes(&cluster, keys, Some(lost.id()));
            cluster.remove(lost.id());
            let removed = homes(&cluster, keys, None);
            let own = 100.0 * mean(counts.get(lost.id())) / size as f64;
            let (out, removed) =
                (own + strays(&before, &out, lost.id()), strays(&before, &removed, lost.id()));
            println!("| {name} | {size} | {peak:.3} | {least:.3} | {out:.2} % | {removed:.2} % |");
        }
    }
    Ok(())
}

fn bounds() -> Result<(), Error> {
    println!("\n### requests that leave home, keys by Zipf(1.1)\n");
    println!("| | endpoints | peak / mean, not bounded | {} |", {
        let columns = FACTORS.map(|factor| format!("c = {factor}"));
        columns.join(" | ")
    });
    println!("|---|---:|---:|{}", "---:|".repeat(FACTORS.len()));
    let keys = zipf();
    for (at, (name, policy)) in policies(None)?.into_iter().enumerate() {
        for size in [10, 100] {
            let (free, homes) = run(&cluster(&policy, size), &keys, size);
            print!("| {name} | {size} | {free:.1} |");
            for factor in FACTORS {
                let (_, bounded) = &policies(Some(factor))?[at];
                let (peak, served) = run(&cluster(bounded, size), &keys, size);
                let away = homes.iter().zip(&served).filter(|(home, by)| home != by).count();
                print!(" {:.1} % ({peak:.2}) |", 100.0 * away as f64 / keys.len() as f64);
            }
            println!();
        }
    }
    println!("\nIn brackets: the highest in flight ever, over the mean.");
    Ok(())
}

/// Holds the last `size * IN_FLIGHT` requests; answers the peak over the mean, and who served.
fn run(cluster: &Cluster<Unit>, keys: &[u64], size: usize) -> (f64, Vec<EndpointId>) {
    let mut held = VecDeque::new();
    let mut loads: HashMap<EndpointId, usize> = HashMap::new();
    let mut peak = 0;
    let mut served = Vec::with_capacity(keys.len());
    for key in keys {
        let lease = cluster.pick(&Context::new().with_hash(*key)).expect("all are available");
        let load = loads.entry(lease.id().clone()).or_default();
        *load += 1;
        peak = peak.max(*load);
        served.push(lease.id().clone());
        held.push_back(lease);
        if held.len() > size * IN_FLIGHT {
            if let Some(oldest) = held.pop_front() {
                *loads.entry(oldest.id().clone()).or_default() -= 1;
            }
        }
    }
    (peak as f64 / IN_FLIGHT as f64, served)
}

/// Hashes of keys, drawn by their ranks.
fn zipf() -> Vec<u64> {
    let shares = (1..=RANKS).map(|rank| (rank as f64).powf(-1.1));
    let ends: Vec<f64> = shares
        .scan(0.0, |sum, share| {
            *sum += share;
            Some(*sum)
        })
        .collect();
    let draw = |number: usize| xxh64_key(number.to_le_bytes()) as f64 / u64::MAX as f64;
    let rank = |number| ends.partition_point(|end| *end < draw(number) * ends[RANKS - 1]);
    (0..REQUESTS).map(|number| xxh64_key(format!("key {}", rank(number)))).collect()
}
