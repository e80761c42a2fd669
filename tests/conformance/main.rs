//! What every policy must do, with every cost: a new policy is one line in `strict::policies` and
//! gets all of this.
#![allow(clippy::unwrap_used, reason = "tests")]

mod counters;
mod membership;
mod proportions;
mod selection;
#[path = "../strict/mod.rs"]
mod strict;
