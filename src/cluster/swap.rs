//! Policy and parameters, changed while the cluster serves.

use std::sync::Arc;
use std::time::Instant;

use super::control::{Applied, Control};
use super::rules::Rules;
use super::{Builder, Cluster};
use crate::event::Event;

impl<S: Send + Sync + 'static> Cluster<S> {
    /// What the cluster goes by, to be changed and given to [`reconfigure`](Self::reconfigure).
    #[must_use]
    pub fn settings(&self) -> Builder {
        self.shared.settings.lock().clone()
    }

    /// Changes the policy and the parameters at run time, all at once: a pick goes by the old ones
    /// or by the new ones. What the cluster has learnt stays: latencies, ejections, checks, slow
    /// starts, drains, and where an orderly policy stands in its cycle. If live traffic is no longer
    /// judged, ejected endpoints return.
    ///
    /// The name, the seed, the event capacity and the queue are the cluster's from the start and are
    /// not changed. Bad values are refused by the [`Builder`]'s own methods, before anything is changed.
    ///
    /// ```
    /// use whippletree::policy::LeastRequest;
    /// use whippletree::{Cluster, Endpoint};
    ///
    /// let cluster = Cluster::builder().connect(|_| ());
    /// cluster.insert(Endpoint::new("a:80")?)?;
    /// cluster.reconfigure(cluster.settings().policy(LeastRequest::new()).panic_threshold(30)?);
    /// assert_eq!(cluster.status().policy, "least_request");
    /// # Ok::<(), whippletree::Error>(())
    /// ```
    pub fn reconfigure(&self, settings: Builder) {
        // Before any lock: it asks the policy, which is the user's code.
        let rules = settings.rules();
        let mut known = self.shared.settings.lock();
        let settings = settings.made_as(&known);
        let old = self.shared.change(|control, now, applied| {
            let now_nanos = self.shared.nanos(now);
            let parameters = rules.cost.parameters();
            let all = control.present.values().chain(control.gone.values().map(|(gone, _)| gone));
            let nodes = all.flat_map(|record| record.nodes());
            nodes.for_each(|node| node.load.tune(parameters, now_nanos));
            control.reconfigure(rules, now, applied)
        });
        *known = settings;
        drop(known);
        // The old policy is the user's, and its drop with it.
        super::shared::discard(old);
    }
}

impl Control {
    /// Goes by other rules from now on; hands the old ones back.
    fn reconfigure(&mut self, mut rules: Rules, now: Instant, applied: &mut Applied) -> Rules {
        let same = Arc::ptr_eq(&rules.policy, &self.rules.policy);
        rules.generation = self.rules.generation + u64::from(!same);
        self.room = None;
        self.reporter.tune(rules.outlier.as_ref());
        if rules.outlier.is_none() {
            self.sweep_at = None;
            self.reporter.disarm();
            for record in self.present.values_mut() {
                record.change(now, applied, |record, applied| record.uneject(now, applied));
            }
        }
        applied.events.push(Event::Reconfigured { policy: Arc::clone(&rules.policy_name) });
        std::mem::replace(&mut self.rules, rules)
    }
}
