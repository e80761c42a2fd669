//! Endpoints from [etcd](https://etcd.io), and a registration there for servers that announce
//! themselves.

mod api;
mod base64;
mod lease;
mod record;
mod register;
mod watch;

use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use tower_service::Service;

use self::watch::Watch;
use super::remote::{Client, Feed, Site, feeds};
use crate::endpoint::Endpoint;
use crate::error::{BoxError, Error};

pub use self::register::Registration;

/// How long a watch may be silent before it is made anew. Ours: linkerd and kubelet give a silent
/// peer 30 s too.
const QUIET: Duration = Duration::from_secs(30);

/// The time to live of a registration. Ours: two keep-alives may be lost before it is over, and a
/// server that dies is out within ten seconds.
const TTL: Duration = Duration::from_secs(10);

/// The keys of an etcd cluster that begin with a prefix; each value is an endpoint.
///
/// Speaks etcd's JSON gateway (`/v3/…`, etcd 3.4 and later), over plain HTTP/1.1 or a
/// [client](Self::client) of yours.
///
/// # Values
///
/// A bare address, or a JSON object; all but `address` may be absent, and other fields mean
/// nothing:
///
/// ```json
/// {"id": "web-1", "address": "10.0.0.1:80", "weight": 1, "priority": 0, "rank": 100,
///  "labels": {"version": "2"}, "locality": {"region": "eu", "zone": "b"}, "draining": false}
/// ```
///
/// `draining` says that the server is about to leave: it gets no new traffic. A value that cannot
/// be read is told, and the last good one of its key stays in use. Two keys with one id: the first
/// counts.
///
/// # What happens when
///
/// | | |
/// |---|---|
/// | a key is put, deleted, or its lease expires | the set changes, within 100 ms |
/// | many keys change | one set every 100 ms |
/// | the connection breaks off | the next member is asked, from the last revision on |
/// | the watch is silent for 30 s | it is made anew, from the last revision on: a connection that was cut in silence is noticed |
/// | the revision was compacted, or is not that of this cluster (a restored backup) | an error tells it, all keys are listed anew |
/// | a member has no leader | the next member is asked |
/// | all keys are gone | the last good set stays in use, unless the source [may be empty](super::Options::allow_empty) |
///
/// ```no_run
/// use whippletree::discover::Etcd;
/// use whippletree::{Cluster, Error};
///
/// # async fn f() -> Result<(), Error> {
/// let etcd = Etcd::new(["http://10.0.0.1:2379", "http://10.0.0.2:2379"], "/services/web/")?;
/// let cluster = Cluster::builder().connect(|_| ());
/// tokio::spawn(cluster.discover("etcd", etcd.watch()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "an etcd does nothing until it is watched or registered with"]
pub struct Etcd {
    site: Site,
    prefix: String,
    quiet: Duration,
    ttl: Duration,
}

impl Etcd {
    /// The keys that begin with `prefix`, by the members of one cluster, which are tried in turn.
    ///
    /// End the prefix with a slash, or `/web` will list what is under `/website` too.
    ///
    /// # Errors
    ///
    /// No member, one that is not a URL such as `http://127.0.0.1:2379`, or an empty prefix.
    ///
    /// ```
    /// use whippletree::discover::Etcd;
    ///
    /// let error = Etcd::new(["127.0.0.1:2379"], "/web/").unwrap_err();
    /// let reason = r#"servers: "127.0.0.1:2379" is not a URL such as http://127.0.0.1:2379"#;
    /// assert_eq!(error.to_string(), reason);
    /// ```
    pub fn new<T: AsRef<str>>(
        servers: impl IntoIterator<Item = T>,
        prefix: impl Into<String>,
    ) -> Result<Self, Error> {
        let (site, prefix) = (Site::new("servers", servers)?, prefix.into());
        if prefix.is_empty() {
            return Err(Error::config("prefix", prefix, "is empty"));
        }
        Ok(Self { site, prefix, quiet: QUIET, ttl: TTL })
    }

    /// Sends requests by a tower service of yours: with TLS, a proxy, authentication. Default:
    /// plain HTTP/1.1, a connection per request.
    ///
    /// It is given absolute URIs. A response has to be answered as it arrives, not when it is
    /// complete: a watch never is.
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

    /// Adds a header to every request, such as `authorization` with a token of etcd's.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.site.header(name, value);
        self
    }

    /// Sets how long a member may take to answer. Default 5 s.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.site.timeout = time;
        self
    }

    /// Sets how long a watch may be silent before it is made anew, from where it was; a tenth more
    /// or less at random. Default 30 s.
    pub fn quiet(mut self, time: Duration) -> Self {
        self.quiet = time;
        self
    }

    /// Sets the time to live of a [registration](Self::register), in whole seconds, at least 1:
    /// how long after its death a server is still listed. Default 10 s. etcd's own minimum is one
    /// and a half election timeouts, 2 s where nothing else is set.
    pub fn ttl(mut self, time: Duration) -> Self {
        self.ttl = time;
        self
    }

    /// What makes the streams for [`Cluster::discover`](crate::Cluster::discover).
    #[must_use = "nothing is asked until the streams are followed"]
    pub fn watch(self) -> impl Fn() -> Feed + Clone + Send + Sync + 'static {
        feeds(move || Watch::new(self.clone()))
    }

    /// Announces `endpoint` under the prefix and its id, for as long as the
    /// [`Registration`] lives.
    ///
    /// The key hangs on a lease that is kept alive every third of its [time to live](Self::ttl).
    /// When the lease or the key is lost, both are made anew; when etcd cannot be reached, it is
    /// tried every second. So a server may start before etcd does.
    ///
    /// # Errors
    ///
    /// Not within a tokio runtime; a time to live below a second.
    ///
    /// ```no_run
    /// use whippletree::discover::Etcd;
    /// use whippletree::{BoxError, Endpoint};
    ///
    /// # async fn serve() {}
    /// # async fn f() -> Result<(), BoxError> {
    /// let etcd = Etcd::new(["http://10.0.0.1:2379"], "/services/web/")?;
    /// let registration = etcd.register(Endpoint::new("10.0.0.7:8080")?)?;
    /// serve().await;
    /// // No new requests; those that are on their way are answered meanwhile.
    /// registration.leave().await?;
    /// registration.deregister().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn register(&self, endpoint: Endpoint) -> Result<Registration, Error> {
        Registration::start(self, endpoint)
    }
}
