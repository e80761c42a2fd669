//! A gRPC client over two servers, one of which stops halfway: the calls go on at the other.
//!
//! ```text
//! cargo run --example tonic_client
//! ```
//!
//! A tonic channel is a connection of its own, so every endpoint gets one
//! ([`Builder::connect`](whippletree::balance::Builder::connect)). The service is written by hand
//! to do without `protoc`: its messages are bare text. With generated code it is the same,
//! `GreeterClient::new(balance)`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use bytes::{Buf, BufMut};
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};
use tower::{Service, service_fn};
use whippletree::{Balance, BoxError, Context, Endpoint, EndpointId};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let a = start_server("a").await?;
    let b = start_server("b").await?;
    let balance = Balance::builder().endpoints([a.endpoint, b.endpoint])?.connect(channel)?;

    let served = greet_often(&balance).await?;
    println!("both servers run: {served:?}");
    assert_eq!(served.len(), 2);

    drop(b.stop);
    b.task.await??;
    let served = greet_often(&balance).await?;
    println!("b has stopped:    {served:?}");
    assert_eq!(served, BTreeMap::from([("a".to_owned(), 100)]));

    for status in balance.cluster().status().endpoints {
        let (id, requests) = (status.endpoint.id(), status.requests);
        println!("{id}: {requests} requests, {} failed", status.failures);
    }
    Ok(())
}

/// The channel connects when it is first used, and again when its connection is lost.
fn channel(endpoint: &Endpoint) -> Channel {
    let uri = format!("http://{}", endpoint.address().authority());
    Channel::from_shared(uri).expect("the address of an endpoint is valid in a URI").connect_lazy()
}

/// A hundred calls, by who answered them.
async fn greet_often(balance: &Balance<Channel>) -> Result<BTreeMap<String, usize>, Status> {
    let mut served = BTreeMap::new();
    for _ in 0..100 {
        let greeter = greet(balance, "world").await?;
        *served.entry(greeter).or_default() += 1;
    }
    Ok(served)
}

/// One call; an endpoint that fails it is excluded, and the call is made again elsewhere.
async fn greet(balance: &Balance<Channel>, name: &str) -> Result<String, Status> {
    let mut client = tonic::client::Grpc::new(balance.clone());
    let mut context = Context::new();
    loop {
        let mut request = Request::new(name.to_owned());
        request.extensions_mut().insert(context.clone());
        client.ready().await.map_err(to_status)?;
        let path = PathAndQuery::from_static("/demo.Greeter/Greet");
        let status = match client.unary(request, path, Text).await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => status,
        };
        // Once all are excluded there is no endpoint, and this is the end of it.
        match failed_endpoint(&status) {
            Some(id) => context = context.with_exclude(id),
            None => return Err(status),
        }
    }
}

fn to_status(error: whippletree::Error) -> Status {
    Status::unavailable(error.to_string())
}

/// The endpoint whose channel failed. A status that a server answered with has none.
fn failed_endpoint(status: &Status) -> Option<EndpointId> {
    let error = status.source()?.downcast_ref::<whippletree::Error>()?;
    error.endpoint().cloned()
}

struct Running {
    endpoint: Endpoint,
    /// Stops the server when dropped: it says goodbye to its connections and listens no more.
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

async fn start_server(name: &'static str) -> Result<Running, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = Endpoint::from(listener.local_addr()?).with_id(name)?;
    let (stop, stopped) = oneshot::channel();
    let stopped = async move { drop(stopped.await) };
    let server = Server::builder().add_service(Greeter { name });
    let serving = server.serve_with_incoming_shutdown(TcpIncoming::from(listener), stopped);
    Ok(Running { endpoint, stop, task: tokio::spawn(serving) })
}

/// What `tonic-build` would generate from
/// `service Greeter { rpc Greet (Name) returns (Greeting); }`.
///
/// Greets everybody with its name.
#[derive(Clone)]
struct Greeter {
    name: &'static str,
}

impl NamedService for Greeter {
    const NAME: &'static str = "demo.Greeter";
}

impl Service<http::Request<Body>> for Greeter {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let name = self.name;
        let greet = service_fn(move |_: Request<String>| async move {
            Ok::<_, Status>(Response::new(name.to_owned()))
        });
        Box::pin(async move { Ok(tonic::server::Grpc::new(Text).unary(greet, request).await) })
    }
}

/// Messages that are text and nothing else.
#[derive(Clone, Copy)]
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, text: String, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(text.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        let text = String::from_utf8(bytes.into());
        text.map(Some).map_err(|_| Status::invalid_argument("the message is not UTF-8"))
    }
}
