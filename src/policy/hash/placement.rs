//! Where on the ring the points of the endpoints lie.

use std::fmt::Write;

use xxhash_rust::xxh64::xxh64;

use super::shares::Shares;
use crate::endpoint::Endpoint;

/// Points per unit of weight that nginx places (`ngx_http_upstream_init_chash`).
const NGINX_POINTS: u64 = 160;

/// The points of Envoy's ring.
///
/// The scale and the running sums are floating point as in Envoy, because they decide which
/// endpoint gets a point more than another of the same weight.
pub(super) fn envoy(endpoints: &[&Endpoint], least: u32, most: u32) -> Vec<(u64, u32)> {
    let weight = |endpoint: &Endpoint| f64::from(endpoint.weight().get());
    let sum: f64 = endpoints.iter().map(|endpoint| weight(endpoint)).sum();
    let shares = || endpoints.iter().map(|endpoint| weight(endpoint) / sum);
    let lightest = shares().fold(f64::INFINITY, f64::min);
    let scale = ((lightest * f64::from(least)).ceil() / lightest).min(f64::from(most));
    let mut points = Vec::with_capacity(scale.ceil() as usize);
    let mut target = 0.0;
    let mut name = String::new();
    for (index, (endpoint, share)) in endpoints.iter().zip(shares()).enumerate() {
        target += scale * share;
        let mut number = 0_u32;
        while (points.len() as f64) < target {
            name.clear();
            // Writing to a string does not fail.
            let _ = write!(name, "{}_{number}", endpoint.id());
            points.push((xxh64(name.as_bytes(), 0), index as u32));
            number += 1;
        }
    }
    points
}

/// The points of nginx's ring: each is the checksum of the address and the point before it.
pub(super) fn nginx(endpoints: &[&Endpoint], most: u32) -> Vec<(u32, u32)> {
    let shares = Shares::new(endpoints);
    let scaled = shares.whole().saturating_mul(NGINX_POINTS) > u64::from(most);
    let count = |index| {
        if scaled {
            return shares.of(index, u64::from(most)).max(1);
        }
        shares.weight(index) * NGINX_POINTS
    };
    let mut points = Vec::with_capacity((0..endpoints.len()).map(count).sum::<u64>() as usize);
    for (index, endpoint) in endpoints.iter().enumerate() {
        let address = nginx_address(endpoint);
        let mut previous = 0_u32;
        for _ in 0..count(index) {
            let mut checksum = address.clone();
            checksum.update(&previous.to_le_bytes());
            previous = checksum.finalize();
            points.push((previous, index as u32));
        }
    }
    points
}

