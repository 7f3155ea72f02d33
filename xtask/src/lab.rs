//! `run`, `send` and `receive`: the real image in the simulator, driven by `ipsecov2-lab`.

use std::{ffi::OsString, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use clap::{ArgMatches, CommandFactory, FromArgMatches, parser::ValueSource};
use lab_options::{command_line::Cli, keywords};

use crate::{
    build::{self, Arch},
    fsutil, paths,
    progress::Progress,
    shell,
};

/// How the lab is built.
#[derive(Clone, Copy)]
pub enum Profile {
    /// Optimised; see the workspace's `Cargo.toml`.
    Host,
    /// As `cargo test` builds it, which shares everything below.
    Test,
}

const PACKAGE: &str = "tcpip";
const BINARY: &str = "ipsecov2-lab";

/// Judges `arguments` (and answers `--help`) before anything is built. Then builds what is stale of driver and
/// lab, and runs `ipsecov2-lab` with them in the folder that the command was given in, its output straight to the
/// terminal.
///
/// # Errors
/// When an argument cannot be used, or something does not build or start. When the lab fails, the process ends
/// with its exit code.
pub fn run(ui: &Progress, subcommand: &str, arguments: &[OsString]) -> Result<()> {
    let matches = matches(subcommand, arguments).unwrap_or_else(|error| error.exit());
    check(&matches)?;
    let given = |name| is_given(&matches, name);
    let image = match given("sys") {
        true => None,
        false => Some(build::driver(ui, Arch::X64)?),
    };
    let lab = build(ui, Profile::Host)?;
    let mut command = Command::new(&lab);
    command.arg(subcommand).args(arguments);
    if let Some(image) = image {
        command.arg("--sys").arg(image);
    }
    if !given("inf") {
        command.arg("--inf").arg(paths::inf());
    }
    // The default capture is the repository's, wherever the command is given.
    if subcommand == "run" && !given("input") {
        command.arg("--input").arg(paths::traffic());
    }
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", lab.display()))?;
    if !status.success() {
        // The lab has said why; its exit code is this command's.
        std::process::exit(status.code().unwrap_or(1));
    }
    Ok(())
}

/// The lab's command line as one of `cargo xtask`.
fn matches(subcommand: &str, arguments: &[OsString]) -> Result<ArgMatches, clap::Error> {
    let definition = Cli::command()
        .bin_name("cargo xtask")
        .mut_arg("sys", |it| {
            it.help("Another driver file, instead of building one")
                .hide_default_value(true)
        })
        .mut_arg("inf", |it| it.default_value(paths::inf().into_os_string()))
        .mut_subcommand("run", |it| {
            it.mut_arg("input", |it| {
                it.default_value(paths::traffic().into_os_string())
            })
        });
    let start = ["cargo xtask", subcommand].map(OsString::from);
    definition.try_get_matches_from(start.iter().chain(arguments))
}

fn is_given(matches: &ArgMatches, name: &str) -> bool {
    let of = matches.subcommand().map(|(_, of)| of);
    of.is_some_and(|of| of.value_source(name) == Some(ValueSource::CommandLine))
}

/// What can be known of the arguments without the driver.
fn check(matches: &ArgMatches) -> Result<()> {
    let cli = Cli::from_arg_matches(matches)?;
    let inf = fsutil::read(&cli.machine.inf)?;
    let inf = String::from_utf8_lossy(&inf);
    Ok(cli.check(&keywords::of_inf(&inf).collect::<Vec<_>>())?)
}

/// Builds `ipsecov2-lab` and returns its path.
///
/// # Errors
/// When it does not build.
pub fn build(ui: &Progress, profile: Profile) -> Result<PathBuf> {
    let (name, folder) = match profile {
        Profile::Host => ("host", "host"),
        Profile::Test => ("test", "debug"),
    };
    let step = ui.step("simulator and transport");
    shell::run(
        Command::new(paths::cargo())
            .current_dir(paths::root())
            .args(["build", "--locked", "--profile", name])
            .args(["--package", PACKAGE, "--bin", BINARY])
            .arg("--target-dir")
            .arg(paths::target()),
        &step,
    )?;
    step.done("");
    Ok(paths::target().join(folder).join(BINARY))
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    fn judge(subcommand: &str, arguments: &[&str]) -> Result<()> {
        let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        check(&matches(subcommand, &arguments)?)
    }

    #[test]
    fn help_is_that_of_this_command() {
        for subcommand in ["run", "send", "receive", "throughput"] {
            let error = matches(subcommand, &["--help".into()]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DisplayHelp);
            let usage = format!("Usage: cargo xtask {subcommand} ");
            assert!(error.to_string().contains(&usage), "{error}");
        }
    }

    #[test]
    fn arguments_are_judged_without_the_lab() {
        judge("run", &[]).unwrap();
        judge("run", &["--keyword", "LegacyAlgorithms=1"]).unwrap();
        judge("run", &["--keyword", "SaOffloadCapacity=9"]).unwrap();
        judge("throughput", &["--sizes", "64"]).unwrap();
        for (subcommand, arguments, part) in [
            (
                "run",
                &["--keyword", "LegacyAlgoritms=1"][..],
                "is LegacyAlgorithms meant?",
            ),
            (
                "run",
                &["--input", "no-such-file.pcap"],
                "no-such-file.pcap",
            ),
            ("run", &["--inf", "no-such-file.inf"], "no-such-file.inf"),
            ("run", &["--algorithm", "rot13"], "aes-gcm-256"),
            (
                "send",
                &["--sas", "no-such-file.json", "--input", "x"],
                "no-such-file.json",
            ),
            ("receive", &[], "--sas"),
        ] {
            let error = format!("{:#}", judge(subcommand, arguments).unwrap_err());
            assert!(error.contains(part), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn what_is_given_is_not_given_again() {
        let given = |arguments: &[&str], name| {
            let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
            is_given(&matches("run", &arguments).unwrap(), name)
        };
        for name in ["sys", "inf", "input"] {
            assert!(!given(&[], name), "{name}");
            assert!(given(&[&format!("--{name}"), "x"], name), "{name}");
            assert!(given(&[&format!("--{name}=x")], name), "{name}");
        }
    }
}
