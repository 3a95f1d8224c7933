//! Where events come from: the live kernel, or a file. A source yields them in the order of their time.

mod entry;
pub mod file;
pub mod live;
mod order;

pub use entry::{Begin, End, Entries, Entry, Unreadable};
pub use live::{Batch, Live};
pub use order::Order;
