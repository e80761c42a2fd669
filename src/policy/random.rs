use super::wheel::Wheel;
use super::{Build, Candidates, Pick, Policy};

/// Any endpoint, in proportion to the weights.
///
/// Blind to load; the baseline to compare others with. A pick is one draw, whatever the number of
/// endpoints; memory as [`P2c`](super::P2c).
#[derive(Clone, Copy, Debug, Default)]
pub struct Random {}

impl Random {
    /// The policy; it has no parameters.
    #[must_use]
    pub const fn new() -> Self {
        Self {}
    }
}

impl Policy for Random {
    fn name(&self) -> &str {
        "random"
    }

    fn build(&self, build: &Build<'_>) -> Box<dyn Pick> {
        Box::new(Draw(Wheel::new(build.endpoints)))
    }
}

struct Draw(Wheel);

impl Pick for Draw {
    fn pick(&self, candidates: &Candidates<'_>) -> Option<usize> {
        self.0.draw(candidates)
    }

    fn heeds_share(&self) -> bool {
        true
    }
}
