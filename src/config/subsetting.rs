//! Which endpoints of a large fleet are used.

use serde::Deserialize;

use crate::discover::Subsetting;
use crate::error::Error;

/// As [`Subsetting`]: of every source of `discover`, the list stays whole.
///
/// ```
/// use whippletree::config::ClusterConfig;
///
/// for subset in [
///     r#"{ random = { size = 20, name = "web-7" } }"#,
///     "{ random = { size = 20, seed = 7 } }",
///     "{ aperture = { client = 3, clients = 40, least = 20 } }",
/// ] {
///     let config = format!("[discover]\nsubset = {subset}");
///     toml::from_str::<ClusterConfig>(&config)?.balance()?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
#[non_exhaustive]
pub enum SubsettingConfig {
    /// [`Subsetting::random`].
    #[non_exhaustive]
    Random {
        /// How many endpoints of each priority, at least 1.
        size: usize,
        /// What is drawn with; another number at every start by default.
        seed: Option<u64>,
        /// Instead of a seed: the name of this client, such as that of its host.
        name: Option<String>,
    },
    /// [`Subsetting::aperture`].
    #[non_exhaustive]
    Aperture {
        /// The number of this client, from 0.
        client: u32,
        /// How many clients there are.
        clients: u32,
        /// How many endpoints it covers at least; 12 by default.
        least: Option<usize>,
    },
}

impl SubsettingConfig {
    /// The subset.
    ///
    /// # Errors
    ///
    /// A size or least number of 0, a client that is not below the number of clients, a seed beside
    /// a name.
    pub fn subsetting(&self) -> Result<Subsetting, Error> {
        match self {
            Self::Random { size, seed, name } => {
                random(*size, *seed, name.as_deref()).map_err(|error| error.within("random"))
            }
            Self::Aperture { client, clients, least } => {
                let aperture = Subsetting::aperture(*client, *clients);
                let aperture = match least {
                    Some(least) => aperture.and_then(|aperture| aperture.least(*least)),
                    None => aperture,
                };
                aperture.map_err(|error| error.within("aperture"))
            }
        }
    }
}

fn random(size: usize, seed: Option<u64>, name: Option<&str>) -> Result<Subsetting, Error> {
    let random = Subsetting::random(size)?;
    match (seed, name) {
        (None, None) => Ok(random),
        (Some(seed), None) => Ok(random.seed(seed)),
        (None, Some(name)) => Ok(random.client(name)),
        (Some(_), Some(name)) => Err(Error::config("name", name, "stands beside a seed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClusterConfig;

    fn build(subset: &str) -> Result<(), String> {
        let config: ClusterConfig = toml::from_str(&format!("[discover]\nsubset = {subset}"))
            .map_err(|error| error.to_string())?;
        config.balance().map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn subset_is_the_one_that_is_written() {
        let of = |text: &str| {
            let config: ClusterConfig =
                toml::from_str(&format!("[discover]\nsubset = {text}")).unwrap();
            config.discover.subset.unwrap().subsetting().unwrap()
        };
        let random = Subsetting::random(20).unwrap();
        assert_eq!(of("{ random = { size = 20, seed = 7 } }"), random.clone().seed(7));
        let named = of(r#"{ random = { size = 20, name = "web-7" } }"#);
        assert_eq!(named, random.client("web-7"));
        let aperture = Subsetting::aperture(3, 40).unwrap();
        assert_eq!(of("{ aperture = { client = 3, clients = 40 } }"), aperture);
        let aperture = aperture.least(20).unwrap();
        assert_eq!(of("{ aperture = { client = 3, clients = 40, least = 20 } }"), aperture);
    }

    #[test]
    fn refusals_name_the_key_and_the_value() {
        for (subset, error) in [
            ("{ random = { size = 0 } }", r#"discover.subset.random.size: "0" is not at least 1"#),
            (
                r#"{ random = { size = 9, seed = 1, name = "web-7" } }"#,
                r#"discover.subset.random.name: "web-7" stands beside a seed"#,
            ),
            (
                "{ aperture = { client = 3, clients = 3 } }",
                r#"discover.subset.aperture.client: "3" is not below the number of clients, 3"#,
            ),
            (
                "{ aperture = { client = 2, clients = 3, least = 0 } }",
                r#"discover.subset.aperture.least: "0" is not at least 1"#,
            ),
        ] {
            assert_eq!(build(subset).unwrap_err(), error);
        }
        for (subset, error) in [
            ("{ random = { size = 9, colour = 1 } }", "colour"),
            ("{ aperture = { client = 1 } }", "missing field `clients`"),
            ("{ first = { size = 9 } }", "unknown variant `first`"),
        ] {
            let told = build(subset).unwrap_err();
            assert!(told.contains(error), "{told}");
        }
    }
}
