//! What the HLK-style suite in `tests/hlk` is made of: jobs with the names that the Windows Hardware Lab Kit
//! has, their cases, the list of all its jobs that are about a network adapter, and the report.
//!
//! ```text
//!  jobs ---> one libtest-mimic trial per case ---> Outcomes ---> report.txt, report.xml
//!                                                     ^
//!  jobs.json: jobs that do not apply, and why --------+
//! ```

mod catalogue;
mod junit;
mod outcomes;
mod results;
mod run;
mod text;

pub use catalogue::{Catalogue, Entry};
pub use outcomes::Figures;
pub use run::run;

/// A job of the HLK.
pub struct Job {
    /// Its name in the HLK, to the letter, as in `jobs.json`.
    pub name: &'static str,
    /// The hardware requirement that it stands for (Device.Network.LAN...).
    pub requirement: &'static str,
    /// What the HLK's job checks, in one line.
    pub checks: &'static str,
    /// Its cases.
    pub cases: Vec<Case>,
}

/// A case of a job: a test of its own, on a machine of its own.
pub struct Case {
    /// Its name, the HLK's where it has one.
    pub name: String,
    /// What it checks, in one line.
    pub checks: String,
    run: Box<dyn FnOnce(&mut Figures) + Send>,
}

impl Case {
    /// A case that fails by panicking. What it counts or measures it enters into the [`Figures`].
    pub fn new(
        name: impl Into<String>,
        checks: impl Into<String>,
        run: impl FnOnce(&mut Figures) + Send + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            checks: checks.into(),
            run: Box::new(run),
        }
    }
}
