use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use http::Request;
use http::request::Parts;
use tower_layer::Layer;
use tower_service::Service;

use super::hash::KeyHash;
use super::key::Key;
use crate::cluster::Context;

/// Puts the hash of each request's key into its [`Context`], for the [`Balance`](crate::Balance)
/// below. See the [module](super) for an example.
///
/// A context that is there already keeps all that it says; if it has a hash, the layer changes
/// nothing. So what stands further up decides, a sticky session for one.
#[derive(Clone, Debug)]
pub struct AffinityLayer {
    keys: Arc<[Key]>,
    hash: KeyHash,
}

impl AffinityLayer {
    /// Takes this key.
    #[must_use]
    pub fn new(key: Key) -> Self {
        Self { keys: [key].into(), hash: KeyHash::default() }
    }

    /// Takes this key of requests that have none of those before: the cookie, say, else the
    /// client's address.
    #[must_use]
    pub fn or(mut self, key: Key) -> Self {
        self.keys = self.keys.iter().cloned().chain([key]).collect();
        self
    }

    /// Sets how keys are hashed. Default XXH64 with seed 0.
    #[must_use]
    pub fn hashed_by(mut self, hash: KeyHash) -> Self {
        self.hash = hash;
        self
    }

    /// Does to one request what the layer does to every one, where there is no tower stack.
    pub fn mark(&self, parts: &mut Parts) {
        if parts.extensions.get::<Context>().is_some_and(|context| context.asked.hash.is_some()) {
            return;
        }
        let Some(hash) = self.keys.iter().find_map(|key| key.hash(parts, self.hash)) else {
            return;
        };
        match parts.extensions.get_mut::<Context>() {
            Some(context) => context.asked.hash = Some(hash),
            None => {
                parts.extensions.insert(Context::new().with_hash(hash));
            }
        }
    }
}

impl<S> Layer<S> for AffinityLayer {
    type Service = Affinity<S>;

    fn layer(&self, inner: S) -> Affinity<S> {
        Affinity { inner, layer: self.clone() }
    }
}

/// The service of an [`AffinityLayer`].
#[derive(Clone, Debug)]
pub struct Affinity<S> {
    inner: S,
    layer: AffinityLayer,
}

impl<S, B> Service<Request<B>> for Affinity<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let (mut parts, body) = request.into_parts();
        self.layer.mark(&mut parts);
        self.inner.call(Request::from_parts(parts, body))
    }
}