/// The checksum of host, zero and port.
fn nginx_address(endpoint: &Endpoint) -> crc32fast::Hasher {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(endpoint.address().authority().host().as_bytes());
    checksum.update(b"\0");
    checksum.update(endpoint.address().port().to_string().as_bytes());
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u32 = 8 << 20;

    fn endpoints(first: usize, weights: &[u16]) -> Vec<Endpoint> {
        let weighted = |(i, &weight): (usize, &u16)| {
            Endpoint::new(format!("127.0.0.1:{}", first + i)).unwrap().with_weight(weight)
        };
        weights.iter().enumerate().map(weighted).collect()
    }

    fn ring(endpoints: &[Endpoint], least: u32, most: u32) -> Vec<(u64, u32)> {
        let mut points = envoy(&endpoints.iter().collect::<Vec<_>>(), least, most);
        points.sort_unstable();
        points
    }

    fn counts<P>(points: &[(P, u32)], endpoints: usize) -> Vec<usize> {
        let mut counts = vec![0; endpoints];
        points.iter().for_each(|(_, owner)| counts[*owner as usize] += 1);
        counts
    }

    /// Envoy's `ring_hash_lb_test.cc`, case Basic.
    #[test]
    fn ring_is_that_of_envoy() {
        let expected = [
            (833_437_586_790_550_860, 4),
            (928_266_305_478_181_108, 2),
            (1_033_482_794_131_418_490, 0),
            (3_551_244_743_356_806_947, 5),
            (3_851_675_632_748_031_481, 3),
            (5_583_722_120_771_150_861, 1),
            (6_311_230_543_546_372_928, 1),
            (7_700_377_290_971_790_572, 3),
            (13_144_177_310_400_110_813, 5),
            (13_444_792_449_719_432_967, 2),
            (15_516_499_411_664_133_160, 4),
            (16_117_243_373_044_804_889, 0),
        ];
        assert_eq!(ring(&endpoints(90, &[1; 6]), 12, MOST), expected);
    }

    /// The same, HostWeightedTinyRing; and gRPC's example with ids that are not addresses.
    #[test]
    fn weighted_ring_is_that_of_envoy_and_grpc() {
        let expected = [
            (928_266_305_478_181_108, 2),
            (4_443_673_547_860_492_590, 2),
            (5_583_722_120_771_150_861, 1),
            (6_311_230_543_546_372_928, 1),
            (13_444_792_449_719_432_967, 2),
            (16_117_243_373_044_804_889, 0),
        ];
        assert_eq!(ring(&endpoints(90, &[1, 2, 3]), 6, 6), expected);

        let named = |(id, weight): (&str, u16)| {
            Endpoint::new("a:1").unwrap().with_id(id).unwrap().with_weight(weight)
        };
        let expected = [
            (4_148_279_810_343_392_165, 0),
            (4_189_641_231_046_734_040, 1),
            (5_051_629_784_258_667_479, 2),
            (5_637_671_355_026_233_228, 1),
            (6_560_897_439_782_492_108, 1),
            (7_866_922_100_246_443_948, 0),
            (8_142_612_688_290_817_183, 2),
            (14_554_126_711_339_088_812, 2),
            (14_801_583_559_950_740_418, 2),
            (18_017_992_814_255_492_179, 0),
        ];
        assert_eq!(ring(&[("a", 3), ("b", 3), ("c", 4)].map(named), 10, 20), expected);
    }

    /// The numbers of entries in the other cases of the same file.
    #[test]
    fn endpoints_have_as_many_points_as_in_envoy() {
        let check = |weights: &[u16], (least, most): (u32, u32), expected: &[usize]| {
            let points = ring(&endpoints(80, weights), least, most);
            assert_eq!(counts(&points, weights.len()), expected, "{weights:?} {least} {most}");
        };
        check(&[1, 1], (3, MOST), &[2, 2]);
        check(&[1, 2, 3], (6144, MOST), &[1024, 2048, 3072]);
        check(&[1, 2, 2, 4], (9, 9), &[1, 2, 2, 4]);
        check(&[1, 2, 2, 4], (9216, MOST), &[1024, 2048, 2048, 4096]);
        check(&[1, 1], (1023, 1023), &[512, 511]);
    }

    #[test]
    fn points_of_nginx_are_a_chain_of_checksums() {
        let points = nginx(&[&Endpoint::new("127.0.0.1:7777").unwrap()], MOST);
        let places: Vec<u32> = points.iter().map(|(place, _)| *place).collect();
        let first = [842_782_624, 66_278_312, 1_921_422_695, 3_166_719_452, 802_613_243];
        assert_eq!(places[..5], first);
        assert_eq!(places.len(), 160);
    }

    #[test]
    fn nginx_hashes_the_address_whatever_the_id_and_the_scheme() {
        let plain = Endpoint::new("127.0.0.1:7777").unwrap();
        let named = Endpoint::new("http://127.0.0.1:7777").unwrap().with_id("one").unwrap();
        assert_eq!(nginx(&[&plain], MOST), nginx(&[&named], MOST));
        let bracketed = nginx_address(&Endpoint::new("[::1]:80").unwrap()).finalize();
        assert_eq!(bracketed, crc32fast::hash(b"[::1]\x0080"));
    }

    #[test]
    fn huge_weights_are_scaled_down_in_proportion() {
        let endpoints = endpoints(80, &[65_535, 1, 32_768]);
        let points = nginx(&endpoints.iter().collect::<Vec<_>>(), 300_000);
        assert_eq!(counts(&points, 3), [199_996, 4, 100_000]);
        let points = nginx(&endpoints.iter().collect::<Vec<_>>(), 2);
        assert_eq!(counts(&points, 3), [1, 1, 1]);
    }
}
