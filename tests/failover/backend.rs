//! A server that is a process of its own: this test program, started once more.

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use whippletree::Endpoint;

/// How long the server takes for a request, in microseconds; set, it makes this program the server.
const TAKES: &str = "WHIPPLETREE_BACKEND_TAKES_US";

const READY: &str = "backend listens on ";

/// Not a test: serves, if it was started to.
#[test]
fn process() {
    let Ok(takes) = std::env::var(TAKES) else {
        return;
    };
    let takes = Duration::from_micros(takes.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(serve(takes));
}

async fn serve(takes: Duration) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("\n{READY}{}", listener.local_addr().unwrap());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let service = service_fn(move |_| async move {
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"well"))))
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// A running server. Killed when dropped.
pub(crate) struct Backend {
    child: Child,
    address: SocketAddr,
}

impl Backend {
    /// Starts a server that takes so long for a request.
    pub(crate) fn start(takes: Duration) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "backend::process", "--nocapture", "--test-threads", "1"])
            .env(TAKES, takes.as_micros().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut addresses =
            lines.map_while(Result::ok).filter_map(|line| line.strip_prefix(READY)?.parse().ok());
        let address = addresses.next().expect("the server says where it listens");
        Self { child, address }
    }

    pub(crate) fn several(count: usize, takes: Duration) -> Vec<Self> {
        (0..count).map(|_| Self::start(takes)).collect()
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::from(self.address)
    }

    /// Sends a signal: `KILL`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
