use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::cluster::LeaseGuard;
use crate::health::{Failure, Outcome};
use crate::load::Completion;

pin_project! {
    /// A response body that keeps its request in flight, until its end by default.
    ///
    /// The end is the last frame, trailers, an error, or the drop of the body, whichever comes
    /// first. A body that knows that it has ended ends the request at once, whether or not it is
    /// polled: hyper and others do not poll for an end that was announced.
    #[derive(Debug)]
    pub struct Body<B> {
        #[pin]
        inner: B,
        track: Option<Track>,
    }
}

#[derive(Debug)]
struct Track {
    guard: LeaseGuard,
    completion: Completion,
    /// Whether the body's end, as yet unknown, is the outcome.
    open: bool,
}

impl<B> Body<B> {
    /// Without a request to end.
    pub(super) fn untracked(inner: B) -> Self {
        Self { inner, track: None }
    }

    pub(super) fn new(inner: B, guard: LeaseGuard, completion: Completion) -> Self {
        let open = completion == Completion::End;
        Self { inner, track: Some(Track { guard, completion, open }) }
    }

    /// The body as the endpoint's service returned it. The request ends here, if it has not.
    pub fn into_inner(self) -> B {
        self.inner
    }
}

impl<B: http_body::Body> http_body::Body for Body<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        // Not open while the inner body runs: if it panics, its drop is no success.
        let open = this.track.as_mut().is_some_and(|track| std::mem::take(&mut track.open));
        let polled = this.inner.as_mut().poll_frame(task);
        if let Some(track) = this.track.as_mut() {
            track.open = open;
        }
        let Poll::Ready(frame) = polled else {
            return Poll::Pending;
        };
        let over = match &frame {
            None => true,
            Some(Err(_)) => {
                if let Some(track) = this.track.as_mut() {
                    track.guard.report(Outcome::Failure(Failure::Body));
                }
                true
            }
            Some(Ok(frame)) => {
                let first = this.track.as_ref().map(|track| track.completion);
                first == Some(Completion::FirstData) && frame.is_data()
                    || frame.is_trailers()
                    || this.inner.is_end_stream()
            }
        };
        if over {
            *this.track = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
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
