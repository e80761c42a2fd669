//! Runs the checks of one probe: one task each, and one that sleeps until the next is due.

use std::collections::{BTreeMap, HashMap};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::schedule::{Key, Schedule};
use super::{Answer, Check, CheckFuture, Probe, Target};
use crate::cluster::{self, Finding, Listed, ProbeId, ProbePace, Probed, WeakProbed};
use crate::endpoint::{Endpoint, EndpointId, Node};
use crate::error::{BoxError, Error, causes};
use crate::random::{Source, unit};

/// A probe's part in a cluster, which ends with it.
pub(super) struct Registration {
    cluster: WeakProbed,
    id: ProbeId,
}

impl Registration {
    pub(super) fn new(cluster: &Probed, probe: &Probe) -> Self {
        Self { cluster: cluster.downgrade(), id: cluster.start(probe.rule()) }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(cluster) = self.cluster.upgrade() {
            cluster.stop(self.id);
        }
    }
}

/// Makes checks until the cluster is gone.
pub(super) async fn run(probe: Probe, registration: Registration) {
    let Some(cluster) = registration.cluster.upgrade() else {
        return;
    };
    let mut version = cluster.version();
    let mut runner = Runner::new(probe, registration, cluster.random());
    drop(cluster);
    loop {
        let Some(cluster) = runner.registration.cluster.upgrade() else {
            return;
        };
        runner.turn(&cluster);
        drop(cluster);
        match runner.wait(&mut version).await {
            Step::Ended(key, result) => runner.ended(key, result),
            Step::Changed | Step::Due => {}
            Step::Over => return,
        }
    }
}

/// How late a timer may be without telling of a busy machine. tokio's have a resolution of 1 ms; ours.
const PUNCTUAL: Duration = Duration::from_millis(5);

/// What there is to do.
enum Step {
    Ended(Option<Key>, Result<Report, JoinError>),
    Changed,
    Due,
    Over,
}

struct Runner {
    probe: Probe,
    registration: Registration,
    schedule: Schedule,
    random: Source,
    /// The number of the roster that `places` reflects.
    roster: Option<u64>,
    places: BTreeMap<EndpointId, Key>,
    watched: HashMap<Key, Watched>,
    tasks: JoinSet<Report>,
    keys: HashMap<Id, Key>,
}

/// An endpoint under this probe.
struct Watched {
    target: Target,
    since: Instant,
    /// Whether the last check passed and nothing is in the balance.
    steady: bool,
    seen: Traffic,
    check: Option<AbortHandle>,
    /// When the last check began.
    began: Instant,
}

/// What live traffic had come to when it was looked at.
#[derive(Clone, Copy)]
struct Traffic {
    succeeded: u64,
    failed: u64,
    at: Instant,
}

impl Traffic {
    fn look(node: &Node, at: Instant) -> Self {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let tally = &node.tally;
        Self { succeeded: read(&tally.succeeded), failed: read(&tally.failed), at }
    }

    /// Whether there was a success within `round`, and no failure.
    fn shows_health(&self, before: &Self, round: Duration) -> bool {
        let recent = self.at.saturating_duration_since(before.at) <= round;
        recent && self.succeeded != before.succeeded && self.failed == before.failed
    }
}

impl Runner {
    fn new(probe: Probe, registration: Registration, seed: u64) -> Self {
        // Numbers of its own: checks must not change what picks draw.
        let random = Source::new(Some(seed));
        let schedule = Schedule::new(probe.timing(), cluster::now(), unit(random.next()));
        Self {
            probe,
            registration,
            schedule,
            random,
            roster: None,
            places: BTreeMap::new(),
            watched: HashMap::new(),
            tasks: JoinSet::new(),
            keys: HashMap::new(),
        }
    }

    /// Takes in who is here and starts what is due.
    fn turn(&mut self, cluster: &Probed) {
        let now = cluster::now();
        if let Some(roster) = cluster.roster(self.roster) {
            self.roster = Some(roster.number);
            self.sync(roster.targets, now);
        }
        while let Some(key) = self.schedule.take(now) {
            if self.traffic_will_do(key, now) {
                let unit = unit(self.random.next());
                self.schedule.ended(key, None, now, unit);
            } else {
                self.start(key, now);
            }
        }
    }

    fn sync(&mut self, listed: Vec<Listed>, now: Instant) {
        let mut before = std::mem::take(&mut self.places);
        for listed in listed {
            let id = listed.endpoint.id().clone();
            let key = before.remove(&id).filter(|key| self.update(*key, &listed));
            let key = key.unwrap_or_else(|| self.admit(listed, now));
            self.places.insert(id, key);
        }
        before.into_values().for_each(|key| self.dismiss(key));
    }

    /// Takes in how the endpoint is described now; false if it is another, or to be judged anew.
    fn update(&mut self, key: Key, listed: &Listed) -> bool {
        let Some(watched) = self.watched.get_mut(&key) else {
            return false;
        };
        let same = Arc::ptr_eq(watched.target.node(), &listed.node);
        if same && watched.since == listed.since {
            watched.target.describe(Endpoint::clone(&listed.endpoint));
            return true;
        }
        self.dismiss(key);
        false
    }

    fn admit(&mut self, listed: Listed, now: Instant) -> Key {
        let key = self.schedule.add(now);
        let seen = Traffic::look(&listed.node, now);
        let target = Target::new(listed.endpoint, listed.node, self.probe.time());
        let since = listed.since;
        let watched = Watched { target, since, steady: false, seen, check: None, began: now };
        self.watched.insert(key, watched);
        key
    }

    fn dismiss(&mut self, key: Key) {
        self.schedule.remove(key);
        if let Some(check) = self.watched.remove(&key).and_then(|watched| watched.check) {
            check.abort();
        }
    }

