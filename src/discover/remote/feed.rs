use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::stream::unfold;
use parking_lot::Mutex;

use crate::discover::Change;
use crate::endpoint::Endpoint;
use crate::error::BoxError;

/// One engine that is asked for endpoints.
pub(in crate::discover) trait Engine: Send + 'static {
    /// What it says next. After an error it is asked again when the cluster sees fit, and goes on
    /// where it was.
    fn next(&mut self) -> impl Future<Output = Result<Said, BoxError>> + Send;
}

/// What an engine says.
#[derive(Debug, Default)]
pub(in crate::discover) struct Said {
    /// What went wrong on the way, which the set makes up for.
    pub(in crate::discover) told: Vec<BoxError>,
    /// The whole set, as far as it could be read.
    pub(in crate::discover) set: Option<Vec<Endpoint>>,
}

type Item = Result<Change, BoxError>;

/// A stream of the whole sets of endpoints that a registry lists.
///
/// Made by what `watch` of a registry's source returns, for
/// [`Cluster::discover`](crate::Cluster::discover). Speaks as soon as the registry does; when a
/// request fails it tells an error and waits to be dropped. The stream made after it goes on where
/// this one was.
///
/// # Panics
///
/// When it is polled outside of a tokio runtime with I/O and timers.
pub struct Feed(Pin<Box<dyn Stream<Item = Item> + Send>>);

impl Stream for Feed {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Item>> {
        self.0.as_mut().poll_next(task)
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

/// Makes one stream after the other. An engine whose stream has told an error is kept for the next
/// one, with what it knows; if there is none, `fresh` makes it.
pub(in crate::discover) fn feeds<E: Engine>(
    fresh: impl Fn() -> E + Clone + Send + Sync + 'static,
) -> impl Fn() -> Feed + Clone + Send + Sync + 'static {
    let kept = Arc::new(Mutex::new(None));
    move || {
        let engine = kept.lock().take().unwrap_or_else(&fresh);
        let run = Run { engine: Some(engine), kept: Arc::clone(&kept), queue: VecDeque::new() };
        Feed(Box::pin(unfold(run, Run::next)))
    }
}

struct Run<E> {
    /// None after an error.
    engine: Option<E>,
    kept: Arc<Mutex<Option<E>>>,
    queue: VecDeque<Item>,
}

impl<E: Engine> Run<E> {
    async fn next(mut self) -> Option<(Item, Self)> {
        loop {
            if let Some(item) = self.queue.pop_front() {
                return Some((item, self));
            }
            let Some(mut engine) = self.engine.take() else {
                return pending().await;
            };
            match engine.next().await {
                Ok(said) => {
                    // Errors first: what is good afterwards outweighs them.
                    self.queue.extend(said.told.into_iter().map(Err));
                    self.queue.extend(said.set.map(Change::Replace).map(Ok));
                    self.engine = Some(engine);
                }
                Err(error) => {
                    *self.kept.lock() = Some(engine);
                    self.queue.push_back(Err(error));
                }
            }
        }
    }
}
