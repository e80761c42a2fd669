use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, timeout, timeout_at};

use super::api::{self, Frame, Header, KeyValue, Range, WatchEvent, Watched};
use super::{Etcd, record};
use crate::discover::remote::{
    Ask, Engine, Failure, MOST_BYTES, MOST_FRAME, Pace, Reader, Roster, Said, excerpt, jittered,
    some_of,
};
use crate::endpoint::Endpoint;
use crate::error::BoxError;

/// How long after a list the next one may follow that the watch asks for. A server that refuses
/// every watch is then met with the backoff of a source that failed.
const BETWEEN_LISTS: Duration = Duration::from_secs(1);

/// A list of the keys, and a watch from there on.
///
/// ```text
///             ┌────────── compacted, another cluster ──────────┐
///             ▼                                                │
///  start ─► list ─► open the watch at revision + 1 ─► listen ──┤
///                        ▲                                     │
///                        └─────── silent, or after an error ───┘
/// ```
pub(super) struct Watch {
    etcd: Etcd,
    /// Where the watch goes on. None: all is to be listed.
    position: Option<Position>,
    stream: Option<Reader>,
    /// When a silent watch is made anew.
    renew_at: Instant,
    listed: Option<Instant>,
    roster: Roster<()>,
    pace: Pace,
    /// What could not be read since the last set.
    refused: Vec<String>,
}

/// What the roster is the state of.
#[derive(Debug)]
struct Position {
    cluster: i64,
    term: i64,
    revision: i64,
}

impl Position {
    fn of(header: &Header) -> Self {
        let Header { cluster_id, revision, raft_term } = *header;
        Self { cluster: cluster_id, term: raft_term, revision }
    }

    /// Why the header is not of the history that this position is in.
    fn contradicted_by(&self, header: &Header) -> Option<String> {
        if header.cluster_id != self.cluster {
            return Some("another cluster answers".to_owned());
        }
        if header.revision < self.revision {
            let (from, to) = (self.revision, header.revision);
            return Some(format!("the revision went back from {from} to {to}"));
        }
        let (from, to) = (self.term, header.raft_term);
        (to < from).then(|| format!("the term went back from {from} to {to}"))
    }
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
    pub(super) fn new(etcd: Etcd) -> Self {
        Self {
            etcd,
            position: None,
            stream: None,
            renew_at: Instant::now(),
            listed: None,
            roster: Roster::new(),
            pace: Pace::default(),
            refused: Vec::new(),
        }
    }

    async fn step(&mut self) -> Result<Said, BoxError> {
        let Some(position) = &self.position else {
            return self.list(None).await;
        };
        if self.stream.is_none() {
            let from = position.revision + 1;
            if let Some(reason) = self.open(from).await? {
                return self.list(Some(reason)).await;
            }
            // The set again: it tells that all is well, and heals what was missed.
            return Ok(self.say(None));
        }
        self.listen().await
    }

    /// Lists all keys, for a reason if it is not the first time.
    async fn list(&mut self, reason: Option<String>) -> Result<Said, BoxError> {
        (self.position, self.stream) = (None, None);
        if let (Some(reason), Some(listed)) = (&reason, self.listed) {
            if listed.elapsed() < BETWEEN_LISTS {
                return Err(reason.clone().into());
            }
        }
        self.listed = Some(Instant::now());
        let mut roster = Roster::new();
        let (mut from, mut revision) = (self.etcd.prefix.clone().into_bytes(), 0);
        let mut bytes = 0;
        let position = loop {
            let ask = api::range(&from, &self.etcd.prefix, revision);
            let page: Range = self.page(&ask, &mut bytes).await?;
            for kv in &page.kvs {
                self.take(&mut roster, kv);
            }
            if revision == 0 {
                revision = page.header.revision;
            }
            match page.kvs.last().and_then(KeyValue::key).filter(|last| *last >= from) {
                Some(last) if page.more => from = [last, vec![0]].concat(),
                _ => break Position { revision, ..Position::of(&page.header) },
            }
        };
        self.roster = roster;
        self.position = Some(position);
        Ok(self.say(reason))
    }

    async fn page(&mut self, ask: &Ask, bytes: &mut usize) -> Result<Range, BoxError> {
        let site = &mut self.etcd.site;
        let response = site.ask(ask, site.timeout).await?;
        let text = timeout(site.timeout, response.into_body().whole(MOST_FRAME)).await;
        let text = text.map_err(|_| site.blame(ask, "the answer did not end in time"));
        let text = text?.map_err(|error| site.blame(ask, error))?;
        *bytes += text.len();
        if *bytes > 2 * MOST_BYTES {
            return Err(site.blame(ask, "the list is longer than allowed").into());
        }
        Ok(parse(&text).map_err(|error| site.blame(ask, error))?)
    }

    /// The key, if it is one of those that were asked for.
    fn key(&mut self, kv: &KeyValue) -> Option<String> {
        let key = kv.key().and_then(|key| String::from_utf8(key).ok());
        if key.is_none() {
            self.refused.push("a key is not base64 of UTF-8".to_owned());
        }
        key.filter(|key| key.starts_with(&self.etcd.prefix))
    }

    /// Takes a listed record over; of one that cannot be read the last good value stays in use.
    fn take(&mut self, roster: &mut Roster<()>, kv: &KeyValue) {
        let Some(key) = self.key(kv) else {
            return;
        };
        let taken = match value(kv) {
            Ok((endpoint, length)) => roster.set(&key, vec![(endpoint, ())], length),
            Err(error) => {
                self.refused.push(format!("key {}: {error}", excerpt(key.as_bytes())));
                roster.inherit(&key, &mut self.roster)
            }
        };
        self.refused.extend(taken.err().map(|error| error.to_string()));
    }

