//! A service that panics takes its own request with it and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;
use http_body_util::BodyExt;
use tower::ServiceExt;
use whippletree::load::{Completion, Cost, PeakEwma};
use whippletree::{Balance, Cluster, Context};

use crate::staged::{Client, Script, Stage, Staged, request};
use crate::strict::{fleet, id, in_flight, index};

const STAGES: [Stage; 5] =
    [Stage::Clone, Stage::PollReady, Stage::Call, Stage::Response, Stage::Body];

/// Endpoint 0 panics at the stage; endpoint 1 serves.
fn cluster(stage: Stage, cost: Cost) -> Cluster<Client> {
    let cluster = Cluster::builder().cost(cost).connect(move |at| {
        let panic = (index(at.id()) == 0).then_some(stage);
        Staged::client(&Script { panic, frames: 2, ..Script::default() })
    });
    cluster.replace(fleet(&[1, 1])).unwrap();
    cluster
}

/// Sends a request to the endpoint and reads the response to its end.
async fn exchange(balance: Balance<Client>, at: usize) {
    let mut request = request();
    request.extensions_mut().insert(Context::new().with_prefer(id(at)));
    let response = balance.oneshot(request).await.unwrap();
    response.into_body().collect().await.unwrap();
}

#[test]
fn panic_at_any_stage_ends_its_request_and_no_other() {
    for stage in STAGES {
        for cost in [Cost::InFlight, Cost::PeakEwma(PeakEwma::new())] {
            let cluster = cluster(stage, cost);
            let balance = Balance::new(cluster.clone());
            for round in 1..=3 {
                let panicked =
                    catch_unwind(AssertUnwindSafe(|| exchange(balance.clone(), 0).now_or_never()));
                assert!(panicked.is_err(), "{stage:?} did not panic");
                assert_eq!(in_flight(&cluster), 0, "{stage:?}");
                exchange(balance.clone(), 1).now_or_never().unwrap();
                let endpoints = cluster.status().endpoints;
                assert_eq!((endpoints[0].requests, endpoints[1].successes), (round, round));
            }
        }
    }
}

#[tokio::test]
async fn panic_in_a_task_ends_with_the_task() {
    for stage in STAGES {
        let cluster = cluster(stage, Cost::InFlight);
        let balance = Balance::new(cluster.clone());
        let panicked = tokio::spawn(exchange(balance.clone(), 0)).await;
        assert!(panicked.unwrap_err().is_panic());
        assert_eq!(in_flight(&cluster), 0, "{stage:?}");
        tokio::spawn(exchange(balance, 1)).await.unwrap();
    }
}

/// What panicked did not do its work, whatever the drop of the rest looks like.
#[test]
fn body_that_panics_is_no_success() {
    for completion in [Completion::End, Completion::FirstData] {
        let script = Script { panic: Some(Stage::Body), frames: 2, ..Script::default() };
        let balance = crate::staged::balance(Balance::builder().completion(completion), &script);
        let cluster = balance.cluster().clone();
        let panicked = catch_unwind(AssertUnwindSafe(|| exchange(balance, 0).now_or_never()));
        assert!(panicked.is_err());
        let status = &cluster.status().endpoints[0];
        assert_eq!(status.in_flight, 0);
        if completion == Completion::End {
            assert_eq!(status.successes, 0, "{status:?}");
        }
    }
}
