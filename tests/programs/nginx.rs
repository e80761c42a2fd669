//! nginx's `hash $arg_key consistent` beside [`RingHash::ketama`], key by key.

use std::convert::Infallible;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use whippletree::affinity::{AffinityLayer, Key, KeyHash};
use whippletree::cluster::Admin;
use whippletree::policy::RingHash;
use whippletree::{Balance, Endpoint};

const WEIGHTS: [u16; 5] = [1, 2, 3, 4, 10];
const KEYS: u32 = 2_000;
/// How long nginx may take to accept. An upper bound for a busy machine, never a delay.
const PATIENCE: Duration = Duration::from_secs(30);

/// What becomes of a server in nginx's configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Up,
    /// Marked `down`.
    Down,
    /// Listed, but nobody listens at its port.
    Dead,
    /// Not listed.
    Gone,
}

/// A running nginx that answers with the address of the server it picked. Killed when dropped.
struct Nginx {
    child: Child,
    folder: PathBuf,
    listen: SocketAddr,
}

impl Nginx {
    async fn start(servers: &[SocketAddr], fates: &[Fate]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("whippletree-nginx-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let listen = free_addresses(1)[0];
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration(listen, servers, fates)).unwrap();
        let child = Command::new("nginx")
            .args(["-e", "stderr", "-p"])
            .arg(&folder)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx is installed");
        let mut nginx = Self { child, folder, listen };
        nginx.accepts().await;
        nginx
    }

    async fn accepts(&mut self) {
        let accepts = async {
            while TcpStream::connect(self.listen).await.is_err() {
                let ended = self.child.try_wait().unwrap();
                assert!(ended.is_none(), "nginx ended: {ended:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, accepts).await.expect("nginx accepts in time");
    }

    async fn client(&self) -> SendRequest<Empty<Bytes>> {
        let stream = TcpStream::connect(self.listen).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// One process; the servers are its own, for all that matters is which one is asked.
fn configuration(listen: SocketAddr, servers: &[SocketAddr], fates: &[Fate]) -> String {
    let (mut listed, mut serving) = (String::new(), String::new());
    for ((address, weight), fate) in servers.iter().zip(WEIGHTS).zip(fates) {
        if *fate != Fate::Gone {
            let down = if *fate == Fate::Down { " down" } else { "" };
            listed += &format!("    server {address} weight={weight}{down};\n");
        }
        if *fate == Fate::Up {
            serving += &format!("  server {{ listen {address}; return 200 \"{address}\"; }}\n");
        }
    }
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {kind};\n"))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr crit;\n\
         events {{ worker_connections 256; }}\nhttp {{\n  access_log off;\n{temporary}  \
         keepalive_requests 100000;\n  upstream servers {{\n    hash $arg_key consistent;\n\
         {listed}  }}\n{serving}  server {{\n    listen {listen};\n    \
         location / {{ proxy_pass http://servers; }}\n  }}\n}}\n"
    )
}

/// Addresses on loopback that nobody listens at.
fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let bind = |_| TcpListener::bind("127.0.0.1:0").unwrap();
    let listeners: Vec<TcpListener> = (0..count).map(bind).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

fn uri(key: u32) -> String {
    format!("/some/path?other=1&key=user-{key}%2F{}", key.wrapping_mul(2_654_435_761))
}

/// Who serves each key in nginx.
async fn by_nginx(servers: &[SocketAddr], fates: &[Fate]) -> Vec<String> {
    let nginx = Nginx::start(servers, fates).await;
    let mut client = nginx.client().await;
    let mut served = Vec::new();
    for key in 0..KEYS {
        client.ready().await.unwrap();
        let request = Request::get(uri(key)).header("host", "nginx.test");
        let request = request.body(Empty::new()).unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        served.push(String::from_utf8(body.to_vec()).unwrap());
    }
    served
}

/// Who serves each key here, through the layer and the balance.
async fn by_ketama(servers: &[SocketAddr], fates: &[Fate]) -> Vec<String> {
    let endpoints: Vec<Endpoint> = servers
        .iter()
        .zip(WEIGHTS)
        .map(|(address, weight)| Endpoint::from(*address).with_weight(weight))
        .collect();
    let echo = service_fn(|request: Request<()>| async move {
        Ok::<_, Infallible>(Response::new(request.uri().authority().unwrap().to_string()))
    });
    let balance = Balance::builder().policy(RingHash::ketama()).endpoints(endpoints.clone());
    let balance = balance.unwrap().shared(echo).unwrap();
    for (endpoint, fate) in endpoints.iter().zip(fates) {
        match fate {
            Fate::Up => {}
            Fate::Gone => assert!(balance.cluster().remove(endpoint.id())),
            Fate::Down | Fate::Dead => {
                balance.cluster().set_admin(endpoint.id(), Admin::Maintenance, "test").unwrap();
            }
        }
    }
    let key = Key::query("key").unwrap();
    let layer = AffinityLayer::new(key).hashed_by(KeyHash::crc32());
    let service = ServiceBuilder::new().layer(layer).service(balance);
    let mut served = Vec::new();
    for key in 0..KEYS {
        let request = Request::get(uri(key)).body(()).unwrap();
        served.push(service.clone().oneshot(request).await.unwrap().into_body().into_inner());
    }
    served
}

/// Asserts that both send every key to the same server, and returns who that is.
async fn agree(servers: &[SocketAddr], fates: &[Fate]) -> Vec<String> {
    let (theirs, ours) = (by_nginx(servers, fates).await, by_ketama(servers, fates).await);
    for (key, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
        assert_eq!(theirs, ours, "key {key}, {fates:?}");
    }
    ours
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn two_thousand_keys_go_where_nginx_sends_them() {
    let servers = free_addresses(WEIGHTS.len());
    let served = agree(&servers, &[Fate::Up; 5]).await;
    for (server, weight) in servers.iter().zip(WEIGHTS) {
        let count = served.iter().filter(|address| **address == server.to_string()).count();
        let due = f64::from(KEYS) * f64::from(weight) / 20.0;
        assert!((count as f64 - due).abs() < due * 0.5, "{count} of weight {weight}");
    }
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn keys_of_a_server_that_is_out_go_where_nginx_sends_them() {
    let servers = free_addresses(WEIGHTS.len());
    let before = agree(&servers, &[Fate::Up; 5]).await;
    for lost in 0..servers.len() {
        for fate in [Fate::Down, Fate::Dead, Fate::Gone] {
            let mut fates = [Fate::Up; 5];
            fates[lost] = fate;
            let after = agree(&servers, &fates).await;
            let lost = servers[lost].to_string();
            let stayed = before.iter().zip(&after).filter(|(home, _)| **home != lost);
            assert!(stayed.into_iter().all(|(before, after)| before == after), "{fates:?}");
            assert!(!after.contains(&lost));
        }
    }
}