    /// Takes a change over; as for [`take`](Self::take).
    fn change(&mut self, event: &WatchEvent) {
        let Some(key) = self.key(&event.kv) else {
            return;
        };
        if event.is_delete() {
            return self.roster.remove(&key);
        }
        let taken = match value(&event.kv) {
            Ok((endpoint, length)) => self.roster.set(&key, vec![(endpoint, ())], length),
            Err(error) => Err(format!("key {}: {error}", excerpt(key.as_bytes())).into()),
        };
        self.refused.extend(taken.err().map(|error| error.to_string()));
    }

    /// Opens the watch; answers why its history is not the one that is known.
    async fn open(&mut self, from: i64) -> Result<Option<String>, BoxError> {
        let ask = api::watch(&self.etcd.prefix, from);
        let site = &mut self.etcd.site;
        let mut stream = site.ask(&ask, site.timeout).await?.into_body();
        let first = timeout(site.timeout, stream.next()).await;
        let first = first.map_err(|_| site.blame(&ask, "the watch did not begin in time"));
        let opened = first.and_then(|first| self.read(first));
        let Watched { header, created, .. } =
            opened.inspect_err(|_| self.etcd.site.next_server())?;
        if !created {
            return Err(self.blame("the watch did not begin").into());
        }
        (self.stream, self.renew_at) = (Some(stream), Instant::now() + jittered(self.etcd.quiet));
        Ok(self.position.as_ref().and_then(|position| position.contradicted_by(&header)))
    }

    /// Listens until there is something to say.
    async fn listen(&mut self) -> Result<Said, BoxError> {
        let mut changed = false;
        loop {
            let until = if changed { self.pace.due() } else { self.renew_at };
            let Some(stream) = &mut self.stream else {
                return Ok(Said::default());
            };
            match timeout_at(until, stream.next()).await {
                Err(_) if changed => return Ok(self.say(None)),
                Err(_) => self.stream = None,
                Ok(frame) => {
                    let watched = self.read(frame);
                    let watched = watched.inspect_err(|_| self.etcd.site.next_server())?;
                    self.renew_at = Instant::now() + jittered(self.etcd.quiet);
                    if let Some(reason) = self.lost(&watched)? {
                        return self.list(Some(reason)).await;
                    }
                    changed |= self.apply(&watched);
                }
            }
            if changed && self.pace.due() <= Instant::now() {
                return Ok(self.say(None));
            }
        }
    }

    fn read(&self, frame: Result<Option<Vec<u8>>, BoxError>) -> Result<Watched, Failure> {
        let blame = |error: String| self.blame(error);
        let text = frame.map_err(|error| blame(format!("the watch broke off: {error}")))?;
        let text = text.ok_or_else(|| blame("the watch ended".to_owned()))?;
        let frame: Frame = parse(&text).map_err(blame)?;
        let refused = || {
            blame(
                frame
                    .error
                    .map_or_else(Default::default, |error| excerpt(error.to_string().as_bytes())),
            )
        };
        frame.result.ok_or_else(refused)
    }

    fn blame(&self, error: impl std::fmt::Display) -> Failure {
        self.etcd.site.blame(&api::watch(&self.etcd.prefix, 0), error)
    }

    /// Why all is to be listed anew; an error if the watch has ended otherwise.
    fn lost(&self, watched: &Watched) -> Result<Option<String>, Failure> {
        if watched.canceled {
            let compacted = watched.compact_revision;
            let reason = excerpt(watched.cancel_reason.as_bytes());
            if compacted > 0 {
                let reason = format!("what changed was compacted up to revision {compacted}");
                return Ok(Some(reason));
            }
            return Err(self.blame(format!("the watch was cancelled: {reason}")));
        }
        let position = self.position.as_ref();
        Ok(position.and_then(|position| position.contradicted_by(&watched.header)))
    }

    /// Answers whether there is something to say.
    fn apply(&mut self, watched: &Watched) -> bool {
        watched.events.iter().for_each(|event| self.change(event));
        if let (Some(position), false) = (&mut self.position, watched.fragment) {
            // A watch that catches up has the present revision in its headers, but only a part of
            // the events up to there.
            let last = watched.events.last().map(|event| event.kv.mod_revision);
            position.revision = position.revision.max(last.unwrap_or(watched.header.revision));
            position.term = position.term.max(watched.header.raft_term);
        }
        !watched.events.is_empty()
    }

    /// The set, and what could not be read of it.
    fn say(&mut self, reason: Option<String>) -> Said {
        self.pace.delivered();
        let mut set: Vec<Endpoint> = Vec::new();
        let mut known = HashSet::new();
        for (key, endpoint, ()) in self.roster.iter() {
            if known.insert(endpoint.id()) {
                set.push(endpoint.clone());
            } else {
                self.refused.push(format!("key {key}: id {} is another key's", endpoint.id()));
            }
        }
        let refused = some_of(std::mem::take(&mut self.refused));
        // Of nothing but records that cannot be read it does not follow that there is none.
        let is_unreadable = set.is_empty() && refused.is_some();
        let told = reason.map(Into::into).into_iter().chain(refused).collect();
        Said { told, set: (!is_unreadable).then_some(set) }
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(text).map_err(|error| format!("{error} in {}", excerpt(text)))
}

/// The endpoint that a value describes, and the value's length.
fn value(kv: &KeyValue) -> Result<(Endpoint, usize), String> {
    let value = kv.value().ok_or("the value is not base64")?;
    Ok((record::read(&value)?, value.len()))
}
