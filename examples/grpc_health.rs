//! gRPC servers that say themselves whether they are well, by the standard health protocol
//! (`grpc.health.v1`); one of them stops serving for a while.
//!
//! ```text
//! cargo run --example grpc_health
//! ```
//!
//! The check goes the way of the calls, through the endpoint's own channel: [`Target::service`]
//! hands it out. What live calls say is read by [`GrpcOutcomes`], because a gRPC failure is an HTTP
//! success: give it to [`Balance::classify`](whippletree::Balance::classify).

use std::time::Duration;

use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Answer;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::HealthReporter;
use whippletree::cluster::State;
use whippletree::event::Event;
use whippletree::health::{GrpcOutcomes, Thresholds};
use whippletree::probe::{Probe, Target};
use whippletree::{Balance, BoxError, Endpoint};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (a, _a) = start_server("a").await?;
    let (b, reporter) = start_server("b").await?;
    let probe = Probe::custom(check)
        .name("grpc health")
        .interval(Duration::from_millis(100))
        .thresholds(Thresholds::new().fall(2).rise(2));
    let balance = Balance::builder()
        .probe(probe)
        .classify(GrpcOutcomes)
        .endpoints([a, b])?
        .connect(channel)?;
    let mut events = balance.cluster().subscribe();

    let b_is_up = |event: &Event| matches!(event, Event::ProbeUp { endpoint, .. } if endpoint.as_str() == "b");
    until(&mut events, b_is_up).await;
    reporter.set_service_status("", ServingStatus::NotServing).await;
    until(&mut events, |event| matches!(event, Event::ProbeDown { .. })).await;
    let status = balance.cluster().status();
    assert_eq!(status.endpoints[1].state, State::Down);
    println!("why: {}", status.endpoints[1].reason().unwrap_or_default());

    reporter.set_service_status("", ServingStatus::Serving).await;
    until(&mut events, b_is_up).await;
    assert_eq!(balance.cluster().status().available(), 2);
    Ok(())
}

/// Asks the server how it is; an empty service name means all of it.
async fn check(target: Target) -> Result<(), BoxError> {
    let channel = target.service::<Channel>().ok_or("the endpoint has no channel")?;
    let mut client = HealthClient::new(channel.clone());
    let response = client.check(HealthCheckRequest { service: String::new() }).await?;
    match response.into_inner().status() {
        Answer::Serving => Ok(()),
        other => Err(format!("the server says {}", other.as_str_name()).into()),
    }
}

/// Prints what happens until `wanted` has.
async fn until(events: &mut whippletree::event::Events, wanted: impl Fn(&Event) -> bool) {
    while let Some(event) = events.next().await {
        println!("{event}");
        if wanted(&event) {
            return;
        }
    }
}

/// The channel connects when it is first used, and again when its connection is lost.
fn channel(endpoint: &Endpoint) -> Channel {
    let uri = format!("http://{}", endpoint.address().authority());
    Channel::from_shared(uri).expect("the address of an endpoint is valid in a URI").connect_lazy()
}

async fn start_server(id: &str) -> Result<(Endpoint, HealthReporter), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = Endpoint::from(listener.local_addr()?).with_id(id)?;
    let (reporter, health) = tonic_health::server::health_reporter();
    let server = Server::builder().add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    Ok((endpoint, reporter))
}
