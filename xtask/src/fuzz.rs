//! `fuzz`: the targets of `tests/fuzz` under libFuzzer, with the compiler that is there.
//!
//! What cargo-fuzz asks of a nightly compiler for coverage is LLVM's, and its flags are stable; only
//! AddressSanitizer needs `-Z`. So the targets build and run with the toolchain of all the rest, and
//! `cargo fuzz --fuzz-dir tests/fuzz` works on them all the same.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use lab_options::words;

use crate::{fsutil, paths, progress::Progress, setup, shell};

/// Coverage as libFuzzer wants it, and `cfg(fuzzing)` as cargo-fuzz sets it.
const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    // Branches that are folded into arithmetic cannot be counted.
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "--cfg=fuzzing",
];

/// Bytes of the longest input: a packet of an Ethernet link with all that goes with it, or a file.
const LONGEST: usize = 2048;
const LONGEST_FILE: usize = 16 * 1024;
/// The targets that take files.
const OF_FILES: [&str; 3] = ["inf", "pe_image", "sas_json"];

/// Executions of each target in `cargo xtask test`, beside the inputs that are kept: some seconds for all.
const BOUNDED_RUNS: u64 = 5_000;

/// What to run, and how long.
#[derive(clap::Args)]
pub struct FuzzArgs {
    /// The targets, as in tests/fuzz/fuzz_targets; all of them one after the other if none is named.
    targets: Vec<String>,
    /// Executions of each target; without this and --seconds until a finding or ^C.
    #[arg(long)]
    runs: Option<u64>,
    /// Seconds for each target.
    #[arg(long)]
    seconds: Option<u64>,
    /// The seed of the mutations.
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// With AddressSanitizer. Slower; finds reads and writes out of bounds in unsafe code.
    #[arg(long)]
    sanitize: bool,
    /// Run this input alone, for instance one that a run has written after a finding.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["runs", "seconds"])]
    input: Option<PathBuf>,
    /// Instead of running: put the fewest inputs with all the coverage that was ever seen here into
    /// tests/fuzz/corpus.
    #[arg(long, conflicts_with = "input")]
    minimise: bool,
}

/// `cargo xtask fuzz`.
///
/// # Errors
/// When a target does not build, or finds something.
pub fn run(ui: &Progress, args: &FuzzArgs) -> Result<()> {
    let known = targets()?;
    check(args, &known)?;
    let chosen = if args.targets.is_empty() {
        &known
    } else {
        &args.targets
    };
    let build = Build::new(ui, args.sanitize)?;
    for target in chosen {
        if args.minimise {
            build.minimise(ui, target)?;
            continue;
        }
        let mut command = build.command(target)?;
        if let Some(input) = &args.input {
            status(command.arg(input))?;
            continue;
        }
        let found = build.found(target)?;
        command.arg(format!("-seed={}", args.seed));
        if let Some(runs) = args.runs {
            command.arg(format!("-runs={runs}"));
        }
        if let Some(seconds) = args.seconds {
            command.arg(format!("-max_total_time={seconds}"));
        }
        // New inputs go into the first folder.
        command.arg(found).arg(kept(target)?);
        status(&mut command).with_context(|| format!("fuzz target {target}"))?;
    }
    Ok(())
}

/// What can be known of the arguments before anything is built.
fn check(args: &FuzzArgs, known: &[String]) -> Result<()> {
    if let Some(unknown) = args.targets.iter().find(|name| !known.contains(name)) {
        let nearest = words::nearest(unknown, known.iter().map(String::as_str));
        let meant = nearest.map_or_else(String::new, |nearest| format!(" (is {nearest} meant?)"));
        bail!(
            "there is no target {unknown}{meant}; there are {}",
            known.join(", ")
        );
    }
    if let Some(input) = &args.input {
        let shown = input.display();
        match fs::metadata(input) {
            Err(error) => bail!("--input {shown}: cannot read it: {error}"),
            Ok(it) if !it.is_file() => bail!("--input {shown}: this is no file"),
            Ok(_) => {}
        }
        if args.targets.len() != 1 {
            bail!(
                "--input is for one target: name it, as in `cargo xtask fuzz {} --input {shown}`",
                known.first().map_or("TARGET", String::as_str)
            );
        }
    }
    Ok(())
}

