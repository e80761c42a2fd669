use http::{HeaderMap, HeaderValue, StatusCode};

use super::{Classify, Failure, Outcome};

/// By `grpc-status`, in the trailers or, where there is no message, in the head.
///
/// | status | is |
/// |---|---|
/// | `OK` | a success |
/// | `UNAVAILABLE` | [`Failure::Gateway`] |
/// | `DEADLINE_EXCEEDED` | [`Failure::Timeout`] |
/// | `UNKNOWN`, `INTERNAL`, `DATA_LOSS`, or none that gRPC knows | [`Failure::Server`] |
/// | all others, `RESOURCE_EXHAUSTED` and `CANCELLED` among them | ignored |
///
/// These failures are the ones that linkerd2-proxy counts (`linkerd/app/core/src/classify.rs`); the
/// others are successes there. `RESOURCE_EXHAUSTED` is a caller's quota as often as the endpoint's
/// distress. HTTP statuses other than 200, as a proxy on the way answers them, and errors are read
/// as by [`HttpOutcomes`](super::HttpOutcomes). A response that ends without a status is a success,
/// there and here.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcOutcomes;

impl Classify for GrpcOutcomes {
    fn head(&self, status: StatusCode, headers: &HeaderMap) -> Outcome {
        if status != StatusCode::OK {
            return status.into();
        }
        headers.get(GRPC_STATUS).map_or(Outcome::Success, grpc)
    }

    fn trailers(&self, trailers: &HeaderMap) -> Option<Outcome> {
        trailers.get(GRPC_STATUS).map(grpc)
    }
}

const GRPC_STATUS: &str = "grpc-status";

/// Numbers of gRPC's `statuscodes.md`; a status that is none of them is UNKNOWN there.
fn grpc(status: &HeaderValue) -> Outcome {
    let code: Option<u8> = status.to_str().ok().and_then(|text| text.parse().ok());
    match code {
        Some(0) => Outcome::Success,
        Some(4) => Outcome::Failure(Failure::Timeout),
        Some(14) => Outcome::Failure(Failure::Gateway),
        Some(1 | 3 | 5..=12 | 16) => Outcome::Ignored,
        _ => Outcome::Failure(Failure::Server),
    }
}

#[cfg(all(test, not(whippletree_loom)))]
mod tests {
    use super::*;

    #[test]
    fn grpc_statuses_are_told_by_their_numbers() {
        let told = |code: &str| grpc(&HeaderValue::from_str(code).unwrap());
        let outcomes: String = (0..18)
            .map(|code| match told(&code.to_string()) {
                Outcome::Success => 's',
                Outcome::Ignored => 'i',
                Outcome::Failure(Failure::Timeout) => 't',
                Outcome::Failure(Failure::Gateway) => 'g',
                Outcome::Failure(_) => 'f',
            })
            .collect();
        assert_eq!(outcomes, "sifitiiiiiiiifgfif");
        assert_eq!(told("junk"), Outcome::Failure(Failure::Server));
    }
}
