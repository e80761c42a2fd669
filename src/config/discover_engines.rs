//! Where endpoints come from besides the list: etcd, Consul, Kubernetes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::SubsettingConfig;
use crate::balance;
use crate::error::Error;

/// Sources of endpoints that run beside the list, each named as its key is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct EnginesConfig {
    /// Keys of etcd; needs the feature `etcd`.
    pub etcd: Option<EtcdConfig>,
    /// A service of Consul; needs the feature `consul`.
    pub consul: Option<ConsulConfig>,
    /// A service of Kubernetes; needs the feature `kube`.
    pub kube: Option<KubeConfig>,
    /// Which endpoints of each of these sources are used; all by default.
    pub subset: Option<SubsettingConfig>,
}

/// As [`discover::Etcd`](https://docs.rs/whippletree/latest/whippletree/discover/struct.Etcd.html).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EtcdConfig {
    /// The members, such as `["http://127.0.0.1:2379"]`.
    pub servers: Vec<String>,
    /// What keys begin with, such as `/services/web/`.
    pub prefix: String,
    /// How long a member may take to answer; `5s` by default.
    #[serde(default, with = "humantime_serde")]
    pub timeout: Option<Duration>,
    /// How long a watch may be silent before it is made anew; `30s` by default.
    #[serde(default, with = "humantime_serde")]
    pub quiet: Option<Duration>,
    /// Whether "no keys" is taken at its word.
    #[serde(default)]
    pub allow_empty: bool,
}

/// As [`discover::Consul`](https://docs.rs/whippletree/latest/whippletree/discover/struct.Consul.html).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ConsulConfig {
    /// The servers or agents, such as `["http://127.0.0.1:8500"]`.
    pub servers: Vec<String>,
    /// The service's name.
    pub service: String,
    /// Further parameters, such as `{ dc = "eu", tag = "v2" }`.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// A file with the token, read at the start.
    pub token_file: Option<PathBuf>,
    /// Whether instances with warnings are listed.
    #[serde(default)]
    pub with_warnings: bool,
    /// How long a query waits for a change; `60s` by default.
    #[serde(default, with = "humantime_serde")]
    pub wait: Option<Duration>,
    /// How long an answer may take beyond that; `5s` by default.
    #[serde(default, with = "humantime_serde")]
    pub timeout: Option<Duration>,
    /// Whether "no instances" is taken at its word.
    #[serde(default)]
    pub allow_empty: bool,
}

/// As [`discover::Kube`](https://docs.rs/whippletree/latest/whippletree/discover/struct.Kube.html).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KubeConfig {
    /// The API server, such as `http://127.0.0.1:8001` (`kubectl proxy`).
    pub server: String,
    /// `default` by default.
    pub namespace: Option<String>,
    /// The service's name.
    pub service: String,
    /// A name or a number, as a text; the only one by default.
    pub port: Option<String>,
    /// The zone of this process.
    pub zone: Option<String>,
    /// `v4` (the default) or `v6`.
    pub ip_family: Option<String>,
    /// A file with the token, read for every request.
    pub token_file: Option<PathBuf>,
    /// How long the server may take to answer; `5s` by default.
    #[serde(default, with = "humantime_serde")]
    pub timeout: Option<Duration>,
    /// How long a watch may be silent before it is made anew; `90s` by default.
    #[serde(default, with = "humantime_serde")]
    pub quiet: Option<Duration>,
    /// Whether "no endpoints" is taken at its word.
    #[serde(default)]
    pub allow_empty: bool,
}

impl EnginesConfig {
    /// Adds the sources to a balance.
    pub(super) fn apply(&self, mut builder: balance::Builder) -> Result<balance::Builder, Error> {
        if let Some(etcd) = &self.etcd {
            builder = etcd.apply(builder).map_err(|error| error.within("etcd"))?;
        }
        if let Some(consul) = &self.consul {
            builder = consul.apply(builder).map_err(|error| error.within("consul"))?;
        }
        if let Some(kube) = &self.kube {
            builder = kube.apply(builder).map_err(|error| error.within("kube"))?;
        }
        if let Some(subset) = &self.subset {
            let subsetting = subset.subsetting().map_err(|error| error.within("subset"))?;
            builder = builder.narrow(&subsetting);
        }
        Ok(builder)
    }
}

#[cfg(any(feature = "etcd", feature = "consul", feature = "kube"))]
fn options(name: &str, allow_empty: bool) -> crate::discover::Options {
    let options = crate::discover::Options::new(name);
    if allow_empty { options.allow_empty() } else { options }
}

impl EtcdConfig {
    #[cfg(feature = "etcd")]
    fn apply(&self, builder: balance::Builder) -> Result<balance::Builder, Error> {
        let mut etcd = crate::discover::Etcd::new(&self.servers, &self.prefix)?;
        if let Some(time) = self.timeout {
            etcd = etcd.timeout(time);
        }
        if let Some(time) = self.quiet {
            etcd = etcd.quiet(time);
        }
        Ok(builder.discover(options("etcd", self.allow_empty), etcd.watch()))
    }

