//! Ten thousand endpoints of which one in a hundred changes every second: what picks feel of it,
//! what it costs, and how much memory an endpoint takes.
//!
//! A registry tells the changes one by one, ten milliseconds apart: a third removals, a third
//! insertions of endpoints that are new, a third other weights. Picks are measured in windows: in
//! every other one changes are made, and picks go to the cluster that hears of them; in those
//! between there are none, and picks go to a cluster that has never heard any. Of each kind the
//! median window counts.
//!
//! What must hold is checked for the default policy, which follows the registry as a stream; the
//! other policies are reported, and what it costs to make every change by hand, with a snapshot of
//! its own.
//!
//! ```text
//! cargo run --profile bench -p whippletree-bench --bin churn
//! ```

use std::collections::VecDeque;
use std::fs;
use std::hint::black_box;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use whippletree::cluster::Builder;
use whippletree::discover::Change;
use whippletree::policy::hash::{Maglev, RingHash};
use whippletree::policy::{LeastRequest, P2c, Policy, RoundRobin};
use whippletree::{Cluster, Context, Endpoint, Error, Weight};

const ENDPOINTS: u32 = 10_000;

/// Between two changes: a hundred a second, one in a hundred endpoints.
const PAUSE: Duration = Duration::from_millis(10);

/// How long picks are measured at a time: over twenty changes.
const WINDOW: Duration = Duration::from_millis(200);

/// Windows of each kind, for the policy that is checked and for those that are reported.
const CHECKED: usize = 41;
const REPORTED: usize = 11;

/// Picks between two looks at the clock.
const PICKS: u32 = 500;

/// What is promised: picks take no more than 1.5 times as long, and what makes the changes keeps
/// no more than a fifth of a core busy.
const SLOWER: f64 = 1.5;
const BUSY: f64 = 0.2;

