//! Objects that the driver holds and must give back.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// The objects that were handed to the driver.
#[derive(Default)]
pub struct Tracker(Mutex<BTreeMap<(&'static str, u64), String>>);

impl Tracker {
    pub(crate) fn add(&self, kind: &'static str, id: u64, what: String) {
        self.0.lock().insert((kind, id), what);
    }

    pub(crate) fn remove(&self, kind: &'static str, id: u64) -> bool {
        self.0.lock().remove(&(kind, id)).is_some()
    }

    /// Whether the object is held by the driver.
    #[must_use]
    pub fn contains(&self, kind: &'static str, id: u64) -> bool {
        self.0.lock().contains_key(&(kind, id))
    }

    /// How many objects of a kind the driver holds.
    #[must_use]
    pub fn count(&self, kind: &'static str) -> usize {
        self.0.lock().range((kind, 0)..=(kind, u64::MAX)).count()
    }

    /// Everything that the driver holds: kind, handle, description.
    #[must_use]
    pub fn held(&self) -> Vec<(&'static str, u64, String)> {
        self.0
            .lock()
            .iter()
            .map(|((kind, id), what)| (*kind, *id, what.clone()))
            .collect()
    }

    /// Takes the whole list, for a leak report.
    pub(crate) fn drain(&self) -> Vec<(&'static str, u64, String)> {
        std::mem::take(&mut *self.0.lock())
            .into_iter()
            .map(|((k, id), what)| (k, id, what))
            .collect()
    }
}