/// The part of `cargo xtask test`: every input that is kept, and a number of mutations that is the same each
/// time.
///
/// # Errors
/// As [`run`].
pub fn bounded(ui: &Progress) -> Result<()> {
    let build = Build::new(ui, false)?;
    for target in targets()? {
        let step = ui.step(format!("fuzz target {target}"));
        // New inputs are of no use here.
        let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
        let mut command = build.command(&target)?;
        command
            .args(["-seed=1", &format!("-runs={BOUNDED_RUNS}")])
            .arg(scratch.path())
            .arg(kept(&target)?);
        let output = shell::run(&mut command, &step)?;
        step.done(outcome(&output)?);
    }
    Ok(())
}

/// How many executions libFuzzer says it has made.
fn outcome(output: &str) -> Result<String> {
    let runs = output
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .context("libFuzzer did not say how many executions it made")?;
    let covered = output
        .lines()
        .rev()
        .find_map(|line| line.split_once(" cov: ")?.1.split_whitespace().next())
        .context("libFuzzer counts no coverage: the target was built without it")?;
    Ok(format!(
        "{} executions, {covered} edges covered",
        runs.trim()
    ))
}

/// The names of all targets.
fn targets() -> Result<Vec<String>> {
    let files = fsutil::entries(&folder().join("fuzz_targets"))?;
    let name = |file: &PathBuf| Some(file.file_stem()?.to_str()?.to_owned());
    Ok(files.iter().filter_map(name).collect())
}

/// The workspace of the targets.
pub fn folder() -> PathBuf {
    paths::root().join("tests").join("fuzz")
}

/// The inputs that are kept in the repository.
fn kept(target: &str) -> Result<PathBuf> {
    let folder = folder().join("corpus").join(target);
    fsutil::create_dir(&folder)?;
    Ok(folder)
}

/// Built targets.
struct Build {
    /// Where cargo has put the programs.
    programs: PathBuf,
    /// Where what they find goes.
    results: PathBuf,
}

