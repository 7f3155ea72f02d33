//! `hlk`: the suite in `tests/hlk`, and where its report is.

use std::{fs, io};

use anyhow::{Context, Result, bail};

use crate::{
    build::{self, Arch},
    paths,
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
        bail!("no job or case has {job:?} in its name; `cargo xtask hlk` shows all");
    }
    Ok(())
}
