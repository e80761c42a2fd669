//! The file: the gateway's own keys here, `[cluster]` as the library defines it.
//!
//! A key that is not known is refused, here and in the library: a misspelt `shutdwn_timeout` must
//! not mean thirty seconds in silence.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use hyper::http::uri::Scheme;
use serde::Deserialize;
use whippletree::Endpoint;
use whippletree::affinity::AffinityLayer;
use whippletree::balance;
use whippletree::cluster;
use whippletree::config::{ClusterConfig, FailoverConfig, QueueConfig, StickyConfig};
use whippletree::probe::Probe;

use super::cli::Cli;

/// Beyond this many threads it is a slip of the finger; starting them could bring the machine down.
const MOST_THREADS: usize = 1024;

/// Keys that are read once, at the start.
const SETTLED: [&str; 16] = [
    "listen",
    "admin",
    "admin_writes",
    "expose_endpoint",
    "threads",
    "release_delay",
    "shutdown_timeout",
    "failover",
    "queue",
    "sticky",
    "cluster.discover",
    "cluster.fail_fast",
    "cluster.hash_on",
    "cluster.hash_secret",
    "cluster.trusted",
    "cluster.trusted_hops",
];

/// Everything the gateway needs to know, checked. Keys that are absent have these defaults:
///
/// ```toml
/// listen = "127.0.0.1:8080"
/// admin = "127.0.0.1:8404"
/// admin_writes = false             # true: the admin side's verbs may change things
/// expose_endpoint = false          # true: responses say `x-served-by: ID`
/// # threads = 2                    # absent: one per core
/// release_delay = "0s"             # after SIGTERM go on accepting so long, /healthz already 503
/// shutdown_timeout = "30s"         # then finish what is in flight, for so long at most
///
/// [cluster]                        # see `whippletree::config::ClusterConfig`
/// policy = "p2c"
/// # hash_on = "header:x-user"      # the key of the policies ring_hash, ketama, maglev, rendezvous
/// # bounded = 1.25                 # how much more than the mean a key may bring its endpoint
///
/// [[cluster.endpoints]]
/// id = "backend-1"
/// address = "127.0.0.1:9001"
///
/// [cluster.probe]                  # absent: no probes
/// path = "/api/v1/health"
///
/// [cluster.outlier]                # absent: on, with the defaults
/// consecutive_failures = 5
///
/// [failover]                       # absent: on, with the defaults; attempts = 1 turns it off
/// attempts = 3
/// per_try_timeout = "2s"
///
/// [queue]                          # absent: none; for endpoints with `max_in_flight`
/// size = 1000
/// timeout = "5s"
///
/// [sticky]                         # absent: none; see `whippletree::config::StickyConfig`
/// cookie = "SRV"
/// keys = ["0123456789abcdef0123456789abcdef"]
/// ```
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) admin_writes: bool,
    pub(crate) expose_endpoint: bool,
    #[serde(deserialize_with = "threads")]
    pub(crate) threads: Option<NonZeroUsize>,
    #[serde(with = "humantime_serde")]
    pub(crate) release_delay: Duration,
    #[serde(with = "humantime_serde")]
    pub(crate) shutdown_timeout: Duration,
    /// Absent: no cookie.
    pub(crate) sticky: Option<StickyConfig>,
    cluster: ClusterConfig,
    pub(crate) failover: FailoverConfig,
    queue: Option<QueueConfig>,
    /// The file, to be compared with a later one.
    #[serde(skip)]
    file: toml::Table,
    /// Where the values came from, for error messages.
    #[serde(skip)]
    origin: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin: SocketAddr::from(([127, 0, 0, 1], 8404)),
            admin_writes: false,
            expose_endpoint: false,
            threads: None,
            release_delay: Duration::ZERO,
            shutdown_timeout: Duration::from_secs(30),
            sticky: None,
            cluster: ClusterConfig::default(),
            failover: FailoverConfig::default(),
            queue: None,
            file: toml::Table::new(),
            origin: "flags".to_owned(),
        }
    }
}

