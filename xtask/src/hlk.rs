//! `hlk`: the suite in `tests/hlk`, and where its report is.

use std::{fs, io};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{
    build::{self, Arch},
    fsutil, paths,
    progress::Progress,
    test,
};

/// The report as text, and as JUnit XML.
const REPORTS: [&str; 2] = ["report.txt", "report.xml"];

/// Builds what is stale of the driver, and runs the jobs and cases with `job` in their names, or all of them.
///
/// # Errors
/// When something does not build, a case fails, or no job has such a name.
pub fn run(ui: &Progress, job: Option<&str>) -> Result<()> {
    let image = build::driver(ui, Arch::X64)?;
    let reports = REPORTS.map(|name| paths::hlk_report().join(name));
    for report in &reports {
        // What is there afterwards is of this run.
        if let Err(error) = fs::remove_file(report)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error).with_context(|| format!("cannot remove {}", report.display()));
        }
    }
    let mut command = test::cargo();
    command
        .args(["test", "--locked", "--package", "ipsecov2-tests"])
        .args(["--test", "hlk"])
        .arg("--target-dir")
        .arg(paths::target())
        .env("IPSECOV2_SYS", &image)
        .env("IPSECOV2_INF", paths::inf());
    if let Some(job) = job {
        command.arg("--").arg(job);
    }
    let passed = test::stream(&mut command);
    let written: Vec<_> = reports.iter().filter(|report| report.is_file()).collect();
    for report in &written {
        println!("{}", report.display());
    }
    passed?;
    if let (true, Some(job)) = (written.is_empty(), job) {
        bail!("{}", unknown(job, &fsutil::read_text(&paths::hlk_jobs())?)?);
    }
    Ok(())
}

/// An entry of the list of jobs.
#[derive(Deserialize)]
struct Entry {
    name: String,
    not_applicable: Option<String>,
}

/// What to say of a name that is in no job or case that runs. `list` is the list of jobs.
fn unknown(wanted: &str, list: &str) -> Result<String> {
    let entries: Vec<Entry> = serde_json::from_str(list).context("the list of jobs")?;
    let mut text = format!("no job or case has {wanted:?} in its name.");
    for entry in &entries {
        let named = entry.name.to_lowercase().contains(&wanted.to_lowercase());
        if let (true, Some(why)) = (named, &entry.not_applicable) {
            text += &format!("\n{} does not apply: {why}", entry.name);
        }
    }
    text += "\nThe jobs are:";
    for entry in entries.iter().filter(|it| it.not_applicable.is_none()) {
        text += &format!("\n  {}", entry.name);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_wrong_name_the_jobs_are_shown_and_those_that_do_not_apply() {
        let list = fsutil::read_text(&paths::hlk_jobs()).unwrap();
        let text = unknown("IPSecESPP", &list).unwrap();
        for line in [
            "no job or case has \"IPSecESPP\" in its name.",
            "  NDISTest 6.5 - [2 Machine] - IPSecESP",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}: {text}");
        }
        assert!(!text.contains("does not apply"), "{text}");

        let list = r#"[{"name": "Job A"}, {"name": "Job B", "not_applicable": "no B"}]"#;
        assert_eq!(
            unknown("JOB b", list).unwrap(),
            "no job or case has \"JOB b\" in its name.\nJob B does not apply: no B\nThe jobs are:\n  Job A"
        );
    }
}
