//! Health and statistics, for operators and scripts, on a listener that the world cannot reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use whippletree::cluster::{EndpointStatus, FactKind};

use crate::proxy::{Proxy, Totals};
use crate::shutdown::Phase;

/// What the admin listener answers from.
#[derive(Clone)]
pub(crate) struct Admin {
    proxy: Arc<Proxy>,
    phase: Phase,
}

impl Admin {
    pub(crate) fn new(proxy: Arc<Proxy>, phase: Phase) -> Self {
        Self { proxy, phase }
    }

    pub(crate) fn handle<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let answer = match request.uri().path() {
            "/healthz" => Self::healthz,
            "/stats.json" => Self::stats,
            _ => return text(StatusCode::NOT_FOUND, "not found\n"),
        };
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return answer(self);
        }
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        response
    }

    /// Shall a floating IP, or the balancer before this one, send traffic here?
    fn healthz(&self) -> Response<Full<Bytes>> {
        if !self.phase.is_serving() {
            text(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
        } else if !self.proxy.cluster().is_available() {
            text(StatusCode::SERVICE_UNAVAILABLE, "no endpoint is available\n")
        } else {
            text(StatusCode::OK, "ok\n")
        }
    }

    fn stats(&self) -> Response<Full<Bytes>> {
        let status = self.proxy.cluster().status();
        let stats = Stats {
            policy: &status.policy,
            panic: status.panic,
            endpoints: status.endpoints.iter().map(Row::from).collect(),
            totals: TotalsRow {
                retries: self.proxy.retries(),
                ..TotalsRow::new(&self.proxy.totals, status.queue.queued)
            },
        };
        match serde_json::to_string(&stats) {
            Ok(json) => respond(StatusCode::OK, "application/json", json),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "no statistics\n"),
        }
    }
}

#[derive(Serialize)]
struct Stats<'a> {
    policy: &'a str,
    panic: bool,
    endpoints: Vec<Row<'a>>,
    totals: TotalsRow,
}

/// One endpoint.
#[derive(Serialize)]
struct Row<'a> {
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

#[derive(Serialize)]
struct TotalsRow {
    requests: u64,
    failures: u64,
    retries: u64,
    rejected: u64,
    queued: u64,
}

impl TotalsRow {
    fn new(totals: &Totals, queued: u64) -> Self {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            requests: read(&totals.requests),
            failures: read(&totals.failures),
            retries: 0,
            rejected: read(&totals.rejected),
            queued,
        }
    }
}

/// To the microsecond, which is as fine as latencies are worth reading.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

fn text(status: StatusCode, line: &'static str) -> Response<Full<Bytes>> {
    respond(status, "text/plain", line.to_owned())
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
