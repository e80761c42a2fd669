use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::control::SourceId;
use super::facts::{CheckFact, Verdict};
use super::queue::QueueStatus;
use super::record::Record;
use super::verdicts::Effect;
use super::{Cluster, Shared};
use crate::endpoint::{Admin, Endpoint, State};
use crate::health::Standing;

/// What a cluster knows of itself, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClusterStatus {
    /// The cluster's name.
    pub name: String,
    /// The policy's name.
    pub policy: String,
    /// Whether fewer endpoints are available than the panic threshold asks for.
    pub panic: bool,
    /// The priority of the tier that requests go to first, if any can serve.
    pub serving: Option<u32>,
    /// The endpoints, ordered by id.
    pub endpoints: Vec<EndpointStatus>,
    /// Requests that wait for an endpoint, and those that did.
    pub queue: QueueStatus,
}

/// What a cluster knows of an endpoint, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointStatus {
    /// Its description, with the weight and labels that were set at run time.
    pub endpoint: Endpoint,
    /// Whether it serves.
    pub state: State,
    /// How long it has been in that state.
    pub since: Duration,
    /// How long it has been a member.
    pub member_for: Duration,
    /// What is known of it, fact by fact; [`State`] is what they come to.
    pub facts: Vec<Fact>,
    /// How long it stays out where a clock decides; see [`Fact::returns_in`].
    pub returns_in: Option<Duration>,
    /// The last check of every probe.
    pub checks: Vec<CheckStatus>,
    /// How much of its weight counts: less than 1 while it is in slow start.
    pub share: f64,
    /// Its rank, with all adjustments; for the policy [`Ranked`](crate::policy::Ranked).
    pub rank: u8,
    /// How often live traffic had it ejected.
    pub ejections: u64,
    /// The sessions that call it home, as far as this process has seen them within the window of
    /// its `StickyLayer`; `None` if there was none yet. An estimate.
    pub sessions: Option<u32>,
    /// Requests in flight.
    pub in_flight: u32,
    /// Requests begun.
    pub requests: u64,
    /// Of these, the ones that succeeded.
    pub successes: u64,
    /// The ones that failed by the endpoint's fault.
    pub failures: u64,
    /// The ones that ended without saying anything of the endpoint.
    pub ignored: u64,
    /// The ones that were dropped without a report.
    pub cancelled: u64,
    /// The moving average of the latency, once a timed request was answered.
    pub latency: Option<Duration>,
}

/// What a probe's last check found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckStatus {
    /// The probe's name.
    pub probe: Arc<str>,
    /// How long ago it ended.
    pub ago: Duration,
    /// How long it took.
    pub took: Duration,
    /// Why it failed, if it did.
    pub failure: Option<Arc<str>>,
}

/// One thing that is known of an endpoint: who says it, since when, and what would change it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Fact {
    /// What it is about.
    pub kind: FactKind,
    /// What holds, in one word: `up`, `ejected`, `drain` and the like.
    pub value: &'static str,
    /// Whether it keeps new requests away, unless a [panic](super::Panic) fails open.
    pub keeps_out: bool,
    /// Who says so: a probe's name, a source's, the operator's.
    pub by: Arc<str>,
    /// For how long it has held.
    pub since: Duration,
    /// Why.
    pub reason: Option<String>,
    /// How long it holds where a clock decides: of an ejection at least, of a trial at most.
    pub returns_in: Option<Duration>,
    /// What would let the endpoint serve again, as far as this fact goes.
    pub brings_back: Option<String>,
}

/// What a [`Fact`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FactKind {
    /// Sources list it.
    Discovery,
    /// What the operator wants.
    Admin,
    /// Its weight is 0.
    Weight,
    /// What a probe has found.
    Probe,
    /// What live traffic says.
    Outlier,
}

impl ClusterStatus {
    /// How many endpoints are [up](State::Up). While there are none, picks may still find one:
    /// see [`Panic::FailOpen`](super::Panic::FailOpen).
    #[must_use]
    pub fn available(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.state == State::Up).count()
    }
}

impl EndpointStatus {
    /// Why the endpoint is not available, in one line; nothing if it is. In a
    /// [panic that fails open](super::Panic::FailOpen) it may get requests all the same.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let fact = self.facts.iter().find(|fact| fact.keeps_out)?;
        Some(fact.to_string())
    }

    /// The fact of this kind that keeps the endpoint out, or else any.
    #[must_use]
    pub fn fact(&self, kind: FactKind) -> Option<&Fact> {
        let mut facts = self.facts.iter().filter(|fact| fact.kind == kind);
        let first = facts.clone().next();
        facts.find(|fact| fact.keeps_out).or(first)
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.value, self.by)?;
        if let Some(reason) = &self.reason {
            write!(f, ": {reason}")?;
        }
        match &self.brings_back {
            Some(needed) => write!(f, "; back by {needed}"),
            None => Ok(()),
        }
    }
}

impl<S> Cluster<S> {
    /// What the cluster knows of itself now. Counters of different endpoints are read one after
    /// the other. Waits for a change in progress; picks do not wait for it.
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        let shared = &self.shared;
        let now = shared.now();
        let origins = shared.sources.lock().all();
        let names: HashMap<SourceId, &str> =
            origins.iter().map(|origin| (origin.id, &*origin.name)).collect();
        let control = shared.control();
        let snapshot = shared.published.load();
        // Not every endpoint that is new starts slowly: if all are, none does.
        let ramping = snapshot.ramping();
        let endpoints = control.present.values().zip(ramping).map(|(record, ramping)| {
            let slow_start = control.rules.slow_start.filter(|_| ramping);
            let share = slow_start.zip(record.facts.fit_since).map_or(1.0, |(slow_start, fit)| {
                slow_start.factor(now.saturating_duration_since(fit))
            });
            let sources = listed_by(record, &names);
            record.status(shared, sources, share, now)
        });
        let endpoints = endpoints.collect();
        drop(control);
        let history = &snapshot.everyone.history;
        ClusterStatus {
            name: shared.name.to_string(),
            policy: snapshot.policy.to_string(),
            panic: history.panic,
            serving: history.serving,
            endpoints,
            queue: shared.line.status(),
        }
    }
}

