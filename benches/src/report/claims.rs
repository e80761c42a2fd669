use std::fmt;

use super::Results;
use crate::names::{
    ADD, BALANCE, BARE, BARE_TABLE, BUFFER_SIZES, BUILD, CLUSTER, HASHING, KETAMA, MAGLEV, P2C,
    P2C_EWMA, PICK, PINGORA_KETAMA, PINGORA_ROUND_ROBIN, RANDOM, REQUEST, ROUND_ROBIN, TOWER,
    TOWER_BUFFER, TOWER_EWMA, TOWER_PIPELINE,
};

/// A statement about the results, and whether they bear it out.
#[derive(Debug)]
pub struct Claim {
    /// What is compared.
    pub subject: String,
    /// What the results say; `None` if one of them is missing.
    pub measured: Option<f64>,
    limit: Limit,
}

/// What the measured number is and how far it may go.
#[derive(Clone, Copy, Debug)]
enum Limit {
    /// Times faster than the peer, no less.
    Faster(f64),
    /// Times the cost at a smaller size, no more.
    Slower(f64),
    /// Nanoseconds, no more.
    Nanos(f64),
    /// Times faster than the peer, for the reader only.
    Unlimited,
}

impl Claim {
    /// Whether the results bear the claim out. One without results does not hold.
    #[must_use]
    pub fn holds(&self) -> bool {
        match (self.limit, self.measured) {
            (Limit::Unlimited, _) => true,
            (_, None) => false,
            (Limit::Faster(least), Some(times)) => times >= least,
            (Limit::Slower(most), Some(times)) => times <= most,
            (Limit::Nanos(most), Some(nanos)) => nanos < most,
        }
    }

    /// The measured number with its unit.
    #[must_use]
    pub fn value(&self) -> String {
        match (self.limit, self.measured) {
            (_, None) => "not measured".into(),
            (Limit::Faster(_) | Limit::Unlimited, Some(times)) => format!("{times:.1}x faster"),
            (Limit::Slower(_), Some(times)) => format!("{times:.2}x the time"),
            (Limit::Nanos(_), Some(nanos)) => format!("{nanos:.0} ns"),
        }
    }

    /// What was claimed.
    #[must_use]
    pub fn claimed(&self) -> String {
        match self.limit {
            Limit::Faster(least) => format!("at least {least}x"),
            Limit::Slower(most) => format!("at most {most}x"),
            Limit::Nanos(most) => format!("below {most} ns"),
            Limit::Unlimited => "no claim".into(),
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, claimed {}", self.subject, self.value(), self.claimed())
    }
}

/// Every claim, in the order of the benches.
#[must_use]
pub fn all(results: &Results) -> Vec<Claim> {
    let mut claims = Vec::from(alone(results));
    claims.extend(shared(results));
    claims.extend(flat(results));
    claims.extend(hashing(results));
    claims.extend(beyond_picks(results));
    claims
}

/// One thread at 1000 endpoints.
fn alone(results: &Results) -> [Claim; 3] {
    let [(_, group), _] = PICK;
    let faster = |own, peer, least| Claim {
        subject: format!("{own} vs {peer}, 1000 endpoints"),
        measured: ratio(results.median(group, peer, 1_000), results.median(group, own, 1_000)),
        limit: Limit::Faster(least),
    };
    [
        faster(P2C, TOWER, 7.0),
        faster(P2C, PINGORA_ROUND_ROBIN, 1.0),
        faster(P2C_EWMA, TOWER_EWMA, 5.0),
    ]
}

/// Two threads, against the peer that two threads can share.
fn shared(results: &Results) -> impl Iterator<Item = Claim> {
    let [_, (_, group)] = PICK;
    let peers = [(TOWER_BUFFER, Limit::Faster(20.0)), (TOWER_PIPELINE, Limit::Unlimited)];
    peers.into_iter().flat_map(move |(peer, limit)| {
        BUFFER_SIZES.map(|size| Claim {
            subject: format!("{P2C} vs {peer}, {size} endpoints, 2 threads"),
            measured: ratio(results.median(group, peer, size), results.median(group, P2C, size)),
            limit,
        })
    })
}

/// Picks by key at 1000 endpoints, and what they need built.
fn hashing(results: &Results) -> [Claim; 4] {
    let [(_, group), _] = HASHING;
    let times = |own, peer, most| Claim {
        subject: format!("{own} beside {peer}, 1000 endpoints"),
        measured: ratio(results.median(group, own, 1_000), results.median(group, peer, 1_000)),
        limit: Limit::Slower(most),
    };
    let built = |own: &str, most| Claim {
        subject: format!("{own} built, 1000 endpoints"),
        measured: results.median(BUILD, own, 1_000),
        limit: Limit::Nanos(most),
    };
    [
        times(MAGLEV, BARE_TABLE, 2.0),
        times(KETAMA, PINGORA_KETAMA, 2.0),
        built(MAGLEV, 20e6),
        built(KETAMA, 10e6),
    ]
}

/// The same pick among more endpoints.
fn flat(results: &Results) -> impl Iterator<Item = Claim> {
    let [(_, group), _] = PICK;
    [P2C, P2C_EWMA, RANDOM, ROUND_ROBIN].into_iter().map(move |own| Claim {
        subject: format!("{own}, 10 000 endpoints vs 10"),
        measured: ratio(results.median(group, own, 10_000), results.median(group, own, 10)),
        limit: Limit::Slower(2.0),
    })
}

fn beyond_picks(results: &Results) -> [Claim; 2] {
    let add = Claim {
        subject: "one endpoint added to 10 000".into(),
        measured: results.median(ADD, CLUSTER, 10_000),
        limit: Limit::Nanos(1e6),
    };
    let with = results.median(REQUEST, BALANCE, 1_000);
    let bare = results.median(REQUEST, BARE, 1_000);
    let request = Claim {
        subject: format!("{BALANCE}, added to a request, 1000 endpoints"),
        measured: with.zip(bare).map(|(with, bare)| with - bare),
        limit: Limit::Nanos(250.0),
    };
    [add, request]
}

fn ratio(dividend: Option<f64>, divisor: Option<f64>) -> Option<f64> {
    dividend.zip(divisor).map(|(dividend, divisor)| dividend / divisor)
}
