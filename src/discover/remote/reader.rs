use std::fmt;
use std::future::poll_fn;

use bytes::Bytes;

use super::client::Pieces;
use super::splitter::Splitter;
use crate::error::BoxError;

/// The body of a response, read within limits.
pub(in crate::discover) struct Reader {
    body: Box<dyn Pieces>,
    splitter: Splitter,
    /// How many bytes may still come.
    left: usize,
}

impl Reader {
    pub(super) fn new(body: Box<dyn Pieces>) -> Self {
        Self { body, splitter: Splitter::sequence(super::MOST_FRAME), left: usize::MAX }
    }

    /// Reads a list of objects, of at most so many bytes each and together.
    #[cfg(feature = "consul")]
    pub(in crate::discover) fn list(mut self, each: usize, together: usize) -> Self {
        self.splitter = Splitter::list(each);
        self.left = together;
        self
    }

    /// The next JSON object, or none at the end.
    ///
    /// Cancel safe: nothing that was read is lost.
    pub(in crate::discover) async fn next(&mut self) -> Result<Option<Vec<u8>>, BoxError> {
        loop {
            if let Some(object) = self.splitter.next()? {
                return Ok(Some(object));
            }
            match self.piece().await? {
                Some(piece) => self.splitter.push(piece),
                None if self.splitter.may_end() => return Ok(None),
                None => return Err("it broke off within a JSON object".into()),
            }
        }
    }

    /// All that comes, at most so many bytes.
    #[cfg(any(feature = "etcd", feature = "kube"))]
    pub(in crate::discover) async fn whole(mut self, most: usize) -> Result<Vec<u8>, BoxError> {
        self.left = most;
        let mut text = Vec::new();
        while let Some(piece) = self.piece().await? {
            text.extend_from_slice(&piece);
        }
        Ok(text)
    }

    /// The first bytes, for an error message; what fails on the way ends it.
    pub(super) async fn beginning(mut self) -> Vec<u8> {
        let mut text = Vec::new();
        while let (true, Ok(Some(piece))) = (text.len() < 1024, self.piece().await) {
            text.extend_from_slice(&piece);
        }
        text
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, BoxError> {
        let piece = poll_fn(|task| self.body.poll_piece(task)).await.transpose()?;
        let length = piece.as_ref().map_or(0, Bytes::len);
        self.left = self.left.checked_sub(length).ok_or("the answer is longer than allowed")?;
        Ok(piece)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}
