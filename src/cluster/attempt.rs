use std::fmt;
use std::sync::{Arc, Weak};

use super::shared::Shared;
use super::{Cluster, Context};
use crate::endpoint::EndpointId;
use crate::sync::Mutex;

/// Request extension: a window between a layer above a [`Balance`](crate::Balance) and its picks.
///
/// The layer puts it into a request and keeps a clone. From the pick on, long before there is a
/// response, it knows which [`endpoint`](Self::endpoint) the request is with, and may say that it
/// [took too long](Self::time_out) before it drops it. A request without costs nothing.
///
/// It is meant for one try at a time: requests that are under way at once take one each.
///
/// ```
/// use http::{Request, Response};
/// use tower::{Service, ServiceExt, service_fn};
/// use whippletree::Balance;
/// use whippletree::cluster::Attempt;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let hangs = |_: Request<()>| std::future::pending::<Result<Response<String>, std::io::Error>>();
/// let mut balance =
///     Balance::builder().endpoints(["10.0.0.1:80"])?.connect(move |_| service_fn(hangs))?;
/// let attempt = Attempt::new();
/// let request = Request::builder().extension(attempt.clone()).body(())?;
/// let response = balance.ready().await?.call(request);
/// assert_eq!(attempt.endpoint().unwrap().as_str(), "10.0.0.1:80");
///
/// attempt.time_out();
/// drop(response);
/// assert_eq!(balance.cluster().status().endpoints[0].failures, 1);
/// # Ok::<(), whippletree::BoxError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Default)]
pub struct Attempt(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The endpoints that were picked, the last one last.
    picks: Vec<EndpointId>,
    verdict: Option<Verdict>,
    /// Where it was picked.
    cluster: Weak<Shared>,
}

/// What a layer says of a try that it drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It had its time.
    TimedOut,
    /// Another endpoint, asked later, has answered first.
    Overtaken,
}

/// What an [`Attempt`]'s cluster has for a further try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prospect {
    /// Whether there is an endpoint that the context allows.
    pub(crate) any: bool,
    /// Whether so many endpoints are out that health is not believed.
    pub(crate) panic: bool,
}

impl Attempt {
    /// Of a request that is yet to be sent.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The endpoint that was picked last, if one was.
    #[must_use]
    pub fn endpoint(&self) -> Option<EndpointId> {
        self.0.lock().picks.last().cloned()
    }

    /// Says that the endpoint has taken too long: if the response future is dropped without a
    /// response, that is a [`Timeout`](crate::health::Failure::Timeout) of the endpoint, and not
    /// only a cancelled request. Holds until the next pick.
    pub fn time_out(&self) {
        self.0.lock().verdict = Some(Verdict::TimedOut);
    }

    /// Says that another endpoint, asked later, has answered first.
    pub(crate) fn overtake(&self) {
        self.0.lock().verdict = Some(Verdict::Overtaken);
    }

    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.0.lock().verdict
    }

    /// Whether a cluster has the request and no endpoint for it yet: it stands in line.
    pub(crate) fn is_in_line(&self) -> bool {
        let state = self.0.lock();
        state.picks.is_empty() && state.cluster.strong_count() > 0
    }

    /// Takes note of the cluster that is to pick.
    pub(crate) fn enter<S>(&self, cluster: &Cluster<S>) {
        self.0.lock().cluster = Arc::downgrade(&cluster.shared);
    }

    /// Takes note of a pick.
    pub(crate) fn pick(&self, id: &EndpointId) {
        let mut state = self.0.lock();
        state.picks.push(id.clone());
        state.verdict = None;
    }

    /// Takes note of the picks of another one, made for the same request.
    pub(crate) fn adopt(&self, other: &Self) {
        let (picks, cluster) = {
            let other = other.0.lock();
            (other.picks.clone(), Weak::clone(&other.cluster))
        };
        let mut state = self.0.lock();
        state.picks.extend(picks);
        state.cluster = cluster;
    }

    /// The endpoints that were picked since this was last asked.
    pub(crate) fn take_picks(&self) -> Vec<EndpointId> {
        std::mem::take(&mut self.0.lock().picks)
    }

    /// What there is for a further try. Before the first pick that is not known, nor when the
    /// cluster is gone; then all is supposed to be well.
    pub(crate) fn prospect(&self, context: &Context) -> Prospect {
        let cluster = self.0.lock().cluster.upgrade();
        let unknown = Prospect { any: true, panic: false };
        cluster.map_or(unknown, |shared| shared.published.load().prospect(context))
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("endpoint", &self.endpoint()).finish_non_exhaustive()
    }
}
