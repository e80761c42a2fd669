//! What users rely on without saying so: auto traits, and the words of errors.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::future::Ready;

use http::{Request, Response};
use http_body_util::Full;
use whippletree::balance::{self, Addressed, Http, Plain, ResponseFuture, ServedBy};
use whippletree::cluster::Acquire;
use whippletree::cluster::{self, ClusterStatus, EndpointStatus, LeaseGuard, Source, SourceStatus};
use whippletree::discover::{self, Change, Update};
use whippletree::endpoint::{Address, Labels, Locality, Subset};
use whippletree::event::{Event, Events};
use whippletree::failover::{
    Failover, FailoverLayer, FailoverService, FailoverStats, Hedge, HedgeFuture, HedgeLayer,
    HedgeService, Pause, Replay, TryFuture, TryTimeout,
};
use whippletree::health::{Classify, GrpcOutcomes, HttpOutcomes};
use whippletree::limit::{
    Attempt, Queue, QueueStatus, Throttle, ThrottleFuture, ThrottleLayer, Throttled,
};
use whippletree::load::{Completion, Cost, PeakEwma};
use whippletree::policy::{
    self, Build, Candidates, LeastRequest, Maglev, P2c, Pick, Policy, Random, Ranked, Rendezvous,
    RingHash, RoundRobin,
};
use whippletree::{
    Balance, BalanceLayer, Cluster, Context, Endpoint, EndpointId, Error, Lease, Outcome, Weight,
};

/// A payload and service that is `Send + Sync` and nothing else.
#[derive(Clone)]
struct Client;

impl tower::Service<Request<()>> for Client {
    type Response = Response<Full<bytes::Bytes>>;
    type Error = std::io::Error;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        std::future::ready(Ok(Response::default()))
    }
}

fn everything<T: Send + Sync + Unpin + 'static>() {}
fn send_sync<T: Send + Sync + ?Sized>() {}

#[test]
fn public_types_are_send_sync_and_unpin() {
    everything::<Balance<Client>>();
    everything::<Balance<Client, Plain>>();
    everything::<Balance<Addressed<Client>>>();
    everything::<BalanceLayer>();
    everything::<balance::Builder>();
    everything::<balance::Body<Full<bytes::Bytes>>>();
    everything::<balance::HeldLease>();
    everything::<ResponseFuture<Client, Http, Request<()>>>();
    everything::<ServedBy>();
    everything::<Cluster<Client>>();
    everything::<Cluster<()>>();
    everything::<cluster::Builder>();
    everything::<Lease<Client>>();
    everything::<LeaseGuard>();
    everything::<Source>();
    everything::<SourceStatus>();
    everything::<ClusterStatus>();
    everything::<EndpointStatus>();
    everything::<Context>();
    everything::<Change>();
    everything::<Endpoint>();
    everything::<EndpointId>();
    everything::<Address>();
    everything::<Labels>();
    everything::<Locality>();
    everything::<Subset>();
    everything::<Weight>();
    everything::<Event>();
    everything::<Events>();
    everything::<Error>();
    everything::<Outcome>();
    everything::<Completion>();
    everything::<Cost>();
    everything::<PeakEwma>();
    everything::<P2c>();
    everything::<Random>();
    everything::<Ranked>();
    everything::<RoundRobin>();
    everything::<LeastRequest>();
    everything::<RingHash>();
    everything::<Maglev>();
    everything::<Rendezvous>();
    everything::<Update>();
    everything::<Failover>();
    everything::<FailoverLayer>();
    everything::<FailoverService<Balance<Client>>>();
    everything::<FailoverStats>();
    everything::<Hedge>();
    everything::<HedgeLayer>();
    everything::<HedgeService<Balance<Client>>>();
    everything::<Replay<Full<bytes::Bytes>>>();
    everything::<TryTimeout<Balance<Client>>>();
    everything::<cluster::Attempt>();
    send_sync::<Pause>();
    send_sync::<HedgeFuture<Balance<Client>, Request<()>>>();
    send_sync::<TryFuture<ResponseFuture<Client, Http, Request<()>>>>();
    everything::<Acquire<Client>>();
    everything::<Queue>();
    everything::<QueueStatus>();
    everything::<Throttle>();
    everything::<Attempt>();
    everything::<ThrottleLayer>();
    everything::<Throttled<Client>>();
    everything::<ThrottleFuture<std::future::Ready<()>>>();
    everything::<HttpOutcomes>();
    everything::<GrpcOutcomes>();
    everything::<discover::Options>();
    send_sync::<dyn Policy>();
    send_sync::<dyn Classify>();
    send_sync::<dyn Pick>();
    send_sync::<Candidates<'_>>();
    send_sync::<Build<'_>>();
}

#[test]
fn a_lease_outlives_its_cluster_and_any_payload_will_do() {
    let lease: Lease<std::sync::mpsc::SyncSender<u8>> = {
        let cluster = Cluster::builder().connect(|_| std::sync::mpsc::sync_channel(1).0);
        cluster.insert(Endpoint::new("a:1").unwrap()).unwrap();
        cluster.pick(&Context::new()).unwrap()
    };
    assert!(lease.service().try_send(1).is_err());
}

