//! Python packages, in an environment of the repository's own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::apt;
use crate::{progress::Progress, shell};

/// Makes the virtual environment `venv` with `packages` (pip's requirement syntax) from the configured
/// index, and returns its interpreter. Does nothing when it is there already with the same packages.
///
/// # Errors
/// When Python or its `venv` module is missing and cannot be installed, or pip fails.
pub fn python(ui: &Progress, venv: &Path, packages: &[&str]) -> Result<PathBuf> {
    let interpreter = venv.join("bin").join("python");
    let stamp = venv.join("packages.txt");
    let wanted = packages.join("\n");
    if interpreter.exists() && fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(interpreter);
    }
    let can_make_venv = Command::new("python3")
        .args(["-c", "import ensurepip, venv"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !can_make_venv {
        apt(ui, &["python3", "python3-venv"])?;
    }
    let step = ui.step(format!("Python packages {}", packages.join(", ")));
    shell::run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(venv),
        &step,
    )?;
    shell::run(
        Command::new(&interpreter)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(packages),
        &step,
    )?;
    // Last, so that an interrupted run starts over.
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    step.done("");
    Ok(interpreter)
}
