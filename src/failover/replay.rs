use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::error::BoxError;
use crate::sync::Mutex;

/// Pieces beyond this number are not kept, however small they are: what is kept of a body is
/// bounded, and so is what it costs to keep it.
const MOST_PIECES: usize = 1024;

/// A request body that can be sent again: its clones read the same from the beginning.
///
/// What is read of the body is kept until it exceeds the limit; from then on it streams through, and
/// only who reads it already can go on. A body that has ended from the start costs nothing. The
/// source is read when and as far as somebody reads a clone, never ahead.
///
/// Until the body is there as a whole, it has one reader: a clone that begins takes it over, and
/// who read before gets an error, so that no two requests share the rest of one body.
///
/// ```
/// use http::Request;
/// use http_body_util::{BodyExt, Full};
/// use whippletree::failover::Replay;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let request = Request::put("/").body(Full::new(bytes::Bytes::from("hello")))?;
/// let request = Replay::wrap(request, 64 * 1024);
/// let again = request.clone();
/// assert_eq!(request.into_body().collect().await?.to_bytes(), "hello");
/// assert_eq!(again.into_body().collect().await?.to_bytes(), "hello");
/// # Ok::<(), whippletree::BoxError>(())
/// # }).unwrap();
/// ```
pub struct Replay<B> {
    /// `None`: it has ended from the start.
    tape: Option<Arc<Tape<B>>>,
    /// How many pieces were read.
    place: usize,
    /// Who reads: later clones have higher numbers.
    reader: u64,
}

/// A body on its way, with what was read of it.
struct Tape<B> {
    reel: Mutex<Reel<B>>,
    recording: Recording,
}

struct Reel<B> {
    source: Pin<Box<B>>,
    kept: Vec<Piece>,
    bytes: usize,
    limit: usize,
    ended: bool,
    /// The highest number of a clone so far.
    clones: u64,
    /// The number of the clone that reads.
    reader: u64,
}

#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// Request extension: how far the request's body has come, whatever its type.
#[derive(Clone, Debug)]
pub(super) struct Recording(Arc<Mutex<Progress>>);

#[derive(Debug)]
struct Progress {
    lost: bool,
    ended: bool,
    /// Whether the endpoint would take more, and the source has none.
    starved: bool,
    moved: Instant,
}

impl<B: Body> Replay<B> {
    /// Makes the request one that can be cloned, and sent again as long as no more than `limit` bytes
    /// of its body were read.
    ///
    /// [`Failover`](super::Failover) knows such requests: one whose body is past the limit is not sent
    /// again.
    pub fn wrap(request: Request<B>, limit: usize) -> Request<Self> {
        let (mut head, body) = request.into_parts();
        let replay = Self::new(body, limit);
        match &replay.tape {
            Some(tape) => head.extensions.insert(tape.recording.clone()),
            None => head.extensions.remove::<Recording>(),
        };
        Request::from_parts(head, replay)
    }

    fn new(body: B, limit: usize) -> Self {
        if body.is_end_stream() {
            return Self { tape: None, place: 0, reader: 0 };
        }
        let reel = Reel {
            // A body that is too long by its own word is not kept at all.
            limit: if body.size_hint().lower() > limit as u64 { 0 } else { limit },
            source: Box::pin(body),
            kept: Vec::new(),
            bytes: 0,
            ended: false,
            clones: 0,
            reader: 0,
        };
        let progress =
            Progress { lost: false, ended: false, starved: false, moved: Instant::now() };
        let recording = Recording(Arc::new(Mutex::new(progress)));
        let tape = Arc::new(Tape { reel: Mutex::new(reel), recording });
        Self { tape: Some(tape), place: 0, reader: 0 }
    }
}

impl<B> Clone for Replay<B> {
    /// A clone reads from the beginning, wherever this one is.
    fn clone(&self) -> Self {
        let reader = self.tape.as_ref().map_or(0, |tape| {
            let mut reel = tape.reel.lock();
            reel.clones += 1;
            reel.clones
        });
        Self { tape: self.tape.clone(), place: 0, reader }
    }
}