    #[cfg(not(feature = "etcd"))]
    fn apply(&self, _: balance::Builder) -> Result<balance::Builder, Error> {
        Err(Error::config("prefix", &self.prefix, "needs the feature `etcd`"))
    }
}

impl ConsulConfig {
    #[cfg(feature = "consul")]
    fn apply(&self, builder: balance::Builder) -> Result<balance::Builder, Error> {
        let mut consul = crate::discover::Consul::new(&self.servers, &self.service)?;
        if self.with_warnings {
            consul = consul.with_warnings();
        }
        for (name, value) in &self.query {
            consul = consul.query(name, value);
        }
        if let Some(path) = &self.token_file {
            let refuse = |error: std::io::Error| {
                Error::config("token_file", path.display(), format!("cannot be read: {error}"))
            };
            consul = consul.token(std::fs::read_to_string(path).map_err(refuse)?.trim())?;
        }
        if let Some(time) = self.wait {
            consul = consul.wait(time);
        }
        if let Some(time) = self.timeout {
            consul = consul.timeout(time);
        }
        Ok(builder.discover(options("consul", self.allow_empty), consul.watch()))
    }

    #[cfg(not(feature = "consul"))]
    fn apply(&self, _: balance::Builder) -> Result<balance::Builder, Error> {
        Err(Error::config("service", &self.service, "needs the feature `consul`"))
    }
}

impl KubeConfig {
    #[cfg(feature = "kube")]
    fn apply(&self, builder: balance::Builder) -> Result<balance::Builder, Error> {
        use crate::discover::{IpFamily, Kube};

        let namespace = self.namespace.as_deref().unwrap_or("default");
        let mut kube = Kube::new(&self.server, namespace, &self.service)?;
        if let Some(port) = &self.port {
            kube = kube.port(port)?;
        }
        if let Some(zone) = &self.zone {
            kube = kube.zone(zone.as_str());
        }
        let families = [IpFamily::V4, IpFamily::V6];
        kube = kube.ip_family(super::choice("ip_family", &self.ip_family, families, ["v4", "v6"])?);
        if let Some(path) = &self.token_file {
            kube = kube.token_file(path);
        }
        if let Some(time) = self.timeout {
            kube = kube.timeout(time);
        }
        if let Some(time) = self.quiet {
            kube = kube.quiet(time);
        }
        Ok(builder.discover(options("kube", self.allow_empty), kube.watch()))
    }

    #[cfg(not(feature = "kube"))]
    fn apply(&self, _: balance::Builder) -> Result<balance::Builder, Error> {
        Err(Error::config("service", &self.service, "needs the feature `kube`"))
    }
}

#[cfg(all(test, feature = "etcd", feature = "consul", feature = "kube"))]
mod tests {
    use crate::config::ClusterConfig;

    fn build(text: &str) -> Result<(), String> {
        let config: ClusterConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        config.balance().map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn sources_stand_beside_the_list() {
        let text = r#"
            [[endpoints]]
            address = "10.0.0.1:80"
            [discover]
            etcd = { servers = ["http://127.0.0.1:2379"], prefix = "/web/", quiet = "1m" }
            consul = { servers = ["http://127.0.0.1:8500"], service = "web", query = { dc = "eu" } }
            [discover.kube]
            server = "http://127.0.0.1:8001"
            service = "web"
            port = "http"
            ip_family = "v6"
            allow_empty = true
        "#;
        assert_eq!(build(text), Ok(()));
    }

    #[test]
    fn refusals_name_the_key_and_the_value() {
        for (text, error) in [
            (
                r#"etcd = { servers = ["nowhere"], prefix = "/web/" }"#,
                r#"discover.etcd.servers: "nowhere" is not a URL such as http://127.0.0.1:2379"#,
            ),
            (
                r#"etcd = { servers = [], prefix = "/web/" }"#,
                r#"discover.etcd.servers: "" names no server"#,
            ),
            (
                r#"consul = { servers = ["http://a"], service = "" }"#,
                r#"discover.consul.service: "" is empty"#,
            ),
            (
                r#"kube = { server = "http://a", service = "web", port = "0" }"#,
                r#"discover.kube.port: "0" is not in 1..=65535"#,
            ),
            (
                r#"kube = { server = "http://a", service = "web", ip_family = "6" }"#,
                r#"discover.kube.ip_family: "6" is none of v4, v6"#,
            ),
        ] {
            assert_eq!(build(&format!("[discover]\n{text}")).unwrap_err(), error);
        }
        let unknown = build("[discover]\nzookeeper = {}").unwrap_err();
        assert!(unknown.contains("unknown field `zookeeper`"), "{unknown}");
    }
}
