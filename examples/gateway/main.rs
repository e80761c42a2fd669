//! A small but real HTTP reverse proxy: whippletree for the choice, hyper for the wire.
//!
//! ```sh
//! cargo run --release --example gateway --features full                    # with three demo endpoints
//! cargo run --release --example gateway --features full -- --config gateway.toml
//! cargo run --release --example gateway --features full -- \
//!     --listen 127.0.0.1:8080 --endpoint a=127.0.0.1:9001 --endpoint b=127.0.0.1:9002,weight=2
//! ```
//!
//! Where to look, in the order in which a request meets them:
//!
//! | file | duty |
//! |---|---|
//! | `cli.rs`, `config.rs` | flags and TOML into one checked [`Config`] |
//! | `server.rs` | accepts connections, limits what a client may cost |
//! | `proxy.rs` | one request: prepare it, hand it to the `Balance`, pass the answer on |
//! | `failover.rs` | what is sent again, and on what |
//! | `headers.rs` | what a proxy must remove from and add to a message |
//! | `refusal.rs` | answers of our own: 400, 502, 503, 504 |
//! | `sticky.rs` | sessions that stay with their endpoint |
//! | `tunnel.rs` | WebSocket and other upgrades |
//! | `admin.rs` | the library's admin service: health, statistics, the operator's verbs |
//! | `reload.rs` | the file again, after SIGHUP |
//! | `shutdown.rs` | the order of things after SIGTERM |
//! | `demo.rs` | three endpoints to play with |
//!
//! Everything about endpoints, policies and load is the library's: this program only carries
//! messages to and from it.

mod admin;
mod cli;
mod config;
mod demo;
mod failover;
mod headers;
mod proxy;
mod refusal;
mod reload;
mod server;
mod shutdown;
mod sticky;
mod tunnel;

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use whippletree::admin::Writes;
use whippletree::cluster::DrainOptions;

use crate::cli::Cli;
use crate::config::Config;
use crate::failover::Guarded;
use crate::proxy::Proxy;
use crate::reload::Reload;
use crate::shutdown::Shutdown;

/// Why the gateway did not start: one line for stderr, and the exit code.
struct Failure {
    line: String,
    code: u8,
}

impl Failure {
    /// A flag or the file is wrong: starting again without a change is of no use.
    fn config(line: String) -> Self {
        Self { line, code: 2 }
    }

    /// The machine refuses something, perhaps not the next time.
    fn runtime(what: &str, error: std::io::Error) -> Self {
        Self { line: format!("{what}: {error}"), code: 1 }
    }
}

fn main() -> ExitCode {
    let started = match cli::read() {
        Ok(cli) => start(&cli),
        Err(error) if !error.use_stderr() => {
            say(&error.to_string()); // --help
            return ExitCode::SUCCESS;
        }
        Err(error) => Err(Failure::config(cli::in_one_line(&error))),
    };
    match started {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { line, code }) => {
            eprintln!("gateway: {}", config::printable(&line));
            ExitCode::from(code)
        }
    }
}

fn start(cli: &Cli) -> Result<(), Failure> {
    let config = Config::read(cli).map_err(Failure::config)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = config.threads {
        runtime.worker_threads(threads.get());
    }
    let runtime =
        runtime.enable_all().build().map_err(|error| Failure::runtime("runtime", error))?;
    let result = runtime.block_on(run(cli, config));
    // What is still running has had its time: do not wait for it again.
    runtime.shutdown_background();
    result
}

/// The life of the gateway, from the first socket to the last request.
async fn run(cli: &Cli, config: Config) -> Result<(), Failure> {
    let mut builder = config.balance(cli).map_err(Failure::config)?;
    if cli.wants_demo() {
        let endpoints = demo::start().await.map_err(|error| Failure::runtime("demo", error))?;
        say("no --config and no --endpoint: balancing over three built-in demo endpoints");
        builder =
            endpoints.into_iter().fold(builder, |builder, endpoint| builder.endpoint(endpoint));
    }
    let affinity = config.affinity().map_err(Failure::config)?;
    let blame = |error| Failure::config(config.blame(&error));
    let balance = proxy::balance(builder).map_err(blame)?;
    let guarded = Guarded::new(balance, &config.failover).map_err(blame)?;
    let front = sticky::front(&guarded, config.sticky.as_ref())
        .map_err(|error| Failure::config(config.blame_sticky(&error)))?;
    let proxy = Proxy::new(guarded, affinity, front, config.expose_endpoint);
    let proxy = Arc::new(proxy);
    let writes = if config.admin_writes { Writes::Allowed } else { Writes::Refused };
    let (release_delay, shutdown_timeout) = (config.release_delay, config.shutdown_timeout);
    let (listen, admin) = (config.listen, config.admin);

    // From here on a signal finds somebody listening, even in the first millisecond.
    let shutdown = Shutdown::new().map_err(|error| Failure::runtime("signals", error))?;
    #[cfg(unix)]
    let hangups = reload::hangups().map_err(|error| Failure::runtime("signals", error))?;
    let reload = Reload::start(Arc::clone(&proxy), config).map_err(Failure::config)?;
    #[cfg(unix)]
    tokio::spawn(reload.run(cli.clone(), hangups));
    let traffic = bind("listen", listen).await?;
    let admin = bind("admin", admin).await?;
    say(&format!("listening on http://{}", traffic.1));
    say(&format!("admin on http://{}", admin.1));

    // The admin side answers until the very end: it is how one watches a shutdown.
    let phase = shutdown.phase();
    tokio::spawn(server::admin(admin.0, admin::service(Arc::clone(&proxy), phase, writes)));
    tokio::spawn(server::traffic(traffic.0, Arc::clone(&proxy), shutdown.guard()));

    if !shutdown.run(release_delay, shutdown_timeout).await {
        eprintln!("gateway: shutdown_timeout is over: closing what is still open");
        // What is left is told, so that nobody takes half a response for a whole one.
        proxy.cluster().shutdown(DrainOptions::new().deadline(Duration::ZERO)).await;
    }
    Ok(())
}

async fn bind(key: &str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let refused = |error| Failure::runtime(&format!("{key} = \"{address}\""), error);
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    Ok((listener, bound))
}

/// Prints a line for whoever started the gateway, who may have closed the pipe since.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{}", line.trim_end());
}
