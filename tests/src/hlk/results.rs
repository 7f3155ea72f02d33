//! The outcomes by job, as both reports show them.

use std::time::Duration;

use super::{Catalogue, Job, outcomes::Outcome};

/// A run.
pub(super) struct Results<'a> {
    /// Which driver was tested.
    pub driver: String,
    /// Jobs of which at least a case ran.
    pub jobs: Vec<JobResult<'a>>,
    /// Jobs that do not apply, and why.
    pub not_applicable: Vec<(&'a str, &'a str)>,
    /// How long it all took; cases run side by side.
    pub time: Duration,
}

/// A job.
pub(super) struct JobResult<'a> {
    pub name: &'a str,
    pub requirement: &'a str,
    pub checks: &'a str,
    pub cases: Vec<CaseResult<'a>>,
    /// Cases that were left out of this run.
    pub left_out: usize,
}

/// A case.
pub(super) struct CaseResult<'a> {
    pub name: &'a str,
    pub checks: &'a str,
    pub outcome: &'a Outcome,
}

/// What is known of a job without its cases' code.
pub(super) struct Titles {
    name: &'static str,
    requirement: &'static str,
    checks: &'static str,
    cases: Vec<(String, String)>,
}

impl Titles {
    pub fn of(job: &Job) -> Self {
        let title = |case: &super::Case| (case.name.clone(), case.checks.clone());
        Self {
            name: job.name,
            requirement: job.requirement,
            checks: job.checks,
            cases: job.cases.iter().map(title).collect(),
        }
    }
}

impl<'a> Results<'a> {
    pub fn new(
        titles: &'a [Titles],
        outcomes: &'a [Outcome],
        catalogue: &'a Catalogue,
        driver: String,
        time: Duration,
    ) -> Self {
        let job = |(index, titles): (usize, &'a Titles)| {
            let of_job = outcomes.iter().filter(|outcome| outcome.job == index);
            let cases = of_job.map(|outcome| {
                let (name, checks) = &titles.cases[outcome.case];
                CaseResult {
                    name,
                    checks,
                    outcome,
                }
            });
            let cases: Vec<_> = cases.collect();
            JobResult {
                name: titles.name,
                requirement: titles.requirement,
                checks: titles.checks,
                left_out: titles.cases.len() - cases.len(),
                cases,
            }
        };
        let jobs = titles.iter().enumerate().map(job);
        Self {
            driver,
            jobs: jobs.filter(|job| !job.cases.is_empty()).collect(),
            not_applicable: catalogue.not_applicable().collect(),
            time,
        }
    }
}

impl JobResult<'_> {
    pub fn failed(&self) -> usize {
        let failed = |case: &&CaseResult<'_>| case.outcome.failure.is_some();
        self.cases.iter().filter(failed).count()
    }

    /// The times of its cases together.
    pub fn time(&self) -> Duration {
        self.cases.iter().map(|case| case.outcome.time).sum()
    }
}
