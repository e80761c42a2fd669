//! What whippletree is measured against.

pub mod floor;
pub mod pingora;
pub mod tower;
