//! The truth table over real sockets: what goes wrong × method, with the requests counted at the
//! servers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tower::{Layer, ServiceExt};
use whippletree::failover::{Failover, FailoverLayer, Replay};
use whippletree::{Balance, Context, Endpoint};

const TRY: Duration = Duration::from_millis(300);

/// What the first endpoint does with a connection, after it has read a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// It has no port open.
    Refuse,
    Hang,
    ResetBeforeHead,
    ResetMidHead,
    ResetMidBody,
    CloseBeforeHead,
    Garbage,
    /// A byte of the head now and then.
    DripHead,
    /// A byte of the body now and then, to the end.
    DripBody,
    Status(u16),
}

/// What the caller must see.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    /// The good endpoint's answer.
    Good,
    /// The faulty endpoint's answer, with this status and all of its body.
    Passed(u16),
    /// The faulty endpoint's head, and a body that breaks off.
    Broken,
    /// An error: the request may have been executed.
    Maybe,
    /// The same, by a timeout.
    Timeout,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

/// Reads a request with its body of `content-length`; answers its id.
async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    let head = loop {
        if let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        text.push(stream.read_u8().await.ok()?);
    };
    let lines = String::from_utf8(text[..head].to_vec()).unwrap().to_lowercase();
    let header = |name: &str| {
        let line = lines.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().to_owned())
    };
    let length: usize = header("content-length:").map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    header("x-id:")
}

async fn serve(name: &'static str, fault: Option<Fault>, log: Log) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let log = log.clone();
            tokio::spawn(async move {
                while let Some(id) = read(&mut stream).await {
                    log.0.lock().unwrap().push(format!("{name} {id}"));
                    if answer(&mut stream, fault).await.is_none() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// `None` ends the connection.
async fn answer(stream: &mut TcpStream, fault: Option<Fault>) -> Option<()> {
    let head = |status: u16, text: &str| {
        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", text.len())
    };
    let whole = |status, text| head(status, text) + text;
    let (text, reset) = match fault {
        None => (whole(200, "good"), false),
        Some(Fault::Status(status)) => (whole(status, "faulty"), false),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::ResetBeforeHead) => (String::new(), true),
        Some(Fault::ResetMidHead) => ("HTTP/1.1 200 X\r\ncontent-le".into(), true),
        Some(Fault::ResetMidBody) => (head(200, "faulty") + "fau", true),
        Some(Fault::CloseBeforeHead) => return None,
        Some(Fault::Garbage) => ("SMTP/9 hello\r\n\r\n".into(), false),
        Some(Fault::DripHead) => {
            drip(stream, whole(200, "faulty").as_bytes()).await;
            return None;
        }
        Some(Fault::DripBody) => {
            stream.write_all(head(200, "faulty").as_bytes()).await.ok()?;
            drip(stream, b"faulty").await;
            return None;
        }
        Some(Fault::Refuse) => unreachable!("it has no port"),
    };
    stream.write_all(text.as_bytes()).await.ok()?;
    if reset {
        // What was written shall arrive before the reset.
        tokio::time::sleep(Duration::from_millis(30)).await;
        stream.set_zero_linger().unwrap();
        return None;
    }
    Some(())
}

async fn drip(stream: &mut TcpStream, text: &[u8]) {
    for byte in text {
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(80)).await;
    }
}

/// Sends one request that meets the fault first; checks what the caller sees and which servers
/// have read it.
async fn check(fault: Fault, method: Method, seen: Seen) {
    let what = format!("{fault:?}, {method}");
    let log = Log::default();
    // Bound and not listening: refuses, and nobody else gets the port.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let faulty = match fault {
        Fault::Refuse => socket.local_addr().unwrap(),
        _ => serve("faulty", Some(fault), log.clone()).await,
    };
    let faulty = Endpoint::from(faulty).with_id("faulty").unwrap();
    let good = Endpoint::from(serve("good", None, log.clone()).await).with_id("good").unwrap();
    let client =
        Client::builder(TokioExecutor::new()).build::<_, Replay<Full<Bytes>>>(HttpConnector::new());
    let balance =
        Balance::builder().endpoint(faulty.clone()).endpoint(good).shared(client).unwrap();
    let failover = Failover::new().per_try_timeout(TRY);
    let service = FailoverLayer::new(failover).layer(balance.clone());

    let request = Request::builder()
        .method(method)
        .uri("/")
        .header("x-id", "7")
        .extension(Context::new().with_prefer(faulty.id().clone()))
        .body(Full::from("payload"))
        .unwrap();
    let result = tokio::time::timeout(Duration::from_secs(10), service.oneshot(request)).await;
    let found = match result.expect(&what) {
        Err(error) if error.is_timeout() => Seen::Timeout,
        Err(error) => {
            assert!(!error.is_not_executed(), "{what}: {error:?}");
            Seen::Maybe
        }
        Ok(response) => {
            let status = response.status();
            let body = response.into_body().collect().await.map(|body| body.to_bytes());
            match body.as_deref() {
                Err(_) => Seen::Broken,
                Ok(b"good") => Seen::Good,
                Ok(b"faulty") => Seen::Passed(status.as_u16()),
                Ok(other) => panic!("{what}: {other:?}"),
            }
        }
    };
    assert_eq!(found, seen, "{what}");
    let mut expected: Vec<&str> = Vec::new();
    expected.extend((fault != Fault::Refuse).then_some("faulty 7"));
    expected.extend((seen == Seen::Good).then_some("good 7"));
    assert_eq!(*log.0.lock().unwrap(), expected, "{what}");

    let status = balance.cluster().status();
    assert!(status.endpoints.iter().all(|status| status.in_flight == 0), "{what}");
    let passed = matches!(seen, Seen::Passed(status) if status < 500);
    assert_eq!(status.endpoints[0].failures, u64::from(!passed), "{what}");
}

#[tokio::test]
async fn every_fault_has_its_outcome_for_every_kind_of_method() {
    use Fault::*;
    let rows = [
        // What happens, to a GET or PUT, to a POST.
        (Refuse, Seen::Good, Seen::Good),
        (Hang, Seen::Good, Seen::Timeout),
        (ResetBeforeHead, Seen::Good, Seen::Maybe),
        (ResetMidHead, Seen::Good, Seen::Maybe),
        (ResetMidBody, Seen::Broken, Seen::Broken),
        (CloseBeforeHead, Seen::Good, Seen::Maybe),
        (Garbage, Seen::Good, Seen::Maybe),
        (DripHead, Seen::Good, Seen::Timeout),
        (DripBody, Seen::Passed(200), Seen::Passed(200)),
        (Status(200), Seen::Passed(200), Seen::Passed(200)),
        (Status(500), Seen::Passed(500), Seen::Passed(500)),
        (Status(502), Seen::Good, Seen::Passed(502)),
        (Status(503), Seen::Good, Seen::Passed(503)),
        (Status(504), Seen::Good, Seen::Passed(504)),
    ];
    for (fault, idempotent, other) in rows {
        for (method, seen) in [
            (Method::GET, idempotent),
            (Method::PUT, idempotent),
            (Method::DELETE, idempotent),
            (Method::POST, other),
            (Method::PATCH, other),
        ] {
            check(fault, method, seen).await;
        }
    }
}
