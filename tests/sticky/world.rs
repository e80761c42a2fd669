//! Users and endpoints in one process, on a clock that the test moves.

use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{COOKIE, SET_COOKIE};
use http::{Request, Response};
use tower::{Layer, Service, ServiceExt};
use whippletree::cluster::EndpointStatus;
use whippletree::sticky::{Builder, Session, Sticky, StickyLayer};
use whippletree::{Balance, Cluster, Endpoint, EndpointId, Error};

pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";

/// What endpoints answer with: headers that a test puts in, and their own name.
#[derive(Clone)]
pub(crate) struct Answers {
    id: EndpointId,
    headers: Arc<Mutex<Vec<(&'static str, &'static str)>>>,
}

impl Service<Request<String>> for Answers {
    type Response = Response<String>;
    type Error = std::io::Error;
    type Future = Ready<Result<Response<String>, Self::Error>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let cookies = request.headers().get_all(COOKIE).iter();
        let cookies: Vec<String> =
            cookies.map(|value| String::from_utf8_lossy(value.as_bytes()).into()).collect();
        let mut response = Response::builder().header("seen-cookies", cookies.join("|"));
        for (name, value) in self.headers.lock().unwrap().iter() {
            response = response.header(*name, *value);
        }
        ready(Ok(response.body(self.id.to_string()).unwrap()))
    }
}

pub(crate) type Front = Sticky<Balance<Answers>>;

pub(crate) struct World {
    pub(crate) cluster: Cluster<Answers>,
    pub(crate) layer: StickyLayer,
    pub(crate) front: Front,
    headers: Arc<Mutex<Vec<(&'static str, &'static str)>>>,
    time: Arc<Mutex<Duration>>,
}

/// Some time in 2026.
const START: Duration = Duration::from_secs(1_780_000_000);

impl World {
    /// Endpoints of these ids and weights, and a layer with the key that tests share.
    pub(crate) fn new(endpoints: &[(&str, u16)]) -> Self {
        Self::with(endpoints, Cluster::builder(), |layer| layer)
    }

    pub(crate) fn with(
        endpoints: &[(&str, u16)],
        cluster: whippletree::cluster::Builder,
        layer: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let headers = Arc::default();
        let answers = Arc::clone(&headers);
        let cluster = cluster.seed(1).connect(move |endpoint| Answers {
            id: endpoint.id().clone(),
            headers: Arc::clone(&answers),
        });
        cluster.replace(endpoints.iter().map(|(id, weight)| endpoint(id, *weight))).unwrap();
        let time = Arc::new(Mutex::new(START));
        let clock = Arc::clone(&time);
        let builder =
            StickyLayer::builder().clock(move || UNIX_EPOCH + *clock.lock().unwrap()).key(KEY);
        let layer = layer(builder).build(&cluster).unwrap();
        let front = layer.layer(Balance::new(cluster.clone()).fail_fast(Duration::ZERO));
        Self { cluster, layer, front, headers, time }
    }

    /// Lets time pass, on both clocks.
    pub(crate) async fn pass(&self, time: Duration) {
        *self.time.lock().unwrap() += time;
        tokio::time::advance(time).await;
    }

    pub(crate) fn now(&self) -> SystemTime {
        UNIX_EPOCH + *self.time.lock().unwrap()
    }

    /// Sets the calendar alone.
    pub(crate) fn set_back(&self, time: Duration) {
        *self.time.lock().unwrap() -= time;
    }

    /// What endpoints put into their responses from now on.
    pub(crate) fn answer_with(&self, headers: &[(&'static str, &'static str)]) {
        *self.headers.lock().unwrap() = headers.to_vec();
    }

    pub(crate) fn status(&self, id: &str) -> EndpointStatus {
        let mut endpoints = self.cluster.status().endpoints.into_iter();
        endpoints.find(|endpoint| endpoint.endpoint.id().as_str() == id).unwrap()
    }

    pub(crate) fn sessions(&self) -> BTreeMap<String, u32> {
        let status = self.cluster.status();
        let row = |endpoint: EndpointStatus| {
            (endpoint.endpoint.id().to_string(), endpoint.sessions.unwrap_or(0))
        };
        status.endpoints.into_iter().map(row).collect()
    }

    pub(crate) async fn send(&self, request: Request<String>) -> Result<Answer, Error> {
        let response = self.front.clone().oneshot(request).await?;
        Ok(Answer::of(response))
    }

    /// One request with these `Cookie` headers.
    pub(crate) async fn with_cookies(&self, cookies: &[&[u8]]) -> Answer {
        let mut request = Request::new(String::new());
        for cookie in cookies {
            let value = http::HeaderValue::from_bytes(cookie).unwrap();
            request.headers_mut().append(COOKIE, value);
        }
        self.send(request).await.unwrap()
    }
}

pub(crate) fn id(text: &str) -> EndpointId {
    EndpointId::new(text).unwrap()
}

pub(crate) fn endpoint(id: &str, weight: u16) -> Endpoint {
    Endpoint::new(format!("{id}.test:80")).unwrap().with_id(id).unwrap().with_weight(weight)
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) served_by: String,
    pub(crate) session: Session,
    /// The `Set-Cookie` of our name.
    pub(crate) set: Option<String>,
    pub(crate) head: http::response::Parts,
}

impl Answer {
    fn of(response: Response<whippletree::balance::Body<String>>) -> Self {
        let (head, body) = response.into_parts();
        let set = head.headers.get_all(SET_COOKIE).iter();
        let set = set.map(|value| value.to_str().unwrap().to_owned());
        Self {
            served_by: body.into_inner(),
            session: head.extensions.get::<Session>().unwrap().clone(),
            set: set.into_iter().find(|value| value.starts_with("SRV=")),
            head,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// `SRV=token`, as a browser sends it back.
    pub(crate) fn cookie(&self) -> String {
        self.set.as_ref().unwrap().split(';').next().unwrap().to_owned()
    }
}

/// A browser.
#[derive(Clone, Debug, Default)]
pub(crate) struct User {
    pub(crate) cookie: Option<String>,
}

impl User {
    pub(crate) async fn get(&mut self, world: &World) -> Answer {
        self.request(world, Request::new(String::new())).await.unwrap()
    }

    pub(crate) async fn request(
        &mut self,
        world: &World,
        mut request: Request<String>,
    ) -> Result<Answer, Error> {
        if let Some(cookie) = &self.cookie {
            request.headers_mut().insert(COOKIE, cookie.parse().unwrap());
        }
        let answer = world.send(request).await?;
        if answer.set.is_some() {
            self.cookie = Some(answer.cookie());
        }
        Ok(answer)
    }
}
