//! Fault injection: lets a call that may fail by its documentation fail.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;

use crate::{
    processor::{self, Current},
    report::Frame,
};

type Predicate = Box<dyn FnMut(&'static str, u64) -> bool + Send>;

/// A place where something can fail: an export that a driver calls, and the driver's calls that led
/// there. The same function reached by another way is another place.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// What fails.
    pub export: &'static str,
    /// The driver's frames, innermost first.
    pub stack: Vec<CallSite>,
    /// The callback in which it happens.
    pub callback: &'static str,
}

/// A call within a driver: the image and the RVA, which are the same wherever the image is mapped; or, for
/// code that is no image's, an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallSite {
    /// The image; empty for code of this process.
    pub image: String,
    /// RVA, or address.
    pub address: usize,
}

impl Place {
    /// Where the import `export` is being called from.
    fn of(export: &'static str, cpu: &Current) -> Self {
        let images = cpu.machine().images();
        let mut place = Self {
            export,
            stack: Vec::new(),
            callback: "",
        };
        for frame in cpu.call_stack().frames() {
            match *frame {
                Frame::Import(_) => {}
                Frame::Code(address) => {
                    let (image, address) = images
                        .locate(address)
                        .unwrap_or_else(|| (String::new(), address));
                    place.stack.push(CallSite { image, address });
                }
                // What that was called for is another matter.
                Frame::Callback(name) => {
                    place.callback = name;
                    break;
                }
            }
        }
        place
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.export)?;
        for CallSite { image, address } in &self.stack {
            write!(f, " < {image}+{address:#x}")?;
        }
        write!(f, " < {}", self.callback)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The places that were made to fail. Shared by the machines of a search, which is over when a whole
/// run finds no new one.
#[derive(Debug, Default)]
pub struct Places(Mutex<HashMap<Place, Vec<String>>>);

impl Places {
    /// None yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// All of them in order, each with its call stack by name.
    #[must_use]
    pub fn all(&self) -> BTreeMap<Place, Vec<String>> {
        let all = self.0.lock();
        all.iter().map(|(p, s)| (p.clone(), s.clone())).collect()
    }

    /// How many there are of each export.
    #[must_use]
    pub fn by_export(&self) -> BTreeMap<&'static str, usize> {
        self.count(|place| place.export)
    }

    /// How many there are in each callback.
    #[must_use]
    pub fn by_callback(&self) -> BTreeMap<&'static str, usize> {
        self.count(|place| place.callback)
    }

    fn count(&self, by: impl Fn(&Place) -> &'static str) -> BTreeMap<&'static str, usize> {
        let mut count = BTreeMap::new();
        for place in self.0.lock().keys() {
            *count.entry(by(place)).or_default() += 1;
        }
        count
    }
}

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
    search: Option<Search>,
    calls: HashMap<&'static str, u64>,
    failures: u64,
}

/// Looks for one place that has not failed yet.
struct Search {
    places: Arc<Places>,
    /// A place fails when it is reached for that time, from 1, since the search was armed.
    time: u64,
    reached: HashMap<Place, u64>,
    found: Option<Place>,
}

impl Search {
    fn hit(&mut self, export: &'static str) -> bool {
        let Some(cpu) = processor::try_current().filter(|_| self.found.is_none()) else {
            return false;
        };
        let place = Place::of(export, &cpu);
        let reached = self.reached.entry(place.clone()).or_default();
        *reached += 1;
        if *reached != self.time {
            return false;
        }
        let mut places = self.places.0.lock();
        let Entry::Vacant(entry) = places.entry(place.clone()) else {
            return false;
        };
        let lines = cpu.call_stack().resolve(cpu.machine().images());
        entry.insert(lines.iter().map(ToString::to_string).collect());
        self.found = Some(place);
        true
    }
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

    /// Lets each call fail with this probability, as Driver Verifier's low resources simulation does.
    /// The seed decides, together with the order of the calls.
    pub fn fail_randomly(&self, seed: u64, probability: f64) {
        let mut random = fastrand::Rng::with_seed(seed);
        self.fail_if(move |_, _| random.f64() < probability);
    }

    /// Lets one call fail: the first from a [`Place`] that `places` does not have yet, when that place
    /// is reached for the `time`th time (1 for the first). The place joins `places`; [`Faults::found`]
    /// tells it.
    pub fn fail_new_place(&self, places: &Arc<Places>, time: u64) {
        self.plan.lock().search = Some(Search {
            places: Arc::clone(places),
            time,
            reached: HashMap::new(),
            found: None,
        });
        self.armed.store(true, Ordering::Release);
    }

    /// The place that [`Faults::fail_new_place`] has made fail, if there was one.
    #[must_use]
    pub fn found(&self) -> Option<Place> {
        self.plan.lock().search.as_ref()?.found.clone()
    }

    /// How many calls were made to fail since everything was disarmed last.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.plan.lock().failures
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
        let plan = &mut *self.plan.lock();
        let count = plan.calls.entry(name).or_default();
        let before = *count;
        *count += 1;
        let fails = if let Some(left) = plan.next.get_mut(name).filter(|left| **left > 0) {
            *left -= 1;
            true
        } else {
            plan.predicate.as_mut().is_some_and(|p| p(name, before))
                || plan.search.as_mut().is_some_and(|s| s.hit(name))
        };
        plan.failures += u64::from(fails);
        fails
    }
}
