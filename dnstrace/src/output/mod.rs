//! Queries to what the user reads: [`table`] for eyes, [`json`] for programs, [`summary`] for the end.
//!
//! Each is a function of what the core says and of [`WallClock`]: no file, no terminal, no clock here.

mod answer;
mod attempt;
mod connection;
mod escape;
pub mod json;
mod names;
mod server_side;
mod step;
pub mod summary;
pub mod table;
mod units;

pub use escape::escape;
pub use units::WallClock;

#[cfg(test)]
mod tests;
