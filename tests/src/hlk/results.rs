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

#[cfg(test)]
mod tests {
    use quick_junit::Report;

    use super::*;
    use crate::hlk::{Case, Figures, junit, outcomes::Outcomes, text};

    fn jobs() -> Vec<Job> {
        let passes = Case::new("case 1", "packets arrive", |figures: &mut Figures| {
            figures.note("packets", 3);
        });
        let fails = Case::new("case 2", "no packet is lost", |_: &mut Figures| {
            panic!("2 < 3 & \"more\"");
        });
        let other = Case::new("case 3", "", |_: &mut Figures| {});
        vec![
            Job {
                name: "Job A",
                requirement: "Requirement A",
                checks: "traffic",
                cases: vec![passes, fails, other],
            },
            Job {
                name: "Job B",
                requirement: "Requirement B",
                checks: "nothing",
                cases: vec![Case::new("case 1", "", |_: &mut Figures| {})],
            },
        ]
    }

    /// Runs the first two cases of the first job, and shows the reports.
    fn reports() -> (String, String, String) {
        let catalogue = r#"[{"name": "Job A"}, {"name": "Job C", "not_applicable": "no C"}]"#;
        let catalogue = Catalogue::parse(catalogue).expect("a list");
        let jobs = jobs();
        let titles: Vec<_> = jobs.iter().map(Titles::of).collect();
        let outcomes = Outcomes::default();
        let cases = jobs.into_iter().next().expect("a job").cases;
        for (index, case) in cases.into_iter().take(2).enumerate() {
            assert_eq!(outcomes.run(0, index, case).is_ok(), index == 0);
        }
        let outcomes = outcomes.take();
        let time = Duration::from_millis(1500);
        let results = Results::new(
            &titles,
            &outcomes,
            &catalogue,
            "driver.sys".to_owned(),
            time,
        );
        let xml = junit::xml(&results).expect("XML");
        (text::summary(&results), text::full(&results), xml)
    }

    #[test]
    fn the_text_has_what_ran_and_what_does_not_apply() {
        let (summary, full, _) = reports();
        let columns = |line: &str| -> Vec<String> {
            line.split_whitespace().map(ToOwned::to_owned).collect()
        };
        let job: Vec<_> = summary
            .lines()
            .filter(|line| line.starts_with("Job A "))
            .collect();
        let job_columns = columns(job[0]);
        assert_eq!(job_columns[2..5], ["2", "1", "1"]);
        let all = summary.lines().find(|line| line.starts_with("all"));
        // The times of the cases together, which nobody foresees, and not the time of the run.
        let all = columns(all.expect("a total"));
        assert_eq!(
            (&all[1..4], &all[5..]),
            (&job_columns[2..5], &["s".to_owned()][..])
        );
        assert_eq!(all[4], job_columns[5]);
        assert!(summary.contains("It took 1.50 s"), "{summary}");
        let heads = summary.lines().find(|line| line.starts_with("Job  "));
        assert!(
            heads.expect("heads").ends_with("time of cases"),
            "{summary}"
        );
        assert!(
            summary.contains("1 case of these jobs was not asked for"),
            "{summary}"
        );
        assert!(summary.contains("2 < 3 & \"more\""), "{summary}");
        assert!(!full.contains("Job B"), "nothing of it ran");
        for part in [
            "Requirement A",
            "packets: 3",
            "Job C  no C",
            "no packet is lost",
        ] {
            assert!(full.contains(part), "{part} is missing:\n{full}");
        }
    }

    #[test]
    fn the_xml_is_what_a_reader_of_junit_expects() {
        let (_, _, xml) = reports();
        let report = Report::deserialize_from_str(&xml).expect("it can be read");
        assert_eq!((report.tests, report.failures, report.skipped), (3, 1, 1));
        let [job, skipped] = &report.test_suites[..] else {
            panic!("{xml}");
        };
        assert_eq!(job.name.as_str(), "Job A");
        let requirement = job
            .properties
            .iter()
            .find(|p| p.name.as_str() == "requirement");
        assert_eq!(
            requirement.expect("it is there").value.as_str(),
            "Requirement A"
        );
        assert_eq!(job.test_cases.len(), 2);
        assert!(job.test_cases.iter().all(|case| case.time.is_some()));
        assert!(xml.contains("2 &lt; 3 &amp; "), "{xml}");
        assert_eq!(skipped.name.as_str(), "Job C");
        assert_eq!(skipped.skipped, 1);
    }
}
