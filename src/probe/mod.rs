//! Active checks.

mod builder;
mod check;
#[cfg(feature = "hyper")]
mod direct;
mod http;
mod runner;
mod schedule;
mod target;
mod through;

use crate::cluster::Cluster;

pub use self::builder::Probe;
pub use self::check::{Answer, Check, CheckFuture};
pub use self::http::HttpCheck;
pub use self::target::Target;
pub use self::through::Answering;

impl<S: Send + Sync + 'static> Cluster<S> {
    /// Checks every endpoint again and again: spawn the future that this returns.
    #[must_use = "the checks are made by the future: spawn it"]
    pub fn probe(&self, probe: Probe) -> impl Future<Output = ()> + Send + use<S> {
        let registration = runner::Registration::new(&self.probed(), &probe);
        runner::run(probe, registration)
    }
}
