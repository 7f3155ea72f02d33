//! The report as text.

use std::fmt::Write;

use super::results::{CaseResult, JobResult, Results};

/// The table of jobs, and the cases that failed.
pub(super) fn summary(results: &Results<'_>) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}\n", results.driver);
    let widest = results.jobs.iter().map(|job| job.name.len()).max();
    let width = widest.unwrap_or(0).max(3);
    let _ = writeln!(
        text,
        "{:<width$}  {:>6} {:>7} {:>7} {:>13}",
        "Job", "cases", "passed", "failed", "time of cases"
    );
    let (mut cases, mut failed, mut seconds) = (0, 0, 0.0);
    for job in &results.jobs {
        let time = job.time().as_secs_f64();
        row(
            &mut text,
            width,
            job.name,
            job.cases.len(),
            job.failed(),
            time,
        );
        cases += job.cases.len();
        failed += job.failed();
        seconds += time;
    }
    row(&mut text, width, "all", cases, failed, seconds);
    let _ = writeln!(
        text,
        "It took {:.2} s: cases run side by side.",
        results.time.as_secs_f64()
    );
    let left_out: usize = results.jobs.iter().map(|job| job.left_out).sum();
    if left_out > 0 {
        let were = if left_out == 1 {
            "case of these jobs was"
        } else {
            "cases of these jobs were"
        };
        let _ = writeln!(text, "{left_out} {were} not asked for.");
    }
    for job in results.jobs.iter().filter(|job| job.failed() > 0) {
        let _ = writeln!(text, "\n{}", job.name);
        let failed = job
            .cases
            .iter()
            .filter(|case| case.outcome.failure.is_some());
        failed.for_each(|case| case_lines(&mut text, case));
    }
    text
}

fn row(text: &mut String, width: usize, name: &str, cases: usize, failed: usize, seconds: f64) {
    let passed = cases - failed;
    let _ = writeln!(
        text,
        "{name:<width$}  {cases:>6} {passed:>7} {failed:>7} {seconds:>11.2} s"
    );
}

/// Everything.
pub(super) fn full(results: &Results<'_>) -> String {
    let mut text = summary(results);
    results.jobs.iter().for_each(|job| one(&mut text, job));
    let _ = writeln!(text, "\nNot applicable to this device");
    let widest = results.not_applicable.iter().map(|(name, _)| name.len());
    let width = widest.max().unwrap_or(0);
    for (name, why) in &results.not_applicable {
        let _ = writeln!(text, "  {name:<width$}  {why}");
    }
    text
}

fn one(text: &mut String, job: &JobResult<'_>) {
    let _ = writeln!(
        text,
        "\n{}\n  Requirement: {}\n  Checks: {}",
        job.name, job.requirement, job.checks
    );
    job.cases.iter().for_each(|case| case_lines(text, case));
}

fn case_lines(text: &mut String, case: &CaseResult<'_>) {
    let outcome = case.outcome;
    let verdict = match outcome.failure {
        None => "Passed",
        Some(_) => "FAILED",
    };
    let _ = writeln!(
        text,
        "  {verdict} {:>7.3} s  {}\n                    {}",
        outcome.time.as_secs_f64(),
        case.name,
        case.checks
    );
    let figures = outcome.figures.0.iter();
    let figures: Vec<_> = figures
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    if !figures.is_empty() {
        let _ = writeln!(text, "                    {}", figures.join(", "));
    }
    for line in outcome.failure.iter().flat_map(|message| message.lines()) {
        let _ = writeln!(text, "      {line}");
    }
}
