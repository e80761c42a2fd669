mod aperture;
mod fleet;

use crate::discover::Change;
use crate::endpoint::{Endpoint, EndpointId};
use crate::error::Error;
use crate::random;

pub(crate) use self::fleet::Fleet;

use xxhash_rust::xxh64::xxh64;

/// How many endpoints an aperture covers at least, unless told otherwise: Finagle's minimum.
const LEAST: usize = 12;

/// Which endpoints of a large fleet this client uses: a few, the same ones every time.
///
/// A thousand clients of a thousand endpoints are a million connections, probes and entries in
/// tables, most of which carry nothing. With a subset each client keeps to a few endpoints, and
/// all clients together still use all of them, evenly.
///
/// It is an [option of a source](super::Options::subsetting): what the source lists is narrowed
/// before the cluster sees it, so that no payload is made, nothing is probed and nothing is
/// connected to outside the subset. What another source lists, a fallback for one, stays whole.
/// For a list at hand there is [`of`](Self::of).
///
/// | | [`random`](Self::random) | [`aperture`](Self::aperture) |
/// |---|---|---|
/// | a client has to know | nothing | its number, and how many clients there are |
/// | clients per endpoint | even on average: `clients · size / fleet`, with a deviation below its square root | the same for all |
/// | endpoints that nobody uses | a few, where that is small: 13 % at 2 clients per endpoint | none |
/// | one endpoint comes or goes | at most one member is replaced | the ends move by one |
/// | another number of clients | nothing | most members are replaced, of every client |
/// | weights | stay as they are | times 100, less at the ends |
/// | as in | gRPC, proposal A68 | Finagle |
///
/// Take `random` unless the clients are numbered (a stateful set, a configuration that is rolled
/// out) and their number rarely changes. Without either, as long as every client has more than
/// some tens of requests under way, or the fleet has less than some hundreds of endpoints, all of
/// them are the better choice: a client that sees everything balances best.
///
/// # How many
///
/// 20 to 100 (the SRE book, chapter 20). Clients that send unequal load make endpoints uneven,
/// whichever way they choose: the more members, the less. Members that fail are **not** replaced
/// by others of the fleet while discovery lists them: a subset hangs on what the registry says and
/// not on the health that one client sees, or a moment of its own network would make it wander
/// through the fleet. So there must be members enough to bear the loss of some; ejection, its
/// limits and the panic threshold count within the subset.
///
/// # Rules
///
/// - Every [priority](Endpoint::with_priority) is narrowed by itself: a backup tier stays one.
/// - Endpoints of weight 0 take no place of those that serve; those that would be members if they
///   had a weight stay listed, so that what is bound to them goes on.
/// - Which endpoints are members hangs on their [ids](Endpoint::id) alone, not on the order in which they came,
///   and not on what was before: clients that see the same fleet agree on it.
/// - Zones and labels are not looked at. A subset of three zones has a third of its members in
///   each; a request for endpoints with some label finds those of the members that have it.
/// - Hash policies over a subset keep a key at one endpoint per client, not of all clients.
///
/// # Cost
///
/// The whole fleet is remembered, some 400 bytes per endpoint. A change costs some microseconds for
/// `random`, 0.1 µs per endpoint of the fleet for `aperture`, and a snapshot of the cluster only if
/// a member changes.
///
/// ```
/// use whippletree::Endpoint;
/// use whippletree::discover::Subsetting;
///
/// let fleet: Vec<Endpoint> =
///     (0..100).map(|n| Endpoint::new(format!("10.0.0.{n}:80"))).collect::<Result<_, _>>()?;
/// let web_7 = Subsetting::random(20)?.client("web-7");
/// let members = web_7.of(fleet.clone());
/// assert_eq!(members.len(), 20);
///
/// // One endpoint more: at most one member is another one.
/// let more = [fleet, vec![Endpoint::new("10.0.0.100:80")?]].concat();
/// let kept = web_7.of(more).iter().filter(|endpoint| members.contains(endpoint)).count();
/// assert!(kept >= 19);
/// # Ok::<(), whippletree::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subsetting(How);

#[derive(Clone, Debug, PartialEq, Eq)]
enum How {
    Random { size: usize, seed: u64 },
    Aperture { client: u32, clients: u32, least: usize },
}

impl Subsetting {
    /// The `size` endpoints of each priority that draw lowest, from their ids and the seed: a
    /// random choice that stays (rendezvous hashing, gRPC proposal A68). Fewer, if the fleet is
    /// smaller.
    ///
    /// The seed is another one for every call and process, unless [`client`](Self::client) or
    /// [`seed`](Self::seed) says which: then a restarted client finds the same endpoints again.
    ///
    /// An endpoint's draw is the XXH64 of its id, as the text of A68 has it: where ids are
    /// addresses and the seed is the same, the subset is the proposal's. (grpc-go hashes a longer
    /// text and finds another.)
    ///
    /// # Errors
    ///
    /// A size of 0.
    pub fn random(size: usize) -> Result<Self, Error> {
        if size == 0 {
            return Err(Error::config("size", size, "is not at least 1"));
        }
        let seed = random::Source::new(None).next();
        Ok(Self(How::Random { size, seed }))
    }

