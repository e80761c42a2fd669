use crate::endpoint::{Endpoint, Weight};

/// An endpoint that its registry says is about to leave: it gets no new traffic, and what is bound
/// to it is still served.
pub(super) fn leaving(endpoint: Endpoint) -> Endpoint {
    endpoint.with_weight(Weight::ZERO)
}
