//! `sanitize`: the tests of the portable crates under the compiler's sanitizers.
//!
//! The sanitizers are unstable flags; a stable compiler takes them with RUSTC_BOOTSTRAP, so that the
//! toolchain of all the rest will do.

mod probe;

use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;
use lab_options::words;

use crate::{fsutil, paths, progress::Progress, shell};

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sanitizer {
    /// Reads and writes outside of what is allocated, use after free, leaks.
    Address,
    /// Data races.
    Thread,
}

impl Sanitizer {
    /// Its name on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Thread => "thread",
        }
    }

    /// The compiler's flags.
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Address => &["-Zsanitizer=address"],
            // The standard library was not compiled with it.
            Self::Thread => &[
                "-Zsanitizer=thread",
                "-Cunsafe-allow-abi-mismatch=sanitizer",
            ],
        }
    }
}

/// The crates of the driver that run anywhere.
const PORTABLE: [&str; 6] = [
    "ipsec",
    "ipsec-crypto",
    "ndis",
    "oid-buffers",
    "sa-table",
    "task-offload",
];

/// The tests in which threads share something: package and what of it.
const CONCURRENT: [(&str, &[&str]); 4] = [
    ("sa-table", &["--test", "concurrent"]),
    ("ipsec", &["--test", "concurrent"]),
    ("ipsec", &["--test", "table"]),
    ("ndis", &["--lib"]),
];

/// The standard library was not compiled for ThreadSanitizer, which so does not see how the harness hands the
/// results of tests over. Each line is a function that only the harness has.
const SUPPRESSED: &str = "\
race:core::profiling::compiler_copy::<core::mem::maybe_uninit::MaybeUninit<test::event::CompletedTest>
race:<alloc::sync::Arc<std::sync::poison::mutex::Mutex<core::option::Option<test::run_test
race:drop<std::thread::scoped::ScopeData
";

/// `cargo xtask sanitize`.
///
/// # Errors
/// When the machine lacks something, a test fails, or the sanitizer finds something.
pub fn run(ui: &Progress, sanitizer: Sanitizer) -> Result<()> {
    probe::check(ui, sanitizer)?;
    match sanitizer {
        Sanitizer::Address => {
            let mut arguments = vec!["--lib", "--tests"];
            arguments.extend(PORTABLE.iter().flat_map(|package| ["--package", package]));
            let crates = words::count(PORTABLE.len(), "portable crate");
            test(ui, sanitizer, &crates, &arguments)
        }
        Sanitizer::Thread => CONCURRENT.iter().try_for_each(|(package, targets)| {
            let mut arguments = vec!["--package", package];
            arguments.extend(*targets);
            test(
                ui,
                sanitizer,
                &format!("{package} {}", targets.join(" ")),
                &arguments,
            )
        }),
    }
}

fn test(ui: &Progress, sanitizer: Sanitizer, what: &str, arguments: &[&str]) -> Result<()> {
    let name = sanitizer.name();
    let folder = paths::target().join("sanitize").join(name);
    fsutil::create_dir(&folder)?;
    let suppressed = folder.join("suppressed.txt");
    fsutil::write(&suppressed, SUPPRESSED)?;
    let step = ui.step(format!("{what} under the {name} sanitizer"));
    let output = shell::run(
        Command::new(paths::cargo())
            .current_dir(paths::root())
            .args(["test", "--locked", "--no-fail-fast"])
            .args(arguments)
            // The flags are for the target alone then, not for build scripts and macros.
            .args(["--target", &shell::host()?])
            .arg("--target-dir")
            .arg(&folder)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", sanitizer.flags().join("\x1f"))
            .env(
                "TSAN_OPTIONS",
                format!("suppressions={}", suppressed.display()),
            ),
        &step,
    )?;
    step.done(words::count(passed(&output), "test"));
    Ok(())
}

/// The tests that cargo says have passed.
fn passed(output: &str) -> usize {
    output
        .lines()
        .filter_map(|line| {
            line.strip_prefix("test result: ok. ")?
                .split_once(" passed")?
                .0
                .parse::<usize>()
                .ok()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_tests_are_counted_over_all_binaries() {
        let output = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 0 ignored\n\
                      test result: ok. 40 passed; 0 failed; 0 ignored\n";
        assert_eq!(passed(output), 42);
    }
}
