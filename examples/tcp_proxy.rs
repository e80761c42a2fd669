//! A TCP proxy on the bare cluster: no HTTP, no tower, only picks and leases.
//!
//! ```text
//! cargo run --example tcp_proxy       # shows itself: two echo servers and a dead port
//! cargo run --example tcp_proxy -- --listen 127.0.0.1:6380 \
//!     --endpoint 10.0.0.1:6379 --endpoint 10.0.0.2:6379
//! ```

use std::future::Future;
use std::io;
use std::time::Duration;

use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use whippletree::endpoint::Address;
use whippletree::health::{Failure, Outcome};
use whippletree::{BoxError, Cluster, Context, Endpoint, Error, Lease};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Parser)]
struct Arguments {
    /// Where to accept connections.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: String,
    /// Where to send them, `host:port`; may be given several times. None: a demonstration.
    #[arg(long)]
    endpoint: Vec<Endpoint>,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments = Arguments::parse();
    let listener = TcpListener::bind(&arguments.listen).await?;
    println!("listening on {}", listener.local_addr()?);
    if arguments.endpoint.is_empty() {
        return demonstrate(listener).await;
    }
    let cluster = proxied(arguments.endpoint)?;
    Ok(proxy(&cluster, listener, tokio::signal::ctrl_c()).await?)
}

/// The payload of an endpoint is whatever it takes to use it: here, the address to dial.
fn proxied(endpoints: Vec<Endpoint>) -> Result<Cluster<Address>, Error> {
    let cluster = Cluster::builder().connect(|endpoint| endpoint.address().clone());
    cluster.replace(endpoints)?;
    Ok(cluster)
}

/// Accepts connections until `end` is ready, and then lets those that are open finish.
async fn proxy<T>(
    cluster: &Cluster<Address>,
    listener: TcpListener,
    end: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let mut connections = JoinSet::new();
    tokio::pin!(end);
    let result = loop {
        tokio::select! {
            result = &mut end => break result,
            Ok((client, _)) = listener.accept() => {
                connections.spawn(relay(cluster.clone(), client));
            }
            Some(_) = connections.join_next() => {}
        }
    };
    while connections.join_next().await.is_some() {}
    result
}

/// Serves one connection. The lease counts it as in flight until this returns, in whatever way.
async fn relay(cluster: Cluster<Address>, mut client: TcpStream) {
    let (mut lease, mut server) = match connect(&cluster).await {
        Ok(connected) => connected,
        Err(error) => return eprintln!("{error}"),
    };
    match copy_bidirectional(&mut client, &mut server).await {
        Ok(_) => lease.report(Outcome::Success),
        // Either side may have broken off: this says nothing of the endpoint.
        Err(_) => lease.report(Outcome::Ignored),
    }
}

/// Connects to the endpoint that is picked, or if it cannot be reached to another one.
async fn connect(cluster: &Cluster<Address>) -> Result<(Lease<Address>, TcpStream), Error> {
    let mut context = Context::new();
    loop {
        let mut lease = cluster.pick(&context)?;
        let stream = TcpStream::connect(lease.service().authority().as_str());
        if let Ok(Ok(stream)) = timeout(CONNECT_TIMEOUT, stream).await {
            return Ok((lease, stream));
        }
        lease.report(Outcome::Failure(Failure::Connect));
        context = context.with_exclude(lease.id().clone());
    }
}

/// Sends a hundred connections through the proxy, of which a third would go to a dead port.
async fn demonstrate(listener: TcpListener) -> Result<(), BoxError> {
    // Bound, but nobody listens: connections are refused.
    let dead = TcpSocket::new_v4()?;
    dead.bind("127.0.0.1:0".parse()?)?;
    let endpoints = vec![
        echo_server("echo-1").await?,
        echo_server("echo-2").await?,
        Endpoint::from(dead.local_addr()?).with_id("dead")?,
    ];
    let cluster = proxied(endpoints)?;
    let address = listener.local_addr()?;
    let clients = async {
        for number in 0..100 {
            let message = format!("message {number}");
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(message.as_bytes()).await?;
            stream.shutdown().await?;
            let mut echo = String::new();
            stream.read_to_string(&mut echo).await?;
            if echo != message {
                return Err(io::Error::other(format!("{echo:?} for {message:?}")));
            }
        }
        Ok(())
    };
    proxy(&cluster, listener, clients).await?;

    println!("100 connections, 100 echoes\n");
    println!("endpoint  picked  succeeded  failed");
    for status in cluster.status().endpoints {
        println!(
            "{:<8}  {:>6}  {:>9}  {:>6}",
            status.endpoint.id(),
            status.requests,
            status.successes,
            status.failures
        );
    }
    Ok(())
}

async fn echo_server(name: &str) -> Result<Endpoint, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = Endpoint::from(listener.local_addr()?).with_id(name)?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await
            });
        }
    });
    Ok(endpoint)
}
