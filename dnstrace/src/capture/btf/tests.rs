//! [`builder`] writes BTF; [`synthetic`] asks about small written pieces, [`hostile`] about damaged ones,
//! [`kernels`] about real kernels, of which [`trim`] keeps what [`wanted`] lists.

mod builder;
mod hostile;
pub mod kernels;
mod synthetic;
mod trim;
mod wanted;