/// Twice what was measured, in bytes of resident memory per endpoint.
const BYTES: f64 = 4096.0;

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> Result<ExitCode, Error> {
    let before = resident();
    let cluster = cluster(Cluster::builder().policy(P2c::new()))?;
    let bytes = (resident() - before) / f64::from(ENDPOINTS);
    println!("an endpoint takes {bytes:.0} bytes, its payload apart");
    let before = resident();
    replace_all(&cluster)?;
    let both = bytes + (resident() - before) / f64::from(ENDPOINTS);
    println!("with as many beside them that are gone and not forgotten yet: {both:.0} each");
    drop(cluster);

    println!("policy          quiet, ns  changing, ns  slower  of a core     changes");
    let p2c = measure("p2c", CHECKED, P2c::new(), follow)?;
    measure("p2c, by hand", REPORTED, P2c::new(), by_hand)?;
    measure("round_robin", REPORTED, RoundRobin::new(), follow)?;
    measure("least_request", REPORTED, LeastRequest::new(), follow)?;
    measure("ring_hash", REPORTED, RingHash::new(), follow)?;
    measure("maglev", REPORTED, Maglev::new(), follow)?;

    let (steady, idle, small) = (p2c.slower < SLOWER, p2c.busy < BUSY, bytes < BYTES);
    if !(steady && idle && small) {
        println!("not as promised: picks {steady}, little CPU {idle}, little memory {small}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// What changes cost.
struct Cost {
    /// How many times as long picks take.
    slower: f64,
    /// The part of a core.
    busy: f64,
}

fn measure(
    name: &str,
    windows: usize,
    policy: impl Policy + Clone,
    tell: impl Fn(&Cluster<()>) -> Teller,
) -> Result<Cost, Error> {
    let quiet = cluster(Cluster::builder().policy(policy.clone()))?;
    let changing = cluster(Cluster::builder().policy(policy))?;
    let churn = Churn::start(tell(&changing));
    let (mut still, mut moving) = (Vec::new(), Vec::new());
    let (since, mut elapsed) = (spent_by_others(), Duration::ZERO);
    for _ in 0..windows {
        let start = Instant::now();
        churn.resume();
        moving.push(picks(&changing)?);
        churn.pause();
        elapsed += start.elapsed();
        still.push(picks(&quiet)?);
    }
    // What the last change of a window leads to may come in the next.
    let spent = spent_by_others() - since;
    let changes = churn.stop()?;
    let (still, moving) = (median(still), median(moving));
    let slower = moving / still;
    let busy = spent.as_secs_f64() / elapsed.as_secs_f64();
    println!(
        "{name:15} {still:9.0} {moving:13.0} {slower:7.2} {:9.1} % {:6.0} per second",
        100.0 * busy,
        f64::from(changes) / elapsed.as_secs_f64(),
    );
    Ok(Cost { slower, busy })
}

/// Hands a change on.
type Teller = Box<dyn FnMut(Change) -> Result<(), Error> + Send>;

/// As a registry does.
fn follow(cluster: &Cluster<()>) -> Teller {
    let (changes, mut told) = mpsc::unbounded_channel();
    let stream = futures_util::stream::poll_fn(move |task| told.poll_recv(task));
    tokio::spawn(cluster.follow("registry", stream));
    Box::new(move |change| {
        // Nobody listens any more once the cluster is gone.
        changes.send(change).unwrap_or_default();
        Ok(())
    })
}

fn by_hand(cluster: &Cluster<()>) -> Teller {
    let registry = cluster.source("registry");
    Box::new(move |change| match change {
        Change::Insert(endpoint) => registry.insert(endpoint),
        Change::Remove(id) => {
            registry.remove(&id);
            Ok(())
        }
        _ => Ok(()),
    })
}

/// The thread that makes the changes.
struct Churn {
    thread: thread::JoinHandle<Result<u32, Error>>,
    signal: Arc<Signal>,
}

#[derive(Default)]
struct Signal {
    runs: AtomicBool,
    ends: AtomicBool,
}

impl Churn {
    fn start(tell: Teller) -> Self {
        let signal = Arc::new(Signal::default());
        let (runtime, seen) = (Handle::current(), Arc::clone(&signal));
        let thread = thread::spawn(move || {
            // With a runtime, so that what is due later has a task that waits for it.
            let _entered = runtime.enter();
            let mut fleet = Fleet::new(tell);
            let mut changes = 0;
            while !seen.ends.load(Ordering::Acquire) {
                if seen.runs.load(Ordering::Acquire) {
                    let due = Instant::now() + PAUSE;
                    fleet.change()?;
                    changes += 1;
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                } else {
                    thread::park();
                }
            }
            Ok(changes)
        });
        Self { thread, signal }
    }

    fn resume(&self) {
        self.signal.runs.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }

    fn pause(&self) {
        self.signal.runs.store(false, Ordering::Release);
    }

    /// Ends the thread; answers how many changes it has made.
    fn stop(self) -> Result<u32, Error> {
        self.signal.ends.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Endpoints that come, go and change.
struct Fleet {
    tell: Teller,
    present: VecDeque<Endpoint>,
    next: u32,
}

impl Fleet {
    fn new(tell: Teller) -> Self {
        let present = endpoints(0..ENDPOINTS).collect::<Result<_, _>>().unwrap_or_default();
        Self { tell, present, next: ENDPOINTS }
    }

    /// The next of the three changes, to an endpoint anywhere in the order of the cluster.
    fn change(&mut self) -> Result<(), Error> {
        self.present.rotate_left(7919 % self.present.len());
        let change = match (self.next % 3, self.present.pop_front()) {
            (0, Some(endpoint)) => Change::Remove(endpoint.id().clone()),
            (1, Some(endpoint)) => {
                let other = Weight::from(3 - endpoint.weight().get());
                let endpoint = endpoint.with_weight(other);
                self.present.push_back(endpoint.clone());
                Change::Insert(endpoint)
            }
            (_, endpoint) => {
                self.present.extend(endpoint);
                let new = self::endpoint(self.next)?;
                self.present.push_back(new.clone());
                Change::Insert(new)
            }
        };
        self.next += 1;
        (self.tell)(change)
    }
}

/// Endpoint number `at`: of weight 1, and every other one of weight 2.
fn endpoint(at: u32) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::new(format!("10.{}.{}.{}:80", at / 62_500, at / 250 % 250, at % 250));
    Ok(endpoint?.with_weight(Weight::from(1 + (at % 2) as u16)))
}

fn endpoints(range: Range<u32>) -> impl Iterator<Item = Result<Endpoint, Error>> {
    range.map(endpoint)
}

fn cluster(builder: Builder) -> Result<Cluster<()>, Error> {
    let cluster = builder.connect(|_| ());
    cluster.source("registry").replace(endpoints(0..ENDPOINTS).collect::<Result<Vec<_>, _>>()?)?;
    Ok(cluster)
}

fn replace_all(cluster: &Cluster<()>) -> Result<(), Error> {
    let others = endpoints(ENDPOINTS..2 * ENDPOINTS).collect::<Result<Vec<_>, _>>()?;
    cluster.source("registry").replace(others)
}

/// The mean time of a pick and its end over a window, in nanoseconds.
fn picks(cluster: &Cluster<()>) -> Result<f64, Error> {
    let (start, mut count) = (Instant::now(), 0_u32);
    while start.elapsed() < WINDOW {
        for at in 0..PICKS {
            let key = u64::from(count + at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            drop(black_box(cluster.pick(&Context::new().with_hash(key))?));
        }
        count += PICKS;
    }
    Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(count))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The time that all threads but this one have spent on a processor; zero where `/proc` does not
/// say.
fn spent_by_others() -> Duration {
    let own = fs::read_link("/proc/thread-self").unwrap_or_default();
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let others = tasks.filter(|task| Some(task.file_name().as_os_str()) != own.file_name());
    let spent = others.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
    // The first of three numbers: nanoseconds on a processor.
    let nanos = spent.filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    Duration::from_nanos(nanos.sum())
}

/// The bytes of memory that the process has, in pages of 4 KiB.
fn resident() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok());
    4096.0 * pages.unwrap_or_default()
}
