//! Endpoints from [Consul](https://developer.hashicorp.com/consul).

mod api;
mod poll;

use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use tower_service::Service;

use self::poll::Poll;
use super::remote::{Client, Feed, Site, escaped, feeds};
use crate::error::{BoxError, Error};

/// How long a query may wait for a change; a tenth of Consul's longest, and a fifth of its default,
/// for what a query does not answer in time is not noticed sooner.
const WAIT: Duration = Duration::from_secs(60);

/// The healthy instances of a Consul service.
///
/// Asks `/v1/health/service/…` by blocking queries: the answer comes when something has changed.
///
/// | of Consul | becomes |
/// |---|---|
/// | `Service.ID` and `Node.Node` | the id, `web-1.node-a` |
/// | `Service.Address`, or `Node.Address` if that is empty, and `Service.Port` | the address |
/// | `Service.Weights.Passing` | the weight; `Warning` for an instance with a warning, if those are [listed](Self::with_warnings) |
/// | `Service.Meta` | labels |
/// | `Service.Tags` | labels: `version=2` as it reads, `canary` as `canary=true` |
/// | `Service.Locality`, `Node.Datacenter` | the locality; the datacenter is the region where there is none |
///
/// # What happens when
///
/// | | |
/// |---|---|
/// | the index goes backwards, or is 0 or absent | the next query asks anew, without an index |
/// | a query with an index is answered at once, with the same index | the next one waits a second |
/// | many changes follow one another | ten queries a second at most |
/// | the server that answers knows no leader, or had no word of it for 10 s | its answer is used, and an error says once that it may be stale |
/// | a query fails, or is not answered in its time | the next server is asked |
/// | no instance passes, or the service is unknown | the last good set stays in use, unless the source [may be empty](super::Options::allow_empty) |
///
/// ```no_run
/// use whippletree::discover::Consul;
/// use whippletree::{Cluster, Error};
///
/// # async fn f() -> Result<(), Error> {
/// let consul = Consul::new(["http://127.0.0.1:8500"], "web")?;
/// let cluster = Cluster::builder().connect(|_| ());
/// tokio::spawn(cluster.discover("consul", consul.watch()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is asked until it is watched"]
pub struct Consul {
    site: Site,
    /// Path and query, without index and wait.
    path: String,
    wait: Duration,
}

impl Consul {
    /// The instances of `service`, by these servers or agents, which are tried in turn.
    ///
    /// # Errors
    ///
    /// No server, one that is not a URL such as `http://127.0.0.1:8500`, or an empty service.
    pub fn new<T: AsRef<str>>(
        servers: impl IntoIterator<Item = T>,
        service: impl AsRef<str>,
    ) -> Result<Self, Error> {
        let (site, service) = (Site::new("servers", servers)?, service.as_ref());
        if service.is_empty() {
            return Err(Error::config("service", service, "is empty"));
        }
        let path = format!("/v1/health/service/{}?passing=1", escaped(service));
        Ok(Self { site, path, wait: WAIT })
    }

    /// Lists instances whose checks warn as well, with the weight that they have then. Default:
    /// only those whose checks all pass.
    pub fn with_warnings(mut self) -> Self {
        self.path = self.path.replace("?passing=1", "?");
        self
    }

    /// Adds a parameter to the query: `dc`, `tag`, `ns`, `filter`, `stale`, … Consul defines them.
    ///
    /// ```
    /// use whippletree::discover::Consul;
    ///
    /// let consul = Consul::new(["http://127.0.0.1:8500"], "web")?.query("dc", "eu-1");
    /// # Ok::<(), whippletree::Error>(())
    /// ```
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.path.push_str(&format!("&{}={}", escaped(name), escaped(value)));
        self
    }

    /// Sends this token (`X-Consul-Token`) with every query.
    ///
    /// # Errors
    ///
    /// A token that a header cannot carry. The error does not repeat it.
    pub fn token(mut self, token: &str) -> Result<Self, Error> {
        let value = HeaderValue::from_str(token);
        let refuse = |_| Error::config("token", "(secret)", "cannot stand in a header");
        let mut value = value.map_err(refuse)?;
        value.set_sensitive(true);
        self.site.header(HeaderName::from_static("x-consul-token"), value);
        Ok(self)
    }

    /// Sends requests by a tower service of yours, with TLS for example; it is given absolute URIs.
    /// Default: plain HTTP/1.1, a connection per query.
    pub fn client<S, R, B>(mut self, client: S) -> Self
    where
        S: Service<Request<R>, Response = Response<B>, Future: Send, Error: Into<BoxError>>
            + Clone
            + Send
            + 'static,
        R: From<String> + Send + 'static,
        B: Body<Error: Into<BoxError>> + Send + 'static,
    {
        self.site.client = Client::of(client);
        self
    }

    /// Sets how long a query waits for a change, 1 s to 10 min (Consul's limit). Default 60 s.
    pub fn wait(mut self, time: Duration) -> Self {
        self.wait = time.clamp(Duration::from_secs(1), Duration::from_secs(600));
        self
    }

    /// Sets how long an answer may take beyond that. Default 5 s.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.site.timeout = time;
        self
    }

    /// What makes the streams for [`Cluster::discover`](crate::Cluster::discover).
    #[must_use = "nothing is asked until the streams are followed"]
    pub fn watch(self) -> impl Fn() -> Feed + Clone + Send + Sync + 'static {
        feeds(move || Poll::new(self.clone()))
    }
}
