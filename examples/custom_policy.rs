//! A policy of one's own: stay in the zone and take the cheaper of two there, as long as that
//! does not mean to wait much longer than elsewhere.
//!
//! ```text
//! cargo run --example custom_policy
//! ```

use whippletree::endpoint::Locality;
use whippletree::policy::{Build, Candidates, Pick, Policy};
use whippletree::{Cluster, Context, Endpoint, EndpointId, Error, Weight};

/// Prefers the endpoints of one zone.
#[derive(Debug)]
struct OwnZone {
    zone: Locality,
    /// How much more the endpoint of the own zone may cost: here, requests in flight.
    patience: f64,
}

/// What is prepared once per change of the endpoints: who is near, who is far, by their index.
struct ZonePick {
    near: Vec<usize>,
    far: Vec<usize>,
    patience: f64,
}

impl Policy for OwnZone {
    fn name(&self) -> &str {
        "own_zone"
    }

    fn build(&self, build: &Build<'_>) -> Box<dyn Pick> {
        let is_near = |index: &usize| build.endpoints[*index].locality() == Some(&self.zone);
        let (near, far) = (0..build.endpoints.len()).partition(is_near);
        Box::new(ZonePick { near, far, patience: self.patience })
    }
}

/// What runs on every request: reads, never blocks, never allocates.
impl Pick for ZonePick {
    fn pick(&self, candidates: &Candidates<'_>) -> Option<usize> {
        let near = cheaper_of_two(&self.near, candidates);
        let far = cheaper_of_two(&self.far, candidates);
        match (near, far) {
            (Some(near), Some(far)) => {
                let worth_it = candidates.cost(near) <= candidates.cost(far) + self.patience;
                Some(if worth_it { near } else { far })
            }
            (near, far) => near.or(far),
        }
    }
}

fn cheaper_of_two(zone: &[usize], candidates: &Candidates<'_>) -> Option<usize> {
    let first = any_allowed(zone, candidates)?;
    let second = any_allowed(zone, candidates)?;
    let second_is_cheaper = candidates.cost(second) < candidates.cost(first);
    Some(if second_is_cheaper { second } else { first })
}

/// The first endpoint, from a random place on, that the request does not exclude.
fn any_allowed(zone: &[usize], candidates: &Candidates<'_>) -> Option<usize> {
    let start = candidates.random().checked_rem(zone.len() as u64)? as usize;
    let (before, after) = zone.split_at(start);
    let allowed = |index: &usize| candidates.allows(*index);
    after.iter().chain(before).copied().find(allowed)
}

fn main() -> Result<(), Error> {
    let (here, there) = (Locality::new("eu", "a"), Locality::new("eu", "b"));
    let cluster = Cluster::builder()
        .policy(OwnZone { zone: here.clone(), patience: 3.0 })
        .seed(7)
        .connect(|_| ());
    cluster.replace([
        Endpoint::new("here-1:80")?.with_locality(here.clone()),
        Endpoint::new("here-2:80")?.with_locality(here),
        Endpoint::new("there-1:80")?.with_locality(there.clone()),
        Endpoint::new("there-2:80")?.with_locality(there),
    ])?;
    let pick = |context: &Context| cluster.pick(context);
    let anyone = Context::new();

    // One request at a time: all stay in the zone.
    for _ in 0..1000 {
        assert!(pick(&anyone)?.id().as_str().starts_with("here"));
    }
    println!("one at a time: all 1000 requests stayed in the zone");

    // Leases that are kept are requests in flight. Once both endpoints here are busier than those
    // there by more than the patience, requests go there too.
    let leases: Vec<_> = (0..40).map(|_| pick(&anyone)).collect::<Result<_, _>>()?;
    let stayed = leases.iter().filter(|lease| lease.id().as_str().starts_with("here"));
    let stayed = stayed.count();
    println!("40 at once: {stayed} stayed, {} went elsewhere", leases.len() - stayed);
    assert!((21..=28).contains(&stayed), "about 20, and 3 more for each endpoint here");
    drop(leases);

    // What a request excludes and what is drained is not picked.
    let here_1 = EndpointId::new("here-1:80")?;
    let here_2 = EndpointId::new("here-2:80")?;
    cluster.set_weight(&here_1, Weight::new(0)?)?;
    assert_eq!(pick(&anyone)?.id(), &here_2);
    println!("here-1 drained: here-2 serves");
    let not_here_2 = Context::new().with_exclude(here_2);
    assert!(pick(&not_here_2)?.id().as_str().starts_with("there"));
    println!("here-2 excluded as well: the other zone serves");
    Ok(())
}
