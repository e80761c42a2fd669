use std::time::Duration;

use http::{HeaderName, HeaderValue, Request};

use super::OverTls;
use super::token::LENGTH;
use crate::error::Error;

/// The cookie: its name and how it is set.
#[derive(Clone, Debug)]
pub(super) struct Cookie {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) domain: Option<String>,
    pub(super) same_site: SameSite,
    pub(super) secure: Secure,
    pub(super) max_age: Option<Duration>,
    /// A request whose header of this name is `https` came over TLS.
    pub(super) tls_header: Option<HeaderName>,
}

/// Whether browsers send the cookie with requests that other sites start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SameSite {
    /// Never.
    Strict,
    /// When the user follows a link. What HTML forms and frames need more than that, breaks.
    #[default]
    Lax,
    /// Always. Browsers want such a cookie to be [`Secure`](Secure::Always).
    None,
}

/// Whether browsers send the cookie over TLS only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Secure {
    /// If it was set over TLS: the request's URI has the scheme `https`, it carries
    /// [`OverTls`], or the header [`tls_header`](super::Builder::tls_header) says so.
    #[default]
    WhenTls,
    /// Yes.
    Always,
    /// No.
    Never,
}

impl Cookie {
    pub(super) fn new() -> Self {
        Self {
            name: "SRV".to_owned(),
            path: "/".to_owned(),
            domain: None,
            same_site: SameSite::Lax,
            secure: Secure::WhenTls,
            max_age: None,
            tls_header: None,
        }
    }

    /// Refuses what would not be read back as one cookie, or not be taken by a browser.
    pub(super) fn check(&self) -> Result<(), Error> {
        let refuse = |field, value: &str, reason| Err(Error::config(field, value, reason));
        if self.name.is_empty() || !self.name.bytes().all(is_token) {
            return refuse("cookie", &self.name, "is not a token as HTTP defines it");
        }
        if self.name.len() > LONGEST_NAME {
            return refuse("cookie", &self.name, "is longer than 128 characters");
        }
        if !self.path.starts_with('/') || !self.path.bytes().all(is_attribute) {
            return refuse("path", &self.path, "is not an absolute path of printable characters");
        }
        if let Some(domain) = &self.domain {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
            if domain.is_empty() || domain.len() > 253 || !domain.bytes().all(fits) {
                return refuse("domain", domain, "is not a domain name");
            }
        }
        let always = self.secure == Secure::Always;
        if self.same_site == SameSite::None && !always {
            return refuse("same_site", "none", "needs a cookie that is always secure");
        }
        // RFC 6265bis, section 4.1.3.
        if self.name.starts_with("__Secure-") && !always {
            return refuse("cookie", &self.name, "needs a cookie that is always secure");
        }
        let for_host = always && self.path == "/" && self.domain.is_none();
        if self.name.starts_with("__Host-") && !for_host {
            let reason = "needs a cookie that is always secure, has the path / and no domain";
            return refuse("cookie", &self.name, reason);
        }
        Ok(())
    }

    /// Whether a cookie that is set in answer to this request shall be secure.
    pub(super) fn is_secure<B>(&self, request: &Request<B>) -> bool {
        let came_over_tls = || {
            let header = self.tls_header.as_ref().and_then(|name| request.headers().get(name));
            request.uri().scheme() == Some(&http::uri::Scheme::HTTPS)
                || request.extensions().get::<OverTls>().is_some()
                || header.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"https"))
        };
        match self.secure {
            Secure::Always => true,
            Secure::Never => false,
            Secure::WhenTls => came_over_tls(),
        }
    }

    /// The value of `Set-Cookie`; `write` puts the token behind what it is given.
    pub(super) fn set(
        &self,
        protection: Protection,
        write: impl FnOnce(&mut String),
    ) -> Option<HeaderValue> {
        let mut text = String::with_capacity(self.name.len() + LENGTH + self.path.len() + 96);
        text.push_str(&self.name);
        text.push('=');
        write(&mut text);
        text.push_str("; Path=");
        text.push_str(&self.path);
        if let Some(domain) = &self.domain {
            text.push_str("; Domain=");
            text.push_str(domain);
        }
        if let Some(age) = self.max_age {
            text.push_str("; Max-Age=");
            text.push_str(&age.as_secs().to_string());
        }
        text.push_str("; HttpOnly; SameSite=");
        text.push_str(match self.same_site {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        });
        if protection == Protection::Secure {
            text.push_str("; Secure");
        }
        HeaderValue::try_from(text).ok()
    }
}

/// How one cookie is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    Secure,
    Plain,
}

/// Long enough for any name, short enough that name and value stay far below the 4096 bytes that
/// browsers keep (RFC 6265, section 6.1).
const LONGEST_NAME: usize = 128;

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 6265, section 4.1.1: any character except controls and the semicolon.
fn is_attribute(byte: u8) -> bool {
    (byte.is_ascii_graphic() || byte == b' ') && byte != b';'
}
