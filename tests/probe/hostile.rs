//! Servers that are hostile, or as good as: each check of one has failed by its deadline.

use std::future::{Future, pending};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use whippletree::event::Event;
use whippletree::probe::{HttpCheck, Probe};
use whippletree::{Cluster, Endpoint};

use crate::support::soon;

/// A tenth of the default.
const TIMEOUT: Duration = Duration::from_millis(200);

/// How much later than its deadline a check may have failed.
const LATE: Duration = Duration::from_millis(50);

/// Does what it likes with every connection, as long as it lives.
pub(crate) struct Raw {
    pub(crate) endpoint: Endpoint,
    task: JoinHandle<()>,
}

impl Raw {
    pub(crate) async fn new<F>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::from(listener.local_addr().unwrap()).with_id("a").unwrap();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // That the client hangs up is what the tests are about.
                let handling = handle(stream);
                connections.spawn(async move { drop(handling.await) });
            }
        });
        Self { endpoint, task }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads a request's head.
pub(crate) async fn read_head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = stream.read_u8().await?;
        head.push(byte);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// What the first check of this endpoint fails with, and after how long.
pub(crate) async fn failure(probe: Probe, endpoint: &Endpoint) -> (String, Duration) {
    let cluster = Cluster::builder().connect(|_| ());
    let mut events = cluster.subscribe();
    let _checks = tokio::spawn(cluster.probe(probe.timeout(TIMEOUT)));
    let began = Instant::now();
    cluster.insert(endpoint.clone()).unwrap();
    loop {
        match soon(events.next()).await.unwrap() {
            Event::ProbeDown { reason, .. } => return (reason.to_string(), began.elapsed()),
            Event::ProbeUp { .. } => panic!("the check has passed"),
            _ => {}
        }
    }
}

fn check() -> HttpCheck {
    Probe::http("/health").unwrap()
}

/// Waits for the deadline; the best of three tries is on time, however busy the machine is.
async fn fails_at_the_deadline(probe: Probe, server: &Raw) {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let (reason, took) = failure(probe.clone(), &server.endpoint).await;
        assert_eq!(reason, "no answer within 200ms");
        assert!(took >= TIMEOUT, "{took:?}");
        best = best.min(took);
    }
    assert!(best <= TIMEOUT + LATE, "{best:?}");
}

/// Fails before the deadline; answers why.
async fn fails_early(probe: Probe, server: &Raw) -> String {
    let (reason, took) = failure(probe, &server.endpoint).await;
    assert!(took < TIMEOUT + LATE, "{took:?}");
    assert!(!reason.contains("no answer"), "{reason}");
    reason
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing() {
    let server = Raw::new(|stream| async move {
        let _open = stream;
        pending().await
    })
    .await;
    fails_at_the_deadline(check().fresh(), &server).await;
    fails_at_the_deadline(check().reuse(), &server).await;
}

#[tokio::test]
async fn a_server_that_sends_a_byte_a_second() {
    for head in ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"] {
        let server = Raw::new(move |mut stream| async move {
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(b"x").await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        })
        .await;
        fails_at_the_deadline(check().fresh(), &server).await;
    }
}

async fn endless(mut stream: TcpStream) -> std::io::Result<()> {
    read_head(&mut stream).await?;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    loop {
        stream.write_all(&[b'x'; 16 * 1024]).await?;
    }
}

#[tokio::test]
async fn a_server_whose_body_has_no_end() {
    let server = Raw::new(endless).await;
    let reason = fails_early(check().fresh(), &server).await;
    assert_eq!(reason, "the body is longer than 64 KiB");
    let reason = fails_early(check().contains("ok").fresh(), &server).await;
    assert_eq!(reason, "the first 64 KiB of the body lack what is expected");
}

#[tokio::test]
async fn a_server_with_a_header_of_a_mebibyte() {
    let server = Raw::new(|mut stream| async move {
        read_head(&mut stream).await?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nx-large: ").await?;
        stream.write_all(&vec![b'x'; 1 << 20]).await?;
        stream.write_all(b"\r\ncontent-length: 0\r\n\r\n").await
    })
    .await;
    let reason = fails_early(check().fresh(), &server).await;
    assert!(reason.contains("head is too large"), "{reason}");
}

#[tokio::test]
async fn a_server_that_resets_after_the_status() {
    let server = Raw::new(|mut stream| async move {
        read_head(&mut stream).await?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n").await?;
        stream.set_zero_linger()
    })
    .await;
    fails_early(check().fresh(), &server).await;
}

#[tokio::test]
async fn a_server_that_does_not_speak_http() {
    let server = Raw::new(|mut stream| async move {
        stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").await?;
        pending().await
    })
    .await;
    fails_early(check().fresh(), &server).await;
}

#[tokio::test]
async fn a_port_that_nobody_listens_at() {
    let (endpoint, _taken) = crate::support::server::dead("a");
    for probe in [check().fresh(), check().reuse(), Probe::tcp()] {
        let (reason, took) = failure(probe, &endpoint).await;
        assert!(reason.contains("refused"), "{reason}");
        assert!(took < TIMEOUT + LATE, "{took:?}");
    }
}
