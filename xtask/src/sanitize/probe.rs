//! Whether the sanitizers work on this machine: a program with an error is compiled, run, and has to be found out.
//! Nothing less says so. The standard library is taken as it comes (rust-src is not needed); what is needed is the
//! sanitizer's runtime library, which rustup's toolchains have and Debian's has not, a linker, a compiler that
//! knows the flags, and an address space in which ThreadSanitizer finds its place.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::Sanitizer;
use crate::{fsutil, progress::Progress, shell};

/// Reads the byte behind a vector.
const OUT_OF_BOUNDS: &str = "
fn main() {
    let all = vec![1_u8; std::env::args().count()];
    println!(\"{}\", unsafe { std::ptr::read_volatile(all.as_ptr().add(all.len())) });
}
";

/// Reads in one thread what another writes.
const RACE: &str = "
use std::{ptr, thread};

static mut SHARED: u32 = 0;

fn main() {
    let other = thread::spawn(|| unsafe { ptr::write_volatile(&raw mut SHARED, 1) });
    println!(\"{}\", unsafe { ptr::read_volatile(&raw const SHARED) });
    other.join().unwrap();
}
";

impl Sanitizer {
    /// A program with an error, and how its report begins.
    fn probe(self) -> (&'static str, &'static str) {
        match self {
            Self::Address => (OUT_OF_BOUNDS, "AddressSanitizer: heap-buffer-overflow"),
            Self::Thread => (RACE, "ThreadSanitizer: data race"),
        }
    }

    /// How the name of its runtime library ends.
    fn runtime(self) -> &'static str {
        match self {
            Self::Address => "_rt.asan.a",
            Self::Thread => "_rt.tsan.a",
        }
    }
}

/// Checks that the sanitizer finds what it is for.
///
/// # Errors
/// What this machine lacks, and the command that installs it.
pub fn check(ui: &Progress, sanitizer: Sanitizer) -> Result<()> {
    let step = ui.step(format!("the {} sanitizer works here", sanitizer.name()));
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let (program, found) = sanitizer.probe();
    let source = folder.path().join("probe.rs");
    fsutil::write(&source, program)?;
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiled = Command::new(&rustc)
        .current_dir(folder.path())
        .args(["--edition", "2024", "probe.rs", "-o", "probe"])
        .args(sanitizer.flags())
        .env("RUSTC_BOOTSTRAP", "1")
        .stdin(Stdio::null())
        .output()
        .context("cannot start the Rust compiler: install it from https://rustup.rs")?;
    let mut output = String::from_utf8_lossy(&compiled.stderr).into_owned();
    if compiled.status.success() {
        let ran = Command::new(folder.path().join("probe"))
            .stdin(Stdio::null())
            .output()
            .context("cannot start a program with the sanitizer in it")?;
        output = String::from_utf8_lossy(&ran.stderr).into_owned();
        if output.contains(found) {
            step.done("");
            return Ok(());
        }
    }
    let libraries = shell::capture(Command::new(&rustc).args(["--print", "target-libdir"]))?;
    bail!("{}", lacking(sanitizer, Path::new(&libraries), &output));
}

/// What is missing, if a probe has failed with this output.
fn lacking(sanitizer: Sanitizer, libraries: &Path, output: &str) -> String {
    let name = sanitizer.name();
    let remedy = if output.contains("is not supported for this target") {
        "the compiler has no such sanitizer for this kind of machine; x86-64 and ARM64 Linux have both".to_owned()
    } else if output.contains("linker `") {
        "there is no linker; run this once:\n\n    sudo apt-get install -y --no-install-recommends gcc libc6-dev\n"
            .to_owned()
    } else if [
        "unknown codegen option",
        "unknown unstable option",
        "incorrect value",
    ]
    .iter()
    .any(|words| output.contains(words))
    {
        "the compiler is too old for the flags; run this once:\n\n    rustup update stable\n"
            .to_owned()
    } else if output.contains("unexpected memory mapping") {
        "addresses are more random than ThreadSanitizer can bear; run this once:\n\n    \
         sudo sysctl vm.mmap_rnd_bits=28\n"
            .to_owned()
    } else if runtime(sanitizer, libraries).is_none() {
        format!(
            "the compiler comes without the sanitizer's runtime library (librustc-*{} in {}), as Debian's does; \
             rustup's has it. Run this once:\n\n    rustup toolchain install stable\n\n\
             and then `rustup run stable cargo xtask sanitize {name}` (rustup: https://rustup.rs)",
            sanitizer.runtime(),
            libraries.display()
        )
    } else {
        "a program with an error was not found out".to_owned()
    };
    let output = output.trim();
    let said = if output.is_empty() {
        String::new()
    } else {
        format!("\n{output}")
    };
    format!("the {name} sanitizer does not work here: {remedy}{said}")
}

/// The sanitizer's runtime library, linked into every program.
fn runtime(sanitizer: Sanitizer, libraries: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(libraries).ok()?.flatten();
    entries.map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("librustc") && name.ends_with(sanitizer.runtime())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_command_that_installs_it() {
        let empty = tempfile::tempdir().unwrap();
        let whole = tempfile::tempdir().unwrap();
        for runtime in ["librustc-stable_rt.asan.a", "librustc-nightly_rt.tsan.a"] {
            fs::write(whole.path().join(runtime), "").unwrap();
        }
        for (sanitizer, libraries, output, parts) in [
            (
                Sanitizer::Address,
                &whole,
                "error: linker `cc` not found",
                ["apt-get install", "gcc"],
            ),
            (
                Sanitizer::Address,
                &empty,
                "error: linking with `cc` failed: cannot find librustc-stable_rt.asan.a",
                [
                    "librustc-*_rt.asan.a in /",
                    "rustup run stable cargo xtask sanitize address",
                ],
            ),
            (
                Sanitizer::Thread,
                &empty,
                "",
                [
                    "librustc-*_rt.tsan.a in /",
                    "rustup toolchain install stable",
                ],
            ),
            (
                Sanitizer::Thread,
                &whole,
                "error: unknown codegen option: `unsafe-allow-abi-mismatch`",
                ["too old", "rustup update stable"],
            ),
            (
                Sanitizer::Thread,
                &whole,
                "FATAL: ThreadSanitizer: unexpected memory mapping 0x5d",
                ["more random", "sudo sysctl vm.mmap_rnd_bits=28"],
            ),
            (
                Sanitizer::Address,
                &whole,
                "error: address sanitizer is not supported for this target",
                ["this kind of machine", "Linux"],
            ),
            (
                Sanitizer::Address,
                &whole,
                "something else",
                ["was not found out", "something else"],
            ),
        ] {
            let text = lacking(sanitizer, libraries.path(), output);
            for part in parts {
                assert!(text.contains(part), "{output}: no {part:?} in: {text}");
            }
            assert!(text.ends_with(output), "{text}");
        }
    }
}
