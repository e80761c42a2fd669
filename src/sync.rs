//! The atomics that the loom model checks: std's own, or loom's under `--cfg whippletree_loom`.

#[cfg(not(whippletree_loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(whippletree_loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};

#[cfg(not(whippletree_loom))]
pub(crate) use parking_lot::{Mutex, MutexGuard};

#[cfg(whippletree_loom)]
pub(crate) use loom::sync::MutexGuard;
#[cfg(whippletree_loom)]
pub(crate) use model::Mutex;

/// A value that one writer replaces whole and many readers load: one store, so a reader sees the
/// old value or the new one and never a mixture.
#[cfg(not(whippletree_loom))]
#[derive(Debug)]
pub(crate) struct Published<T>(arc_swap::ArcSwap<T>);

#[cfg(not(whippletree_loom))]
impl<T> Published<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(arc_swap::ArcSwap::from_pointee(value))
    }

    /// Borrows the current value; wait-free and without touching its reference count.
    pub(crate) fn load(&self) -> impl std::ops::Deref<Target = std::sync::Arc<T>> {
        self.0.load()
    }

    /// Publishes `value` and hands back what it replaces, so that the caller chooses where the
    /// old value is dropped (never under a lock).
    pub(crate) fn swap(&self, value: std::sync::Arc<T>) -> std::sync::Arc<T> {
        self.0.swap(value)
    }
}

#[cfg(whippletree_loom)]
pub(crate) use model::Published;

/// Stand-ins that loom can explore: arc-swap and parking_lot are not built for it.
#[cfg(whippletree_loom)]
mod model {
    use std::sync::Arc;

    #[derive(Debug)]
    pub(crate) struct Published<T>(loom::sync::RwLock<Arc<T>>);

    impl<T> Published<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::RwLock::new(Arc::new(value)))
        }

        pub(crate) fn load(&self) -> impl std::ops::Deref<Target = Arc<T>> {
            Box::new(Arc::clone(&self.0.read().expect("no writer panics")))
        }

        pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
            std::mem::replace(&mut self.0.write().expect("no writer panics"), value)
        }
    }

    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("no holder panics")
        }
    }
}
