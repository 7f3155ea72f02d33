//! Whether the same sources give the same image in another folder.

use std::{env, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use super::{Arch, Built, toolchain};
use crate::{fsutil, paths, progress::Progress, shell};

/// Builds a copy of the working tree, in a folder with another name, from nothing but its files, and
/// compares the images with `built`.
///
/// # Errors
/// When the copy does not build, or an image differs.
pub fn check(ui: &Progress, package: &str, built: &[Built]) -> Result<()> {
    let copy = tempfile::Builder::new()
        .prefix("ipsecov2-reproducible-")
        .tempdir()
        .context("cannot create a folder for the copy")?;
    let step = ui.step("building a copy of the working tree in another folder");
    copy_working_tree(copy.path())?;
    let archs: Vec<Arch> = built.iter().map(|image| image.arch).collect();
    let toolchain = toolchain::prepare(ui, &archs)?;
    let arch = match archs[..] {
        [arch] => arch.name(),
        _ => "all",
    };
    shell::run(
        Command::new(env::current_exe().context("cannot find this program")?)
            .args(["build", "--package", package, "--arch", arch])
            .current_dir(copy.path())
            .env("CARGO_MANIFEST_DIR", copy.path().join("xtask"))
            // The same compiler: the libraries that it may have had to build are not what is in question.
            .env("CARGO", &toolchain.cargo)
            .env("RUSTC", &toolchain.rustc),
        &step,
    )?;
    for image in built {
        compare(image.arch, &image.path, copy.path())?;
    }
    step.done("identical");
    Ok(())
}

fn compare(arch: Arch, image: &Path, copy: &Path) -> Result<()> {
    let place = image
        .strip_prefix(paths::root())
        .context("the image is outside the repository")?;
    let (one, two) = (fsutil::read(image)?, fsutil::read(&copy.join(place))?);
    if one == two {
        return Ok(());
    }
    let at = one.iter().zip(&two).position(|(a, b)| a != b);
    bail!(
        "the images for {} differ ({} and {} bytes, first at offset {:#x})",
        arch.name(),
        one.len(),
        two.len(),
        at.unwrap_or(one.len().min(two.len()))
    )
}

/// All files that git tracks or would, as they are now.
fn copy_working_tree(to: &Path) -> Result<()> {
    let files = shell::capture(Command::new("git").current_dir(paths::root()).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    for file in files.split('\0').filter(|file| !file.is_empty()) {
        let from = paths::root().join(file);
        if !from.is_file() {
            continue;
        }
        let target = to.join(file);
        if let Some(folder) = target.parent() {
            fsutil::create_dir(folder)?;
        }
        fsutil::copy(&from, &target).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}
