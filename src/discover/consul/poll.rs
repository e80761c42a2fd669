use std::collections::HashSet;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Consul, api};
use crate::discover::remote::{
    Ask, Engine, MOST_BYTES, MOST_ENDPOINTS, MOST_FRAME, Reader, Said, some_of,
};
use crate::error::BoxError;

/// The time between two queries while answers bring something new: what changes meanwhile is one
/// answer.
const SPACING: Duration = Duration::from_millis(100);

/// The time between two queries that should have waited and did not. Consul asks clients for such a
/// limit ("Blocking Queries", under "Implementation details").
const UNBLOCKED: Duration = Duration::from_secs(1);

/// How long a server may be without word of its leader before what it answers counts as stale. Ours:
/// Consul's own limit for its DNS (`max_stale`) of ten years means none.
const STALE: Duration = Duration::from_secs(10);

/// One query after the other.
pub(super) struct Poll {
    consul: Consul,
    /// What the last answer was the state of; 0 if that is not known.
    index: u64,
    next: Instant,
    /// Whether it was told that answers may be stale.
    is_stale: bool,
}

impl Engine for Poll {
    async fn next(&mut self) -> Result<Said, BoxError> {
        sleep_until(self.next).await;
        self.next = Instant::now() + UNBLOCKED;
        let said = self.query().await;
        if said.is_err() {
            // What was meant to be heard may have been missed.
            self.index = 0;
            self.consul.site.next_server();
        }
        said
    }
}

impl Poll {
    pub(super) fn new(consul: Consul) -> Self {
        Self { consul, index: 0, next: Instant::now(), is_stale: false }
    }

    async fn query(&mut self) -> Result<Said, BoxError> {
        let asked = Instant::now();
        let ask = Ask::get(self.path());
        let site = &mut self.consul.site;
        // Consul waits for up to a sixteenth longer, so that not all queries end at once.
        let wait = self.consul.wait + self.consul.wait / 16;
        let patience = if self.index == 0 { site.timeout } else { wait + site.timeout };
        let (head, body) = site.ask(&ask, patience).await?.into_parts();
        let end = Instant::now() + site.timeout;
        let mut said = match timeout_at(end, read(body)).await {
            Ok(said) => said.map_err(|error| site.blame(&ask, error))?,
            Err(_) => return Err(site.blame(&ask, "the answer did not end in time").into()),
        };
        if let Some(reason) = self.stale(&head.headers) {
            said.told.insert(0, self.consul.site.blame(&ask, reason).into());
        }
        let index = number(&head.headers, "x-consul-index").unwrap_or_default();
        let is_news = index != 0 && index != self.index;
        self.next = asked + if is_news { SPACING } else { UNBLOCKED };
        self.index = if index < self.index { 0 } else { index };
        Ok(said)
    }

    fn path(&self) -> String {
        let Self { consul, index, .. } = self;
        let wait = consul.wait.as_millis();
        match index {
            0 => consul.path.clone(),
            _ => format!("{}&index={index}&wait={wait}ms", consul.path),
        }
    }

    /// Why the answer may be stale, if that is news.
    fn stale(&mut self, headers: &HeaderMap) -> Option<String> {
        let leader = headers.get("x-consul-knownleader");
        let contact = number(headers, "x-consul-lastcontact").unwrap_or_default();
        let contact = Duration::from_millis(contact);
        let reason = if leader.is_some_and(|known| known == "false") {
            Some("the answer may be stale: the server knows no leader".to_owned())
        } else {
            let reason = "the answer may be stale: the server last heard its leader";
            (contact > STALE).then(|| format!("{reason} {contact:?} ago"))
        };
        let was_stale = std::mem::replace(&mut self.is_stale, reason.is_some());
        reason.filter(|_| !was_stale)
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// Reads the instances one by one.
async fn read(body: Reader) -> Result<Said, BoxError> {
    let mut body = body.list(MOST_FRAME, MOST_BYTES);
    let (mut set, mut known, mut refused) = (Vec::new(), HashSet::new(), Vec::new());
    while let Some(text) = body.next().await? {
        match api::read(&text) {
            Ok(Some(endpoint)) if set.len() == MOST_ENDPOINTS => {
                let id = endpoint.id();
                return Err(format!("more than {MOST_ENDPOINTS} instances, such as {id}").into());
            }
            Ok(Some(endpoint)) if known.insert(endpoint.id().clone()) => set.push(endpoint),
            Ok(Some(endpoint)) => {
                refused.push(format!("instance {}: is there twice", endpoint.id()))
            }
            Ok(None) => {}
            Err(error) => refused.push(error),
        }
        refused.truncate(MOST_ENDPOINTS);
    }
    let told: Vec<BoxError> = some_of(refused).into_iter().collect();
    // Of nothing but instances that cannot be read it does not follow that there is none.
    let is_unreadable = set.is_empty() && !told.is_empty();
    Ok(Said { told, set: (!is_unreadable).then_some(set) })
}