/// The names of those who list the endpoint.
fn listed_by(record: &Record, names: &HashMap<SourceId, &str>) -> Arc<str> {
    let name = |(source, _): &(SourceId, _)| names.get(source).copied().unwrap_or("handle");
    let listed: Vec<&str> = record.sources.iter().map(name).collect();
    listed.join(", ").into()
}

impl Record {
    fn status(
        &self,
        shared: &Shared,
        sources: Arc<str>,
        share: f64,
        now: Instant,
    ) -> EndpointStatus {
        let counts = self.counts();
        let facts = self.explain(sources, now);
        EndpointStatus {
            endpoint: self.endpoint.clone(),
            state: self.state(),
            since: now.saturating_duration_since(self.facts.state_since),
            member_for: now.saturating_duration_since(self.since),
            returns_in: facts.iter().filter_map(|fact| fact.returns_in).max(),
            checks: self.facts.checks.iter().filter_map(|check| check.last(now)).collect(),
            facts,
            share,
            rank: self.rank(),
            ejections: self.facts.outlier.times,
            sessions: self.node.sessions.count(shared.nanos(now)),
            in_flight: counts.in_flight,
            requests: counts.requests,
            successes: counts.succeeded,
            failures: counts.failed,
            ignored: counts.ignored,
            cancelled: counts.cancelled,
            latency: self.node.load.latency(shared.nanos(now)).map(Duration::from_secs_f64),
        }
    }

    fn explain(&self, sources: Arc<str>, now: Instant) -> Vec<Fact> {
        let since = |at| now.saturating_duration_since(at);
        let (admin, leaves) = (&self.facts.admin, self.endpoint.is_draining());
        let mut facts = vec![
            Fact {
                kind: FactKind::Discovery,
                value: if leaves { "draining" } else { "listed" },
                keeps_out: leaves,
                by: sources,
                since: since(self.since),
                reason: None,
                returns_in: None,
                brings_back: leaves.then(|| "a description that says otherwise".to_owned()),
            },
            Fact {
                kind: FactKind::Admin,
                value: admin.state.as_str(),
                keeps_out: admin.state != Admin::Ready,
                by: Arc::clone(&admin.by),
                since: since(admin.since),
                reason: None,
                returns_in: None,
                brings_back: (admin.state != Admin::Ready)
                    .then(|| "setting it to ready".to_owned()),
            },
        ];
        if self.endpoint.weight().is_zero() {
            facts.push(self.weightless(since(self.facts.weightless_since)));
        }
        facts.extend(self.facts.checks.iter().map(|check| check.explain(since(check.since))));
        facts.extend(self.outlier(now));
        facts
    }

    fn weightless(&self, since: Duration) -> Fact {
        Fact {
            kind: FactKind::Weight,
            value: "drain",
            keeps_out: true,
            by: if self.weight_is_set() { "operator".into() } else { "description".into() },
            since,
            reason: Some("its weight is 0".to_owned()),
            returns_in: None,
            brings_back: Some("a weight above 0".to_owned()),
        }
    }

    fn outlier(&self, now: Instant) -> Option<Fact> {
        let fact = &self.facts.outlier;
        let (value, reason, returns_in, brings_back) = match &fact.verdict {
            Verdict::Fine => ("ok", None, None, None),
            Verdict::Ejected { until, reason } => {
                let left = until.saturating_duration_since(now);
                ("ejected", Some(reason), Some(left), Some("one success after its time is over"))
            }
            Verdict::HalfOpen { reason, .. } if self.facts.is_probed() => {
                ("half_open", Some(reason), None, Some("one passed check"))
            }
            Verdict::HalfOpen { until, reason } => {
                let left = until.saturating_duration_since(now);
                ("half_open", Some(reason), Some(left), Some("one success, or time"))
            }
        };
        Some(Fact {
            kind: FactKind::Outlier,
            value,
            keeps_out: fact.verdict != Verdict::Fine,
            by: "live traffic".into(),
            since: now.saturating_duration_since(fact.since),
            reason: reason.map(ToString::to_string),
            returns_in,
            brings_back: brings_back.map(str::to_owned),
        })
    }
}

impl CheckFact {
    fn last(&self, now: Instant) -> Option<CheckStatus> {
        let last = self.last.as_ref()?;
        let ago = now.saturating_duration_since(last.at);
        let (probe, failure) = (Arc::clone(&self.name), last.failure.clone());
        Some(CheckStatus { probe, ago, took: last.took, failure })
    }

    fn explain(&self, since: Duration) -> Fact {
        let standing = self.counter.standing();
        let needed = self.counter.to_flip();
        let (value, needs) = match standing {
            Standing::Up if self.asks_to_leave => ("drain", true),
            Standing::Up => ("up", false),
            Standing::Unproven => ("unproven", true),
            Standing::Down => ("down", true),
        };
        let failure = self.last.as_ref().and_then(|last| last.failure.as_deref());
        Fact {
            kind: FactKind::Probe,
            value,
            keeps_out: needs && self.effect == Effect::TakesOut,
            by: Arc::clone(&self.name),
            since,
            reason: failure.map(str::to_owned),
            returns_in: None,
            brings_back: needs.then(|| match needed {
                1 => "one passed check".to_owned(),
                checks => format!("{checks} passed checks in a row"),
            }),
        }
    }
}
