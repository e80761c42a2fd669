//! How a Maglev table is filled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use xxhash_rust::xxh64::xxh64;

use crate::endpoint::Endpoint;

/// A slot that nobody has taken.
const FREE: u32 = u32::MAX;

/// Which endpoint each of `size` slots belongs to, `size` being a prime.
///
/// The endpoints take turns; at each turn one takes the next free slot of its own order. For the
/// order of an endpoint see [`Steps`], for the turns [`Turns`].
pub(super) fn fill(endpoints: &[&Endpoint], size: u32) -> Vec<u32> {
    let mut slots = vec![FREE; size as usize];
    let mut steps: Vec<Steps> =
        endpoints.iter().map(|endpoint| Steps::new(endpoint, size)).collect();
    let mut turns = Turns::new(endpoints);
    for _ in 0..size {
        let index = turns.next();
        let steps = &mut steps[index];
        while slots[steps.at as usize] != FREE {
            steps.advance(size);
        }
        slots[steps.at as usize] = index as u32;
    }
    slots
}

/// The order in which an endpoint goes through the slots: steps of a length of its own from a
/// start of its own. As the number of slots is a prime, they meet every slot.
struct Steps {
    at: u32,
    length: u32,
}

impl Steps {
    fn new(endpoint: &Endpoint, size: u32) -> Self {
        let id = endpoint.id().as_str().as_bytes();
        let at = xxh64(id, 0) % u64::from(size);
        let length = xxh64(id, 1) % u64::from(size - 1) + 1;
        Self { at: at as u32, length: length as u32 }
    }

    fn advance(&mut self, size: u32) {
        self.at += self.length;
        if self.at >= size {
            self.at -= size;
        }
    }
}

/// Whose turn it is to take a slot.
///
/// In Envoy's round number `r` an endpoint takes a slot if `r` times its weight has reached a
/// target, which then rises by the largest weight. Envoy asks all endpoints in every round; here
/// each is called when its round has come, since rounds are many when weights are far apart. The
/// arithmetic is floating point as in Envoy, so that it rounds the same.
enum Turns {
    Equal { next: usize, count: usize },
    Weighted { due: BinaryHeap<Reverse<(u64, usize)>>, entries: Vec<Entry>, largest: f64 },
}

struct Entry {
    weight: f64,
    target: f64,
}

impl Turns {
    fn new(endpoints: &[&Endpoint]) -> Self {
        let weights = || endpoints.iter().map(|endpoint| f64::from(endpoint.weight().get()));
        let mut pairs = weights().zip(weights().skip(1));
        if pairs.all(|(one, next)| one == next) {
            return Self::Equal { next: 0, count: endpoints.len() };
        }
        let sum: f64 = weights().sum();
        let entries: Vec<Entry> =
            weights().map(|weight| Entry { weight: weight / sum, target: 0.0 }).collect();
        let largest = entries.iter().map(|entry| entry.weight).fold(0.0, f64::max);
        let due = (0..entries.len()).map(|index| Reverse((1, index))).collect();
        Self::Weighted { due, entries, largest }
    }

    fn next(&mut self) -> usize {
        match self {
            Self::Equal { next, count } => {
                let index = *next;
                *next = if index + 1 == *count { 0 } else { index + 1 };
                index
            }
            Self::Weighted { due, entries, largest } => {
                let Some(mut first) = due.peek_mut() else {
                    return 0;
                };
                let (round, index) = first.0;
                entries[index].target += *largest;
                *first = Reverse((entries[index].round_after(round), index));
                index
            }
        }
    }
}

impl Entry {
    /// The first round after `round` in which the target is reached.
    fn round_after(&self, round: u64) -> u64 {
        let reached = |round: u64| round as f64 * self.weight >= self.target;
        let mut next = ((self.target / self.weight) as u64).max(round + 1);
        while next > round + 1 && reached(next - 1) {
            next -= 1;
        }
        while !reached(next) {
            next += 1;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(weights: &[u16], size: u32) -> Vec<u32> {
        let weighted = |(i, &weight): (usize, &u16)| {
            Endpoint::new(format!("127.0.0.1:{}", 90 + i)).unwrap().with_weight(weight)
        };
        let endpoints: Vec<Endpoint> = weights.iter().enumerate().map(weighted).collect();
        fill(&endpoints.iter().collect::<Vec<_>>(), size)
    }

    /// The tables of Envoy's `maglev_lb_test.cc`.
    #[test]
    fn tables_are_those_of_envoy() {
        assert_eq!(table(&[1; 6], 7), [2, 4, 0, 1, 5, 0, 3]);
        let one_to_two = [1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1];
        assert_eq!(table(&[1, 2], 17), one_to_two);
        assert_eq!(table(&[20, 40], 17), one_to_two);
        assert_eq!(table(&[1, 1], 17), [1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 1]);
        assert_eq!(table(&[8, 2], 17), [1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn ids_that_are_not_addresses_are_hashed_as_they_are() {
        let named = |id: u32| Endpoint::new("a:1").unwrap().with_id(id.to_string()).unwrap();
        let endpoints: Vec<Endpoint> = (90..96).map(named).collect();
        let table = fill(&endpoints.iter().collect::<Vec<_>>(), 7);
        assert_eq!(table, [2, 5, 0, 3, 4, 1, 0]);
    }

    fn counts(table: &[u32], endpoints: usize) -> Vec<usize> {
        let mut counts = vec![0; endpoints];
        table.iter().for_each(|owner| counts[*owner as usize] += 1);
        counts
    }

    #[test]
    fn slots_follow_the_weights() {
        assert_eq!(counts(&table(&[1, 2], 65_537), 2), [21_846, 43_691]);
        for (size, least) in [(65_537, 65), (655_373, 655)] {
            let counts = counts(&table(&[1; 1000], size), 1000);
            let ends = (counts.iter().min().copied(), counts.iter().max().copied());
            assert_eq!(ends, (Some(least), Some(least + 1)));
        }
    }

    /// Envoy's loop over all endpoints in every round, which the turns must repeat.
    fn envoy_turns(weights: &[u16], count: usize) -> Vec<usize> {
        let sum: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        let weights: Vec<f64> = weights.iter().map(|&weight| f64::from(weight) / sum).collect();
        let largest = weights.iter().copied().fold(0.0, f64::max);
        let mut targets = vec![0.0; weights.len()];
        let mut turns = Vec::new();
        for round in 1_u32.. {
            for (index, weight) in weights.iter().enumerate() {
                if f64::from(round) * weight >= targets[index] && turns.len() < count {
                    targets[index] += largest;
                    turns.push(index);
                }
            }
            if turns.len() == count {
                break;
            }
        }
        turns
    }

    #[test]
    fn turns_are_those_of_asking_everybody_in_every_round() {
        let sets: [&[u16]; 6] =
            [&[1, 2], &[3, 7, 10], &[1, 1, 3], &[65_535, 1, 1], &[10, 9, 8, 7, 3], &[49, 7, 1, 35]];
        for weights in sets {
            let endpoints: Vec<Endpoint> = weights
                .iter()
                .map(|&weight| Endpoint::new("a:1").unwrap().with_weight(weight))
                .collect();
            let mut turns = Turns::new(&endpoints.iter().collect::<Vec<_>>());
            let taken: Vec<usize> = (0..65_537).map(|_| turns.next()).collect();
            assert_eq!(taken, envoy_turns(weights, 65_537), "{weights:?}");
        }
    }
}
