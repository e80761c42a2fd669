use std::collections::BTreeMap;
use std::time::Duration;

use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout, timeout_at};

use super::Kube;
use super::slice::{self, Merit, Slice};
use crate::discover::remote::{
    Ask, Engine, Failure, MOST_BYTES, MOST_ENDPOINTS, MOST_FRAME, Pace, Reader, Roster, Said,
    at_most, escaped, excerpt, jittered, some_of,
};
use crate::endpoint::{Endpoint, EndpointId};
use crate::error::BoxError;

/// How many slices a page of a list has. Of a thousand endpoints each, their limit, with half a
/// kilobyte for each, a page has five megabytes.
const PAGE: u32 = 10;

/// How long the server is asked to keep a watch: client-go's own least.
const WATCH: Duration = Duration::from_secs(300);

/// How long after a list, or after a watch was opened, the next may follow that the server asks
/// for. One that always does is then met with the backoff of a source that failed.
const BETWEEN: Duration = Duration::from_secs(1);

/// A list of the slices, and a watch from there on.
pub(super) struct Watch {
    kube: Kube,
    /// Where the watch goes on. None: all is to be listed.
    version: Option<String>,
    stream: Option<Reader>,
    opened: Instant,
    /// When a silent watch is made anew.
    renew_at: Instant,
    listed: Option<Instant>,
    roster: Roster<Merit>,
    pace: Pace,
    /// What could not be read since the last set.
    refused: Vec<String>,
}

