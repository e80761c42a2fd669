//! From the results of checks to a verdict, with the inertia that keeps it from flapping.

/// How many checks in a row turn the verdict on an endpoint.
///
/// ```
/// use whippletree::health::Thresholds;
///
/// let patient = Thresholds::new().fall(5);
/// assert_ne!(patient, Thresholds::default());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    rise: u32,
    fall: u32,
}

impl Thresholds {
    /// The most checks that either may ask for.
    const MOST: u32 = 1_000_000;

    /// Rise 2, fall 3: HAProxy's defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self { rise: 2, fall: 3 }
    }

    /// Sets how many checks in a row have to pass before an endpoint that is down is up, 1 to
    /// 1 000 000; a value outside is taken to the nearer end. Default 2.
    #[must_use]
    pub fn rise(mut self, checks: u32) -> Self {
        self.rise = checks.clamp(1, Self::MOST);
        self
    }

    /// Sets how many checks in a row have to fail before an endpoint that is up is down, 1 to
    /// 1 000 000; a value outside is taken to the nearer end. Default 3.
    #[must_use]
    pub fn fall(mut self, checks: u32) -> Self {
        self.fall = checks.clamp(1, Self::MOST);
        self
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self::new()
    }
}

/// What an endpoint is before its first check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Initial {
    /// It serves, and `fall` failures in a row take it out.
    Up,
    /// It does not serve until its first check has passed; the first that fails calls it down
    /// (Envoy).
    #[default]
    Unproven,
    /// It does not serve until `rise` checks in a row have passed.
    Down,
}

/// The verdict so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Up,
    Unproven,
    Down,
}

/// A verdict that has turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Up,
    Down,
}

/// HAProxy's and keepalived's integer, 0 to rise + fall − 1: up iff it is `rise` at least.
///
/// A check that passes adds one, and on reaching `rise` jumps to the top; one that fails takes one,
/// and on falling under `rise` jumps to 0. So in both directions the results have to come in a row:
/// a single one that agrees with the verdict restores it in full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counter {
    value: u32,
    thresholds: Thresholds,
    proven: bool,
}

impl Counter {
    pub(crate) fn new(thresholds: Thresholds, initial: Initial) -> Self {
        let value = if initial == Initial::Up { thresholds.rise + thresholds.fall - 1 } else { 0 };
        Self { value, thresholds, proven: initial != Initial::Unproven }
    }

    /// As it would be if it had begun like this.
    #[cfg(feature = "serde")]
    pub(crate) fn restarted(&self, initial: Initial) -> Self {
        Self::new(self.thresholds, initial)
    }

