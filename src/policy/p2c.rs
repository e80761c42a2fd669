use super::wheel::Wheel;
use super::{Build, Candidates, Pick, Policy};

/// The cheaper of two endpoints drawn at random: the power of two choices.
///
/// Two **different** endpoints are drawn in proportion to their weights, and the one with the lower
/// cost per weight is picked; of two that cost the same, the first drawn, so that idle endpoints
/// get their shares exactly. With two endpoints the lighter one always wins, and the dearest of
/// three or more is never picked.
///
/// A pick reads two costs, whatever the number of endpoints. With equal weights it keeps nothing
/// per endpoint, otherwise 8 bytes and a guide of 4 to 8.
///
/// ```
/// use whippletree::policy::P2c;
/// use whippletree::{Cluster, Context, Endpoint};
///
/// let cluster = Cluster::builder().policy(P2c::new()).connect(|_| ());
/// cluster.replace([Endpoint::new("a:80")?, Endpoint::new("b:80")?])?;
/// let one = cluster.pick(&Context::new())?;
/// let other = cluster.pick(&Context::new())?;
/// assert_ne!(one.id(), other.id());
/// # Ok::<(), whippletree::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct P2c {
    choices: usize,
}

impl P2c {
    /// The most endpoints that may be compared.
    const MOST: usize = 16;

    /// Compares two.
    #[must_use]
    pub const fn new() -> Self {
        Self { choices: 2 }
    }

    /// Compares `choices` endpoints, 2 to 16; a number outside is taken to the nearer end.
    /// Default 2.
    ///
    /// Three even the load out a little better, if this is the only balancer; with several that
    /// do not know of each other's requests, more choices send more of them to the same endpoint.
    #[must_use]
    pub fn choices(mut self, choices: usize) -> Self {
        self.choices = choices.clamp(2, Self::MOST);
        self
    }
}

impl Default for P2c {
    fn default() -> Self {
        Self::new()
    }
}

impl Policy for P2c {
    fn name(&self) -> &str {
        "p2c"
    }

    fn build(&self, build: &Build<'_>) -> Box<dyn Pick> {
        let wheel = Wheel::new(build.endpoints);
        match self.choices.min(build.endpoints.len()) {
            0..=2 => Box::new(OfTwo(wheel)),
            choices => Box::new(OfMany { wheel, choices }),
        }
    }
}

struct OfTwo(Wheel);

impl Pick for OfTwo {
    fn pick(&self, candidates: &Candidates<'_>) -> Option<usize> {
        let (first, second) = self.0.draw_two(candidates)?;
        Some(cheaper(&self.0, candidates, first, second))
    }

    fn heeds_share(&self) -> bool {
        true
    }
}

struct OfMany {
    wheel: Wheel,
    choices: usize,
}

impl Pick for OfMany {
    fn pick(&self, candidates: &Candidates<'_>) -> Option<usize> {
        let mut drawn = [usize::MAX; P2c::MOST];
        let mut best = None;
        for count in 0..self.choices {
            let fresh = |index| !drawn[..count].contains(&index);
            let Some(index) = self.wheel.draw_where(candidates, fresh) else {
                break;
            };
            drawn[count] = index;
            best = best.map(|best| cheaper(&self.wheel, candidates, best, index)).or(Some(index));
        }
        best
    }

    fn heeds_share(&self) -> bool {
        true
    }
}

#[inline(always)]
fn cheaper(wheel: &Wheel, candidates: &Candidates<'_>, first: usize, second: usize) -> usize {
    let (one, other) = (candidates.cost(first), candidates.cost(second));
    if candidates.is_ramping() {
        let weight = |index| wheel.weight(index) * candidates.share(index);
        return if other * weight(first) < one * weight(second) { second } else { first };
    }
    let better = match wheel {
        Wheel::Equal(_) => other < one,
        // Multiplied across, so that nothing is divided.
        Wheel::Weighted(_) => other * wheel.weight(first) < one * wheel.weight(second),
    };
    if better { second } else { first }
}