    /// Draws with this seed. Of an aperture, where all clients have to draw alike, it changes
    /// nothing.
    ///
    /// ```
    /// use whippletree::discover::Subsetting;
    ///
    /// assert_eq!(Subsetting::random(20)?.seed(7), Subsetting::random(20)?.seed(7));
    /// assert_ne!(Subsetting::random(20)?, Subsetting::random(20)?);
    /// # Ok::<(), whippletree::Error>(())
    /// ```
    #[must_use]
    pub fn seed(mut self, of_client: u64) -> Self {
        if let How::Random { seed, .. } = &mut self.0 {
            *seed = of_client;
        }
        self
    }

    /// Draws with a [seed](Self::seed) made of this name, by XXH64: the host's or the pod's, so
    /// that a client keeps its endpoints over restarts.
    #[must_use]
    pub fn client(self, name: impl AsRef<str>) -> Self {
        self.seed(xxh64(name.as_ref().as_bytes(), 0))
    }

    /// The endpoints that client number `client` of `clients`, counted from 0, is to use: its
    /// section of a ring on which the endpoints stand, each as wide as the others, in an order
    /// that hangs on their ids (Finagle's deterministic aperture).
    ///
    /// The sections begin at equal distances and are as long as so many of these distances as it
    /// takes to cover [12 endpoints](Self::least): every point of the ring lies in the same number
    /// of them. An endpoint at the end of a section is covered in part, and has that part of its
    /// weight: all weights are multiplied by 100 to express it (by 10 where one is above 655, by 1
    /// above 6553). Clients that send the same load then load endpoints of the same weight the
    /// same. Where the section is the whole ring, all weights stay as they are.
    ///
    /// Where there are fewer clients than `fleet / 12`, sections are longer, as someone has to use
    /// every endpoint: `fleet / clients`.
    ///
    /// A client that is missing leaves its part of the load to nobody, and one that comes in its
    /// place must have its number. A cluster whose other sources list endpoints of the same
    /// priority without an aperture weighs those hundred times less.
    ///
    /// # Errors
    ///
    /// A number that is not below the number of clients.
    ///
    /// ```
    /// use whippletree::Endpoint;
    /// use whippletree::discover::Subsetting;
    ///
    /// let fleet: Vec<Endpoint> =
    ///     (0..18).map(|n| Endpoint::new(format!("10.0.0.{n}:80"))).collect::<Result<_, _>>()?;
    /// // Three quarters of the ring, from its first quarter on: half of the fifth endpoint, and 13.
    /// let members = Subsetting::aperture(1, 4)?.of(fleet);
    /// assert_eq!(members.len(), 14);
    /// assert_eq!(members.iter().filter(|member| member.weight().get() == 50).count(), 1);
    /// assert_eq!(members.iter().filter(|member| member.weight().get() == 100).count(), 13);
    /// # Ok::<(), whippletree::Error>(())
    /// ```
    pub fn aperture(client: u32, clients: u32) -> Result<Self, Error> {
        if client >= clients {
            let reason = format!("is not below the number of clients, {clients}");
            return Err(Error::config("client", client, reason));
        }
        Ok(Self(How::Aperture { client, clients, least: LEAST }))
    }

    /// Sets how many endpoints an [aperture](Self::aperture) covers at least, or all if there are
    /// fewer. Default 12 (Finagle's minimum). The size of a random subset is as it is.
    ///
    /// # Errors
    ///
    /// 0.
    pub fn least(mut self, endpoints: usize) -> Result<Self, Error> {
        if endpoints == 0 {
            return Err(Error::config("least", endpoints, "is not at least 1"));
        }
        if let How::Aperture { least, .. } = &mut self.0 {
            *least = endpoints;
        }
        Ok(self)
    }

    /// The members of this fleet, ordered by id; of an id that stands in it twice the last.
    #[must_use]
    pub fn of(&self, fleet: impl IntoIterator<Item = Endpoint>) -> Vec<Endpoint> {
        let whole = vec![Change::Replace(fleet.into_iter().collect())];
        Fleet::default().narrow(self, whole).into_iter().flat_map(listed).collect()
    }

    /// What an endpoint draws; those that draw low come first.
    fn draw(&self, id: &EndpointId) -> u64 {
        match self.0 {
            How::Random { seed, .. } => xxh64(id.as_str().as_bytes(), seed),
            How::Aperture { .. } => xxh64(id.as_str().as_bytes(), 0),
        }
    }

    /// The members of one priority, whose endpoints come in the order of their draws.
    fn choose<'a>(&self, tier: impl Iterator<Item = &'a Endpoint> + Clone) -> Vec<Endpoint> {
        match self.0 {
            How::Random { size, .. } => lowest(size, tier),
            How::Aperture { client, clients, least } => {
                aperture::section(client, clients, least, tier)
            }
        }
    }
}

fn listed(change: Change) -> Vec<Endpoint> {
    match change {
        Change::Replace(endpoints) => endpoints,
        Change::Insert(_) | Change::Remove(_) => Vec::new(),
    }
}

/// Whether new requests may go to it, as far as its description goes.
fn serves(endpoint: &Endpoint) -> bool {
    !endpoint.weight().is_zero() && !endpoint.is_draining()
}

/// The first `size` that serve, and those that do not among the first `size`.
fn lowest<'a>(size: usize, tier: impl Iterator<Item = &'a Endpoint>) -> Vec<Endpoint> {
    let mut members = Vec::new();
    let mut serving = 0;
    for (place, endpoint) in tier.enumerate() {
        let serves = serves(endpoint);
        serving += usize::from(serves);
        if serves || place < size {
            members.push(endpoint.clone());
        }
        if serving == size {
            break;
        }
    }
    members
}
