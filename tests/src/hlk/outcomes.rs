//! How cases went, gathered while they run on several threads.

use std::{
    any::Any,
    cell::RefCell,
    fmt,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, Once, PoisonError},
    time::{Duration, Instant},
};

use super::Case;

/// What a case has counted or measured.
#[derive(Clone, Debug, Default)]
pub struct Figures(pub(super) Vec<(&'static str, String)>);

impl Figures {
    /// Enters a figure into the report.
    pub fn note(&mut self, name: &'static str, value: impl fmt::Display) {
        self.0.push((name, value.to_string()));
    }
}

/// How a case went.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// Index of its job.
    pub job: usize,
    /// Index of the case in the job.
    pub case: usize,
    /// How long it took.
    pub time: Duration,
    /// What it told, also when it failed later.
    pub figures: Figures,
    /// Why it failed.
    pub failure: Option<String>,
}

/// The outcomes so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcomes(Arc<Mutex<Vec<Outcome>>>);

impl Outcomes {
    /// Runs a case and notes how it went.
    ///
    /// # Errors
    /// The message with which it failed.
    pub fn run(&self, job: usize, index: usize, case: Case) -> Result<(), String> {
        note_panics();
        let mut figures = Figures::default();
        let start = Instant::now();
        let run = case.run;
        // What the case has touched is not looked at again.
        let result = panic::catch_unwind(AssertUnwindSafe(|| run(&mut figures)));
        let time = start.elapsed();
        let failure = result.err().map(|payload| message(payload.as_ref()));
        let mut outcomes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.push(Outcome {
            job,
            case: index,
            time,
            figures,
            failure: failure.clone(),
        });
        failure.map_or(Ok(()), Err)
    }

    /// The outcomes in the order of the cases.
    pub fn take(&self) -> Vec<Outcome> {
        let mut outcomes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut outcomes = std::mem::take(&mut *outcomes);
        outcomes.sort_by_key(|outcome| (outcome.job, outcome.case));
        outcomes
    }
}

thread_local! {
    /// Where the last panic of this thread was: the payload does not tell.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on notes where a thread panics, beside what was done before.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map(ToString::to_string);
            PLACE.with(|last| *last.borrow_mut() = place);
            before(info);
        }));
    });
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without message".to_owned());
    match PLACE.with(|place| place.borrow_mut().take()) {
        Some(place) => format!("{text}\nat {place}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_with_its_message_and_place() {
        let outcomes = Outcomes::default();
        let fails = Case::new("fails", "", |figures: &mut Figures| {
            figures.note("packets", 3);
            panic!("{} of 4 packets came up", 3);
        });
        let error = outcomes.run(1, 0, fails).expect_err("it failed");
        assert!(error.starts_with("3 of 4 packets came up\nat "), "{error}");
        assert!(error.contains(file!()), "{error}");
        let passes = Case::new("passes", "", |_: &mut Figures| {});
        outcomes.run(0, 1, passes).expect("it passes");

        let seen = outcomes.take();
        assert_eq!(seen.len(), 2);
        assert_eq!((seen[0].job, seen[0].case), (0, 1));
        assert_eq!(seen[0].failure, None);
        assert_eq!(seen[1].failure, Some(error));
        assert_eq!(seen[1].figures.0, [("packets", "3".to_owned())]);
    }
}
