//! Debian packages.

use std::{fs, process::Command};

use anyhow::{Context, Result, bail};

use crate::{progress::Progress, shell};

/// Installs those of `packages` that are missing, with as little else as possible.
///
/// # Errors
/// Without root: an error with the one command to run. Otherwise whatever apt says.
pub fn apt(ui: &Progress, packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|package| !is_installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if shell::find("apt-get").is_none() {
        bail!(
            "this needs the Debian packages {names}, and there is no apt-get here: \
             install the same programs with your system's package manager"
        );
    }
    if !is_root()? {
        bail!(
            "packages are missing; run this once:\n\n    sudo apt-get install -y --no-install-recommends {names}\n"
        );
    }
    let step = ui.step(format!("installing {names}"));
    if shell::run(&mut install(&missing), &step).is_err() {
        // The usual reasons are package lists that are absent (a fresh container) or too old.
        shell::run(Command::new("apt-get").args(["update", "-q"]), &step)?;
        shell::run(&mut install(&missing), &step)?;
    }
    step.done("");
    Ok(())
}

fn install(packages: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-q", "-y", "--no-install-recommends"])
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(packages);
    command
}

fn is_installed(package: &str) -> bool {
    shell::capture(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

/// Whether the process may install packages.
pub fn is_root() -> Result<bool> {
    let status = fs::read_to_string("/proc/self/status").context("cannot tell who runs this")?;
    let uid = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|ids| ids.split_whitespace().nth(1));
    Ok(uid == Some("0"))
}
