//! Where events come from: the live kernel so far. A source yields them in the order of their time.

pub mod live;
mod order;

pub use live::{Batch, Live};
