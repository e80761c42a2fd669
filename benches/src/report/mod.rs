//! Criterion's results as Markdown, and what whippletree claims about them.

mod claims;
mod results;
mod tables;

pub use self::claims::{Claim, all};
pub use self::results::Results;
pub use self::tables::{comparison, everything};
