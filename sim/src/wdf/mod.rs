//! KMDF: the framework's loader and its table of functions.

use crate::{exports::Export, report::Finding};

/// State of the framework on one machine.
#[derive(Default)]
pub struct State {}

impl State {
    /// Reports what a driver left behind.
    pub(crate) fn retire(&self, _driver: u64) -> Vec<Finding> {
        Vec::new()
    }
}

/// What `WDFLDR.SYS` exports.
#[must_use]
pub fn exports() -> Vec<Export> {
    Vec::new()
}