fn check(result: Result<impl Sized, Error>, message: &str) {
    let error = result.err().unwrap();
    assert!(error.is_config(), "{error:?}");
    assert_eq!(error.to_string(), message);
    assert!(std::error::Error::source(&error).is_none());
}

#[test]
fn bad_values_are_refused_by_name_and_value() {
    check(Weight::new(65_536), r#"weight: "65536" is not in 0..=65535"#);
    check(EndpointId::new(""), r#"id: "" is empty"#);
    check(EndpointId::new("a\nb"), r#"id: "a\nb" has a control character"#);
    check(
        EndpointId::new("x".repeat(273)).map_err(|error| {
            assert!(error.to_string().ends_with("is longer than 272 bytes"));
            Weight::new(65_536).unwrap_err()
        }),
        r#"weight: "65536" is not in 0..=65535"#,
    );
    check(Endpoint::new("nowhere"), r#"address: "nowhere" has no port: write host:port"#);
    check(Endpoint::new("a:99999"), r#"address: "a:99999" has no valid port"#);
    check(Endpoint::new("a:1").unwrap().with_id(""), r#"id: "" is empty"#);
    for rank in [0, 255] {
        let endpoint = Endpoint::new("a:1").unwrap();
        check(endpoint.with_rank(rank), &format!(r#"rank: "{rank}" is not in 1..=254"#));
    }
    check(
        policy::by_name("fastest"),
        r#"policy: "fastest" is none of p2c, least_request, round_robin, random, ranked, ring_hash, ketama, maglev, rendezvous"#,
    );
    check(
        Balance::builder().endpoints(["a:1", "b"]),
        r#"address: "b" has no port: write host:port"#,
    );
    check(
        Balance::builder().endpoints(["a:1", "a:1"]).unwrap().shared(Client),
        r#"id: "a:1" stands twice in one set"#,
    );
    check(
        BalanceLayer::new(Balance::builder().endpoints(["a:1", "a:1"]).unwrap()),
        r#"id: "a:1" stands twice in one set"#,
    );
}

#[test]
fn the_cluster_stays_as_it_was_after_bad_input() {
    let cluster = Cluster::builder().connect(|endpoint| {
        assert!(endpoint.id().as_str() != "panics", "no service for this one");
    });
    let good = Endpoint::new("a:1").unwrap().with_weight(3);
    cluster.insert(good.clone()).unwrap();
    let unchanged = || {
        let status = cluster.status();
        assert_eq!(status.endpoints.len(), 1);
        assert_eq!(status.endpoints[0].endpoint, good);
    };

    let other = Endpoint::new("b:1").unwrap();
    check(cluster.replace([other.clone(), other.clone()]), r#"id: "b:1" stands twice in one set"#);
    unchanged();

    let unknown = cluster.set_weight(other.id(), Weight::ZERO);
    check(unknown, r#"id: "b:1" is not the id of an endpoint of this cluster"#);
    unchanged();

    let panics = other.clone().with_id("panics").unwrap();
    let error = cluster.replace([other.clone(), panics]).unwrap_err();
    assert!(error.is_panic());
    assert_eq!(error.to_string(), "connect panicked: no service for this one");
    unchanged();

    assert!(!cluster.remove(other.id()));
    unchanged();

    let manual = Cluster::builder().build::<()>();
    let reason = "has no payload, and the cluster was built without a connect closure";
    check(manual.insert(other), &format!(r#"endpoint: "b:1" {reason}"#));
    assert!(manual.is_empty());
}

#[cfg(feature = "serde")]
#[test]
fn bad_configuration_is_refused_with_its_place() {
    use whippletree::config::ClusterConfig;

    let parse = |text: &str| toml::from_str::<ClusterConfig>(text).unwrap();
    let endpoint =
        |line: &str| parse(&format!("[[endpoints]]\naddress = \"a:1\"\n{line}")).endpoints();
    check(endpoint("weight = 70000"), r#"endpoints[0].weight: "70000" is not in 0..=65535"#);
    check(endpoint("rank = 256"), r#"endpoints[0].rank: "256" is not in 1..=254"#);
    assert_eq!(endpoint("rank = 7").unwrap()[0].rank(), 7);
    check(endpoint("id = ''"), r#"endpoints[0].id: "" is empty"#);
    check(
        parse("[[endpoints]]\naddress = 'a:1'\n[[endpoints]]\naddress = 'b'").endpoints(),
        r#"endpoints[1].address: "b" has no port: write host:port"#,
    );
    check(
        parse("[[endpoints]]\naddress = 'a:1'\n[[endpoints]]\naddress = 'a:1'").balance(),
        r#"endpoints.id: "a:1" stands twice in one set"#,
    );
    check(parse("cost = 'price'").cluster(), r#"cost: "price" is none of in_flight, peak_ewma"#);
    check(
        parse("policy = 'x'").cluster(),
        r#"policy: "x" is none of p2c, least_request, round_robin, random, ranked, ring_hash, ketama, maglev, rendezvous"#,
    );
    for (text, says) in [
        ("polcy = 'p2c'", "unknown field `polcy`"),
        ("[[endpoints]]\naddress = 'a:1'\nwieght = 1", "unknown field `wieght`"),
        ("fail_fast = 'soon'", "fail_fast"),
    ] {
        let error = toml::from_str::<ClusterConfig>(text).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
