//! `test`: everything that can be checked on this machine, in one go.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{
    build::{self, Action, Arch},
    call_graph, fuzz, lab, paths,
    progress::Progress,
    setup, shell,
};

/// Second opinions on what is on the wire, and the source of test packets.
const PEERS: [&str; 1] = ["tshark"];
/// The driver of `sim/examples`.
const EXAMPLE: &str = "loopback";
const PYTHON_PEERS: [&str; 2] = ["scapy==2.8.0", "cryptography==50.0.2"];

/// Gets the peers, checks form (rustfmt, clippy), builds both images, and runs every test of the workspace
/// against the x64 one. `filter` goes to `cargo test` and then only the tests run.
///
/// # Errors
/// When `filter` names a package or test that is not there, before anything is built; and at the first stage that
/// fails.
pub fn run(ui: &Progress, filter: &[String]) -> Result<()> {
    build::check_tests(filter)?;
    setup::apt(ui, &PEERS)?;
    let python = setup::python(ui, &paths::venv(), &PYTHON_PEERS)?;
    let images = build::drivers(ui, build::PRODUCT, &Arch::ALL, Action::Build)?;
    let image = images
        .iter()
        .find(|image| image.arch == Arch::X64)
        .context("the build produced no x64 image")?;

    let example = build::drivers(ui, EXAMPLE, &[Arch::X64], Action::Build)?;
    let example = example.first().context("the build produced no example")?;

    if filter.is_empty() {
        form(ui)?;
    }
    let lab = lab::build(ui, lab::Profile::Test)?;
    let mut test = cargo();
    test.args(["test", "--locked", "--no-fail-fast"])
        .arg("--target-dir")
        .arg(paths::target())
        .args(filter)
        .env("IPSECOV2_LAB", lab)
        .env("IPSECOV2_SYS", &image.path)
        .env("IPSECOV2_INF", paths::inf())
        .env("LOOPBACK_SYS", &example.path)
        .env("IPSECOV2_PYTHON", &python);
    stream(&mut test)?;
    if filter.is_empty() {
        call_graph::check(ui, &image.path)?;
        interleavings()?;
        fuzz::bounded(ui)?;
        build::check_reproducible(ui, build::PRODUCT, &images)?;
    }
    Ok(())
}

/// rustfmt and clippy, where the toolchain has them: a minimal one does not.
fn form(ui: &Progress) -> Result<()> {
    if shell::find("cargo-fmt").is_some() {
        let step = ui.step("rustfmt");
        shell::run(cargo().args(["fmt", "--all", "--check"]), &step)?;
        shell::run(
            cargo().current_dir(fuzz::folder()).args(["fmt", "--check"]),
            &step,
        )?;
        step.done("");
    } else {
        ui.line("  --  rustfmt is not installed: formatting not checked");
    }
    if shell::find("cargo-clippy").is_some() {
        let step = ui.step("clippy, host crates");
        shell::run(
            cargo().args([
                "clippy",
                "--locked",
                "--all-targets",
                "--",
                "--deny",
                "warnings",
            ]),
            &step,
        )?;
        step.done("");
        let step = ui.step("clippy, fuzz targets");
        shell::run(
            cargo()
                .current_dir(fuzz::folder())
                .args(["clippy", "--locked", "--all-targets"])
                .arg("--target-dir")
                .arg(paths::target().join("fuzz").join("clippy"))
                .args(["--", "--deny", "warnings"]),
            &step,
        )?;
        step.done("");
        build::drivers(ui, build::PRODUCT, &Arch::ALL, Action::Lint)?;
        build::drivers(ui, EXAMPLE, &Arch::ALL, Action::Lint)?;
    } else {
        ui.line("  --  clippy is not installed: lints not checked");
    }
    Ok(())
}

/// All orders in which the processors can meet in the SA table, at the gates of an adapter and over the
/// sequence numbers of an SA, under loom. Another build of the crates, so in a target folder of its own.
fn interleavings() -> Result<()> {
    let mut test = cargo();
    test.args(["test", "--locked", "--release"])
        .args(["--package", "sa-table", "--package", "interleavings"])
        .args(["--test", "interleavings", "--test", "gates"])
        .args(["--test", "sequence_numbers", "--test", "work_items"])
        .arg("--target-dir")
        .arg(paths::target().join("loom"))
        .env("RUSTFLAGS", "--cfg loom");
    stream(&mut test)
}

/// cargo, in the repository.
pub fn cargo() -> Command {
    let mut command = Command::new(paths::cargo());
    command.current_dir(paths::root());
    command
}

/// Runs a command whose output is the result: straight to the terminal.
///
/// # Errors
/// When it does not start or fails.
pub fn stream(command: &mut Command) -> Result<()> {
    let status = command.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("tests failed ({status})");
    }
    Ok(())
}
