//! SIGHUP: the file is read again, and what has changed changes in place.
//!
//! The file is a source of its own within the cluster. So it wins for the ids that it lists, and
//! endpoints that were added otherwise (by a flag, by the admin side) are none of its business.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use tokio::task::JoinHandle;
use whippletree::cluster::{Admin, DrainOptions, FactKind, Source};
use whippletree::{Endpoint, EndpointId};

use crate::cli::Cli;
use crate::config::Config;
use crate::proxy::Proxy;

/// What the endpoints of the file are listed as.
const SOURCE: &str = "config";

/// Who says so, in the status and in events.
const BY: &str = "reload";

/// What the file has made of the cluster.
pub(crate) struct Reload {
    proxy: Arc<Proxy>,
    source: Source,
    listed: BTreeSet<EndpointId>,
    probe: Option<JoinHandle<()>>,
    config: Config,
}

impl Reload {
    /// Lets the cluster have what the file says, for the first time.
    pub(crate) fn start(proxy: Arc<Proxy>, config: Config) -> Result<Self, String> {
        let endpoints = config.endpoints()?;
        let source = proxy.cluster().source(SOURCE);
        let mut reload = Self { proxy, source, listed: BTreeSet::new(), probe: None, config };
        // Before there are endpoints: none is to serve unproven.
        reload.check()?;
        reload.listed = endpoints.iter().map(|endpoint| endpoint.id().clone()).collect();
        let replaced = reload.source.replace(endpoints);
        replaced.map_err(|error| reload.config.blame(&error))?;
        Ok(reload)
    }

    /// Starts the probe that the file asks for, in place of the one before.
    fn check(&mut self) -> Result<(), String> {
        let probe = self.config.probe()?;
        let task = probe.map(|probe| tokio::spawn(self.proxy.cluster().probe(probe)));
        if let Some(before) = std::mem::replace(&mut self.probe, task) {
            before.abort();
        }
        Ok(())
    }

    /// Reads the file anew whenever the process is told to. A bad file changes nothing.
    #[cfg(unix)]
    pub(crate) async fn run(mut self, cli: Cli, mut hangups: tokio::signal::unix::Signal) {
        while hangups.recv().await.is_some() {
            match self.again(&cli) {
                Ok(()) => crate::say("reloaded"),
                Err(line) => {
                    eprintln!("gateway: not reloaded: {}", crate::config::printable(&line));
                }
            }
        }
    }

    /// Everything is checked before anything is changed.
    fn again(&mut self, cli: &Cli) -> Result<(), String> {
        let config = Config::read(cli)?;
        config.refuse_restart(&self.config)?;
        let settings = config.settings()?;
        let endpoints = config.endpoints()?;
        config.probe()?;
        config.refuse_twins(cli, &endpoints)?;

        let other_probe = config.probes_otherwise(&self.config);
        self.config = config;
        self.proxy.cluster().reconfigure(settings);
        if other_probe {
            self.check()?;
        }
        let listed = endpoints.iter().map(|endpoint| endpoint.id().clone()).collect();
        let left = std::mem::replace(&mut self.listed, listed);
        for endpoint in endpoints {
            let id = endpoint.id().clone();
            self.list(endpoint)?;
            if !left.contains(&id) {
                self.keep(&id);
            }
        }
        for id in left.difference(&self.listed) {
            self.leave(id);
        }
        Ok(())
    }

    /// Lists an endpoint. Its drain goes on, unless it had left the file before, or the cluster.
    fn list(&self, endpoint: Endpoint) -> Result<(), String> {
        let (cluster, id) = (self.proxy.cluster(), endpoint.id().clone());
        let is_new = self.who(&id, FactKind::Admin).is_none_or(|by| by == BY);
        self.source.insert(endpoint).map_err(|error| self.config.blame(&error))?;
        if is_new {
            // An error says that it is gone again.
            let _ = cluster.set_admin(&id, Admin::Ready, BY);
        }
        Ok(())
    }

    /// Keeps an endpoint that is new in the file. It may have left it while it was drained by somebody
    /// else: that drain goes on, and the endpoint is no longer to be removed after it.
    fn keep(&self, id: &EndpointId) {
        let cluster = self.proxy.cluster();
        if cluster.drained(id).is_some_and(|drain| drain.report().is_none()) {
            let options = DrainOptions::new().deadline(self.config.shutdown_timeout).by(BY);
            // It goes on by itself; an error says that the endpoint is gone already.
            drop(cluster.drain(id, options));
        }
    }

    /// Lets go of an endpoint that the file lists no longer: drained and removed, unless somebody
    /// else lists it too.
    fn leave(&self, id: &EndpointId) {
        let sources = self.who(id, FactKind::Discovery).unwrap_or_default();
        if sources.split(", ").any(|source| source != self.source.name()) {
            self.source.remove(id);
            return;
        }
        let options = DrainOptions::new().deadline(self.config.shutdown_timeout);
        let options = options.then(whippletree::cluster::Then::Removal).by(BY);
        // It goes on by itself; an error says that the endpoint is gone already.
        drop(self.proxy.cluster().drain(id, options));
    }

    /// Who has said this of the endpoint, if it is here.
    fn who(&self, id: &EndpointId, kind: FactKind) -> Option<String> {
        let status = self.proxy.cluster().status();
        let found = status.endpoints.iter().find(|status| status.endpoint.id() == id)?;
        found.fact(kind).map(|fact| fact.by.to_string())
    }
}

/// The signals, from now on.
#[cfg(unix)]
pub(crate) fn hangups() -> io::Result<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
}
