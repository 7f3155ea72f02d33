//! Getting what the machine lacks: system packages, Python packages.

mod apt;
mod python;

pub use apt::{apt, is_root};
pub use python::python;