impl Build {
    fn new(ui: &Progress, sanitize: bool) -> Result<Self> {
        // libFuzzer is C++.
        if env::var_os("CXX").is_none() && shell::find("c++").is_none() {
            setup::apt(ui, &["g++"])?;
        }
        let host = shell::host()?;
        let results = paths::target().join("fuzz");
        let build = results.join(if sanitize { "asan" } else { "build" });
        let mut flags = FLAGS.map(str::to_owned).to_vec();
        let mut command = Command::new(paths::cargo());
        if sanitize {
            flags.push("-Zsanitizer=address".to_owned());
            // A compiler that is not a nightly one knows -Z too, and takes it on this word.
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        let step = ui.step("fuzz targets");
        command
            .current_dir(folder())
            .args(["build", "--locked", "--release", "--bins"])
            // The flags are for the target alone then, not for build scripts and macros.
            .args(["--target", &host])
            .arg("--target-dir")
            .arg(&build)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        shell::run(&mut command, &step)?;
        step.done("");
        Ok(Self {
            programs: build.join(host).join("release"),
            results,
        })
    }

    /// A run of a target, without limits yet.
    fn command(&self, target: &str) -> Result<Command> {
        let artifacts = self.results.join("artifacts").join(target);
        fsutil::create_dir(&artifacts)?;
        let mut command = Command::new(self.programs.join(target));
        let longest = if OF_FILES.contains(&target) {
            LONGEST_FILE
        } else {
            LONGEST
        };
        command
            // What is refused is no panic, and its backtrace takes a hundred times as long as the refusal.
            .env("RUST_LIB_BACKTRACE", "0")
            .args(["-print_final_stats=1", "-timeout=60"])
            .arg(format!("-max_len={longest}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()));
        Ok(command)
    }

    /// Inputs that runs on this machine have found.
    fn found(&self, target: &str) -> Result<PathBuf> {
        let folder = self.results.join("corpus").join(target);
        fsutil::create_dir(&folder)?;
        Ok(folder)
    }

    fn minimise(&self, ui: &Progress, target: &str) -> Result<()> {
        let kept = kept(target)?;
        let step = ui.step(format!("fewest inputs for {target}"));
        let fewest = self.results.join("fewest").join(target);
        fsutil::remove(&fewest)?;
        fsutil::create_dir(&fewest)?;
        let mut command = self.command(target)?;
        command
            .arg("-set_cover_merge=1")
            .arg(&fewest)
            .arg(&kept)
            .arg(self.found(target)?);
        shell::run(&mut command, &step)?;
        fsutil::remove(&kept)?;
        fsutil::copy_tree(&fewest, &kept, &fsutil::copy)?;
        step.done(size(&kept)?);
        Ok(())
    }
}

/// What a folder of inputs holds.
fn size(folder: &Path) -> Result<String> {
    let inputs = fsutil::entries(folder)?;
    let mut bytes = 0;
    for input in &inputs {
        bytes += fsutil::read(input)?.len();
    }
    Ok(format!(
        "{}, {}",
        words::count(inputs.len(), "input"),
        words::count(bytes, "byte")
    ))
}

/// Runs a command whose output is the result: straight to the terminal.
fn status(command: &mut Command) -> Result<()> {
    let status = command.status().context("cannot start the fuzz target")?;
    if !status.success() {
        bail!("the target failed ({status}); the input is named above");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_in_the_manifest() {
        let manifest = fsutil::read_text(&folder().join("Cargo.toml")).unwrap();
        let targets = targets().unwrap();
        assert!(!targets.is_empty());
        for target in &targets {
            assert!(
                manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")),
                "{target}"
            );
        }
        assert_eq!(manifest.matches("[[bin]]").count(), targets.len());
    }

    #[test]
    fn arguments_are_judged_before_anything_is_built() {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: FuzzArgs,
        }
        let known = targets().unwrap();
        let judge = |arguments: &[&str]| -> Result<()> {
            let arguments = [&["fuzz"], arguments].concat();
            check(
                &<Cli as clap::Parser>::try_parse_from(arguments)?.args,
                &known,
            )
        };
        let folder = env!("CARGO_MANIFEST_DIR");
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        judge(&[]).unwrap();
        judge(&["send", "receive", "--runs", "5"]).unwrap();
        judge(&["send", "--input", file]).unwrap();
        for (arguments, part) in [
            (&["recieve"][..], "is receive meant?"),
            (&["qqqqq"], "there are capture, checksum"),
            (&["send", "--input", "no-such-file"], "--input no-such-file"),
            (&["send", "--input", folder], "this is no file"),
            (&["--input", file], "one target"),
            (&["send", "receive", "--input", file], "one target"),
            (&["send", "--input", file, "--runs", "5"], "--runs"),
            (&["--runs", "many"], "many"),
        ] {
            let error = format!("{:#}", judge(arguments).unwrap_err());
            assert!(error.contains(part), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn a_run_without_coverage_is_no_run() {
        let good = "#2\tINITED cov: 7 ft: 8 corp: 1/1b\nstat::number_of_executed_units: 9\n";
        assert_eq!(outcome(good).unwrap(), "9 executions, 7 edges covered");
        assert!(outcome("stat::number_of_executed_units: 9\n").is_err());
        assert!(outcome("#2\tINITED cov: 7 ft: 8\n").is_err());
    }
}
