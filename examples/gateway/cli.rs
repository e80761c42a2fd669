//! The flags. They serve the common case; the file can do everything.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use whippletree::policy::{self, Policy};
use whippletree::{Endpoint, Weight};

/// An HTTP reverse proxy that balances load with whippletree.
///
/// Without --config and without --endpoint it balances over three built-in demo endpoints.
#[derive(Clone, Debug, Parser)]
#[command(name = "gateway")]
pub(crate) struct Cli {
    /// Reads the configuration from this TOML file; flags win over it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Where to accept traffic [default: 127.0.0.1:8080]; port 0 takes any free one.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,

    /// Where to answer health checks and statistics [default: 127.0.0.1:8404].
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<SocketAddr>,

    /// An endpoint to balance over, beside those of the file. May be repeated.
    #[arg(
        long = "endpoint",
        value_name = "[ID=]HOST:PORT[,weight=N][,priority=N]",
        value_parser = endpoint
    )]
    pub(crate) endpoints: Vec<Endpoint>,

    /// The policy that picks the endpoint of a request [default: p2c].
    #[arg(long, value_name = "NAME", value_parser = policy::by_name)]
    pub(crate) policy: Option<Arc<dyn Policy>>,
}

impl Cli {
    /// Whether nobody said what to balance over.
    pub(crate) fn wants_demo(&self) -> bool {
        self.config.is_none() && self.endpoints.is_empty()
    }
}

/// The flags that this process was started with.
pub(crate) fn read() -> Result<Cli, clap::Error> {
    Cli::try_parse()
}

/// What clap says in a paragraph, with hints and usage after it, as one line.
pub(crate) fn in_one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = paragraph.split_whitespace().collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}

/// Parses `[ID=]HOST:PORT[,weight=N][,priority=N]`. What is a good id, address or weight is for
/// the library to say.
fn endpoint(text: &str) -> Result<Endpoint, String> {
    let mut parts = text.split(',');
    let target = parts.next().unwrap_or_default();
    // An address has no `=`, so the last one is ours: an id may well have one.
    let mut endpoint = match target.rsplit_once('=') {
        Some((id, address)) => Endpoint::new(address).and_then(|endpoint| endpoint.with_id(id)),
        None => Endpoint::new(target),
    }
    .map_err(|error| error.to_string())?;
    for part in parts {
        endpoint = match part.split_once('=') {
            Some(("weight", value)) => {
                let weight = Weight::new(number("weight", value)?);
                endpoint.with_weight(weight.map_err(|error| error.to_string())?)
            }
            Some(("priority", value)) => endpoint.with_priority(number("priority", value)?),
            _ => return Err(format!("`{part}` is neither weight=N nor priority=N")),
        };
    }
    Ok(endpoint)
}

fn number(key: &str, value: &str) -> Result<u32, String> {
    value.parse().map_err(|error| format!("{key}: {value:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn endpoint_flag_takes_id_weight_and_priority_in_any_order() {
        let plain = endpoint("10.0.0.1:80").unwrap();
        assert_eq!((plain.id().as_str(), plain.priority()), ("10.0.0.1:80", 0));
        let full = endpoint("a=b=[::1]:80,priority=2,weight=7").unwrap();
        assert_eq!((full.id().as_str(), full.address().port()), ("a=b", 80));
        assert_eq!((full.weight(), full.priority()), (Weight::new(7).unwrap(), 2));
    }

    #[test]
    fn endpoint_flag_names_what_is_wrong() {
        for (text, part) in [
            ("", "address"),
            ("host", "host"),
            ("a=host:99999", "99999"),
            ("=host:80", "id"),
            ("host:80,weight=x", "weight: \"x\""),
            ("host:80,weight=70000", "70000"),
            ("host:80,priority=-1", "priority: \"-1\""),
            ("host:80,color=red", "color=red"),
        ] {
            let error = endpoint(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn wrong_flags_are_told_in_one_line() {
        for arguments in [
            vec!["gateway", "--listen", "nowhere"],
            vec!["gateway", "--fast"],
            vec!["gateway", "x"],
        ] {
            let line = in_one_line(&Cli::try_parse_from(&arguments).unwrap_err());
            assert!(!line.contains('\n') && line.contains(arguments.last().unwrap()), "{line}");
        }
    }
}