#[derive(Deserialize)]
struct Page<'a> {
    metadata: PageMetadata,
    #[serde(borrow, default, deserialize_with = "at_most::<_, _, MOST_ENDPOINTS>")]
    items: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct PageMetadata {
    #[serde(rename = "resourceVersion", default)]
    version: String,
    #[serde(rename = "continue", default)]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// What an ERROR event carries.
#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

/// What an event of the watch amounts to.
enum Heard {
    Nothing,
    Change,
    /// The version is gone.
    Gone(String),
}

impl Engine for Watch {
    async fn next(&mut self) -> Result<Said, BoxError> {
        let said = self.step().await;
        if said.is_err() {
            self.stream = None;
        }
        said
    }
}

impl Watch {
    pub(super) fn new(kube: Kube) -> Self {
        Self {
            kube,
            version: None,
            stream: None,
            opened: Instant::now(),
            renew_at: Instant::now(),
            listed: None,
            roster: Roster::new(),
            pace: Pace::default(),
            refused: Vec::new(),
        }
    }

    async fn step(&mut self) -> Result<Said, BoxError> {
        let Some(version) = self.version.clone() else {
            return self.list(None).await;
        };
        if self.stream.is_none() {
            if let Some(reason) = self.open(&version).await? {
                return self.list(Some(reason)).await;
            }
            // The set again: it tells that all is well, and heals what was missed.
            return Ok(self.say(None));
        }
        self.listen().await
    }

    /// Lists all slices, for a reason if it is not the first time.
    async fn list(&mut self, reason: Option<String>) -> Result<Said, BoxError> {
        (self.version, self.stream) = (None, None);
        if let (Some(reason), Some(listed)) = (&reason, self.listed) {
            if listed.elapsed() < BETWEEN {
                return Err(reason.clone().into());
            }
        }
        self.listed = Some(Instant::now());
        let (mut roster, mut bytes) = (Roster::new(), 0);
        let mut next = String::new();
        let version = loop {
            let ask = self.ask(&format!("&limit={PAGE}{next}"))?;
            let text = self.page(&ask).await?;
            bytes += text.len();
            if bytes > 2 * MOST_BYTES {
                return Err(self.kube.site.blame(&ask, "the list is longer than allowed").into());
            }
            let page: Page<'_> = parse(&text).map_err(|error| self.kube.site.blame(&ask, error))?;
            for item in &page.items {
                self.take(&mut roster, item.get());
            }
            match page.metadata.next.filter(|next| !next.is_empty() && !page.items.is_empty()) {
                Some(token) => next = format!("&continue={}", escaped(&token)),
                None => break page.metadata.version,
            }
        };
        if version.is_empty() {
            return Err(self.blame("the list has no resourceVersion").into());
        }
        (self.roster, self.version) = (roster, Some(version));
        Ok(self.say(reason))
    }

    async fn page(&mut self, ask: &Ask) -> Result<Vec<u8>, BoxError> {
        let site = &mut self.kube.site;
        let response = site.ask(ask, site.timeout).await?;
        let text = timeout(site.timeout, response.into_body().whole(MOST_FRAME)).await;
        let text = text.map_err(|_| site.blame(ask, "the answer did not end in time"))?;
        Ok(text.map_err(|error| site.blame(ask, error))?)
    }

    fn ask(&self, query: &str) -> Result<Ask, BoxError> {
        let token = self.kube.token.header()?;
        let header = token.map(|token| (header::AUTHORIZATION, token));
        Ok(Ask { header, ..Ask::get(format!("{}{query}", self.kube.path)) })
    }

    /// Takes a listed slice over; of one that cannot be read the last good state stays in use.
    fn take(&mut self, roster: &mut Roster<Merit>, text: &str) {
        let Some(Slice { name, endpoints, .. }) = self.slice(text) else {
            return;
        };
        let taken = match endpoints {
            Ok(endpoints) => roster.set(&name, endpoints, text.len()),
            Err(error) => {
                self.refused.push(error);
                roster.inherit(&name, &mut self.roster)
            }
        };
        self.refused.extend(taken.err().map(|error| error.to_string()));
    }

    fn slice(&mut self, text: &str) -> Option<Slice> {
        let slice = slice::read(text.as_bytes(), &self.kube.choice);
        slice.map_err(|error| self.refused.push(error)).ok()
    }

    /// Opens the watch; answers why all is to be listed anew.
    async fn open(&mut self, version: &str) -> Result<Option<String>, BoxError> {
        let seconds = jittered(WATCH).as_secs();
        let watch = "&watch=1&allowWatchBookmarks=true";
        let version = escaped(version);
        let ask =
            self.ask(&format!("{watch}&resourceVersion={version}&timeoutSeconds={seconds}"))?;
        let site = &mut self.kube.site;
        match site.ask(&ask, site.timeout).await {
            Ok(response) => self.stream = Some(response.into_body()),
            Err(failure) if failure.status == Some(StatusCode::GONE) => {
                return Ok(Some(failure.to_string()));
            }
            Err(failure) => {
                // Whatever the server has against this version, the next start lists.
                self.version = self.version.take().filter(|_| failure.status.is_none());
                return Err(failure.into());
            }
        }
        self.opened = Instant::now();
        self.renew_at = self.opened + jittered(self.kube.quiet);
        Ok(None)
    }

    /// Listens until there is something to say.
    async fn listen(&mut self) -> Result<Said, BoxError> {
        let mut changed = false;
        loop {
            let until = if changed { self.pace.due() } else { self.renew_at };
            let Some(stream) = &mut self.stream else {
                return Ok(if changed { self.say(None) } else { Said::default() });
            };
            match timeout_at(until, stream.next()).await {
                Err(_) if changed => return Ok(self.say(None)),
                Err(_) => self.stream = None,
                Ok(Ok(None)) if self.opened.elapsed() >= BETWEEN => self.stream = None,
                Ok(frame) => {
                    let text =
                        frame.map_err(|error| self.blame(format!("it broke off: {error}")))?;
                    let text = text.ok_or_else(|| self.blame("the watch ended at once"))?;
                    self.renew_at = Instant::now() + jittered(self.kube.quiet);
                    match self.hear(&text)? {
                        Heard::Nothing => {}
                        Heard::Change => changed = true,
                        Heard::Gone(reason) => return self.list(Some(reason)).await,
                    }
                }
            }
            if changed && self.pace.due() <= Instant::now() {
                return Ok(self.say(None));
            }
        }
    }

    fn blame(&self, error: impl std::fmt::Display) -> Failure {
        self.kube.site.blame(&Ask::get(self.kube.path.clone()), error)
    }

    fn hear(&mut self, text: &[u8]) -> Result<Heard, Failure> {
        let Frame { kind, object } = parse(text).map_err(|error| self.blame(error))?;
        if kind == "ERROR" {
            return self.refusal(object.get());
        }
        if kind == "BOOKMARK" {
            #[derive(Deserialize)]
            struct Bookmark {
                metadata: PageMetadata,
            }
            let bookmark: Bookmark =
                parse(object.get().as_bytes()).map_err(|error| self.blame(error))?;
            self.reached(bookmark.metadata.version);
            return Ok(Heard::Nothing);
        }
        let Some(Slice { name, version, endpoints }) = self.slice(object.get()) else {
            return Ok(Heard::Change);
        };
        self.reached(version);
        match (kind.as_str(), endpoints) {
            ("DELETED", _) => self.roster.remove(&name),
            ("ADDED" | "MODIFIED", Ok(endpoints)) => {
                let taken = self.roster.set(&name, endpoints, object.get().len());
                self.refused.extend(taken.err().map(|error| error.to_string()));
            }
            ("ADDED" | "MODIFIED", Err(error)) => self.refused.push(error),
            _ => self.refused.push(format!("type: {:?} is unknown", excerpt(kind.as_bytes()))),
        }
        Ok(Heard::Change)
    }

    fn reached(&mut self, version: String) {
        if !version.is_empty() {
            self.version = Some(version);
        }
    }

    /// An ERROR event.
    fn refusal(&mut self, text: &str) -> Result<Heard, Failure> {
        let status: Status = parse(text.as_bytes()).map_err(|error| self.blame(error))?;
        let message = excerpt(status.message.as_bytes());
        let failure = self.blame(format!("status {}: {message}", status.code));
        self.version = None;
        match status.code == StatusCode::GONE.as_u16() {
            true => Ok(Heard::Gone(failure.to_string())),
            false => Err(failure),
        }
    }

    /// The set, of every endpoint the description that counts, and what could not be read.
    fn say(&mut self, reason: Option<String>) -> Said {
        self.pace.delivered();
        let mut best: BTreeMap<&EndpointId, (&Endpoint, Merit)> = BTreeMap::new();
        for (_, endpoint, merit) in self.roster.iter() {
            let found = best.entry(endpoint.id()).or_insert((endpoint, *merit));
            if found.1 < *merit {
                *found = (endpoint, *merit);
            }
        }
        let set: Vec<Endpoint> = best.into_values().map(|(endpoint, _)| endpoint.clone()).collect();
        let refused = some_of(std::mem::take(&mut self.refused));
        // Of nothing but slices that cannot be read it does not follow that there is none.
        let is_unreadable = set.is_empty() && refused.is_some();
        let told = reason.map(Into::into).into_iter().chain(refused).collect();
        Said { told, set: (!is_unreadable).then_some(set) }
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(text).map_err(|error| format!("{error} in {}", excerpt(text)))
}
