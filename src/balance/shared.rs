use std::task::{Context, Poll};

use http::uri::{PathAndQuery, Scheme};
use http::{Request, Uri};
use tower_service::Service;

use crate::endpoint::{Address, Endpoint};

/// A client shared by all endpoints, addressed to one of them: sends every request there by
/// putting the endpoint's scheme and authority into its URI.
///
/// Path, query and headers stay. A `Host` header that the request has stays too, so the endpoint
/// sees the name that was asked for; without one, clients derive it from the new authority. Over
/// HTTP/2 the endpoint sees its own authority in any case, for that is part of the URI. The scheme
/// is the endpoint's, else the request's, else `http`. A CONNECT is readdressed too, so its target
/// is lost: tunnels need a client per endpoint.
///
/// ```
/// use http::{Request, Response};
/// use tower::{Service, ServiceExt, service_fn};
/// use whippletree::{Endpoint, balance::Addressed};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let client = service_fn(|request: Request<()>| async move {
///     Ok::<_, std::convert::Infallible>(Response::new(request.uri().to_string()))
/// });
/// let endpoint = Endpoint::new("https://10.0.0.1:8443")?;
/// let service = Addressed::new(client, &endpoint);
/// let response = service.oneshot(Request::get("/users?id=1").body(())?).await?;
/// assert_eq!(response.body(), "https://10.0.0.1:8443/users?id=1");
/// # Ok::<(), whippletree::BoxError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Addressed<C> {
    client: C,
    address: Address,
}

impl<C> Addressed<C> {
    /// Addresses `client` to `endpoint`.
    pub fn new(client: C, endpoint: &Endpoint) -> Self {
        Self { client, address: endpoint.address().clone() }
    }
}

impl<C, B> Service<Request<B>> for Addressed<C>
where
    C: Service<Request<B>>,
{
    type Response = C::Response;
    type Error = C::Error;
    type Future = C::Future;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.client.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<B>) -> C::Future {
        let uri = std::mem::take(request.uri_mut());
        *request.uri_mut() = readdress(uri, &self.address);
        self.client.call(request)
    }
}

fn readdress(uri: Uri, address: &Address) -> Uri {
    let mut parts = uri.into_parts();
    let scheme = address.scheme().cloned().or(parts.scheme.take());
    parts.scheme = Some(scheme.unwrap_or(Scheme::HTTP));
    parts.authority = Some(address.authority().clone());
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    Uri::from_parts(parts).expect("a URI with scheme, authority and path is complete")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, address: &str, expected: &str) {
        let endpoint = Endpoint::new(address).unwrap();
        let readdressed = readdress(uri.parse().unwrap(), endpoint.address());
        assert_eq!(readdressed.to_string(), expected);
    }

    #[test]
    fn scheme_and_authority_are_the_endpoints_and_the_rest_stays() {
        check("/a?b=c", "10.0.0.1:80", "http://10.0.0.1:80/a?b=c");
        check("http://users/a", "10.0.0.1:80", "http://10.0.0.1:80/a");
        check("https://users/a", "10.0.0.1:443", "https://10.0.0.1:443/a");
        check("http://users", "https://[::1]:8443", "https://[::1]:8443/");
        // The asterisk form of OPTIONS: the path alone goes on the wire.
        check("*", "10.0.0.1:80", "http://10.0.0.1:80*");
        check("users:443", "10.0.0.1:80", "http://10.0.0.1:80/");
    }
}
