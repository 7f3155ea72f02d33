//! What one can say to `run`, `send`, `receive` and `throughput`.
//!
//! Apart from the lab itself and light, so that `cargo xtask` can judge arguments, and show the help, before
//! simulator, transport and driver are built.

pub mod algorithm;
pub mod command_line;
pub mod keywords;
mod ndis_version;
pub mod shape;
mod split;
pub mod words;

pub use ndis_version::NdisVersion;
pub use split::Split;