    /// Whether live traffic stands in for a check that is due.
    fn traffic_will_do(&mut self, key: Key, now: Instant) -> bool {
        let Some(watched) = self.watched.get_mut(&key).filter(|_| self.probe.trusts_traffic())
        else {
            return false;
        };
        let seen = Traffic::look(watched.target.node(), now);
        let before = std::mem::replace(&mut watched.seen, seen);
        let suspect = watched.target.node().suspect.load(Ordering::Relaxed);
        watched.steady
            && !suspect
            && seen.shows_health(&before, self.probe.timing().longest_round())
    }

    fn start(&mut self, key: Key, now: Instant) {
        let Some(watched) = self.watched.get_mut(&key) else {
            return;
        };
        let trial = Trial {
            check: Arc::clone(self.probe.check()),
            target: watched.target.clone(),
            began: now,
            grace: self.probe.timing().interval,
        };
        let task = self.tasks.spawn(trial.run());
        self.keys.insert(task.id(), key);
        (watched.check, watched.began) = (Some(task), now);
    }

    /// Waits for the end of a check, a change of the cluster, or the next check's time.
    async fn wait(&mut self, version: &mut watch::Receiver<u64>) -> Step {
        let mut changed = pin!(version.changed());
        let next = self.schedule.next().map(|at| tokio::time::sleep_until(at.into()));
        let mut due = pin!(async move {
            match next {
                Some(next) => next.await,
                None => std::future::pending().await,
            }
        });
        poll_fn(|task| {
            if let Poll::Ready(Some(ended)) = self.tasks.poll_join_next_with_id(task) {
                let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
                let result = ended.map(|(_, report)| report);
                return Poll::Ready(Step::Ended(self.keys.remove(&id), result));
            }
            if let Poll::Ready(changed) = changed.as_mut().poll(task) {
                return Poll::Ready(changed.map_or(Step::Over, |()| Step::Changed));
            }
            due.as_mut().poll(task).map(|()| Step::Due)
        })
        .await
    }

    fn ended(&mut self, key: Option<Key>, result: Result<Report, JoinError>) {
        let Some(key) = key else {
            return;
        };
        let now = cluster::now();
        let began = self.watched.get(&key).map_or(now, |watched| watched.began);
        let took = now.saturating_duration_since(began);
        let report = result.unwrap_or_else(|error| Report::of_death(error, took));
        let pace = self.tell(key, report);
        let unit = unit(self.random.next());
        self.schedule.ended(key, pace, now, unit);
    }

    /// Tells the cluster; answers how soon to look again, if it is said.
    fn tell(&mut self, key: Key, report: Report) -> Option<ProbePace> {
        let watched = self.watched.get_mut(&key)?;
        watched.check = None;
        let cluster = self.registration.cluster.upgrade()?;
        let finding = report.finding?;
        let passed = finding == Finding::Passed;
        let node = watched.target.node();
        let pace = cluster.tell(self.registration.id, node, finding, report.took)?;
        watched.steady = passed && pace == ProbePace::Steady;
        Some(pace)
    }
}

/// What a check found, if anything, and how long it took.
struct Report {
    finding: Option<Finding>,
    took: Duration,
}

impl Report {
    /// Of a check that panicked. One that was stopped has found nothing.
    fn of_death(error: JoinError, took: Duration) -> Self {
        let panic = error.try_into_panic().ok();
        let reason = panic.map(|panic| Error::panicked("check", &*panic).to_string());
        Self { finding: reason.map(|reason| Finding::Failed(reason.into())), took }
    }
}

/// One check to be made.
struct Trial {
    check: Arc<dyn Check>,
    target: Target,
    began: Instant,
    /// A failure that is seen so long after the deadline says more of this machine, or of this
    /// process, than of the endpoint.
    grace: Duration,
}

impl Trial {
    async fn run(self) -> Report {
        let time = self.target.time();
        let deadline = self.began + time;
        let check = pin!(asked(&*self.check, self.target));
        let answer = in_time(check, deadline, self.grace).await;
        let now = cluster::now();
        let finding = match answer {
            Some(Ok(Answer::Healthy)) => Some(Finding::Passed),
            Some(Ok(Answer::AsksToLeave)) => Some(Finding::AsksToLeave),
            _ if now > deadline + self.grace => None,
            Some(Err(error)) => Some(Finding::Failed(with_causes(&*error).into())),
            None => Some(Finding::Failed(format!("no answer within {time:?}").into())),
        };
        Report { finding, took: now.saturating_duration_since(self.began) }
    }
}

/// What the future comes to, if it does so in time. A deadline that this process notices late, for
/// the machine is busy, is put off by the time it was late: that long nobody could look for the
/// answer. Not by more than the grace in all.
async fn in_time<F>(
    mut future: Pin<&mut F>,
    deadline: Instant,
    grace: Duration,
) -> Option<F::Output>
where
    F: Future,
{
    let (mut until, last) = (deadline, deadline + grace);
    loop {
        if let Ok(output) = tokio::time::timeout_at(until.into(), future.as_mut()).await {
            return Some(output);
        }
        let now = cluster::now();
        let late = now.saturating_duration_since(until);
        if late <= PUNCTUAL || now >= last {
            return None;
        }
        until = (now + late).min(last);
    }
}

fn asked(check: &dyn Check, target: Target) -> CheckFuture {
    check.check(target)
}

/// The whole chain of an error in one line.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = causes(error).skip(1);
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

/// What a check of this crate fails with.
pub(super) fn failure(reason: impl Into<String>) -> BoxError {
    reason.into().into()
}
