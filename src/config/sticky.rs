use std::time::Duration;

use serde::Deserialize;

use crate::error::Error;
use crate::sticky::{self, NewSessions, OnMiss, SameSite, Secure, StickyLayer};

use super::choice;

/// Sticky sessions; every key has the default of [`StickyLayer::builder`].
///
/// ```
/// use whippletree::Cluster;
/// use whippletree::config::StickyConfig;
///
/// let config: StickyConfig = toml::from_str(
///     r#"
///     cookie = "SRV"
///     keys = ["0123456789abcdef0123456789abcdef"]
///     idle = "30m"
///     "#,
/// )?;
/// let cluster = Cluster::builder().connect(|_| ());
/// let layer = config.sticky()?.build(&cluster)?;
/// assert_eq!(layer.counts().new, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct StickyConfig {
    /// The cookie's name; `SRV` by default.
    pub cookie: Option<String>,
    /// 16 characters or more each; the first signs, all verify. None: one at random.
    pub keys: Vec<String>,
    /// Such as `30m`.
    #[serde(with = "humantime_serde")]
    pub idle: Option<Duration>,
    /// Such as `8h`.
    #[serde(with = "humantime_serde")]
    pub absolute: Option<Duration>,
    /// Such as `5m`.
    #[serde(with = "humantime_serde")]
    pub active: Option<Duration>,
    /// Such as `30s`.
    #[serde(with = "humantime_serde")]
    pub rebind_after: Option<Duration>,
    /// `repick` (the default) or `fail`.
    pub on_miss: Option<String>,
    /// `even` (the default) or `by_policy`.
    pub new_sessions: Option<String>,
    /// The cookie's path; `/` by default.
    pub path: Option<String>,
    /// The cookie's domain; none by default.
    pub domain: Option<String>,
    /// `strict`, `lax` (the default) or `none`.
    pub same_site: Option<String>,
    /// `when_tls` (the default), `always` or `never`.
    pub secure: Option<String>,
    /// The header that says `https` where TLS ends before this balancer.
    pub tls_header: Option<String>,
    /// How long browsers keep the cookie; by default until they are closed.
    #[serde(with = "humantime_serde")]
    pub max_age: Option<Duration>,
    /// The header of responses after which a session may move; `x-session-safe-point` by default, and
    /// empty for none.
    pub safe_point: Option<String>,
    /// 1 to 1000; 1.25 by default.
    pub max_imbalance: Option<f64>,
    /// How long a session is idle before it may move; by default it never may.
    #[serde(with = "humantime_serde")]
    pub migrate_idle: Option<Duration>,
    /// Sessions per second; 10 by default.
    pub migrate_rate: Option<u32>,
}

impl StickyConfig {
    /// The parameters, to be built for a cluster.
    ///
    /// # Errors
    ///
    /// A name that none of the choices has. Other values are checked by
    /// [`build`](sticky::Builder::build).
    pub fn sticky(&self) -> Result<sticky::Builder, Error> {
        let mut builder = self.cookie(StickyLayer::builder())?;
        builder = self.keys.iter().fold(builder, sticky::Builder::key);
        builder = self.times(builder);
        builder = builder.on_miss(choice(
            "on_miss",
            &self.on_miss,
            [OnMiss::Repick, OnMiss::Fail],
            ["repick", "fail"],
        )?);
        builder = builder.new_sessions(choice(
            "new_sessions",
            &self.new_sessions,
            [NewSessions::Even, NewSessions::ByPolicy],
            ["even", "by_policy"],
        )?);
        if let Some(header) = &self.safe_point {
            builder = builder.safe_point(header);
        }
        if let Some(multiple) = self.max_imbalance {
            builder = builder.max_imbalance(multiple);
        }
        if let Some(rate) = self.migrate_rate {
            builder = builder.migrate_rate(rate);
        }
        Ok(builder.migrate_idle(self.migrate_idle))
    }

    fn cookie(&self, mut builder: sticky::Builder) -> Result<sticky::Builder, Error> {
        builder = builder.same_site(choice(
            "same_site",
            &self.same_site,
            [SameSite::Strict, SameSite::Lax, SameSite::None],
            ["strict", "lax", "none"],
        )?);
        builder = builder.secure(choice(
            "secure",
            &self.secure,
            [Secure::WhenTls, Secure::Always, Secure::Never],
            ["when_tls", "always", "never"],
        )?);
        if let Some(name) = &self.cookie {
            builder = builder.cookie(name);
        }
        if let Some(path) = &self.path {
            builder = builder.path(path);
        }
        if let Some(domain) = &self.domain {
            builder = builder.domain(domain);
        }
        if let Some(header) = &self.tls_header {
            builder = builder.tls_header(header);
        }
        Ok(builder)
    }

    fn times(&self, mut builder: sticky::Builder) -> sticky::Builder {
        if let Some(time) = self.idle {
            builder = builder.idle(time);
        }
        if let Some(time) = self.absolute {
            builder = builder.absolute(time);
        }
        if let Some(time) = self.active {
            builder = builder.active(time);
        }
        if let Some(time) = self.rebind_after {
            builder = builder.rebind_after(time);
        }
        if let Some(time) = self.max_age {
            builder = builder.max_age(time);
        }
        builder
    }
}

/// Without the keys.
impl std::fmt::Debug for StickyConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StickyConfig")
            .field("cookie", &self.cookie)
            .field("keys", &self.keys.len())
            .field("idle", &self.idle)
            .field("absolute", &self.absolute)
            .field("rebind_after", &self.rebind_after)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cluster;

    fn refused(text: &str) -> String {
        let parsed: Result<StickyConfig, _> = toml::from_str(text);
        let cluster = Cluster::builder().connect(|_| ());
        match parsed {
            Err(error) => error.message().to_owned(),
            Ok(config) => {
                let built = config.sticky().and_then(|builder| builder.build(&cluster));
                built.expect_err(text).to_string()
            }
        }
    }

    #[test]
    fn refusals_name_key_and_value() {
        for (text, message) in [
            ("cookie = \"a b\"", "cookie: \"a b\" is not a token"),
            ("keys = [\"short\"]", "keys[0]: \"5 bytes\" are less than"),
            ("idle = \"9h\"", "absolute: \"28800s\" is less than idle"),
            ("on_miss = \"panic\"", "on_miss: \"panic\" is none of repick, fail"),
            ("secure = \"yes\"", "secure: \"yes\" is none of when_tls, always, never"),
            ("same_site = \"none\"", "same_site: \"none\" needs a cookie"),
            ("max_imbalance = 0.9", "max_imbalance: \"0.9\" is not in"),
            ("colour = 1", "unknown field `colour`"),
        ] {
            let told = refused(text);
            assert!(told.starts_with(message), "{told}\n{message}");
        }
    }

    #[test]
    fn keys_do_not_show() {
        let config: StickyConfig = toml::from_str("keys = [\"0123456789abcdef\"]").unwrap();
        assert!(!format!("{config:?} {:?}", config.sticky().unwrap()).contains("0123456789abcdef"));
    }
}
