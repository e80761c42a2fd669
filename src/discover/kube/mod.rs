//! Endpoints from a [Kubernetes](https://kubernetes.io) service.

mod slice;
mod token;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use tower_service::Service;

use self::slice::{Choice, Port};
use self::token::Token;
use self::watch::Watch;
use super::remote::{Client, Feed, Site, escaped, feeds};
use crate::error::{BoxError, Error};

/// How long a watch may be silent before it is made anew: an API server sends a bookmark about
/// every minute.
const QUIET: Duration = Duration::from_secs(90);

/// Where Kubernetes puts the service account of a pod.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The endpoints of a Kubernetes service, by its EndpointSlices.
///
/// Lists and watches `discovery.k8s.io/v1`. The API server is asked over plain HTTP/1.1 (`kubectl
/// proxy`, a sidecar), or by a [client](Self::client) of yours that knows its CA, which pods find in
/// `/var/run/secrets/kubernetes.io/serviceaccount/ca.crt`.
///
/// | of an EndpointSlice | becomes |
/// |---|---|
/// | `targetRef` of a pod | the id, `web-7d9f.default`; the address where there is none |
/// | `addresses`, `ports` | the address: the first, with the [port](Self::port) that was asked for |
/// | ready (or not said) | an endpoint |
/// | terminating, but still serving | an endpoint that is leaving: it gets no new traffic |
/// | neither | nothing |
/// | `hints.forZones`, or `zone` | the locality's zone: [your own](Self::zone) if it is among the hints, else the first hint, else the endpoint's |
/// | `nodeName` | the label `node` |
///
/// An endpoint that stands in several slices is one; ready counts more than terminating. A pod with
/// addresses of both families is one too; see [`ip_family`](Self::ip_family).
///
/// # What happens when
///
/// | | |
/// |---|---|
/// | slices change | the set changes, within 100 ms; many changes are one set every 100 ms |
/// | the watch ends, as it does every five minutes or so | it goes on from the last version |
/// | the version is gone (410, as a status or as an event) | an error tells it, all is listed anew |
/// | the connection breaks off | it goes on from the last version, after the source's backoff |
/// | the watch is silent for 90 s, without a bookmark | it is made anew |
/// | a slice cannot be read, or has no such port | an error tells it, its last good state stays in use |
/// | no endpoint is left | the last good set stays in use, unless the source [may be empty](super::Options::allow_empty) |
///
/// ```no_run
/// use whippletree::discover::Kube;
/// use whippletree::{Cluster, Error};
///
/// # async fn f() -> Result<(), Error> {
/// let kube = Kube::new("http://127.0.0.1:8001", "default", "web")?.port("http")?;
/// let cluster = Cluster::builder().connect(|_| ());
/// tokio::spawn(cluster.discover("kube", kube.watch()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is asked until it is watched"]
pub struct Kube {
    site: Site,
    /// Path and query of the slices.
    path: String,
    choice: Choice,
    token: Token,
    quiet: Duration,
}

/// A version of the Internet Protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IpFamily {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
}

impl Kube {
    /// The endpoints of a service in a namespace, by this API server.
    ///
    /// # Errors
    ///
    /// A server that is not a URL such as `http://127.0.0.1:8001`, or an empty name.
    pub fn new(
        server: impl AsRef<str>,
        namespace: impl AsRef<str>,
        service: impl AsRef<str>,
    ) -> Result<Self, Error> {
        let site = Site::new("server", [server])?;
        for (field, name) in [("namespace", namespace.as_ref()), ("service", service.as_ref())] {
            if name.is_empty() {
                return Err(Error::config(field, name, "is empty"));
            }
        }
        let path = format!(
            "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices?labelSelector={}",
            escaped(namespace.as_ref()),
            escaped(&format!("kubernetes.io/service-name={}", service.as_ref())),
        );
        Ok(Self { site, path, choice: Choice::default(), token: Token::None, quiet: QUIET })
    }

    /// Chooses the port, by its name or by the number that pods listen at (the service's
    /// `targetPort`). Without one, slices must have a single port.
    ///
    /// # Errors
    ///
    /// An empty name, port 0, or a number above 65535.
    pub fn port(mut self, port: impl AsRef<str>) -> Result<Self, Error> {
        self.choice.port = Port::parse(port.as_ref())?;
        Ok(self)
    }

    /// Says in which zone this process runs. Endpoints that are hinted to be for it have it as
    /// their zone; give the cluster the same [locality](crate::cluster::Builder::locality), with an
    /// empty region, to prefer them. Default: not known.
    pub fn zone(mut self, zone: impl Into<Arc<str>>) -> Self {
        self.choice.zone = Some(zone.into());
        self
    }

    /// Prefers addresses of this family where a pod has both. Default IPv4.
    pub fn ip_family(mut self, family: IpFamily) -> Self {
        self.choice.family = family;
        self
    }

    /// Sends the pod's service account token, read anew for every request, for Kubernetes replaces
    /// it: `/var/run/secrets/kubernetes.io/serviceaccount/token`. Default: no token.
    pub fn service_account(self) -> Self {
        self.token_file(format!("{ACCOUNT}/token"))
    }

    /// As [`service_account`](Self::service_account), from another file.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token = Token::File(path.into());
        self
    }

    /// Adds a header to every request.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.site.header(name, value);
        self
    }

    /// Sends requests by a tower service of yours, with TLS for example; it is given absolute URIs.
    /// Default: plain HTTP/1.1, a connection per request.
    ///
    /// A response has to be answered as it arrives, not when it is complete: a watch is long.
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

    /// Sets how long the server may take to answer. Default 5 s.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.site.timeout = time;
        self
    }

    /// Sets how long a watch may be silent before it is made anew, from where it was. Default 90 s,
    /// for bookmarks come every minute.
    pub fn quiet(mut self, time: Duration) -> Self {
        self.quiet = time;
        self
    }

    /// What makes the streams for [`Cluster::discover`](crate::Cluster::discover).
    #[must_use = "nothing is asked until the streams are followed"]
    pub fn watch(self) -> impl Fn() -> Feed + Clone + Send + Sync + 'static {
        feeds(move || Watch::new(self.clone()))
    }
}
