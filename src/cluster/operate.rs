use std::sync::Arc;
use std::time::Instant;

use super::Cluster;
use crate::endpoint::{Admin, EndpointId};
use crate::error::Error;

impl<S: Send + Sync + 'static> Cluster<S> {
    /// Sets what the operator wants of an endpoint, whatever its health and whatever its sources
    /// say; `by` is who says so, for the [status](Self::status) and the events.
    ///
    /// When an endpoint comes back from [maintenance](Admin::Maintenance), what was found of it
    /// before no longer counts: it has to prove itself to the probes, and starts slowly if the
    /// cluster has a slow start.
    ///
    /// # Errors
    ///
    /// An id that no present endpoint has.
    ///
    /// ```
    /// use whippletree::cluster::{Admin, State};
    /// use whippletree::{Cluster, Context, Endpoint};
    ///
    /// let cluster = Cluster::builder().connect(|_| ());
    /// let endpoint = Endpoint::new("a:80")?;
    /// cluster.insert(endpoint.clone())?;
    /// cluster.set_admin(endpoint.id(), Admin::Maintenance, "alice")?;
    /// assert_eq!(cluster.status().endpoints[0].state, State::Maintenance);
    /// let error = cluster.pick(&Context::new()).unwrap_err();
    /// assert_eq!(error.to_string(), "no available endpoint: 1 known, 1 in maintenance");
    /// # Ok::<(), whippletree::Error>(())
    /// ```
    pub fn set_admin(
        &self,
        id: &EndpointId,
        state: Admin,
        by: impl Into<Arc<str>>,
    ) -> Result<(), Error> {
        let by = by.into();
        self.shared.change(|control, now, applied| control.administer(id, state, by, now, applied))
    }

    /// Adds `points` to an endpoint's [rank](crate::Endpoint::with_rank) on the ground of some
    /// evidence of your own, or takes them off if negative; 0 withdraws it. Evidence of different
    /// names adds up. Matters to the policy [`Ranked`](crate::policy::Ranked).
    ///
    /// # Errors
    ///
    /// An id that no present endpoint has.
    ///
    /// ```
    /// use whippletree::{Cluster, Endpoint};
    ///
    /// let cluster = Cluster::builder().connect(|_| ());
    /// let endpoint = Endpoint::new("a:80")?.with_rank(100)?;
    /// cluster.insert(endpoint.clone())?;
    /// cluster.adjust_rank(endpoint.id(), "replication lag", -20)?;
    /// assert_eq!(cluster.status().endpoints[0].rank, 80);
    /// # Ok::<(), whippletree::Error>(())
    /// ```
    pub fn adjust_rank(
        &self,
        id: &EndpointId,
        evidence: impl Into<Arc<str>>,
        points: i32,
    ) -> Result<(), Error> {
        let evidence = evidence.into();
        self.shared.change(|control, now, applied| {
            control.edit(id, now, applied, |record, _| match points {
                0 => drop(record.facts.adjustments.remove(&evidence)),
                points => drop(record.facts.adjustments.insert(evidence, points)),
            })
        })
    }

    /// Lets requests go to the best tier that can serve, now: what
    /// [`Failback::Manual`](super::Failback::Manual) waits for.
    pub fn fail_back(&self) {
        self.shared.change(|control, _, applied| {
            control.fail_back = true;
            applied.news = true;
        });
    }

    /// Does what is due at `now`: forgets who is long gone, ends ejections, compares endpoints.
    /// Answers when something will be due next.
    ///
    /// Within a tokio runtime the cluster sees to this itself. Outside of one, call it now and
    /// then, or when it says; else what is due is done with the next change. A simulation calls it
    /// with its own time: what happens to the cluster afterwards happens at that time or later.
    pub fn work_at(&self, now: Instant) -> Option<Instant> {
        self.shared.simulate(now)
    }
}
