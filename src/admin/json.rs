//! The statistics as JSON.

use std::time::Duration;

use http::{Response, StatusCode};
use serde::Serialize;

use super::Admin;
use super::answer::{Body, json};
use crate::cluster::{DrainReport, EndpointStatus, FactKind};

/// What passed through the program around the cluster, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Requests that came in.
    pub requests: u64,
    /// Those that were answered with a failure.
    pub failures: u64,
    /// Tries beyond the first.
    pub retries: u64,
    /// Requests that were turned away without being sent to any endpoint.
    pub rejected: u64,
    /// Requests that had to wait for an endpoint; counted by the cluster itself.
    pub queued: u64,
}

#[derive(Serialize)]
struct Stats<'a> {
    policy: &'a str,
    panic: bool,
    endpoints: Vec<Row<'a>>,
    totals: Totals,
}

/// One endpoint.
#[derive(Serialize)]
pub(super) struct Row<'a> {
    id: &'a str,
    address: String,
    weight: u16,
    priority: u32,
    rank: u8,
    share: f64,
    state: &'static str,
    probe: &'static str,
    outlier: &'static str,
    admin: &'static str,
    in_flight: u32,
    sessions: u32,
    requests: u64,
    failures: u64,
    ejections: u64,
    ewma_ms: Option<f64>,
    since_s: u64,
    reason: Option<String>,
    returns_in_s: Option<u64>,
}

impl<'a> From<&'a EndpointStatus> for Row<'a> {
    fn from(status: &'a EndpointStatus) -> Self {
        let value = |kind, nothing| status.fact(kind).map_or(nothing, |fact| fact.value);
        Self {
            id: status.endpoint.id().as_str(),
            address: status.endpoint.address().to_string(),
            weight: status.endpoint.weight().get(),
            priority: status.endpoint.priority(),
            rank: status.rank,
            share: status.share,
            state: status.state.as_str(),
            probe: value(FactKind::Probe, "none"),
            outlier: value(FactKind::Outlier, "ok"),
            admin: value(FactKind::Admin, "ready"),
            in_flight: status.in_flight,
            sessions: status.sessions.unwrap_or(0),
            requests: status.requests,
            failures: status.failures,
            ejections: status.ejections,
            ewma_ms: status.latency.map(milliseconds),
            since_s: status.since.as_secs(),
            reason: status.reason(),
            returns_in_s: status.returns_in.map(|time| time.as_secs_f64().ceil() as u64),
        }
    }
}

/// How a drain stands.
#[derive(Serialize)]
pub(super) struct Drained<'a> {
    pub(super) id: &'a str,
    pub(super) drained: bool,
    pub(super) report: Option<Report>,
}

#[derive(Serialize)]
pub(super) struct Report {
    end: &'static str,
    completed: u64,
    diverted: u64,
    forced: u32,
    longest_ms: f64,
    took_ms: f64,
}

impl From<DrainReport> for Report {
    fn from(report: DrainReport) -> Self {
        Self {
            end: report.end.as_str(),
            completed: report.completed,
            diverted: report.diverted,
            forced: report.forced,
            longest_ms: milliseconds(report.longest),
            took_ms: milliseconds(report.took),
        }
    }
}

impl<S: Send + Sync + 'static> Admin<S> {
    pub(super) fn stats(&self) -> Response<Body> {
        let status = self.cluster.status();
        let stats = Stats {
            policy: &status.policy,
            panic: status.panic,
            endpoints: status.endpoints.iter().map(Row::from).collect(),
            totals: Totals { queued: status.queue.queued, ..(self.totals)() },
        };
        json(StatusCode::OK, &stats)
    }
}

/// To the microsecond, which is as fine as latencies are worth reading.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
