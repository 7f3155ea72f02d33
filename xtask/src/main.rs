//! `cargo xtask`: set-up, cross-build, the demo run and the tests.

mod build;
mod call_graph;
mod fsutil;
mod fuzz;
mod hlk;
mod lab;
mod paths;
mod progress;
mod sanitize;
mod setup;
mod shell;
mod test;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};

use build::{Action, Arch};
use progress::Progress;

/// Build and try the driver. Everything that is missing is fetched first.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Cross-build a driver, ipsecov2.sys unless another is named (release form), and check the image.
    Build(BuildArgs),
    /// Run clippy over a driver crate for its own target.
    Lint(DriverArgs),
    /// Write docs/imports.md from the lists in xtask/kit/def.
    Imports,
    /// Build, then send a capture through the driver, encrypted from one adapter to another, and verify it.
    Run(LabArgs),
    /// Only the sending adapter: plain packets in, frames for the wire out.
    Send(LabArgs),
    /// Only the receiving adapter: frames in, a JSON line and the indicated packet out for each.
    Receive(LabArgs),
    /// Packets per second and Gbit/s through the driver in the simulator, by packet size.
    Throughput(LabArgs),
    /// Run the fuzz targets of tests/fuzz with libFuzzer; nightly is not needed.
    Fuzz(fuzz::FuzzArgs),
    /// Run the jobs of the Windows Hardware Lab Kit that apply to the driver, and say where the report is.
    Hlk(HlkArgs),
    /// Run the tests of the portable crates under a sanitizer; nightly is not needed.
    Sanitize(SanitizeArgs),
    /// Show how much stack each entry point of the driver can use and by which way, and check it and the
    /// way of packets.
    Stack,
    /// Set up the peers (tshark, scapy) and run all tests. Five minutes of it are randomised stress:
    /// IPSECOV2_STRESS_SECONDS says otherwise (docs/robustness.md).
    Test(TestArgs),
}

/// The arguments are the lab's own: `cargo xtask run --help` shows them.
#[derive(Args)]
#[command(disable_help_flag = true)]
struct LabArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    arguments: Vec<OsString>,
}

#[derive(Args)]
struct SanitizeArgs {
    /// Which one.
    #[arg(value_enum)]
    sanitizer: sanitize::Sanitizer,
}

#[derive(Args)]
struct TestArgs {
    /// What to hand to `cargo test` (a package, a filter); without it everything runs, lints included.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    filter: Vec<String>,
}

#[derive(Args)]
struct HlkArgs {
    /// Part of the name of a job or a case, as in ipsecesp; without it all jobs run.
    job: Option<String>,
}

#[derive(Args)]
struct ArchArgs {
    /// The processor.
    #[arg(long, value_enum, default_value = "x64")]
    arch: ArchChoice,
}

#[derive(Args)]
struct DriverArgs {
    #[command(flatten)]
    arch: ArchArgs,
    /// Which driver: a package of the workspace.
    #[arg(long, default_value = build::PRODUCT)]
    package: String,
}

#[derive(Args)]
struct BuildArgs {
    #[command(flatten)]
    driver: DriverArgs,
    /// Build a copy in another folder too, and compare the images bit for bit.
    #[arg(long)]
    check_reproducible: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ArchChoice {
    X64,
    Arm64,
    All,
}

impl ArchChoice {
    fn archs(self) -> &'static [Arch] {
        match self {
            Self::X64 => &[Arch::X64],
            Self::Arm64 => &[Arch::Arm64],
            Self::All => &Arch::ALL,
        }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let ui = Progress::new();
    match cli.command {
        Task::Build(args) => build_driver(&ui, &args),
        Task::Lint(args) => {
            build::check_driver(&args.package)?;
            build::drivers(&ui, &args.package, args.arch.arch.archs(), Action::Lint).map(drop)
        }
        Task::Imports => build::write_imports_page(),
        Task::Run(args) => lab::run(&ui, "run", &args.arguments),
        Task::Send(args) => lab::run(&ui, "send", &args.arguments),
        Task::Receive(args) => lab::run(&ui, "receive", &args.arguments),
        Task::Throughput(args) => lab::run(&ui, "throughput", &args.arguments),
        Task::Fuzz(args) => fuzz::run(&ui, &args),
        Task::Hlk(args) => hlk::run(&ui, args.job.as_deref()),
        Task::Sanitize(args) => sanitize::run(&ui, args.sanitizer),
        Task::Stack => call_graph::run(&ui, &build::driver(&ui, Arch::X64)?),
        Task::Test(args) => test::run(&ui, &args.filter),
    }
}

fn build_driver(ui: &Progress, args: &BuildArgs) -> Result<()> {
    let DriverArgs { arch, package } = &args.driver;
    build::check_driver(package)?;
    let built = build::drivers(ui, package, arch.arch.archs(), Action::Build)?;
    for image in &built {
        let imports: Vec<String> = image
            .report
            .imports
            .iter()
            .map(|(module, functions)| format!("{} from {module}", functions.len()))
            .collect();
        println!(
            "{}: {} bytes, imports {}",
            image.path.display(),
            image.report.size,
            imports.join(", ")
        );
    }
    if args.check_reproducible {
        build::check_reproducible(ui, package, &built)?;
    }
    Ok(())
}
