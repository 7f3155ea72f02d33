//! The report as JUnit XML: a suite per job.

use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::results::{JobResult, Results};

/// The report.
///
/// # Errors
/// When it cannot be written as XML.
pub(super) fn xml(results: &Results<'_>) -> Result<String> {
    let mut report = Report::new(results.driver.as_str());
    report.set_time(results.time);
    report.add_test_suites(results.jobs.iter().map(suite));
    for (name, why) in &results.not_applicable {
        let mut status = TestCaseStatus::skipped();
        status.set_message(*why);
        let mut case = TestCase::new("not applicable", status);
        case.set_classname(*name);
        let mut suite = TestSuite::new(*name);
        suite.add_test_case(case);
        report.add_test_suite(suite);
    }
    report.to_string().context("the report as XML")
}

fn suite(job: &JobResult<'_>) -> TestSuite {
    let mut suite = TestSuite::new(job.name);
    suite.set_time(job.time());
    suite.add_property(("HLK job", job.name));
    suite.add_property(("requirement", job.requirement));
    suite.add_property(("checks", job.checks));
    for case in &job.cases {
        let status = match &case.outcome.failure {
            None => TestCaseStatus::success(),
            Some(message) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(message.lines().next().unwrap_or_default());
                status.set_description(message.as_str());
                status
            }
        };
        let mut entry = TestCase::new(case.name, status);
        entry.set_classname(job.name);
        entry.set_time(case.outcome.time);
        entry.add_property(("checks", case.checks));
        for (name, value) in &case.outcome.figures.0 {
            entry.add_property((*name, value.as_str()));
        }
        suite.add_test_case(entry);
    }
    suite
}
