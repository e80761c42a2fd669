//! The names under which criterion files the results, shared by the benches and the report.
//!
//! A result is found by group, subject and endpoint count, so a name that is spelled once cannot
//! drift between the program that measures and the program that compares.

/// Groups of the `pick` bench, by the number of threads that pick at the same time.
pub const PICK: [(usize, &str); 2] = [(1, "pick 1 thread"), (2, "pick 2 threads")];
/// Groups of the `hashing` bench, by the number of threads that pick at the same time.
pub const HASHING: [(usize, &str); 2] = [(1, "pick by key 1 thread"), (2, "pick by key 2 threads")];
/// Groups of the `publish` bench.
pub const PUBLISH: [&str; 3] = [ADD, REMOVE, REWEIGHT];
/// One endpoint more.
pub const ADD: &str = "publish add";
/// One endpoint less.
pub const REMOVE: &str = "publish remove";
/// One endpoint with another weight.
pub const REWEIGHT: &str = "publish reweight";
/// Group of the `hashing` bench: what building costs.
pub const BUILD: &str = "build";
/// Group of the `request` bench.
pub const REQUEST: &str = "request";

/// Endpoint counts of the `pick` bench.
pub const PICK_SIZES: [usize; 5] = [2, 10, 100, 1_000, 10_000];
/// Endpoint counts at which tower behind a `Buffer` is measured: it is slow, and as slow at each.
pub const BUFFER_SIZES: [usize; 3] = [2, 10, 1_000];
/// Endpoint counts of the `hashing` bench.
pub const HASHING_SIZES: [usize; 3] = [10, 100, 1_000];
/// Endpoint counts of the `publish` bench.
pub const PUBLISH_SIZES: [usize; 3] = [10, 1_000, 10_000];
/// Endpoint counts of the `request` bench.
pub const REQUEST_SIZES: [usize; 2] = [10, 1_000];

/// `whippletree::policy::P2c` over requests in flight.
pub const P2C: &str = "whippletree P2c, in flight";
/// The same, where every endpoint has a limit that nobody reaches.
pub const P2C_LIMITED: &str = "whippletree P2c, in flight, with limits";
/// `whippletree::policy::P2c` over peak EWMA, each lease reported as a success.
pub const P2C_EWMA: &str = "whippletree P2c, peak EWMA";
/// `whippletree::policy::Random`.
pub const RANDOM: &str = "whippletree Random";
/// `whippletree::policy::RoundRobin`.
pub const ROUND_ROBIN: &str = "whippletree RoundRobin";
/// `whippletree::policy::LeastRequest`, which reads every endpoint.
pub const LEAST_REQUEST: &str = "whippletree LeastRequest";
/// `whippletree::policy::RingHash` with nginx's placement, another key at each pick.
pub const KETAMA: &str = "whippletree RingHash::ketama";
/// `whippletree::policy::RingHash` with Envoy's placement and at least 160 points per endpoint.
pub const RING_HASH: &str = "whippletree RingHash";
/// `whippletree::policy::Maglev`, 65 537 slots.
pub const MAGLEV: &str = "whippletree Maglev";
/// The same with bounded loads, idle.
pub const MAGLEV_BOUNDED: &str = "whippletree Maglev, bounded 1.25";
/// The same while every endpoint has about [`BUSY`] requests in flight.
pub const MAGLEV_BUSY: &str = "whippletree Maglev, bounded 1.25, busy";
/// `whippletree::policy::Rendezvous`, which reads every endpoint.
pub const RENDEZVOUS: &str = "whippletree Rendezvous";
/// A policy that reads a table of 65 537 slots at the key and does nothing else.
pub const BARE_TABLE: &str = "bare table and lease";
/// `pingora_ketama::Continuum::node` for the same keys, their hashing included.
pub const PINGORA_KETAMA: &str = "pingora ketama, lookup alone";
/// `pingora_load_balancing` over the same ring.
pub const PINGORA_CONSISTENT: &str = "pingora Consistent";
/// `tower::balance::p2c::Balance` over `PendingRequests`, owned by the one thread that picks.
pub const TOWER: &str = "tower Balance, PendingRequests";
/// `tower::balance::p2c::Balance` over `PeakEwma`, owned by the one thread that picks.
pub const TOWER_EWMA: &str = "tower Balance, PeakEwma";
/// The same behind `tower::buffer::Buffer`, each thread with one request at a time.
pub const TOWER_BUFFER: &str = "tower Buffer + Balance";
/// The same, each thread with [`PIPELINE`] requests at a time.
pub const TOWER_PIPELINE: &str = "tower Buffer + Balance, 32 at once";
/// `pingora_load_balancing` round robin.
pub const PINGORA_ROUND_ROBIN: &str = "pingora RoundRobin";
/// `pingora_load_balancing` random.
pub const PINGORA_RANDOM: &str = "pingora Random";
/// The memory traffic of a pick and nothing else.
pub const FLOOR: &str = "floor";

/// Requests in flight on each endpoint under the name [`MAGLEV_BUSY`].
pub const BUSY: usize = 4;
/// Requests that each thread keeps in the `Buffer` under the name [`TOWER_PIPELINE`].
pub const PIPELINE: usize = 32;

/// A `whippletree::Cluster`, changed by one call.
pub const CLUSTER: &str = "whippletree Cluster";
/// `pingora_load_balancing::LoadBalancer::update`, discovery included.
pub const PINGORA_UPDATE: &str = "pingora LoadBalancer::update";
/// A list of `Arc`s copied, changed and stored in an `ArcSwap`.
pub const ARC_LIST: &str = "Arc list in an ArcSwap";

/// `whippletree::Balance` with a service per endpoint.
pub const BALANCE: &str = "whippletree Balance, connect";
/// `whippletree::Balance` with one client for all, which rewrites the URI.
pub const BALANCE_SHARED: &str = "whippletree Balance, shared";
/// `tower::balance::p2c::Balance` around the same service.
pub const TOWER_REQUEST: &str = "tower Balance";
/// The service on its own. It has no endpoints; it is filed under each size all the same.
pub const BARE: &str = "bare service";
