//! Running other programs, with errors that say what was run and what it answered.

use std::{
    env,
    ffi::OsStr,
    io::{self, BufRead, BufReader},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::progress::Step;

/// How much of a failed command's output the error shows.
const TAIL_LINES: usize = 300;

/// Runs `command`, shows its output line by line as the step's detail, and returns all of it.
///
/// # Errors
/// When it cannot be started or does not exit with 0; the message has the end of the output.
pub fn run(command: &mut Command, step: &Step) -> Result<String> {
    run_with(command, &mut |line| {
        step.detail(line);
        true
    })
}

/// Runs `command`, hands every line of its output to `keep`, and returns those for which it says yes.
///
/// # Errors
/// As [`run`].
pub fn run_with(command: &mut Command, keep: &mut dyn FnMut(&str) -> bool) -> Result<String> {
    let shown = display(command);
    let (reader, writer) = io::pipe()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    // The command's own copies of the pipe would keep it open for ever.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let mut output = String::new();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? != 0 {
        let text = String::from_utf8_lossy(&line);
        if keep(&text) {
            output.push_str(&text);
        }
        line.clear();
    }
    check(&shown, child.wait()?, &output)?;
    Ok(output)
}

/// Runs `command` quietly and returns what it wrote to standard output, trimmed.
///
/// # Errors
/// When it cannot be started or does not exit with 0; the message has its standard error.
pub fn capture(command: &mut Command) -> Result<String> {
    let shown = display(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    check(
        &shown,
        output.status,
        &String::from_utf8_lossy(&output.stderr),
    )?;
    let text = String::from_utf8(output.stdout)
        .with_context(|| format!("`{shown}` answered in something other than UTF-8"))?;
    Ok(text.trim().to_owned())
}

/// The name of this machine as Rust's compiler has it.
///
/// # Errors
/// When there is no compiler.
pub fn host() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = capture(Command::new(rustc).arg("-vV"))?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("`rustc -vV` does not say its host")
}

/// The path of a program in `PATH`.
pub fn find(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    which::which(program).ok()
}

fn check(shown: &str, status: ExitStatus, output: &str) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    let lines: Vec<&str> = output.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    bail!("`{shown}` failed ({status}):\n{tail}");
}

fn display(command: &Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    command.get_args().fold(program, |mut text, argument| {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
        text
    })
}
