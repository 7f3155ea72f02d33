//! The WDK to build against: the real one if the environment names it, else a stand-in made here from
//! declarations-only headers, export lists and two small objects (`xtask/kit`).

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{
    Arch, KMDF,
    stamp::{self, Inputs},
    toolchain::Toolchain,
};
use crate::{
    fsutil, paths,
    progress::{Progress, Step},
    shell,
};

/// Newer than any WDK, so that the folder is not mistaken for one.
const VERSION: &str = "10.0.99999.0";

/// A WDK, real or not.
pub struct Kit {
    /// What `WDKContentRoot` is to say.
    pub root: PathBuf,
    /// Changes when bindings made from the headers are out of date.
    pub headers: String,
    /// Changes when the driver must be linked again.
    pub libraries: String,
}

/// Finds or makes the kit.
pub fn prepare(ui: &Progress, toolchain: &Toolchain, archs: &[Arch]) -> Result<Kit> {
    if let Some(root) = env::var_os("WDKContentRoot").map(PathBuf::from) {
        if !root.is_dir() {
            bail!(
                "WDKContentRoot names {}, which is no folder",
                root.display()
            );
        }
        let name = root.display().to_string();
        return Ok(Kit {
            root,
            headers: name.clone(),
            libraries: name,
        });
    }
    stand_in(ui, toolchain, archs)
}

fn stand_in(ui: &Progress, toolchain: &Toolchain, archs: &[Arch]) -> Result<Kit> {
    let sources = paths::kit_sources();
    let headers = Inputs::default()
        .add_dir(&sources.join("headers"))?
        .finish();
    let libraries = Inputs::default()
        .add_dir(&sources.join("def"))?
        .add_dir(&sources.join("stub"))?
        .add(&toolchain.commit)
        .finish();

    let root = paths::cross().join("kit");
    if root.to_string_lossy().to_lowercase().contains("wdf") {
        // wdk-sys tells the headers of KMDF from others by looking for "wdf" anywhere in their paths.
        bail!(
            "the path of this checkout must not have `wdf` in it ({})",
            paths::root().display()
        );
    }
    let inputs = format!(
        "{headers} {libraries} {}",
        archs.iter().map(|a| a.name()).collect::<Vec<_>>().join(" ")
    );
    let all = format!(
        "{headers} {libraries} {}",
        Arch::ALL.map(Arch::name).join(" ")
    );
    if !stamp::is_fresh(&root, &inputs) && !stamp::is_fresh(&root, &all) {
        let step = ui.step("stand-in for the WDK: headers, import libraries, KMDF entry");
        stamp::make(&root, &inputs, |draft| {
            fill(toolchain, &sources, archs, draft, &step)
        })?;
        step.done("");
    }
    Ok(Kit {
        root,
        headers,
        libraries,
    })
}

fn fill(
    toolchain: &Toolchain,
    sources: &Path,
    archs: &[Arch],
    draft: &Path,
    step: &Step,
) -> Result<()> {
    let include = draft.join("Include");
    let kernel = include.join(VERSION).join("km");
    let version = format!("{}.{}", KMDF.0, KMDF.1);
    let framework = include.join("wdf/kmdf").join(&version);
    // wdk-build wants these to be there.
    for folder in [
        &kernel.join("crt"),
        &kernel.join("ufx/1.1"),
        &include.join(VERSION).join("shared"),
        &framework,
    ] {
        fsutil::create_dir(folder)?;
    }
    for header in fsutil::entries(&sources.join("headers"))? {
        let name = header.file_name().unwrap_or_default();
        let folder = if name == "wdf.h" { &framework } else { &kernel };
        // With the time of the source: a kit that is made again for more processors does not make what was
        // read from the headers look old.
        fsutil::copy_with_time(&header, &folder.join(name))?;
    }

    let lld = toolchain.lld()?;
    for arch in archs.iter().copied() {
        // The WDK's own names.
        let folder = match arch {
            Arch::X64 => "x64",
            Arch::Arm64 => "ARM64",
        };
        let kernel = draft.join("Lib").join(VERSION).join("km").join(folder);
        let framework = draft.join("Lib/wdf/kmdf").join(folder).join(&version);
        fsutil::create_dir(&kernel)?;
        fsutil::create_dir(&framework)?;
        let library = |inputs: &[String], output: PathBuf| {
            shell::run(
                Command::new(&lld)
                    .args(["-flavor", "link", "/lib"])
                    .arg(format!("/machine:{}", arch.name()))
                    .args(inputs)
                    .arg(format!("/out:{}", output.display())),
                step,
            )
        };
        for list in fsutil::entries(&sources.join("def"))? {
            let name = list.file_stem().unwrap_or_default();
            let folder = if name == "WdfLdr" {
                &framework
            } else {
                &kernel
            };
            library(
                &[format!("/def:{}", list.display())],
                folder.join(name).with_extension("lib"),
            )?;
        }
        let object = |source: &str| -> Result<String> {
            let output = draft
                .join(source)
                .with_extension(format!("{}.obj", arch.name()));
            shell::run(
                Command::new(&toolchain.rustc)
                    .args(["--edition=2024", "--crate-type=lib", "--emit=obj"])
                    .args(["-Copt-level=2", "-Cpanic=abort", "-Ccodegen-units=1"])
                    .arg(format!("--remap-path-prefix={}=kit", sources.display()))
                    .args(["--target", arch.triple(), "-o"])
                    .arg(&output)
                    .arg(sources.join("stub").join(source)),
                step,
            )?;
            Ok(output.display().to_string())
        };
        let entry = object("wdf_driver_entry.rs")?;
        library(&[entry], framework.join("WdfDriverEntry.lib"))?;
        let cookie = object("security_cookie.rs")?;
        library(
            std::slice::from_ref(&cookie),
            kernel.join("BufferOverflowFastFailK.lib"),
        )?;
        if arch == Arch::Arm64 {
            library(&[cookie], kernel.join("arm64rt.lib"))?;
        }
    }
    for object in fsutil::entries(draft)? {
        if object
            .extension()
            .is_some_and(|extension| extension == "obj")
        {
            fsutil::remove(&object)?;
        }
    }
    Ok(())
}

/// Removes from the build folder what was made with another kit and cargo does not know to be stale.
pub fn discard_stale(kit: &Kit, build: &Path) -> Result<()> {
    let record = build.join("kit");
    let now = format!("{}\n{}", kit.headers, kit.libraries);
    let before = fsutil::read_text(&record).unwrap_or_default();
    if before == now {
        return Ok(());
    }
    let (headers, _) = before.split_once('\n').unwrap_or_default();
    if headers == kit.headers {
        // Only the libraries: link again.
        for arch in Arch::ALL {
            let fingerprints = build.join(arch.triple()).join("release/.fingerprint");
            for unit in fsutil::entries(&fingerprints).unwrap_or_default() {
                let name = unit.file_name().unwrap_or_default().to_string_lossy();
                if ["ipsecov2-", "loopback-"]
                    .iter()
                    .any(|driver| name.starts_with(driver))
                {
                    fsutil::remove(&unit)?;
                }
            }
        }
    } else {
        // wdk-macros keeps what it read of the headers and never looks again.
        fsutil::remove(build)?;
    }
    fsutil::create_dir(build)?;
    fsutil::write(&record, now).context("cannot record the kit of this build")
}
