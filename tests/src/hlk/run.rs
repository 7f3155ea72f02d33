//! Runs the jobs and writes the report.

use std::{fs, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Failed, Trial};
use sha2::{Digest, Sha256};

use super::{
    Catalogue, Job, junit,
    outcomes::Outcomes,
    results::{Results, Titles},
    text,
};

/// Where the reports go.
fn folder() -> PathBuf {
    crate::root().join("target/hlk")
}

/// Runs the cases that the command line asks for, each as a test named `[job] case`, and a test of the
/// list itself. If a case ran, its report and that of the others is in `target/hlk`, and the summary is printed.
pub fn run(jobs: Vec<Job>, catalogue: &Catalogue) -> ExitCode {
    let mut arguments = Arguments::from_args();
    let outcomes = Outcomes::default();
    let titles: Vec<_> = jobs.iter().map(Titles::of).collect();
    let complete = catalogue.check(&jobs);

    let mut trials = Vec::new();
    trials.push(Trial::test("every job is mirrored or excused", || {
        complete.map_err(|error| Failed::from(error.to_string()))
    }));
    for (number, job) in jobs.into_iter().enumerate() {
        for (index, case) in job.cases.into_iter().enumerate() {
            let (outcomes, name) = (outcomes.clone(), case.name.clone());
            let trial = Trial::test(name, move || {
                let result = outcomes.run(number, index, case);
                result.map_err(Failed::from)
            });
            trials.push(trial.with_kind(job.name));
        }
    }

    ignore_case(&mut arguments, &mut trials);
    let start = Instant::now();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let outcomes = outcomes.take();
    if outcomes.is_empty() {
        return conclusion.exit_code();
    }
    let driver = driver();
    let results = Results::new(&titles, &outcomes, catalogue, driver, start.elapsed());
    println!("{}", text::summary(&results));
    match write(&results) {
        Ok(()) => conclusion.exit_code(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Applies the filter without regard to case: nobody remembers how the HLK writes its jobs.
fn ignore_case(arguments: &mut Arguments, trials: &mut Vec<Trial>) {
    if arguments.exact {
        return;
    }
    if let Some(filter) = arguments.filter.take() {
        let filter = filter.to_lowercase();
        trials.retain(|trial| {
            let name = format!("[{}] {}", trial.kind(), trial.name());
            name.to_lowercase().contains(&filter)
        });
    }
}

/// Name and digest of the driver under test.
fn driver() -> String {
    let path = crate::driver();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let digest = fs::read(&path).map(Sha256::digest);
    let digest = digest.map(hex::encode).unwrap_or_default();
    format!("{name} in the simulator, SHA-256 {digest}")
}

fn write(results: &Results<'_>) -> Result<()> {
    let folder = folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let put = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    put("report.txt", text::full(results))?;
    put("report.xml", junit::xml(results)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_ignores_case() {
        for (options, left) in [
            (&[][..], &["AH case", "ESP case", "ESP other"][..]),
            (&["ipsecesp"], &["ESP case", "ESP other"]),
            (&["IPSecESP"], &["ESP case", "ESP other"]),
            (&["eCaSe"], &[]),
            (&["h CASE"], &["AH case"]),
            (&["P] ESP"], &["ESP case", "ESP other"]),
            (&["ESP case", "--exact"], &["ESP case"]),
            (&["esp case", "--exact"], &[]),
        ] {
            let mut arguments = Arguments::from_iter([&["hlk"], options].concat());
            let trial = |kind: &str, name: &str| Trial::test(name, || Ok(())).with_kind(kind);
            let mut trials = vec![
                trial("IPSecAH", "AH case"),
                trial("IPSecESP", "ESP case"),
                trial("IPSecESP", "ESP other"),
            ];
            ignore_case(&mut arguments, &mut trials);
            trials.retain(|trial| !arguments.is_filtered_out(trial));
            let names: Vec<_> = trials.iter().map(Trial::name).collect();
            assert_eq!(names, left, "{options:?}");
        }
    }
}