impl Config {
    /// The file, if there is one, and the flags on top. The error is one line that names the file,
    /// the key and the value.
    pub(crate) fn read(cli: &Cli) -> Result<Self, String> {
        let mut config = match &cli.config {
            Some(path) => Self::from_file(path)?,
            None => Self::default(),
        };
        config.listen = cli.listen.unwrap_or(config.listen);
        config.admin = cli.admin.unwrap_or(config.admin);
        if let Some(policy) = &cli.policy {
            config.cluster.policy = Some(policy.name().to_owned());
        }
        Ok(config)
    }

    fn from_file(path: &Path) -> Result<Self, String> {
        let origin = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{origin}: {error}"))?;
        let parsed = toml::from_str(&text);
        let config: Self = parsed.map_err(|error| explain(&origin, &text, &error))?;
        let file = toml::from_str(&text).map_err(|error| explain(&origin, &text, &error))?;
        Ok(Self { file, origin, ..config })
    }

    /// The balancer that file and flags describe, with the endpoints of the flags alone; the caller
    /// adds the client. Those of the file come and go with it.
    pub(crate) fn balance(&self, cli: &Cli) -> Result<balance::Builder, String> {
        let endpoints = self.endpoints()?;
        self.refuse_twins(cli, &endpoints)?;
        self.failover.layer().map_err(|error| format!("{}: failover: {error}", self.origin))?;
        let queue = self.queue.as_ref().map(QueueConfig::queue);
        let builder = balance::Builder::of(self.settings()?).queue(queue);
        let mut builder = self.cluster.follow(builder).map_err(|error| self.blame(&error))?;
        if let Some(time) = self.cluster.fail_fast {
            builder = builder.fail_fast(time);
        }
        cli.endpoints.iter().try_for_each(|endpoint| self.refuse_tls(endpoint))?;
        Ok(cli.endpoints.iter().cloned().fold(builder, balance::Builder::endpoint))
    }

    /// The policy and the parameters.
    pub(crate) fn settings(&self) -> Result<cluster::Builder, String> {
        self.cluster.cluster().map_err(|error| self.blame(&error))
    }

    /// The endpoints of the file.
    pub(crate) fn endpoints(&self) -> Result<Vec<Endpoint>, String> {
        let endpoints = self.cluster.endpoints().map_err(|error| self.blame(&error))?;
        endpoints.iter().try_for_each(|endpoint| self.refuse_tls(endpoint))?;
        Ok(endpoints)
    }

    /// How endpoints are checked, if they are.
    pub(crate) fn probe(&self) -> Result<Option<Probe>, String> {
        let Some(config) = &self.cluster.probe else {
            return Ok(None);
        };
        let probe = config.check().and_then(|check| config.probe(check.fresh()));
        probe.map(Some).map_err(|error| format!("{}: cluster: probe.{error}", self.origin))
    }

    pub(crate) fn probes_otherwise(&self, before: &Self) -> bool {
        self.written("cluster.probe") != before.written("cluster.probe")
    }

    /// An id means one endpoint, the file's or the flags'.
    pub(crate) fn refuse_twins(&self, cli: &Cli, endpoints: &[Endpoint]) -> Result<(), String> {
        let is_flag = |id| cli.endpoints.iter().any(|endpoint| endpoint.id() == id);
        match endpoints.iter().map(Endpoint::id).find(|id| is_flag(*id)) {
            Some(id) => Err(format!("{}: id: \"{id}\" is in the file and a flag", self.origin)),
            None => Ok(()),
        }
    }

    /// What is settled when the gateway starts cannot be changed while it runs.
    pub(crate) fn refuse_restart(&self, before: &Self) -> Result<(), String> {
        let other = SETTLED.iter().find(|key| self.written(key) != before.written(key));
        other.map_or(Ok(()), |key| {
            Err(format!("{}: {key}: a change of it needs a restart", self.origin))
        })
    }

    /// What the file says of a key, as it stands there.
    fn written(&self, key: &str) -> Option<&toml::Value> {
        let mut keys = key.split('.');
        let value = self.file.get(keys.next()?)?;
        keys.try_fold(value, |value, key| value.get(key))
    }