impl<B> Body for Replay<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let Some(tape) = &this.tape else {
            return Poll::Ready(None);
        };
        let mut reel = tape.reel.lock();
        if !tape.recording.is_complete() {
            if this.reader < reel.reader || this.place == 0 && tape.recording.is_lost() {
                return Poll::Ready(Some(Err("the body is sent to another endpoint".into())));
            }
            reel.reader = this.reader;
        }
        if let Some(piece) = reel.kept.get(this.place) {
            this.place += 1;
            return Poll::Ready(Some(Ok(piece.clone().into_frame())));
        }
        if reel.ended {
            return Poll::Ready(None);
        }
        let polled = reel.source.as_mut().poll_frame(task);
        tape.recording.note(&polled);
        polled.map(|frame| {
            let piece = match frame {
                None => {
                    reel.ended = true;
                    return None;
                }
                Some(Err(error)) => return Some(Err(error.into())),
                Some(Ok(frame)) => Piece::of(frame)?,
            };
            this.place += 1;
            if !reel.keep(&piece) {
                tape.recording.lose();
            }
            reel.ended = reel.source.is_end_stream();
            tape.recording.0.lock().ended |= reel.ended;
            Some(Ok(piece.into_frame()))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.tape.as_ref().is_none_or(|tape| {
            let reel = tape.reel.lock();
            self.place >= reel.kept.len() && (reel.ended || reel.source.is_end_stream())
        })
    }

    fn size_hint(&self) -> SizeHint {
        let Some(tape) = &self.tape else {
            return SizeHint::with_exact(0);
        };
        let reel = tape.reel.lock();
        let kept = reel.kept.iter().skip(self.place).map(Piece::len).sum::<u64>();
        let rest = reel.source.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(kept));
        }
        hint.set_lower(rest.lower().saturating_add(kept));
        hint
    }
}

impl<B> Reel<B> {
    /// Keeps a piece if all before it are kept and it fits; else nothing is kept from now on.
    fn keep(&mut self, piece: &Piece) -> bool {
        self.bytes = self.bytes.saturating_add(piece.len() as usize);
        if self.bytes > self.limit || self.kept.len() >= MOST_PIECES {
            (self.limit, self.kept) = (0, Vec::new());
            self.bytes = usize::MAX;
            return false;
        }
        self.kept.push(piece.clone());
        true
    }
}

impl Piece {
    /// `None` for a kind of frame that HTTP does not know yet.
    fn of<D: Buf>(frame: Frame<D>) -> Option<Self> {
        match frame.into_data() {
            Ok(mut data) => Some(Self::Data(data.copy_to_bytes(data.remaining()))),
            Err(frame) => frame.into_trailers().ok().map(Self::Trailers),
        }
    }

    fn into_frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Trailers(_) => 0,
        }
    }
}

impl Recording {
    /// Whether a part of the body is gone: it was too long to be kept, or it broke off.
    pub(super) fn is_lost(&self) -> bool {
        self.0.lock().lost
    }

    /// Whether all of the body is kept: it can be read without its source.
    pub(super) fn is_complete(&self) -> bool {
        let progress = self.0.lock();
        progress.ended && !progress.lost
    }

    /// Since when the endpoint has nothing left to wait for but itself.
    pub(super) fn moved(&self) -> Instant {
        let progress = self.0.lock();
        if progress.starved { Instant::now() } else { progress.moved }
    }

    fn lose(&self) {
        self.0.lock().lost = true;
    }

    fn note<D, E>(&self, polled: &Poll<Option<Result<Frame<D>, E>>>) {
        let mut progress = self.0.lock();
        progress.starved = polled.is_pending();
        if let Poll::Ready(frame) = polled {
            progress.moved = Instant::now();
            progress.ended |= frame.is_none();
            progress.lost |= matches!(frame, Some(Err(_)));
        }
    }
}

impl<B> fmt::Debug for Replay<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("place", &self.place).finish_non_exhaustive()
    }
}
