use std::error::Error as StdError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, StatusCode};

use super::{Classify, Outcome};
use crate::error::Error;

/// A user's [`Classify`] whose panics stay within.
pub(crate) struct Classifier {
    classify: Box<dyn Classify>,
    /// Whether a panic was logged already: one bad line of code should not fill the log.
    told: AtomicBool,
}

impl Classifier {
    pub(crate) fn new(classify: impl Classify) -> Self {
        Self { classify: Box::new(classify), told: AtomicBool::new(false) }
    }

    pub(crate) fn head(&self, status: StatusCode, headers: &HeaderMap) -> Outcome {
        self.contain(|classify| classify.head(status, headers)).unwrap_or(Outcome::Ignored)
    }

    pub(crate) fn trailers(&self, trailers: &HeaderMap) -> Option<Outcome> {
        self.contain(|classify| classify.trailers(trailers)).unwrap_or(Some(Outcome::Ignored))
    }

    pub(crate) fn error(&self, error: &(dyn StdError + 'static)) -> Outcome {
        self.contain(|classify| classify.error(error)).unwrap_or(Outcome::Ignored)
    }

    fn contain<T>(&self, work: impl FnOnce(&dyn Classify) -> T) -> Option<T> {
        let result = catch_unwind(AssertUnwindSafe(|| work(&*self.classify)));
        result.map_err(|panic| self.tell(&*panic)).ok()
    }

    #[cold]
    fn tell(&self, panic: &(dyn std::any::Any + Send)) {
        if !self.told.swap(true, Ordering::Relaxed) {
            let error = Error::panicked("classifier", panic);
            tracing::error!(target: "whippletree", "{error}; told once, its verdict is ignored");
        }
    }
}

#[cfg(all(test, not(whippletree_loom)))]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn panic_of_a_classifier_is_ignored_and_told_once() {
        struct Panics;
        impl Classify for Panics {
            fn head(&self, _: StatusCode, _: &HeaderMap) -> Outcome {
                panic!("planted")
            }

            fn trailers(&self, _: &HeaderMap) -> Option<Outcome> {
                panic!("planted")
            }
        }
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let classifier = Classifier::new(Panics);
            let nothing = HeaderMap::new();
            for _ in 0..3 {
                assert_eq!(classifier.head(StatusCode::OK, &nothing), Outcome::Ignored);
                assert_eq!(classifier.trailers(&nothing), Some(Outcome::Ignored));
            }
        });
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.matches("classifier panicked: planted").count(), 1, "{log}");
    }
}
