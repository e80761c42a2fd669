//! `RingHash::new` and `Maglev` beside Envoy's own tests.

use whippletree::Endpoint;
use whippletree::policy::{Maglev, RingHash};

use crate::{cluster, home};

fn local(first: u16, weights: &[u16]) -> Vec<Endpoint> {
    let endpoint = |(port, weight): (u16, &u16)| {
        Endpoint::new(format!("127.0.0.1:{port}")).unwrap().with_weight(*weight)
    };
    (first..).zip(weights).map(endpoint).collect()
}

#[test]
fn hashes_go_to_the_next_entry_of_the_ring() {
    let ring = RingHash::new().ring_size(12..=8_388_608).unwrap();
    let cluster = cluster(ring, &local(90, &[1; 6]));
    for (hash, port) in [
        (0, 94),
        (u64::MAX, 94),
        (3_551_244_743_356_806_947, 95),
        (3_551_244_743_356_806_948, 93),
        (16_117_243_373_044_804_880, 90),
    ] {
        assert_eq!(home(&cluster, hash).as_str(), format!("127.0.0.1:{port}"), "{hash}");
    }
}

#[test]
fn ids_take_the_place_of_host_names() {
    let named = |id: u16| Endpoint::new("a:1").unwrap().with_id(id.to_string()).unwrap();
    let ring = RingHash::new().ring_size(12..=8_388_608).unwrap();
    let cluster = cluster(ring, &(90..96).map(named).collect::<Vec<_>>());
    for (hash, id) in [
        (0, "95"),
        (u64::MAX, "95"),
        (7_225_015_537_174_310_577, "92"),
        (6_803_900_775_736_438_537, "93"),
    ] {
        assert_eq!(home(&cluster, hash).as_str(), id, "{hash}");
    }
}

/// Hashes at even distances, as in Envoy's tests of large rings.
fn sweep(ring: RingHash, weights: &[u16], count: u64, expected: &[usize]) {
    let endpoints = local(90, weights);
    let cluster = cluster(ring, &endpoints);
    let mut counts = vec![0; weights.len()];
    for step in 0..count {
        let home = home(&cluster, step * (u64::MAX / count));
        counts[endpoints.iter().position(|endpoint| *endpoint.id() == home).unwrap()] += 1;
    }
    assert_eq!(counts, expected, "{weights:?}");
}

#[test]
fn sweeps_of_large_rings_count_as_in_envoy() {
    let ring = |least, most| RingHash::new().ring_size(least..=most).unwrap();
    sweep(ring(6144, 8_388_608), &[1, 2, 3], 6000, &[987, 1932, 3081]);
    sweep(ring(9216, 8_388_608), &[1, 2, 2, 4], 9000, &[924, 2009, 2053, 4014]);
    sweep(ring(1023, 1023), &[1, 1], 1023, &[526, 497]);
}

#[test]
fn every_slot_of_a_maglev_table_is_that_of_envoy() {
    let maglev = Maglev::new().table_size(17).unwrap();
    let cluster = cluster(maglev, &local(90, &[1, 2]));
    let table = [1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1];
    for (hash, owner) in (17 * 1000..).zip(table) {
        assert_eq!(home(&cluster, hash).as_str(), format!("127.0.0.1:{}", 90 + owner), "{hash}");
    }
}
