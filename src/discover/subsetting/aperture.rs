//! Sections of a ring of endpoints.

use crate::endpoint::{Endpoint, Weight};

/// What weights are multiplied with, so that a part of an endpoint can be told: a hundredth is
/// less than the noise of any load, and leaves room for weights up to 655.
const PARTS: [u64; 3] = [100, 10, 1];

/// The endpoints in the section of client number `client` of `clients`, with their parts of it.
///
/// Endpoints of weight 0 stand between the others and take no room. Lengths are counted so that an
/// endpoint is `clients` long and the sections begin `serving` apart: all of them are integers.
pub(super) fn section<'a>(
    client: u32,
    clients: u32,
    least: usize,
    tier: impl Iterator<Item = &'a Endpoint> + Clone,
) -> Vec<Endpoint> {
    let weights = tier.clone().map(|endpoint| u64::from(endpoint.weight().get()));
    let serving = weights.clone().filter(|weight| *weight > 0).count() as u64;
    let clients = u64::from(clients);
    // How many distances between two sections one is long.
    let overlap = (least as u64).saturating_mul(clients).div_ceil(serving.max(1));
    if overlap >= clients {
        return tier.cloned().collect();
    }
    let ring = clients * serving;
    let begin = u64::from(client) * serving;
    let section = Section { begin, end: begin + overlap * serving, ring };
    let heaviest = weights.max().unwrap_or_default();
    let parts = PARTS.into_iter().find(|parts| heaviest * parts <= u64::from(u16::MAX));
    let parts = parts.unwrap_or(1);
    let mut at = 0;
    let mut members = Vec::new();
    for endpoint in tier {
        let weight = u64::from(endpoint.weight().get());
        if weight == 0 {
            members.extend(section.contains(at).then(|| endpoint.clone()));
            continue;
        }
        let covered = section.covers(at, at + clients);
        at += clients;
        if covered > 0 {
            let part = (weight * parts * covered + clients / 2) / clients;
            let weight = Weight::from(part.clamp(1, u64::from(u16::MAX)) as u16);
            members.push(endpoint.clone().with_weight(weight));
        }
    }
    members
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

    fn contains(&self, at: u64) -> bool {
        self.covers(at, at + 1) > 0
    }
}