    /// Takes a result in; answers whether it has turned the verdict.
    pub(crate) fn record(&mut self, passed: bool) -> Option<Turn> {
        let Thresholds { rise, fall } = self.thresholds;
        let before = self.standing();
        let first = !std::mem::replace(&mut self.proven, true);
        self.value = match passed {
            true if first || self.value + 1 >= rise => rise + fall - 1,
            true => self.value + 1,
            false if self.value <= rise => 0,
            false => self.value - 1,
        };
        match (before, self.standing()) {
            (Standing::Up, Standing::Down) | (Standing::Unproven, Standing::Down) => {
                Some(Turn::Down)
            }
            (Standing::Down, Standing::Up) | (Standing::Unproven, Standing::Up) => Some(Turn::Up),
            _ => None,
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        if !self.proven {
            Standing::Unproven
        } else if self.value >= self.thresholds.rise {
            Standing::Up
        } else {
            Standing::Down
        }
    }

    /// Whether the last results differ from the verdict: the next ones may turn it.
    pub(crate) fn in_transition(&self) -> bool {
        let Thresholds { rise, fall } = self.thresholds;
        !self.proven || (self.value != 0 && self.value != rise + fall - 1)
    }

    /// How many results against the verdict would turn it, if they came in a row.
    pub(crate) fn to_flip(self) -> u32 {
        match self.standing() {
            Standing::Unproven => 1,
            Standing::Down => self.thresholds.rise - self.value,
            Standing::Up => self.value - self.thresholds.rise + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thresholds(rise: u32, fall: u32) -> Thresholds {
        Thresholds::new().rise(rise).fall(fall)
    }

    /// The integer after each result, `S` for passed and `F` for failed.
    fn check(initial: Initial, (rise, fall): (u32, u32), results: &str, expected: &[u32]) {
        let mut counter = Counter::new(thresholds(rise, fall), initial);
        let values = results.split_whitespace().map(|result| {
            counter.record(result == "S");
            counter.value
        });
        assert_eq!(values.collect::<Vec<_>>(), expected, "{initial:?} rise {rise} fall {fall}");
    }

    /// The verdict after each result, `U` for up and `D` for down.
    fn verdicts(initial: Initial, (rise, fall): (u32, u32), results: &str, expected: &str) {
        let mut counter = Counter::new(thresholds(rise, fall), initial);
        let verdicts = results.chars().map(|result| {
            counter.record(result == 'S');
            if counter.standing() == Standing::Up { 'U' } else { 'D' }
        });
        assert_eq!(verdicts.collect::<String>(), expected, "rise {rise} fall {fall}: {results}");
    }

    #[test]
    fn verdicts_are_haproxys() {
        let (up, down) = (Initial::Up, Initial::Down);
        verdicts(up, (2, 3), "FFF", "UUD");
        verdicts(up, (2, 3), "FFSFFSFFF", "UUUUUUUUD");
        verdicts(down, (2, 3), "SS", "DU");
        verdicts(down, (2, 3), "SFSS", "DDDU");
        verdicts(up, (2, 3), "FFFSFSSFFSFFF", "UUDDDDUUUUUUD");
        verdicts(up, (1, 1), "FSFS", "DUDU");
        verdicts(down, (3, 2), "SSFSSSFSFF", "DDDDDUUUUD");
        verdicts(down, (5, 1), "SSSSFSSSSS", "DDDDDDDDDU");
        verdicts(up, (2, 3), "FFFFFFSSFFF", "UUDDDDDUUUD");
    }

    #[test]
    fn one_success_proves_an_endpoint_and_one_failure_calls_it_down() {
        verdicts(Initial::Unproven, (2, 3), "SFFF", "UUUD");
        verdicts(Initial::Unproven, (2, 3), "FSS", "DDU");
    }

    #[test]
    fn alternating_results_never_turn_the_verdict() {
        let flapping = "SF".repeat(500);
        verdicts(Initial::Up, (2, 2), &flapping, &"U".repeat(1000));
        verdicts(Initial::Down, (2, 2), &flapping, &"D".repeat(1000));
    }

    #[test]
    fn counter_is_a_row_of_equal_results_and_nothing_else() {
        proptest::proptest!(|(rise in 1..5_u32, fall in 1..5_u32,
                              results: Vec<bool>, up: bool)| {
            let initial = if up { Initial::Up } else { Initial::Down };
            let mut counter = Counter::new(thresholds(rise, fall), initial);
            let (mut state, mut row) = (up, 0);
            for passed in results {
                row = if passed == state { 0 } else { row + 1 };
                if row == if state { fall } else { rise } {
                    (state, row) = (!state, 0);
                }
                counter.record(passed);
                proptest::prop_assert_eq!(counter.standing() == Standing::Up, state);
                let left = if state { fall } else { rise } - row;
                proptest::prop_assert_eq!(counter.to_flip(), left);
                proptest::prop_assert_eq!(counter.in_transition(), row > 0);
            }
        });
    }

    #[test]
    fn integer_moves_as_haproxys_and_keepaliveds_does() {
        check(Initial::Up, (2, 3), "F F S F F F", &[3, 2, 4, 3, 2, 0]);
        check(Initial::Down, (2, 3), "S F S S", &[1, 0, 1, 4]);
        check(Initial::Unproven, (2, 3), "S F F F", &[4, 3, 2, 0]);
        check(Initial::Unproven, (2, 3), "F S S", &[0, 1, 4]);
        check(Initial::Up, (1, 1), "F S F", &[0, 1, 0]);
    }
}