    fn refuse_tls(&self, endpoint: &Endpoint) -> Result<(), String> {
        let address = endpoint.address();
        if address.scheme() == Some(&Scheme::HTTPS) {
            return Err(format!(
                "{}: address: \"{address}\" needs TLS, which this example has not",
                self.origin
            ));
        }
        Ok(())
    }

    /// What gives requests their keys, if the policy picks by any.
    pub(crate) fn affinity(&self) -> Result<Option<AffinityLayer>, String> {
        self.cluster.affinity().map_err(|error| self.blame(&error))
    }

    /// The library's word on a wrong value (it names field and value) and where that value stands.
    pub(crate) fn blame(&self, error: &whippletree::Error) -> String {
        format!("{}: cluster: {error}", self.origin)
    }

    /// The same of `[sticky]`.
    pub(crate) fn blame_sticky(&self, error: &whippletree::Error) -> String {
        format!("{}: sticky: {error}", self.origin)
    }
}

fn threads<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<NonZeroUsize>, D::Error> {
    let threads = NonZeroUsize::deserialize(value)?;
    if threads.get() > MOST_THREADS {
        let reason = format!("{threads} threads are more than {MOST_THREADS}");
        return Err(serde::de::Error::custom(reason));
    }
    Ok(Some(threads))
}

/// File and line, the line itself (it has the key and the value), and what is wrong with it.
fn explain(origin: &str, text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let number = text.bytes().take(start).filter(|byte| *byte == b'\n').count();
    let line: String =
        text.lines().nth(number).unwrap_or_default().trim().chars().take(200).collect();
    format!("{origin}:{}: `{line}`: {}", number + 1, error.message())
}

/// `text` as one line that does no harm to a terminal, whatever a file or a flag put into it.
pub(crate) fn printable(text: &str) -> String {
    let escape = |c: char| match c {
        '\n' => " ".to_owned(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.trim_end().chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let parsed: Result<Config, _> = toml::from_str(text);
        explain("gw.toml", text, &parsed.expect_err(text))
    }

    #[test]
    fn absent_keys_have_their_defaults() {
        let config: Config = toml::from_str("threads = 3\nrelease_delay = \"2s\"").unwrap();
        assert_eq!(config.listen.port(), 8080);
        assert_eq!(config.threads.map(NonZeroUsize::get), Some(3));
        assert_eq!(config.release_delay, Duration::from_secs(2));
        assert_eq!(config.shutdown_timeout, Duration::from_secs(30));
    }

    #[test]
    fn refusals_name_file_line_key_and_value() {
        for (text, start) in [
            ("listen = \"here\"", "gw.toml:1: `listen = \"here\"`: "),
            ("\nthreads = 0", "gw.toml:2: `threads = 0`: "),
            ("threads = 1025", "gw.toml:1: `threads = 1025`: "),
            ("# x\nshutdown_timeout = \"soon\"", "gw.toml:2: `shutdown_timeout = \"soon\"`: "),
            ("expose_endpoint = 1", "gw.toml:1: `expose_endpoint = 1`: "),
            ("shutdwn_timeout = \"1s\"", "gw.toml:1: `shutdwn_timeout = \"1s\"`: unknown field"),
            ("[cluster]\npolice = \"p2c\"", "gw.toml:2: `police = \"p2c\"`: unknown field"),
            ("[queue]\nlength = 1", "gw.toml:2: `length = 1`: unknown field"),
            ("[queue]\ntimeout = 5", "gw.toml:2: `timeout = 5`: "),
            ("[cache]\nsize = 1", "gw.toml:1: `[cache]`: unknown field"),
            ("listen = ", "gw.toml:1: `listen =`: "),
        ] {
            let line = refused(text);
            assert!(line.starts_with(start), "{line}\n{start}");
        }
    }

    #[test]
    fn printable_text_is_one_line() {
        assert_eq!(printable("a\nb\u{1b}[31m\n"), "a b\\u{1b}[31m");
    }
}
