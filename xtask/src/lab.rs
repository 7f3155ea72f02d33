//! `run`, `send` and `receive`: the real image in the simulator, driven by `ipsecov2-lab`.

use std::{ffi::OsString, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{
    build::{self, Arch},
    paths,
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

/// Builds what is stale of driver and lab, then runs `ipsecov2-lab` with `arguments` in the folder that the
/// command was given in, its output straight to the terminal.
///
/// # Errors
/// When something does not build or start. When the lab fails, the process ends with its exit code.
pub fn run(ui: &Progress, subcommand: &str, arguments: &[OsString]) -> Result<()> {
    let lab;
    let mut command;
    if arguments
        .iter()
        .any(|argument| argument == "--help" || argument == "-h")
    {
        // The lab's own words: no driver is needed for them.
        lab = build(ui, Profile::Host)?;
        command = Command::new(&lab);
        command.arg(subcommand);
    } else {
        let image = build::driver(ui, Arch::X64)?;
        lab = build(ui, Profile::Host)?;
        command = Command::new(&lab);
        command
            .arg("--sys")
            .arg(image)
            .arg("--inf")
            .arg(paths::inf())
            .arg(subcommand);
    }
    // The default capture is the repository's, wherever the command is given.
    let has_input = |argument: &OsString| argument.to_string_lossy().starts_with("--input");
    if subcommand == "run" && !arguments.iter().any(has_input) {
        command.arg("--input").arg(paths::traffic());
    }
    let status = command
        .args(arguments)
        .status()
        .with_context(|| format!("cannot start {}", lab.display()))?;
    if !status.success() {
        // The lab has said why; its exit code is this command's.
        std::process::exit(status.code().unwrap_or(1));
    }
    Ok(())
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
