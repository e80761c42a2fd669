//! Sticky sessions, over real sockets where that matters.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod attributes;
mod estimate;
mod exam;
mod hostile;
mod moves;
mod rules;
mod users;
mod web;
mod world;
