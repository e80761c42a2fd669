//! A gateway process, and endpoints to put behind it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::wire::{Body, full, get, soon};

/// The program under test: `cargo test` builds it beside the tests.
pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
    let program = profile.join(format!("examples/gateway{}", std::env::consts::EXE_SUFFIX));
    let built = program.metadata().and_then(|data| data.modified());
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gateway");
    let newest = std::fs::read_dir(sources).expect("the example's sources").map(|entry| {
        let data = entry.and_then(|entry| entry.metadata()).expect("a source file");
        data.modified().expect("a time")
    });
    let is_fresh = built.is_ok_and(|built| newest.max().is_none_or(|newest| newest <= built));
    assert!(
        is_fresh,
        "{} is missing or older than its sources: a plain `cargo test` builds it, `cargo test \
         --test` does not; run `cargo build --example gateway --features full` first",
        program.display()
    );
    program
}

/// A running gateway. Killed when dropped.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// What it printed before it listened.
    pub(crate) preface: Vec<String>,
}

impl Gateway {
    /// Starts it on free ports with `arguments`, and returns when it accepts.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(program())
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the gateway starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut preface = Vec::new();
        let listen = loop {
            let line = soon("a line of the gateway", lines.next_line()).await;
            let line = line.expect("readable").expect("the gateway says where it listens");
            match line.strip_prefix("listening on http://") {
                Some(address) => break address.parse().expect("an address"),
                None => preface.push(line),
            }
        };
        let line = soon("the admin line", lines.next_line()).await.expect("readable");
        let line = line.expect("the gateway says where its admin side is");
        let admin = line.strip_prefix("admin on http://").expect("the admin line");
        let admin = admin.parse().expect("an address");
        Self { child, listen, admin, preface }
    }

    /// Starts it in front of `endpoints`, in round robin.
    pub(crate) async fn over(endpoints: &[&Backend]) -> Self {
        let flags: Vec<String> = endpoints.iter().map(|endpoint| endpoint.flag()).collect();
        let mut arguments = vec!["--policy", "round_robin"];
        arguments.extend(flags.iter().flat_map(|flag| ["--endpoint", flag]));
        Self::start(&arguments).await
    }

    /// Starts it with a configuration file of this text.
    pub(crate) async fn with_file(text: &str) -> Self {
        let file = File::new(text);
        Self::start(&["--config", file.path()]).await
    }

    /// A `GET` over HTTP/1.1 on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Response<Bytes> {
        get(self.listen, path).await
    }

    pub(crate) async fn healthz(&self) -> u16 {
        get(self.admin, "/healthz").await.status().as_u16()
    }

    pub(crate) async fn stats(&self) -> serde_json::Value {
        let response = get(self.admin, "/stats.json").await;
        assert_eq!(response.status(), 200);
        serde_json::from_slice(response.body()).expect("JSON")
    }

    /// The requests in flight, over all endpoints.
    pub(crate) async fn in_flight(&self) -> u64 {
        let stats = self.stats().await;
        let rows = stats["endpoints"].as_array().expect("an array");
        rows.iter().map(|row| row["in_flight"].as_u64().expect("a number")).sum()
    }

    /// Sends a signal: `TERM`, `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().expect("a running gateway").to_string();
        let status = std::process::Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for its end.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        soon("the gateway's end", self.child.wait()).await.expect("an exit status")
    }
}

/// A file that exists as long as this value.
pub(crate) struct File(PathBuf);

impl File {
    pub(crate) fn new(text: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gateway-test-{}-{number}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("a temporary file");
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("a path in UTF-8")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A server on a loopback port, known to the gateway by `name`.
pub(crate) struct Backend {
    name: String,
    pub(crate) address: SocketAddr,
}

impl Backend {
    /// Lets `accept` handle every connection.
    pub(crate) async fn raw<F>(name: &str, accept: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(accept(stream));
            }
        });
        Self { name: name.to_owned(), address }
    }

    /// Lets hyper handle every connection and `answer` every request.
    pub(crate) async fn http<H, F>(name: &str, answer: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::raw(name, move |stream| {
            let answer = answer.clone();
            async move {
                let service = service_fn(move |request| {
                    let response = answer(request);
                    async move { Ok::<_, Infallible>(response.await) }
                });
                let server = hyper::server::conn::http1::Builder::new();
                let connection = server.serve_connection(TokioIo::new(stream), service);
                let _ = connection.with_upgrades().await;
            }
        })
        .await
    }

    /// Answers every request with its name.
    pub(crate) async fn named(name: &'static str) -> Self {
        Self::http(name, move |_| async move { Response::new(full(name)) }).await
    }

    pub(crate) fn flag(&self) -> String {
        format!("{}={}", self.name, self.address)
    }
}
