use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::Etcd;
use super::lease::Leases;
use super::record::{Draining, write};
use crate::endpoint::Endpoint;
use crate::error::{BoxError, Error};

/// How long after a failure etcd is asked again. Ours: the time to live passes meanwhile.
const AGAIN: Duration = Duration::from_secs(1);

/// An endpoint that is announced in etcd, made by [`Etcd::register`]. Dropping it withdraws the
/// endpoint, in the background; where the process ends at once, the lease does it when it expires.
#[derive(Debug)]
#[must_use = "dropping the registration withdraws the endpoint"]
pub struct Registration {
    order: watch::Sender<Order>,
    standing: watch::Receiver<Standing>,
    ttl: Duration,
}

/// What a registration is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Serve,
    Leave,
    Withdraw,
}

/// How a registration stands.
#[derive(Clone, Debug)]
struct Standing {
    /// What etcd has last been told; None if it has not, or has forgotten.
    told: Option<Order>,
    error: Option<Arc<str>>,
}

impl Registration {
    pub(super) fn start(etcd: &Etcd, endpoint: Endpoint) -> Result<Self, Error> {
        let seconds = format!("{:?}", etcd.ttl);
        if etcd.ttl.as_secs() == 0 {
            return Err(Error::config("ttl", seconds, "is less than 1 s"));
        }
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| Error::config("register", endpoint.id(), "needs a tokio runtime"))?;
        let (order, orders) = watch::channel(Order::Serve);
        let (standing, told) = watch::channel(Standing { told: None, error: None });
        let key = format!("{}{}", etcd.prefix, endpoint.id());
        let leases = Leases { site: etcd.site.clone(), key, ttl: etcd.ttl };
        runtime.spawn(Registrar { leases, endpoint, orders, standing }.run());
        Ok(Self { order, standing: told, ttl: etcd.ttl })
    }

    /// Whether the endpoint is listed, as far as this process knows.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.standing.borrow().told.is_some()
    }

    /// What failed last, until something succeeds.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.standing.borrow().error.as_deref().map(str::to_owned)
    }

    /// Waits until the endpoint is listed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; so are all that wait here.
    pub async fn registered(&self) {
        self.reached(|told| told.is_some()).await;
    }

    /// Announces that the server is about to leave: it stays listed, but gets no new traffic.
    ///
    /// Returns as soon as etcd knows. Clients hear of it in a tenth of a second; requests that are
    /// on their way then are still to be answered.
    ///
    /// # Errors
    ///
    /// The last failure, if etcd could not be told within the time to live. It is told when it can
    /// be.
    pub async fn leave(&self) -> Result<(), BoxError> {
        self.order(Order::Leave).await
    }

    /// Withdraws the endpoint, and returns when etcd has deleted the key.
    ///
    /// # Errors
    ///
    /// The last failure, if etcd could not be told within the time to live: the lease has then
    /// expired, or will as soon as etcd is back.
    pub async fn deregister(self) -> Result<(), BoxError> {
        self.order(Order::Withdraw).await
    }

    async fn order(&self, order: Order) -> Result<(), BoxError> {
        self.order.send_replace(order);
        let reached = self.reached(|told| told == Some(order));
        if timeout(self.ttl, reached).await.unwrap_or_default() {
            return Ok(());
        }
        let error = self.last_error();
        Err(error.unwrap_or_else(|| "etcd could not be told in time".to_owned()).into())
    }

    /// Waits until etcd was told so; answers whether it was, for the task may be gone.
    async fn reached(&self, is_so: impl Fn(Option<Order>) -> bool) -> bool {
        self.standing.clone().wait_for(|standing| is_so(standing.told)).await.is_ok()
    }
}

/// The task behind a registration.
struct Registrar {
    leases: Leases,
    endpoint: Endpoint,
    orders: watch::Receiver<Order>,
    standing: watch::Sender<Standing>,
}

impl Registrar {
    async fn run(mut self) {
        loop {
            let order = self.order();
            if order == Order::Withdraw {
                return self.tell(Some(order), None);
            }
            match self.leases.establish(&self.value(order)).await {
                Ok(lease) => {
                    self.tell(Some(order), None);
                    if self.hold(lease, order).await == Held::Withdrawn {
                        return;
                    }
                }
                Err(error) => {
                    self.tell(None, Some(&error));
                    self.wait(AGAIN).await;
                }
            }
        }
    }

    /// Keeps the lease until it is lost or given back.
    async fn hold(&mut self, lease: i64, mut told: Order) -> Held {
        let third = self.leases.ttl / 3;
        let mut alive = Instant::now();
        let mut pause = third;
        loop {
            self.wait(pause).await;
            let order = self.order();
            if order == Order::Withdraw {
                return self.withdraw(lease, alive).await;
            }
            let value = self.value(order);
            let kept = match self.leases.keep(&value, lease).await {
                Ok(true) if order != told => self.leases.put(&value, lease).await.map(|()| true),
                kept => kept,
            };
            match kept {
                Ok(true) => {
                    (alive, pause, told) = (Instant::now(), third, order);
                    self.tell(Some(order), None);
                }
                Ok(false) => {
                    self.tell(None, Some(&"the lease has expired".into()));
                    return Held::Lost;
                }
                Err(error) => {
                    let is_over = alive.elapsed() >= self.leases.ttl;
                    self.tell((!is_over).then_some(told), Some(&error));
                    if is_over {
                        return Held::Lost;
                    }
                    pause = AGAIN.min(third);
                }
            }
        }
    }

    /// Gives the lease back, for as long as it may live.
    async fn withdraw(&mut self, lease: i64, alive: Instant) -> Held {
        let end = alive + self.leases.ttl;
        loop {
            match timeout_at(end, self.leases.revoke(lease)).await {
                Ok(Ok(())) => {
                    self.tell(Some(Order::Withdraw), None);
                    return Held::Withdrawn;
                }
                Ok(Err(error)) => self.tell(None, Some(&error)),
                Err(_) => return Held::Withdrawn,
            }
            tokio::time::sleep(AGAIN.min(self.leases.ttl / 3)).await;
        }
    }

    /// Waits for so long, or for an order.
    async fn wait(&mut self, time: Duration) {
        // An error means that the registration was dropped, which `order` knows.
        let _ = timeout(time, self.orders.changed()).await;
    }

    fn order(&mut self) -> Order {
        let is_dropped = self.orders.has_changed().is_err();
        let order = *self.orders.borrow_and_update();
        if is_dropped { Order::Withdraw } else { order }
    }

    fn value(&self, order: Order) -> String {
        let draining = if order == Order::Serve { Draining::No } else { Draining::Yes };
        write(&self.endpoint, draining)
    }

    fn tell(&self, told: Option<Order>, error: Option<&BoxError>) {
        let key = self.leases.key.as_str();
        if let Some(error) = error {
            tracing::warn!(target: "whippletree", key, "registration failed: {error}");
        }
        let error = error.map(|error| error.to_string().into());
        self.standing.send_replace(Standing { told, error });
    }
}

/// What became of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Lost,
    Withdrawn,
}
