//! Asking a policy's picker, whose code is the user's: its answer is checked, its panics contained.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::band::Band;
use crate::error::Error;
use crate::policy::Candidates;
use crate::random::below;

/// How often a pick asks again when slow start has turned it away.
const AGAIN: usize = 4;

/// What a policy's picker did wrong.
pub(super) enum Fault {
    Nothing,
    Index(usize),
    Panic(Box<dyn std::any::Any + Send>),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("picked nothing, although there are endpoints to pick"),
            Self::Index(index) => write!(f, "picked index {index}, which is not allowed"),
            Self::Panic(panic) => Error::panicked("pick", &**panic).fmt(f),
        }
    }
}

/// The picker's answer, checked.
#[inline(always)]
pub(super) fn ask(band: &Band, candidates: &Candidates<'_>) -> Result<Option<usize>, Fault> {
    match catch_unwind(AssertUnwindSafe(|| band.picker.pick(candidates))) {
        // Whether it is full by now, its claim will tell.
        Ok(Some(index)) if index < candidates.len() && candidates.permits(index) => Ok(Some(index)),
        Ok(None) => none_allowed(candidates),
        Ok(Some(index)) => Err(Fault::Index(index)),
        Err(panic) => Err(Fault::Panic(panic)),
    }
}

/// A picker may say that there is nothing to pick only if that is so. Where there are limits all may
/// have been full at that moment.
#[cold]
fn none_allowed(candidates: &Candidates<'_>) -> Result<Option<usize>, Fault> {
    let allowed = || (0..candidates.len()).any(|index| candidates.allows(index));
    if candidates.is_limited() || !allowed() { Ok(None) } else { Err(Fault::Nothing) }
}

/// Asks a picker that knows nothing of slow start, and turns away from endpoints that are in it as
/// often as their share says.
#[cold]
pub(super) fn choose_ramping(
    band: &Band,
    candidates: &Candidates<'_>,
) -> Result<Option<usize>, Fault> {
    let mut passed = [usize::MAX; AGAIN];
    let mut last = None;
    for round in 0..=AGAIN {
        let Some(index) = ask(band, &candidates.without(&passed[..round]))? else {
            break;
        };
        last = Some(index);
        if round == AGAIN || candidates.admits(index) {
            break;
        }
        passed[round] = index;
    }
    Ok(last)
}

/// What serves while the policy is at fault: any allowed endpoint, in proportion to its weight.
pub(super) fn any_allowed(candidates: &Candidates<'_>) -> Option<usize> {
    let allowed = || (0..candidates.len()).filter(|&index| candidates.allows(index));
    let weight = |index| usize::from(candidates.member(index).endpoint.weight().get());
    let rim: usize = allowed().map(weight).sum();
    let mut point = below((candidates.random() >> 32) as u32, rim);
    allowed().find(|&index| {
        let (here, left) = (point < weight(index), point.saturating_sub(weight(index)));
        point = left;
        here
    })
}
