//! Compiling a driver crate and looking at what came out.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Error, Result};

use super::{
    Arch, allowlist, build_id,
    kit::{self, Kit},
    pe_check,
    toolchain::{CTools, Toolchain},
    wdk_build_patch::CargoConfig,
};
use crate::{
    fsutil, paths,
    progress::{Progress, Step},
    shell::{self, Piece},
};

/// The driver of the project.
pub const PRODUCT: &str = "ipsecov2";

/// How the lines begin by which cargo says that it is at work.
const WORK: [&str; 6] = [
    "Updating",
    "Downloading",
    "Downloaded",
    "Blocking",
    "Compiling",
    "Checking",
];

/// A finished driver.
pub struct Built {
    /// Its processor.
    pub arch: Arch,
    /// `target/driver/<arch>/<package>.sys`.
    pub path: PathBuf,
    /// What the check of the image found.
    pub report: pe_check::Report,
}

/// All that a build of the driver takes.
pub struct Build<'a> {
    /// The compiler.
    pub toolchain: &'a Toolchain,
    /// The C compiler.
    pub tools: &'a CTools,
    /// The WDK.
    pub kit: &'a Kit,
    /// The patched crates.
    pub cargo_config: &'a CargoConfig,
    /// Which driver: a package of the workspace.
    pub package: &'a str,
}

impl Build<'_> {
    /// Builds and checks the images.
    pub fn images(&self, ui: &Progress, archs: &[Arch]) -> Result<Vec<Built>> {
        let output = self.cargo(ui, "build", archs)?;
        if output.contains("warning: ") {
            ui.line(output.trim_end());
        }
        archs
            .iter()
            .map(|arch| finish(self.package, *arch))
            .collect()
    }

    /// Runs clippy over the driver crate; a warning is an error.
    pub fn lint(&self, ui: &Progress, archs: &[Arch]) -> Result<()> {
        self.cargo(ui, "clippy", archs).map(drop)
    }

    fn cargo(&self, ui: &Progress, subcommand: &str, archs: &[Arch]) -> Result<String> {
        let build = build_dir();
        kit::discard_stale(self.kit, &build)?;
        let mut command = self.toolchain.cargo();
        command
            .current_dir(paths::root())
            // Behind the subcommand, or cargo-clippy does not hand it on.
            .args([subcommand, "--config"])
            .arg(&self.cargo_config.file)
            .args(["--locked", "--release", "--package", self.package])
            .arg("--target-dir")
            .arg(&build)
            .env("WDKContentRoot", &self.kit.root)
            .env("CARGO_ENCODED_RUSTFLAGS", self.rustc_flags());
        for arch in archs {
            command.args(["--target", arch.triple()]);
        }
        // All of them always: cargo builds again what saw another environment.
        for arch in Arch::ALL {
            let variable = arch.triple().replace('-', "_");
            command
                .env(
                    format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()),
                    "rust-lld",
                )
                .env(format!("CC_{variable}"), &self.tools.clang)
                .env(format!("CFLAGS_{variable}"), "-w")
                .env(format!("AR_{variable}"), self.librarian()?)
                .env(format!("ARFLAGS_{variable}"), "/lib");
        }
        if subcommand == "clippy" {
            command.args(["--", "-D", "warnings"]);
        }
        let names: Vec<&str> = archs.iter().map(|arch| arch.name()).collect();
        let names = names.join(", ");
        let mut step: Option<Step> = None;
        let what = match subcommand {
            "clippy" => format!("linting {} for {names}", self.package),
            _ => format!("building {}.sys for {names}", self.package),
        };
        let output = shell::run_with(&mut command, &mut |piece| {
            let line = match piece {
                Piece::Line(line) => line,
                Piece::Passing(state) => {
                    // Where nothing is stale cargo has a bar too, for a moment.
                    if let Some(step) = &step {
                        step.detail(state);
                    }
                    return false;
                }
            };
            let verb = line.split_whitespace().next().unwrap_or_default();
            if WORK.contains(&verb) {
                step.get_or_insert_with(|| ui.step(&what)).detail(line);
            }
            !WORK.contains(&verb) && verb != "Finished"
        })
        .map_err(hint)?;
        if let Some(step) = step {
            step.done("");
        }
        Ok(output)
    }

    /// Separated as `CARGO_ENCODED_RUSTFLAGS` wants it. This variable wins over the flags of every cargo
    /// configuration, so those that the driver needs are repeated here.
    fn rustc_flags(&self) -> OsString {
        let mut flags = vec![
            OsString::from("-Ctarget-feature=+crt-static"),
            // A checksum in the header.
            "-Clink-arg=/RELEASE".into(),
            // No times, and the same input gives the same bytes...
            "-Clink-arg=/Brepro".into(),
        ];
        // ...in whatever folder.
        let mut hide = |path: &Path, name: &str| {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(path);
            flag.push("=");
            flag.push(name);
            flags.push(flag);
        };
        hide(paths::root(), ".");
        hide(&self.cargo_config.registry, "registry");
        flags.join(&OsString::from("\x1f"))
    }

    /// The `lib.exe` that the cc crate is to call: rust-lld under a name by which it knows its task.
    fn librarian(&self) -> Result<PathBuf> {
        let link = paths::cross().join("lld-link");
        let lld = self.toolchain.lld()?;
        if fs::read_link(&link).is_ok_and(|to| to == lld) {
            return Ok(link);
        }
        fsutil::remove(&link)?;
        fsutil::symlink(&lld, &link)
            .with_context(|| format!("cannot create {}", link.display()))?;
        Ok(link)
    }
}

/// The linker does not know of the lists.
fn hint(error: Error) -> Error {
    if format!("{error:#}").contains("undefined symbol") {
        return error.context("a kernel function must be listed in xtask/kit/def to be called");
    }
    error
}

fn build_dir() -> PathBuf {
    paths::cross().join("build")
}

/// Gives the image its identity and puts it in its place, once it has passed the check.
fn finish(package: &str, arch: Arch) -> Result<Built> {
    let made = build_dir()
        .join(arch.triple())
        .join("release")
        .join(package.replace('-', "_"));
    let mut image = fsutil::read(&made.with_extension("dll"))?;
    let mut pdb = fsutil::read(&made.with_extension("pdb"))?;
    build_id::renew(&mut image, &mut pdb)
        .with_context(|| format!("{package}.sys for {} and its PDB", arch.name()))?;
    let libraries = allowlist::load(&paths::kit_sources().join("def"))?;
    let framework = package == PRODUCT;
    let report = pe_check::check(&image, arch, &libraries, framework)
        .with_context(|| format!("{package}.sys for {} breaks the rules", arch.name()))?;

    let folder = paths::driver_out().join(arch.name());
    fsutil::create_dir(&folder)?;
    let path = folder.join(package).with_extension("sys");
    fsutil::write(&path, &image)?;
    fsutil::write(&path.with_extension("pdb"), &pdb)?;
    Ok(Built { arch, path, report })
}
