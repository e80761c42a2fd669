//! Sections of a ring of endpoints.

use super::serves;
use crate::endpoint::{Endpoint, Weight};

/// What weights are multiplied with, so that a part of an endpoint can be told: a hundredth is
/// less than the noise of any load, and leaves room for weights up to 655.
const PARTS: [u64; 3] = [100, 10, 1];

/// The endpoints in the section of client number `client` of `clients`, with their parts of it.
///
/// Endpoints of weight 0, and such that are about to leave, stand between the others and take no room, unless all are such. Lengths
/// are counted so that an endpoint is `clients` long and the sections begin as many units apart as
/// there are endpoints: all of them are integers.
pub(super) fn section<'a>(
    client: u32,
    clients: u32,
    least: usize,
    tier: impl Iterator<Item = &'a Endpoint> + Clone,
) -> Vec<Endpoint> {
    let serving = tier.clone().filter(|endpoint| serves(endpoint)).count();
    let on_ring = if serving == 0 { tier.clone().count() } else { serving } as u64;
    let clients = u64::from(clients);
    // How many distances between the beginnings of two sections one is long.
    let distances = (least as u64).saturating_mul(clients).div_ceil(on_ring.max(1));
    if distances >= clients {
        return tier.cloned().collect();
    }
    let (begin, ring) = (u64::from(client) * on_ring, clients * on_ring);
    let section = Section { begin, end: begin + distances * on_ring, ring };
    let parts = parts(tier.clone());
    let mut at = 0;
    let members = tier.filter_map(|endpoint| {
        if serving > 0 && !serves(endpoint) {
            return section.contains(at).then(|| endpoint.clone());
        }
        let covered = section.covers(at, at + clients);
        at += clients;
        let whole = u64::from(endpoint.weight().get()) * parts;
        (covered > 0).then(|| weighed(endpoint, whole, covered, clients))
    });
    members.collect()
}

/// How many parts a unit of weight has.
fn parts<'a>(tier: impl Iterator<Item = &'a Endpoint>) -> u64 {
    let heaviest = tier.map(|endpoint| u64::from(endpoint.weight().get())).max();
    let fits = |parts: &u64| heaviest.unwrap_or_default() * parts <= u64::from(u16::MAX);
    PARTS.into_iter().find(fits).unwrap_or(1)
}

/// The endpoint with the covered part of its weight, rounded, and some where it had any.
fn weighed(endpoint: &Endpoint, whole: u64, covered: u64, length: u64) -> Endpoint {
    let part = ((whole * covered + length / 2) / length).max(whole.min(1));
    let weight = Weight::from(u16::try_from(part).unwrap_or(u16::MAX));
    endpoint.clone().with_weight(weight)
}

/// A part of a ring, which may go beyond its end and on from its beginning.
struct Section {
    begin: u64,
    end: u64,
    ring: u64,
}

impl Section {
    /// How much of the stretch from `from` to `to` lies in it.
    fn covers(&self, from: u64, to: u64) -> u64 {
        let common = |begin: u64, end: u64| end.min(to).saturating_sub(begin.max(from));
        common(self.begin, self.end.min(self.ring)) + common(0, self.end.saturating_sub(self.ring))
    }

    /// Whether what stands at this point, be it the end, lies in it.
    fn contains(&self, at: u64) -> bool {
        let at = at % self.ring;
        self.covers(at, at + 1) > 0
    }
}
