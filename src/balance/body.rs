use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::cluster::LeaseGuard;
use crate::error::{BoxError, Error};
use crate::health::{Classifier, Failure, Outcome};
use crate::load::Completion;

pin_project! {
    /// A response body that keeps its request in flight, until its end by default.
    ///
    /// The end is the last frame, trailers, an error, or the drop of the body, whichever comes
    /// first. A body that knows that it has ended ends the request at once, whether or not it is
    /// polled: hyper and others do not poll for an end that was announced.
    ///
    /// When its endpoint's [drain](crate::Cluster::drain) comes to its deadline before that, the body
    /// ends with an [`Error`] that says [so](Error::is_drained). Errors of the inner body are passed
    /// on as they are.
    #[derive(Debug)]
    pub struct Body<B> {
        #[pin]
        inner: B,
        track: Option<Track>,
    }
}

struct Track {
    guard: LeaseGuard,
    completion: Completion,
    classifier: Option<Arc<Classifier>>,
    /// Whether the body's end, as yet unknown, is the outcome.
    open: bool,
}

impl<B> Body<B> {
    /// Without a request to end.
    pub(super) fn untracked(inner: B) -> Self {
        Self { inner, track: None }
    }

    pub(super) fn new(
        inner: B,
        guard: LeaseGuard,
        completion: Completion,
        classifier: Option<Arc<Classifier>>,
    ) -> Self {
        let open = completion == Completion::End;
        Self { inner, track: Some(Track { guard, completion, classifier, open }) }
    }

    /// The body as the endpoint's service returned it. The request ends here, if it has not.
    pub fn into_inner(self) -> B {
        self.inner
    }
}

impl<B: http_body::Body<Error: Into<BoxError>>> http_body::Body for Body<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        if this.track.as_ref().is_some_and(|track| track.guard.is_forced()) {
            return Poll::Ready(cut(this.track).map(Err));
        }
        // Not open while the inner body runs: if it panics, its drop is no success.
        let open = this.track.as_mut().is_some_and(|track| std::mem::take(&mut track.open));
        let polled = this.inner.as_mut().poll_frame(task);
        if let Some(track) = this.track.as_mut() {
            track.open = open;
        }
        let Poll::Ready(frame) = polled else {
            let forced = this.track.as_mut().is_some_and(|track| track.guard.poll_forced(task));
            return if forced { Poll::Ready(cut(this.track).map(Err)) } else { Poll::Pending };
        };
        let over = this.track.as_mut().is_some_and(|track| track.is_over(frame.as_ref()));
        if over || this.track.is_some() && this.inner.is_end_stream() {
            *this.track = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Ends the request, which has lasted too long for its endpoint's drain.
fn cut(track: &mut Option<Track>) -> Option<BoxError> {
    track.take().map(|track| Error::drained(track.guard.id().clone()).into())
}

impl Track {
    /// Takes note of a frame, or of the end.
    fn is_over<D, E>(&mut self, frame: Option<&Result<Frame<D>, E>>) -> bool {
        match frame {
            None => true,
            Some(Err(_)) => {
                self.report(Outcome::Failure(Failure::Body));
                true
            }
            Some(Ok(frame)) => {
                if let (Some(classifier), Some(trailers)) = (&self.classifier, frame.trailers_ref())
                {
                    if let Some(outcome) = classifier.trailers(trailers) {
                        self.report(outcome);
                    }
                }
                frame.is_trailers() || self.completion == Completion::FirstData && frame.is_data()
            }
        }
    }

    /// How long the body took is no latency: a failure in it counts for the penalty.
    fn report(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Failure(_) => self.guard.report_slow(outcome, Some(Duration::ZERO)),
            _ => self.guard.report(outcome),
        }
    }
}

impl fmt::Debug for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Track")
            .field("guard", &self.guard)
            .field("completion", &self.completion)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

impl Drop for Track {
    /// The body has ended, or its reader wants no more: either way the endpoint did its work,
    /// unless a failure was reported before.
    fn drop(&mut self) {
        // Unless it is dropped because it panicked.
        if self.open && !std::thread::panicking() {
            self.guard.report(Outcome::Success);
        }
    }
}
