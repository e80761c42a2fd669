//! What a cluster has learnt, carried over a restart (feature `serde`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Cluster;
use super::control::{Applied, Control};
use super::facts::Verdict;
use super::record::Record;
use crate::endpoint::{Admin, EndpointId, Weight};
use crate::error::Error;
use crate::health::outlier::{Ejections, Reason};
use crate::health::{Counter, Initial, Standing};
use crate::load::Nanos;

/// The version of [`ClusterState`] that this crate writes, and reads.
const VERSION: u32 = 1;

/// What a cluster has learnt of its endpoints, in a form that outlives the process.
///
/// Times are milliseconds before or after the moment of the export, so that no clock has to agree.
/// The fields may grow within a version; what is not known is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ClusterState {
    /// 1.
    pub version: u32,
    /// The endpoints, ordered by id.
    pub endpoints: Vec<EndpointState>,
}

/// What a cluster has learnt of one endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EndpointState {
    /// Its identity.
    pub id: String,
    /// Its address: of another one, nothing is believed.
    pub address: String,
    /// `ready`, `drain` or `maintenance`.
    pub admin: String,
    /// Who said so.
    pub admin_by: String,
    /// How long ago.
    pub admin_ms: u64,
    /// The weight that was set by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// What is added to its rank, by who says so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub adjustments: BTreeMap<String, i32>,
    /// What each probe has found: `up`, `down` or `unproven`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub probes: BTreeMap<String, String>,
    /// How long its ejection lasts; 0 if only a trial stands between it and its requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejected_ms: Option<u64>,
    /// How many of its ejections make the next one longer.
    #[serde(default)]
    pub ejections: u32,
    /// For how long it has been fit to serve; slow start counts from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit_ms: Option<u64>,
    /// The moving average of its latency, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
}

/// The longest latency that is measured: an hour, in microseconds.
const LONGEST: u64 = 3_600_000_000;

/// States of endpoints that are not here yet, and until when they are kept.
pub(super) type Imported = BTreeMap<EndpointId, (Checked, Option<Instant>)>;

/// A state whose values are all good.
#[derive(Clone)]
pub(super) struct Checked {
    state: EndpointState,
    admin: Admin,
    weight: Option<Weight>,
    probes: BTreeMap<String, Initial>,
    /// When it was imported, which its times count from.
    at: Instant,
}

impl<S: Send + Sync + 'static> Cluster<S> {
    /// What the cluster has learnt: what the operator wants, weights set by hand, rank adjustments,
    /// findings of probes, ejections, slow starts and latencies. Counters begin anew with a process,
    /// and so do the deadlines of drains.
    ///
    /// ```
    /// use std::time::Instant;
    /// use whippletree::cluster::{Admin, ClusterState, State};
    /// use whippletree::{Cluster, Endpoint};
    ///
    /// let endpoint = Endpoint::new("10.0.0.1:80")?;
    /// let old = Cluster::builder().connect(|_| ());
    /// old.insert(endpoint.clone())?;
    /// old.set_admin(endpoint.id(), Admin::Drain, "alice")?;
    /// let saved = serde_json::to_string(&old.export())?;
    ///
    /// let new = Cluster::builder().connect(|_| ());
    /// new.import(&serde_json::from_str::<ClusterState>(&saved)?, Instant::now())?;
    /// new.insert(endpoint)?;
    /// assert_eq!(new.status().endpoints[0].state, State::Drain);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn export(&self) -> ClusterState {
        let now = self.shared.now();
        let nanos = self.shared.nanos(now);
        let control = self.shared.control();
        let endpoints = control.present.values().map(|record| record.export(now, nanos));
        ClusterState { version: VERSION, endpoints: endpoints.collect() }
    }

    /// Takes over what an earlier process has [exported](Self::export), as though that was at `now`.
    /// Of endpoints that are not here yet it is kept for
    /// [`forget_after`](super::Builder::forget_after). What a probe has found counts if a probe of
    /// that name runs already: start the probes first. An endpoint that was ready then is ready again,
    /// which [ends](Self::set_admin) a drain.
    ///
    /// # Errors
    ///
    /// A bad value: the error names field and value. The cluster is as it was.
    pub fn import(&self, state: &ClusterState, now: Instant) -> Result<(), Error> {
        if state.version != VERSION {
            return Err(Error::config("version", state.version, "is not 1"));
        }
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        for (place, endpoint) in state.endpoints.iter().enumerate() {
            let checked = endpoint.check(now).and_then(|(id, checked)| {
                let twice = || Error::config("id", &id, "stands twice");
                if seen.insert(id.clone()) { Ok((id, checked)) } else { Err(twice()) }
            });
            all.push(checked.map_err(|error| error.within(&format!("endpoints[{place}]")))?);
        }
        self.shared.change(|control, _, applied| {
            let nanos = self.shared.nanos(now);
            all.into_iter().for_each(|(id, state)| control.import(id, state, nanos, applied));
        });
        Ok(())
    }
}

