//! `run`, `send` and `receive`: the real image in the simulator, driven by `ipsecov2-lab`.

use std::{ffi::OsString, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    build::{self, Arch},
    paths,
    progress::Progress,
    shell,
};

/// Cargo's profile for host tools: optimised, see the workspace's `Cargo.toml`.
const PROFILE: &str = "host";
const PACKAGE: &str = "tcpip";
const BINARY: &str = "ipsecov2-lab";

/// Builds what is stale of driver and lab, then runs `ipsecov2-lab` with `arguments` in the folder that the
/// command was given in, its output straight to the terminal.
///
/// # Errors
/// When something does not build, or the lab exits with anything but 0: it has said why by then.
pub fn run(ui: &Progress, subcommand: &str, arguments: &[OsString]) -> Result<()> {
    let image = build::driver(ui, Arch::X64)?;
    let lab = build_lab(ui)?;
    let status = Command::new(&lab)
        .arg("--sys")
        .arg(image)
        .arg("--inf")
        .arg(paths::inf())
        .arg(subcommand)
        .args(arguments)
        .status()
        .with_context(|| format!("cannot start {}", lab.display()))?;
    if !status.success() {
        bail!("`{subcommand}` failed ({status})");
    }
    Ok(())
}

fn build_lab(ui: &Progress) -> Result<PathBuf> {
    let step = ui.step("simulator and transport");
    shell::run(
        Command::new(paths::cargo())
            .current_dir(paths::root())
            .args(["build", "--locked", "--profile", PROFILE])
            .args(["--package", PACKAGE, "--bin", BINARY])
            .arg("--target-dir")
            .arg(paths::target()),
        &step,
    )?;
    step.done("");
    Ok(paths::target().join(PROFILE).join(BINARY))
}
