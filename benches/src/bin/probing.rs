//! Ten thousand endpoints under probes every five seconds: how the checks are spread, what they
//! cost, and whether picks feel it.
//!
//! ```text
//! cargo run --profile bench -p whippletree-bench --bin probing
//! ```

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use whippletree::probe::Probe;
use whippletree::{Cluster, Context, Endpoint, Error};

const ENDPOINTS: u16 = 10_000;

/// Seconds that are looked at, after those in which every endpoint is checked for the first time.
const SECONDS: usize = 10;

/// Picks per measurement, and measurements of which the median counts.
const PICKS: u32 = 20_000;
const ROUNDS: usize = 21;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<ExitCode, Error> {
    let endpoints: Vec<Endpoint> = (0..ENDPOINTS)
        .map(|at| Endpoint::new(format!("10.0.{}.{}:80", at / 250, at % 250)))
        .collect::<Result<_, _>>()?;
    let quiet = Cluster::builder().connect(|_| ());
    quiet.replace(endpoints.clone())?;
    let without = picks(&quiet)?;

    let checks = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&checks);
    let cluster = Cluster::builder().connect(|_| ());
    let probe = Probe::custom(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, Error>(()) }
    });
    tokio::spawn(cluster.probe(probe));
    cluster.replace(endpoints)?;
    cluster.available().await;
    sleep(Duration::from_secs(6)).await;

    let (mut seconds, busy) = (Vec::new(), cpu());
    for _ in 0..SECONDS {
        let before = checks.load(Ordering::Relaxed);
        sleep(Duration::from_secs(1)).await;
        seconds.push(checks.load(Ordering::Relaxed) - before);
    }
    let busy = (cpu() - busy).as_secs_f64() / SECONDS as f64;
    let with = picks(&cluster)?;
    println!("{} of {ENDPOINTS} endpoints are up", cluster.status().available());
    println!("checks in each second: {seconds:?}, the mean would be {}", u64::from(ENDPOINTS) / 5);
    println!("of one core: {:.1} %", 100.0 * busy);
    println!("a pick: {without:.0} ns without probes, {with:.0} ns with them");
    let mean = u64::from(ENDPOINTS) / 5;
    let even = seconds.iter().all(|checks| (mean / 2..=2 * mean).contains(checks));
    // Twice, for the machine may be busy: a pick that probes slowed down would take far more.
    let (few, quick) = (busy < 0.5, with < 2.0 * without);
    if !(even && few && quick) {
        println!("not as promised: even {even}, little CPU {few}, picks as quick as ever {quick}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The median time of a pick and its end, in nanoseconds.
fn picks(cluster: &Cluster<()>) -> Result<f64, Error> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..PICKS {
            drop(black_box(cluster.pick(&Context::new())?));
        }
        rounds.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(PICKS));
    }
    rounds.sort_by(f64::total_cmp);
    Ok(rounds[ROUNDS / 2])
}

/// The time that this process has spent on all cores, to a hundredth of a second; zero where
/// `/proc` does not say.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // The 14th and 15th field of the whole line: user and system time in ticks of 10 ms.
    let ticks = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(10 * ticks.sum::<u64>())
}
