//! The operator's side: the library's admin service, told what only the gateway knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use whippletree::admin::{self, Totals, Writes};

use crate::failover::Shared;
use crate::proxy::Proxy;
use crate::shutdown::Phase;

pub(crate) type Admin = admin::Admin<Shared>;

/// The service for the admin listener. `/healthz` is 503 from the first moment of a shutdown on.
pub(crate) fn service(proxy: Arc<Proxy>, phase: Phase, writes: Writes) -> Admin {
    let admin = Admin::new(proxy.cluster().clone()).writes(writes);
    admin.serving(move || phase.is_serving()).totals(move || {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let totals = &proxy.totals;
        Totals {
            requests: read(&totals.requests),
            failures: read(&totals.failures),
            rejected: read(&totals.rejected),
            retries: proxy.retries(),
            ..Totals::default()
        }
    })
}
