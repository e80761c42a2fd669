use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;

use crate::error::Error;
use crate::health::{Initial, Thresholds};
use crate::probe::{HttpCheck, Probe};

/// An HTTP probe; every key but the path has the default of [`Probe`] and [`HttpCheck`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ProbeConfig {
    /// What is asked for, such as `/api/v1/health`; `/` by default.
    pub path: Option<String>,
    /// `GET` by default.
    pub method: Option<String>,
    /// The `Host` header.
    pub host: Option<String>,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// Statuses that pass, such as `["200-299", "404"]`; 200 to 399 by default.
    pub expect: Vec<String>,
    /// What has to stand in the first 64 KiB of the body.
    pub body: Option<String>,
    /// Another port of the same host.
    pub port: Option<u16>,
    /// A status by which the endpoint asks to leave.
    pub drain_on_status: Option<u16>,
    /// Such as `5s`.
    #[serde(with = "humantime_serde")]
    pub interval: Option<Duration>,
    /// Such as `2s`.
    #[serde(with = "humantime_serde")]
    pub timeout: Option<Duration>,
    /// While the last results differ from the verdict, such as `1s`.
    #[serde(with = "humantime_serde")]
    pub fast_interval: Option<Duration>,
    /// While it is down, such as `5s`.
    #[serde(with = "humantime_serde")]
    pub down_interval: Option<Duration>,
    /// Failures in a row that take an endpoint out; 3 by default.
    pub fall: Option<u32>,
    /// Successes in a row that bring it back; 2 by default.
    pub rise: Option<u32>,
    /// `unproven` (the default), `up` or `down`.
    pub initial: Option<String>,
    /// Checks at a time; 64 by default.
    pub concurrency: Option<usize>,
    /// Instead of taking an endpoint out, a failing check adds this to its rank.
    pub adjust_rank: Option<i32>,
}

impl ProbeConfig {
    /// The check, without when it is made; [`probe`](Self::probe) adds that to the way in which it
    /// is sent.
    ///
    /// # Errors
    ///
    /// A malformed path, method, header or status.
    pub fn check(&self) -> Result<HttpCheck, Error> {
        let mut check = Probe::http(self.path.as_deref().unwrap_or("/"))?;
        if let Some(method) = &self.method {
            let parsed = Method::from_bytes(method.as_bytes());
            let refuse = |_| Error::config("method", method, "is not an HTTP method");
            check = check.method(parsed.map_err(refuse)?);
        }
        if let Some(host) = &self.host {
            check = check.host(value("host", host)?);
        }
        for (name, text) in &self.headers {
            let refuse = |_| Error::config("headers", name, "is not a header's name");
            let header: HeaderName = name.parse().map_err(refuse)?;
            check = check.header(header, value("headers", text)?);
        }
        if !self.expect.is_empty() {
            let ranges: Result<Vec<_>, _> = self.expect.iter().map(|text| range(text)).collect();
            check = check.expect(ranges?);
        }
        if let Some(text) = &self.body {
            check = check.contains(text);
        }
        if let Some(port) = self.port {
            check = check.port(port);
        }
        if let Some(number) = self.drain_on_status {
            let refuse = |_| Error::config("drain_on_status", number, "is not an HTTP status");
            check = check.drain_on_status(StatusCode::from_u16(number).map_err(refuse)?);
        }
        Ok(check)
    }

    /// When the check is made, and what follows from it.
    ///
    /// # Errors
    ///
    /// An unknown initial state.
    pub fn probe(&self, mut probe: Probe) -> Result<Probe, Error> {
        let mut thresholds = Thresholds::new();
        for (set, apply) in [
            (self.interval, Probe::interval as fn(Probe, Duration) -> Probe),
            (self.timeout, Probe::timeout),
            (self.fast_interval, Probe::fast_interval),
            (self.down_interval, Probe::down_interval),
        ] {
            if let Some(time) = set {
                probe = apply(probe, time);
            }
        }
        if let Some(checks) = self.fall {
            thresholds = thresholds.fall(checks);
        }
        if let Some(checks) = self.rise {
            thresholds = thresholds.rise(checks);
        }
        if let Some(checks) = self.concurrency {
            probe = probe.concurrency(checks);
        }
        if let Some(points) = self.adjust_rank {
            probe = probe.adjust_rank(points);
        }
        Ok(probe.thresholds(thresholds).initial(self.initial()?))
    }

    fn initial(&self) -> Result<Initial, Error> {
        match self.initial.as_deref() {
            None | Some("unproven") => Ok(Initial::Unproven),
            Some("up") => Ok(Initial::Up),
            Some("down") => Ok(Initial::Down),
            Some(other) => Err(Error::config("initial", other, "is none of unproven, up, down")),
        }
    }
}

fn value(field: &str, text: &str) -> Result<HeaderValue, Error> {
    text.parse().map_err(|_| Error::config(field, text, "is not a header's value"))
}

/// `200` or `200-299`.
fn range(text: &str) -> Result<RangeInclusive<u16>, Error> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let parse = |number: &str| number.trim().parse().ok().filter(|code| (100..=999).contains(code));
    match (parse(first), parse(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(Error::config("expect", text, "is neither a status nor a range such as 200-299")),
    }
}