impl EndpointState {
    fn check(&self, at: Instant) -> Result<(EndpointId, Checked), Error> {
        let id = EndpointId::new(&self.id)?;
        let states = [Admin::Ready, Admin::Drain, Admin::Maintenance];
        let admin = states.into_iter().find(|state| state.as_str() == self.admin);
        let reason = "is none of ready, drain, maintenance";
        let admin = admin.ok_or_else(|| Error::config("admin", &self.admin, reason))?;
        let weight = self.weight.map(Weight::new).transpose()?;
        if let Some(latency) = self.latency_us.filter(|us| *us > LONGEST) {
            return Err(Error::config("latency_us", latency, "is above 3600000000, an hour"));
        }
        let standing = |(probe, standing): (&String, &String)| match standing.as_str() {
            "up" => Ok((probe.clone(), Initial::Up)),
            "down" => Ok((probe.clone(), Initial::Down)),
            "unproven" => Ok((probe.clone(), Initial::Unproven)),
            other => Err(Error::config("probes", other, "is none of up, down, unproven")),
        };
        let probes = self.probes.iter().map(standing).collect::<Result<_, _>>()?;
        Ok((id, Checked { state: self.clone(), admin, weight, probes, at }))
    }
}

impl Control {
    fn import(&mut self, id: EndpointId, state: Checked, now: Nanos, applied: &mut Applied) {
        if let Some(record) = self.present.get_mut(&id) {
            if state.admin == Admin::Ready && record.is_at(&state.state.address) {
                self.drains.undo(&id, record, state.at);
            }
            let released = record.restore(&state, now, applied);
            self.releases.extend(released.map(|until| (until, id)));
            self.roster += 1;
        } else {
            let until = state.at.checked_add(self.rules.forget_after);
            self.imported.insert(id, (state, until));
        }
    }

    /// Gives a new endpoint what an earlier process knew of it.
    pub(super) fn recall(&mut self, id: &EndpointId, now: Instant, applied: &mut Applied) {
        let known = self.imported.remove(id).filter(|(_, until)| until.is_none_or(|at| at > now));
        let (Some((state, _)), Some(record)) = (known, self.present.get_mut(id)) else {
            return;
        };
        let nanos = crate::endpoint::since(self.epoch, now);
        let released = record.restore(&state, nanos, applied);
        self.releases.extend(released.map(|until| (until, id.clone())));
    }
}

impl Record {
    fn export(&self, now: Instant, nanos: Nanos) -> EndpointState {
        let facts = &self.facts;
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let ago = |at: Instant| ms(now.saturating_duration_since(at));
        let standing = |counter: &Counter| match counter.standing() {
            Standing::Up => "up",
            Standing::Down => "down",
            Standing::Unproven => "unproven",
        };
        let probes = facts.checks.iter();
        EndpointState {
            id: self.endpoint.id().to_string(),
            address: self.endpoint.address().to_string(),
            admin: facts.admin.state.as_str().to_owned(),
            admin_by: facts.admin.by.to_string(),
            admin_ms: ago(facts.admin.since),
            weight: self.weight_is_set().then(|| self.endpoint.weight().get().into()),
            adjustments: facts.adjustments.iter().map(|(by, add)| (by.to_string(), *add)).collect(),
            probes: probes
                .map(|check| (check.name.to_string(), standing(&check.counter).to_owned()))
                .collect(),
            ejected_ms: match &facts.outlier.verdict {
                Verdict::Fine => None,
                Verdict::Ejected { until, .. } => {
                    Some(ms(until.saturating_duration_since(now)).max(1))
                }
                Verdict::HalfOpen { .. } => Some(0),
            },
            ejections: facts.outlier.ejections.count(),
            fit_ms: facts.fit_since.map(ago),
            latency_us: self.node.load.latency(nanos).map(|seconds| (seconds * 1e6).round() as u64),
        }
    }

    /// Whether a state of this address is its own.
    fn is_at(&self, address: &str) -> bool {
        self.endpoint.address().to_string() == address
    }

    /// Takes a state over, unless it is another server's; answers when its ejection ends.
    fn restore(
        &mut self,
        Checked { state, admin, weight, probes, at }: &Checked,
        now: Nanos,
        applied: &mut Applied,
    ) -> Option<Instant> {
        if !self.is_at(&state.address) {
            return None;
        }
        let before = |ms: u64| at.checked_sub(Duration::from_millis(ms)).unwrap_or(*at);
        let until = state.ejected_ms.and_then(|ms| at.checked_add(Duration::from_millis(ms)));
        if let Some(latency) = state.latency_us {
            self.node.load.restore_latency(Duration::from_micros(latency), now);
        }
        self.change(*at, applied, |record, applied| {
            if let Some(weight) = weight {
                record.set_weight(*weight, applied);
            }
            let facts = &mut record.facts;
            facts.admin.state = *admin;
            facts.admin.shut &= *admin != Admin::Ready;
            (facts.admin.since, facts.admin.by) =
                (before(state.admin_ms), (*state.admin_by).into());
            let adjustments = state.adjustments.iter();
            facts.adjustments = adjustments.map(|(by, add)| (Arc::from(&**by), *add)).collect();
            for check in &mut facts.checks {
                if let Some(initial) = probes.get(&*check.name) {
                    check.counter = check.counter.restarted(*initial);
                }
            }
            facts.outlier.ejections = Ejections::restored(state.ejections);
            // One that was half open is ejected until now: its release begins the trial anew.
            facts.outlier.verdict = until
                .map_or(Verdict::Fine, |until| Verdict::Ejected { until, reason: Reason::Earlier });
        });
        if let (Some(ms), Some(_)) = (state.fit_ms, self.facts.fit_since) {
            self.facts.fit_since = Some(before(ms));
        }
        applied.news = true;
        until
    }
}
