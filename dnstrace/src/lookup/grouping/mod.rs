//! Queries to lookups: what the program asked for.

mod model;

pub use model::{Asked, AskedServer, Ending, Lookup, TriedName, TriedQuery, Waste};
