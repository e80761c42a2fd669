//! Checks that a test answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use whippletree::cluster::{FactKind, State};
use whippletree::probe::{Answer, Probe};
use whippletree::{BoxError, Cluster, Endpoint};

pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

pub(crate) type Verdict = Result<Answer, BoxError>;

/// A check that has begun and waits for what the test says.
pub(crate) struct Asked {
    pub(crate) id: String,
    answer: oneshot::Sender<Verdict>,
}

impl Asked {
    pub(crate) fn pass(self) {
        self.say(Ok(Answer::Healthy));
    }

    pub(crate) fn fail(self) {
        self.say(Err("refused by the test".into()));
    }

    pub(crate) fn say(self, verdict: Verdict) {
        self.answer.send(verdict).unwrap();
    }
}

/// A probe whose checks come to the test.
pub(crate) fn asking() -> (Probe, mpsc::UnboundedReceiver<Asked>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let probe = Probe::custom(move |target| {
        let (answer, said) = oneshot::channel();
        let id = target.endpoint().id().to_string();
        // The test may have seen enough.
        let _ = sender.send(Asked { id, answer });
        async move { said.await? }
    });
    (probe.interval(INTERVAL), receiver)
}

/// How often each endpoint was checked, and what it is to answer.
#[derive(Clone, Default)]
pub(crate) struct Book(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    checks: HashMap<String, usize>,
    ill: HashMap<String, String>,
    leaving: HashMap<String, ()>,
}

impl Book {
    pub(crate) fn probe(&self) -> Probe {
        let book = self.clone();
        let probe = Probe::custom(move |target| {
            let id = target.endpoint().id().to_string();
            let verdict = book.look(&id);
            async move { verdict }
        });
        probe.interval(INTERVAL)
    }

    fn look(&self, id: &str) -> Result<Answer, BoxError> {
        let mut pages = self.0.lock().unwrap();
        *pages.checks.entry(id.to_owned()).or_default() += 1;
        match pages.ill.get(id) {
            Some(reason) => Err(reason.clone().into()),
            None if pages.leaving.contains_key(id) => Ok(Answer::AsksToLeave),
            None => Ok(Answer::Healthy),
        }
    }

    pub(crate) fn checks(&self, id: &str) -> usize {
        self.0.lock().unwrap().checks.get(id).copied().unwrap_or(0)
    }

    pub(crate) fn fell_ill(&self, id: &str) {
        self.0.lock().unwrap().ill.insert(id.to_owned(), "ill".to_owned());
    }

    pub(crate) fn wants_to_leave(&self, id: &str) {
        self.0.lock().unwrap().leaving.insert(id.to_owned(), ());
    }

    pub(crate) fn recovered(&self, id: &str) {
        let mut pages = self.0.lock().unwrap();
        pages.ill.remove(id);
        pages.leaving.remove(id);
    }
}

pub(crate) fn endpoint(id: &str) -> Endpoint {
    Endpoint::new("10.0.0.1:80").unwrap().with_id(id).unwrap()
}

pub(crate) fn cluster() -> Cluster<()> {
    Cluster::builder().seed(1).connect(|_| ())
}

/// A cluster whose endpoints this probe checks from the beginning.
pub(crate) fn probed(probe: Probe, ids: &[&str]) -> Cluster<()> {
    let cluster = cluster();
    tokio::spawn(cluster.probe(probe));
    cluster.replace(ids.iter().map(|id| endpoint(id))).unwrap();
    cluster
}

pub(crate) fn state(cluster: &Cluster<()>, id: &str) -> State {
    crate::support::status(cluster, id).state
}

/// Why the last check of this endpoint failed.
pub(crate) fn reason<S: Send + Sync + 'static>(cluster: &Cluster<S>, id: &str) -> String {
    let status = crate::support::status(cluster, id);
    let fact = status.fact(FactKind::Probe).expect("the endpoint is probed");
    fact.reason.clone().unwrap_or_default()
}

/// Lets time pass, and all that happens in it happen.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Lets what is due happen, and become visible.
pub(crate) async fn settle() {
    pass(Duration::from_millis(50)).await;
}
