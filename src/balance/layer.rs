use tower_layer::Layer;

use super::{Addressed, Balance, Builder};
use crate::error::Error;

/// Wraps a client into a [`Balance`] that it shares over the endpoints.
///
/// ```
/// use http::{Request, Response};
/// use tower::{Layer, service_fn};
/// use whippletree::{Balance, BalanceLayer};
///
/// let layer = BalanceLayer::new(Balance::builder().endpoints(["10.0.0.1:80"])?)?;
/// let client = service_fn(|_: Request<()>| async { Ok::<_, std::io::Error>(Response::new(())) });
/// let balance = layer.layer(client);
/// assert_eq!(balance.cluster().len(), 1);
/// # Ok::<(), whippletree::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BalanceLayer {
    builder: Builder,
}

impl BalanceLayer {
    /// A layer that makes a balance, with a cluster of its own, of every client it is given.
    ///
    /// # Errors
    ///
    /// As [`Builder::shared`]: what could hinder the layer later is found out now.
    pub fn new(builder: Builder) -> Result<Self, Error> {
        builder.check()?;
        Ok(Self { builder })
    }
}

impl<C: Clone + Send + Sync + 'static> Layer<C> for BalanceLayer {
    type Service = Balance<Addressed<C>>;

    /// # Panics
    ///
    /// If the builder has a discovery source and there is no tokio runtime.
    fn layer(&self, client: C) -> Self::Service {
        let balance = self.builder.clone().shared(client);
        balance.expect("the builder was checked, and discovery needs a tokio runtime")
    }
}
