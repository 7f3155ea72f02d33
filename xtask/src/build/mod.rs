//! The cross-build of the driver: `cargo xtask build`. See `docs/building.md`.

mod allowlist;
mod build_id;
mod driver;
mod imports_doc;
mod kit;
mod packages;
mod pe_check;
mod reproducible;
mod stamp;
#[cfg(test)]
pub mod test_image;
mod toolchain;
mod wdk_build_patch;

use std::{fs::File, path::PathBuf};

use anyhow::{Context, Result};

pub use driver::{Built, PRODUCT};
pub use imports_doc::write as write_imports_page;
pub use packages::{check_driver, check_tests};
pub use reproducible::check as check_reproducible;

use crate::{fsutil, paths, progress::Progress};

/// The KMDF version, major and minor, as in `[workspace.metadata.wdk.driver-model]`.
const KMDF: (u32, u32) = (1, 31);

/// A processor that the driver is built for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arch {
    /// x86-64.
    X64,
    /// AArch64.
    Arm64,
}

impl Arch {
    /// Both.
    pub const ALL: [Self; 2] = [Self::X64, Self::Arm64];

    /// The Rust target.
    pub const fn triple(self) -> &'static str {
        match self {
            Self::X64 => "x86_64-pc-windows-msvc",
            Self::Arm64 => "aarch64-pc-windows-msvc",
        }
    }

    /// The name in folders of this project and in linker options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X64 => "x64",
            Self::Arm64 => "arm64",
        }
    }
}

/// What to do with the driver crate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Build, check and copy the image.
    Build,
    /// Only `cargo clippy`, warnings denied.
    Lint,
}

/// Builds `ipsecov2.sys` for `arch` if anything changed, checks it, and returns its path.
///
/// # Errors
/// When something that the build needs is missing and cannot be had, when the driver does not compile or
/// link, or when the image breaks a rule of `pe_check`.
pub fn driver(ui: &Progress, arch: Arch) -> Result<PathBuf> {
    let mut built = drivers(ui, PRODUCT, &[arch], Action::Build)?;
    let image = built.pop().context("the build produced no image")?;
    Ok(image.path)
}

/// As [`driver`], for any driver of the workspace, and for several processors at once.
///
/// # Errors
/// As [`driver`].
pub fn drivers(ui: &Progress, package: &str, archs: &[Arch], action: Action) -> Result<Vec<Built>> {
    let _alone = lock(ui)?;
    let toolchain = toolchain::prepare(ui, archs)?;
    let tools = toolchain::c_tools(ui)?;
    let kit = kit::prepare(ui, &toolchain, archs)?;
    let config = wdk_build_patch::prepare(ui, &toolchain)?;
    let build = driver::Build {
        toolchain: &toolchain,
        tools: &tools,
        kit: &kit,
        cargo_config: &config,
        package,
    };
    match action {
        Action::Build => build.images(ui, archs),
        Action::Lint => build.lint(ui, archs).map(|()| Vec::new()),
    }
}

/// One build at a time; released when the file closes, also when the process dies.
fn lock(ui: &Progress) -> Result<File> {
    let path = paths::cross().join("lock");
    fsutil::create_dir(&paths::cross())?;
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    if file.try_lock().is_err() {
        let step = ui.step("waiting for another build in this checkout");
        file.lock()
            .with_context(|| format!("cannot lock {}", path.display()))?;
        step.done("");
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kit_and_check_have_the_framework_version_of_the_workspace() {
        let manifest = fsutil::read_text(&paths::root().join("Cargo.toml")).unwrap();
        for (key, value) in [
            ("kmdf-version-major", KMDF.0),
            ("target-kmdf-version-minor", KMDF.1),
        ] {
            assert!(manifest.contains(&format!("\n{key} = {value}\n")), "{key}");
        }
        let stub = paths::kit_sources()
            .join("stub")
            .join("wdf_driver_entry.rs");
        let stub = fsutil::read_text(&stub).unwrap();
        for (name, value) in [("KMDF_MAJOR", KMDF.0), ("KMDF_MINOR", KMDF.1)] {
            assert!(
                stub.contains(&format!("const {name}: u32 = {value};")),
                "{name}"
            );
        }
    }
}
