//! What the operator asks of one endpoint.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use bytes::Buf;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Method, Response, StatusCode, Uri};
use humantime_serde::re::humantime::parse_duration;

use super::Admin;
use super::answer::{Body, json, text};
use super::json::{Drained, Row};
use super::path::{Verb, query};
use crate::cluster::{Admin as State, DrainOptions, EndpointStatus, Then};
use crate::config::EndpointConfig;
use crate::endpoint::{EndpointId, Weight};
use crate::error::{BoxError, Error};

/// Who says so, in the status and in events.
const BY: &str = "admin";

/// How long a drain, and who waits for one, may take by default: as
/// [`DrainOptions::deadline`](crate::cluster::DrainOptions::deadline).
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest body that is read; an endpoint's description takes less than a hundredth of it.
const LONGEST: usize = 64 * 1024;

type Answer = Result<Response<Body>, Refusal>;

/// Why a call is answered with an error.
struct Refusal {
    status: StatusCode,
    line: String,
}

impl Refusal {
    fn new(status: StatusCode, line: impl Into<String>) -> Self {
        Self { status, line: line.into() }
    }

    fn answer(self) -> Response<Body> {
        text(self.status, self.line)
    }
}

impl<S: Send + Sync + 'static> Admin<S> {
    /// `GET /endpoints/{id}`.
    pub(super) async fn show(&self, id: &EndpointId, uri: &Uri) -> Response<Body> {
        let wait = match query(uri.query(), "wait").map_err(|()| bad("wait", "is malformed")) {
            Ok(wait) => wait,
            Err(refusal) => return refusal.answer(),
        };
        match wait.as_deref() {
            None => self.row(id, StatusCode::OK),
            Some("drained") => self.wait(id, uri).await.unwrap_or_else(Refusal::answer),
            Some(_) => bad("wait", "is not drained").answer(),
        }
    }

    async fn wait(&self, id: &EndpointId, uri: &Uri) -> Answer {
        let timeout = time(uri, "timeout")?;
        let Some(mut drain) = self.cluster.drained(id) else {
            self.find(id).ok_or_else(not_here)?;
            return Ok(json(
                StatusCode::OK,
                &Drained { id: id.as_str(), drained: false, report: None },
            ));
        };
        // Over or not: the answer says how it stands.
        let _ = tokio::time::timeout(timeout, &mut drain).await;
        let report = drain.report();
        let drained = report.is_some_and(|report| report.is_empty());
        let report = report.map(Into::into);
        Ok(json(StatusCode::OK, &Drained { id: id.as_str(), drained, report }))
    }

    /// What changes something.
    pub(super) async fn change<B>(
        &self,
        id: &EndpointId,
        verb: Verb,
        head: &Parts,
        body: B,
    ) -> Response<Body>
    where
        B: http_body::Body<Error: Into<BoxError>>,
    {
        let body = match read(head, body).await {
            Ok(body) => body,
            Err(refusal) => return refusal.answer(),
        };
        let answer = match verb {
            Verb::Itself if head.method == Method::DELETE => {
                self.drain(id, &head.uri, Then::Removal)
            }
            Verb::Itself => self.put(id, &body),
            Verb::Drain => self.drain(id, &head.uri, Then::Stay),
            Verb::Ready => self.set(id, State::Ready),
            Verb::Maintenance => self.set(id, State::Maintenance),
            Verb::Weight => self.weigh(id, &body),
        };
        answer.unwrap_or_else(Refusal::answer)
    }

    fn drain(&self, id: &EndpointId, uri: &Uri, then: Then) -> Answer {
        let options = DrainOptions::new().deadline(time(uri, "deadline")?).then(then).by(BY);
        let status = self.find(id).ok_or_else(not_here)?;
        // It goes on without being looked at.
        drop(self.cluster.drain(id, options).map_err(|_| not_here())?);
        let status = self.find(id).unwrap_or(status);
        Ok(json(StatusCode::ACCEPTED, &Row::from(&status)))
    }

    fn set(&self, id: &EndpointId, state: State) -> Answer {
        self.cluster.set_admin(id, state, BY).map_err(|_| not_here())?;
        Ok(self.row(id, StatusCode::OK))
    }

    fn weigh(&self, id: &EndpointId, body: &[u8]) -> Answer {
        self.find(id).ok_or_else(not_here)?;
        let weight: u32 =
            serde_json::from_slice(body).map_err(|error| bad("weight", &error.to_string()))?;
        let weight = Weight::new(weight).map_err(refused)?;
        self.cluster.set_weight(id, weight).map_err(|_| not_here())?;
        Ok(self.row(id, StatusCode::OK))
    }

    fn put(&self, id: &EndpointId, body: &[u8]) -> Answer {
        let mut config: EndpointConfig =
            serde_json::from_slice(body).map_err(|error| bad("endpoint", &error.to_string()))?;
        if config.id.as_deref().is_some_and(|other| other != id.as_str()) {
            return Err(bad("id", "is not that of the path"));
        }
        config.id = Some(id.to_string());
        let endpoint = config.endpoint().map_err(refused)?;
        let is_new = self.find(id).is_none();
        self.cluster.insert(endpoint).map_err(refused)?;
        if !is_new {
            return Ok(self.row(id, StatusCode::OK));
        }
        // One that was removed by a drain is to serve again; an error says that it is gone already.
        let _ = self.cluster.set_admin(id, State::Ready, BY);
        Ok(self.row(id, StatusCode::CREATED))
    }

    fn find(&self, id: &EndpointId) -> Option<EndpointStatus> {
        let endpoints = self.cluster.status().endpoints;
        endpoints.into_iter().find(|status| status.endpoint.id() == id)
    }

    fn row(&self, id: &EndpointId, status: StatusCode) -> Response<Body> {
        self.find(id).map_or_else(|| not_here().answer(), |found| json(status, &Row::from(&found)))
    }
}

fn not_here() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "no endpoint has this id")
}

fn bad(field: &str, reason: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, format!("{field}: {reason}"))
}

fn refused(error: Error) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, error.to_string())
}

/// A time of the query, such as `30s`, or the default.
fn time(uri: &Uri, key: &str) -> Result<Duration, Refusal> {
    let value = query(uri.query(), key).map_err(|()| bad(key, "is malformed"))?;
    let Some(value) = value else {
        return Ok(PATIENCE);
    };
    parse_duration(&value).map_err(|_| bad(key, &format!("{value:?} is no time such as 30s")))
}

/// The whole body, which has to be JSON if there is one.
async fn read<B>(head: &Parts, body: B) -> Result<Vec<u8>, Refusal>
where
    B: http_body::Body<Error: Into<BoxError>>,
{
    let mut bytes = Vec::new();
    let mut body = pin!(body);
    while let Some(frame) = poll_fn(|task| body.as_mut().poll_frame(task)).await {
        let frame = frame.map_err(|_| bad("body", "broke off"))?;
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.remaining() > LONGEST {
            let reason = "body: is longer than 64 KiB";
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, reason));
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            bytes.extend_from_slice(chunk);
            let length = chunk.len();
            data.advance(length);
        }
    }
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if !bytes.is_empty() && !kind.eq_ignore_ascii_case("application/json") {
        let reason = "content-type: a body has to be application/json";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
    }
    Ok(bytes)
}
