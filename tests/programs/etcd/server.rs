//! An etcd of the test's own, and a wire to it that the test can cut.

use std::fs;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long etcd may take to start. An upper bound for a busy machine, never a delay.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running etcd of one member. Killed when dropped.
pub(super) struct Server {
    child: Child,
    folder: PathBuf,
    pub(super) address: SocketAddr,
    peer: SocketAddr,
    http: reqwest::Client,
}

impl Server {
    pub(super) async fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("whippletree-etcd-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let (address, peer) = (free(), free());
        let child = spawn(&folder, address, peer);
        let http = reqwest::Client::new();
        let server = Self { child, folder, address, peer, http };
        server.answers().await;
        server
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends the process, as a crash does.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again at the same address, with its data.
    pub(super) async fn restart(&mut self) {
        self.child = spawn(&self.folder, self.address, self.peer);
        self.answers().await;
    }

    /// Starts it again as a cluster that has never seen a key.
    pub(super) async fn restart_empty(&mut self) {
        fs::remove_dir_all(&self.folder).unwrap();
        self.restart().await;
    }

    async fn answers(&self) {
        let health = format!("{}/health", self.url());
        let answers = async {
            while self.http.get(&health).send().await.map_or(true, |r| !r.status().is_success()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, answers).await.expect("etcd starts");
    }

    pub(super) async fn call(&self, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.url());
        let response = self.http.post(url).body(body.to_string()).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(super) async fn put(&self, key: &str, value: &str) {
        let body = json!({ "key": base64(key), "value": base64(value) });
        self.call("/v3/kv/put", body).await;
    }

    /// Puts many keys in transactions of a hundred.
    pub(super) async fn put_all(&self, pairs: &[(String, String)]) {
        for some in pairs.chunks(100) {
            let put = |(key, value): &(String, String)| json!({ "request_put": { "key": base64(key), "value": base64(value) } });
            let puts: Vec<Value> = some.iter().map(put).collect();
            self.call("/v3/kv/txn", json!({ "success": puts })).await;
        }
    }

    pub(super) async fn put_leased(&self, key: &str, value: &str, seconds: u32) {
        let granted = self.call("/v3/lease/grant", json!({ "TTL": seconds })).await;
        let body = json!({ "key": base64(key), "value": base64(value), "lease": granted["ID"] });
        self.call("/v3/kv/put", body).await;
    }

    pub(super) async fn delete(&self, key: &str) {
        self.call("/v3/kv/deleterange", json!({ "key": base64(key) })).await;
    }

    /// Forgets all that was before now.
    pub(super) async fn compact(&self) {
        let range = self.call("/v3/kv/range", json!({ "key": base64("x") })).await;
        let revision = &range["header"]["revision"];
        let body = json!({ "revision": revision, "physical": true });
        self.call("/v3/kv/compaction", body).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn spawn(folder: &PathBuf, address: SocketAddr, peer: SocketAddr) -> Child {
    fs::create_dir_all(folder).unwrap();
    let (client, peer) = (format!("http://{address}"), format!("http://{peer}"));
    Command::new("etcd")
        .args(["--name", "test", "--data-dir"])
        .arg(folder.join("data"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("test={peer}")])
        .args(["--heartbeat-interval", "50", "--election-timeout", "250", "--unsafe-no-fsync"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd is installed")
}

fn free() -> SocketAddr {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// By hand, so that the library's own is checked against another.
fn base64(text: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = text.bytes().map(|byte| format!("{byte:08b}")).collect();
    let digits = bits.as_bytes().chunks(6).map(|digit| {
        let digit = format!("{:0<6}", std::str::from_utf8(digit).unwrap());
        char::from(ALPHABET[usize::from_str_radix(&digit, 2).unwrap()])
    });
    let mut text: String = digits.collect();
    while text.len() % 4 != 0 {
        text.push('=');
    }
    text
}

/// What a wire does with its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Whole,
    /// Connections break off, new ones at once.
    Cut,
    /// Nothing comes through any more, in silence; what is accepted later neither.
    Silent,
}

/// A TCP forwarder.
pub(super) struct Forwarder {
    pub(super) address: SocketAddr,
    mode: watch::Sender<Wire>,
    accepted: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Forwarder {
    pub(super) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, seen) = watch::channel(Wire::Whole);
        let accepted = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(forward(client, server, seen.clone()));
            }
        });
        Self { address, mode, accepted, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections there have been.
    pub(super) fn accepted(&self) -> u32 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, wire: Wire) {
        self.mode.send_replace(wire);
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(mut client: TcpStream, server: SocketAddr, mut mode: watch::Receiver<Wire>) {
    let first = *mode.borrow_and_update();
    if first == Wire::Whole {
        let Ok(mut server) = TcpStream::connect(server).await else {
            return;
        };
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
            _ = mode.changed() => {}
        }
        if *mode.borrow() == Wire::Silent {
            // Held, and never told.
            std::future::pending::<()>().await;
        }
    } else if first == Wire::Silent {
        std::future::pending::<()>().await;
    }
}
