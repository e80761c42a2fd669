//! Endpoints that behave as told: in this process, without sockets, in tokio's paused time.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower::{Service, service_fn};
use whippletree::{Balance, Cluster, Endpoint, cluster};

/// What an endpoint does with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Does {
    /// Answers with this status, after so many ms.
    Answer(u16, u64),
    /// Answers 503 and asks for so many seconds.
    RetryAfter(u64),
    /// Fails at once.
    Fail(ErrorKind),
    /// Fails every second request with a 503.
    Half,
    /// Never answers.
    Hang,
}

/// Who was asked, in order, and with what body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<(String, Bytes)>>>);

impl Log {
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn bodies(&self) -> Vec<Bytes> {
        self.0.lock().unwrap().iter().map(|(_, body)| body.clone()).collect()
    }

    fn add(&self, name: &str, body: Bytes) -> usize {
        let mut log = self.0.lock().unwrap();
        log.push((name.to_owned(), body));
        log.len()
    }
}

/// A cluster that believes in its endpoints, whatever they do.
pub(crate) fn patient() -> cluster::Builder {
    Cluster::builder().outlier(None).panic_threshold(0).unwrap()
}

/// Endpoints `a`, `b`, … that do these things, asked in this order: the priorities say so.
pub(crate) fn connect<B>(does: &[Does]) -> (Balance<Client<B>>, Log)
where
    B: Body<Data: Send, Error: std::fmt::Debug + Send> + Send + 'static,
{
    connect_with(patient(), does)
}

/// As [`connect`], in a cluster of this kind.
pub(crate) fn connect_with<B>(builder: cluster::Builder, does: &[Does]) -> (Balance<Client<B>>, Log)
where
    B: Body<Data: Send, Error: std::fmt::Debug + Send> + Send + 'static,
{
    let (acts, log) = (does.to_vec(), Log::default());
    let told = log.clone();
    let cluster = builder.connect(move |endpoint| {
        let name = endpoint.id().to_string();
        let (does, log) = (acts[usize::from(name.as_bytes()[0] - b'a')], told.clone());
        Client::new(service_fn(move |request: Request<B>| {
            let (name, log) = (name.clone(), log.clone());
            async move {
                let body = request.into_body().collect().await;
                let body = body.map_err(|_| io::Error::other("the request's body broke off"))?;
                let number = log.add(&name, body.to_bytes());
                act(does, number, name).await
            }
        }))
    });
    let endpoint = |at: usize| {
        let name = char::from(b'a' + at as u8).to_string();
        let endpoint = Endpoint::new(format!("{name}:80")).unwrap().with_id(&name).unwrap();
        endpoint.with_priority(at as u32)
    };
    cluster.replace((0..does.len()).map(endpoint)).unwrap();
    (Balance::new(cluster), log)
}

pub(crate) type Answer = Response<Full<Bytes>>;
pub(crate) type Client<B> = tower::util::BoxCloneSyncService<Request<B>, Answer, io::Error>;

async fn act(does: Does, number: usize, name: String) -> Result<Answer, io::Error> {
    let answer = |status: u16| {
        let mut response = Response::new(Full::new(Bytes::from(name)));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    };
    match does {
        Does::Answer(status, after) => {
            if after > 0 {
                tokio::time::sleep(Duration::from_millis(after)).await;
            }
            Ok(answer(status))
        }
        Does::RetryAfter(seconds) => {
            let mut response = answer(503);
            response.headers_mut().insert("retry-after", seconds.into());
            Ok(response)
        }
        Does::Half => Ok(answer(if number % 2 == 0 { 503 } else { 200 })),
        Does::Fail(kind) => Err(kind.into()),
        Does::Hang => std::future::pending().await,
    }
}

/// Sends a request to a clone of the service.
pub(crate) async fn send<S, Q>(service: &S, request: Q) -> Result<S::Response, S::Error>
where
    S: Service<Q> + Clone,
{
    tower::ServiceExt::oneshot(service.clone(), request).await
}

pub(crate) async fn text<B>(response: Response<B>) -> String
where
    B: Body<Error: std::fmt::Debug>,
{
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}
