//! A Rust compiler with `core` and `alloc` for the Windows targets, and the C compiler that wdk-sys calls.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{Arch, stamp};
use crate::{fsutil, paths, progress::Progress, setup, shell};

mod debian;

/// The compiler that builds the driver.
pub struct Toolchain {
    /// `cargo` to call.
    pub cargo: PathBuf,
    /// `rustc` to call.
    pub rustc: PathBuf,
    /// Where its libraries are.
    pub sysroot: PathBuf,
    /// Its version, e.g. `1.95.0`.
    pub release: String,
    /// The commit it was built from.
    pub commit: String,
    /// The machine that it runs on.
    pub host: String,
}

impl Toolchain {
    fn new(cargo: PathBuf, rustc: PathBuf) -> Result<Self> {
        let version = shell::capture(Command::new(&rustc).arg("-vV"))?;
        let field = |name: &str| {
            version
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .map(str::to_owned)
                .with_context(|| format!("`rustc -vV` does not say its {name}"))
        };
        let sysroot = shell::capture(Command::new(&rustc).args(["--print", "sysroot"]))?;
        Ok(Self {
            sysroot: sysroot.into(),
            release: field("release")?,
            commit: field("commit-hash")?,
            host: field("host")?,
            cargo,
            rustc,
        })
    }

    /// A command that calls cargo with this compiler, and with none of the flags that the environment
    /// has for other builds.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        command.env("RUSTC", &self.rustc);
        let inherited = |name: &str| {
            matches!(
                name,
                "RUSTFLAGS"
                    | "CARGO_ENCODED_RUSTFLAGS"
                    | "CARGO_BUILD_RUSTFLAGS"
                    | "CARGO_BUILD_TARGET"
                    | "CARGO_TARGET_DIR"
                    | "CARGO_BUILD_TARGET_DIR"
                    | "CARGO_BUILD_BUILD_DIR"
            ) || name.starts_with("CARGO_PROFILE_")
                || name.starts_with("CARGO_TARGET_")
        };
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(inherited) {
                command.env_remove(&name);
            }
        }
        command
    }

    /// The linker that comes with the compiler.
    pub fn lld(&self) -> Result<PathBuf> {
        let lld = self
            .sysroot
            .join("lib/rustlib")
            .join(&self.host)
            .join("bin/rust-lld");
        if lld.exists() {
            return Ok(lld);
        }
        shell::find("rust-lld")
            .or_else(|| shell::find("lld"))
            .with_context(|| format!("no rust-lld in {}", self.sysroot.display()))
    }

    fn has(&self, arch: Arch) -> bool {
        let libraries = self
            .sysroot
            .join("lib/rustlib")
            .join(arch.triple())
            .join("lib");
        let names: Vec<OsString> = fs::read_dir(libraries)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        ["libcore-", "liballoc-"].iter().all(|prefix| {
            names.iter().any(|name| {
                let name = name.to_string_lossy();
                name.starts_with(prefix) && name.ends_with(".rlib")
            })
        })
    }
}

/// The machine's Rust if it has the libraries or rustup can add them; else a second view of it to which
/// the libraries are added, built from Debian's copy of their sources.
pub fn prepare(ui: &Progress, archs: &[Arch]) -> Result<Toolchain> {
    let program = |variable: &str, name: &str| {
        env::var_os(variable).map_or_else(|| PathBuf::from(name), PathBuf::from)
    };
    let own = Toolchain::new(program("CARGO", "cargo"), program("RUSTC", "rustc"))?;
    let missing: Vec<Arch> = archs
        .iter()
        .copied()
        .filter(|arch| !own.has(*arch))
        .collect();
    if missing.is_empty() {
        return Ok(own);
    }

    let overlay = paths::cross().join(format!("rust-{}-{}", own.release, own.host));
    let inputs = format!("{} {}", own.sysroot.display(), own.commit);
    if !stamp::is_fresh(&overlay, &inputs) {
        let refusal = match add_with_rustup(ui, &own, &missing) {
            Ok(()) => return Ok(own),
            Err(error) => error,
        };
        stamp::make(&overlay, &inputs, |draft| {
            debian::overlay(ui, &own, draft)
        })
        .with_context(|| {
            format!(
                "no Rust libraries for {}: rustup cannot add them ({refusal:#}), and neither could they \
                 be built from Debian's rust-src",
                triples(&missing)
            )
        })?;
    }
    let bin = overlay.join("bin");
    let toolchain = Toolchain::new(bin.join("cargo"), bin.join("rustc"))?;
    match archs.iter().find(|arch| !toolchain.has(**arch)) {
        None => Ok(toolchain),
        Some(arch) => bail!(
            "{} has no libraries for {}; remove it and try again",
            overlay.display(),
            arch.triple()
        ),
    }
}

fn add_with_rustup(ui: &Progress, own: &Toolchain, missing: &[Arch]) -> Result<()> {
    if shell::find("rustup").is_none() {
        bail!("there is no rustup here");
    }
    let step = ui.step(format!("Rust libraries for {}", triples(missing)));
    let added = shell::run(
        Command::new("rustup")
            .args(["target", "add"])
            .args(missing.iter().map(|arch| arch.triple()))
            .env("RUSTUP_MAX_RETRIES", "1"),
        &step,
    );
    match added {
        // rustup may have served another toolchain than the one in use.
        Ok(_) if missing.iter().all(|arch| own.has(*arch)) => {
            step.done("added by rustup");
            Ok(())
        }
        Ok(_) => {
            step.done("rustup added them to another toolchain than the one in use");
            bail!("{} is not rustup's active toolchain", own.sysroot.display())
        }
        Err(error) => {
            step.done("not to be had from rustup");
            Err(error)
        }
    }
}

fn triples(archs: &[Arch]) -> String {
    let names: Vec<&str> = archs.iter().map(|arch| arch.triple()).collect();
    names.join(", ")
}

/// The C side of the build: wdk-sys compiles one C file and bindgen needs libclang.
pub struct CTools {
    /// The C compiler.
    pub clang: PathBuf,
}

/// Finds clang and libclang, or installs Debian's `clang`, which brings both.
pub fn c_tools(ui: &Progress) -> Result<CTools> {
    if shell::find("clang").is_none() || !has_libclang() {
        setup::apt(ui, &["clang"])?;
    }
    let clang = shell::find("clang").context("there is no clang in PATH")?;
    if !has_libclang() {
        bail!("bindgen needs libclang: install it, or name its folder in LIBCLANG_PATH");
    }
    Ok(CTools { clang })
}

/// Looks where bindgen's loader (clang-sys) looks.
fn has_libclang() -> bool {
    let mut folders: Vec<PathBuf> = env::var_os("LIBCLANG_PATH")
        .map(PathBuf::from)
        .into_iter()
        .collect();
    for top in [
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
        "/usr/local/lib64",
    ] {
        folders.push(top.into());
        for folder in fsutil::entries(Path::new(top)).unwrap_or_default() {
            folders.push(folder.join("lib"));
            folders.push(folder);
        }
    }
    let is_libclang = |name: &str| {
        (name.starts_with("libclang.so") || name.starts_with("libclang-")) && name.contains(".so")
    };
    folders.iter().any(|folder| {
        folder.to_str().is_some_and(is_libclang)
            || fsutil::entries(folder).is_ok_and(|files| {
                files.iter().any(|file| {
                    file.file_name()
                        .and_then(|name| name.to_str())
                        .is_some_and(|name| is_libclang(name) && !name.contains("cpp"))
                })
            })
    })
}
