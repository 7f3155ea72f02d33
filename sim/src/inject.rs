//! Fault injection: lets a call that may fail by its documentation fail.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;

type Predicate = Box<dyn FnMut(&'static str, u64) -> bool + Send>;

/// The faults that are armed on a machine. A call asks [`Faults::hit`] with its
/// own name before it would succeed.
#[derive(Default)]
pub struct Faults {
    armed: AtomicBool,
    plan: Mutex<Plan>,
}

#[derive(Default)]
struct Plan {
    next: HashMap<String, u64>,
    predicate: Option<Predicate>,
    calls: HashMap<&'static str, u64>,
}

impl Faults {
    /// Lets the next call of `name` fail.
    pub fn fail_next(&self, name: &str) {
        self.fail_times(name, 1);
    }

    /// Lets the next `times` calls of `name` fail.
    pub fn fail_times(&self, name: &str, times: u64) {
        *self.plan.lock().next.entry(name.to_owned()).or_default() += times;
        self.armed.store(true, Ordering::Release);
    }

    /// Lets every call fail for which `predicate` (name, how many calls of that
    /// name came before since anything was armed) holds.
    pub fn fail_if(&self, predicate: impl FnMut(&'static str, u64) -> bool + Send + 'static) {
        self.plan.lock().predicate = Some(Box::new(predicate));
        self.armed.store(true, Ordering::Release);
    }

    /// Disarms everything.
    pub fn clear(&self) {
        *self.plan.lock() = Plan::default();
        self.armed.store(false, Ordering::Release);
    }

    /// Whether this call of `name` is to fail. Costs one load while nothing is
    /// armed.
    #[must_use]
    pub fn hit(&self, name: &'static str) -> bool {
        if !self.armed.load(Ordering::Acquire) {
            return false;
        }
        let mut plan = self.plan.lock();
        let count = plan.calls.entry(name).or_default();
        let before = *count;
        *count += 1;
        if let Some(left) = plan.next.get_mut(name).filter(|left| **left > 0) {
            *left -= 1;
            return true;
        }
        plan.predicate.as_mut().is_some_and(|p| p(name, before))
    }
}
