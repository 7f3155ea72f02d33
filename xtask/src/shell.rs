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

/// A piece of a command's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A line, with its end.
    Line(&'a str),
    /// One of the states of a line that is written over again and again: a progress bar.
    Passing(&'a str),
}

/// Runs `command`, shows its output line by line as the step's detail, and returns all of it.
///
/// # Errors
/// When it cannot be started or does not exit with 0; the message has the end of the output.
pub fn run(command: &mut Command, step: &Step) -> Result<String> {
    run_with(command, &mut |piece| {
        let (Piece::Line(text) | Piece::Passing(text)) = piece;
        step.detail(text);
        true
    })
}

/// Runs `command`, hands every piece of its output to `keep`, and returns the lines for which it says yes. cargo
/// is told to show which crates it compiles and how many are left, as it would on a terminal.
///
/// # Errors
/// As [`run`].
pub fn run_with(command: &mut Command, keep: &mut dyn FnMut(Piece<'_>) -> bool) -> Result<String> {
    let shown = display(command);
    let (reader, writer) = io::pipe()?;
    let mut child = command
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "100")
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    // The command's own copies of the pipe would keep it open for ever.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let mut output = String::new();
    pieces(BufReader::new(reader), &mut |piece| {
        if let (true, Piece::Line(text)) = (keep(piece), piece) {
            output.push_str(text);
        }
    })?;
    check(&shown, child.wait()?, &output)?;
    Ok(output)
}

/// Cuts output into [`Piece`]s as they come.
fn pieces(mut reader: impl BufRead, take: &mut dyn FnMut(Piece<'_>)) -> io::Result<()> {
    let mut piece = Vec::new();
    loop {
        let (ended, used) = {
            let ready = reader.fill_buf()?;
            let end = ready.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let used = end.map_or(ready.len(), |end| end + 1);
            piece.extend_from_slice(&ready[..used]);
            (end.is_some() || ready.is_empty(), used)
        };
        reader.consume(used);
        if !ended {
            continue;
        }
        let text = String::from_utf8_lossy(&piece);
        match piece.last() {
            None => return Ok(()),
            Some(b'\r') => take(Piece::Passing(&text)),
            Some(_) => take(Piece::Line(&text)),
        }
        piece.clear();
        if used == 0 {
            return Ok(());
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_written_over_are_told_from_those_that_stay() {
        let output = "   Compiling a v1\n    Building [=> ] 1/3: a\r    Building [==>] 2/3\rerror: b\n\nno end";
        // However it comes.
        for size in [1, 2, 7, 4096] {
            let mut seen = Vec::new();
            let reader = BufReader::with_capacity(size, output.as_bytes());
            pieces(reader, &mut |piece| {
                seen.push(match piece {
                    Piece::Line(text) => format!("line {text:?}"),
                    Piece::Passing(text) => format!("passing {text:?}"),
                });
            })
            .unwrap();
            assert_eq!(
                seen,
                [
                    r#"line "   Compiling a v1\n""#,
                    r#"passing "    Building [=> ] 1/3: a\r""#,
                    r#"passing "    Building [==>] 2/3\r""#,
                    r#"line "error: b\n""#,
                    r#"line "\n""#,
                    r#"line "no end""#,
                ],
                "{size}"
            );
        }
    }

    #[test]
    fn only_lines_that_stay_are_returned() {
        let mut passing = Vec::new();
        let mut command = Command::new("printf");
        command.arg("one\\nhalf\\rtwo\\nthree\\n");
        let output = run_with(&mut command, &mut |piece| {
            if let Piece::Passing(text) = piece {
                passing.push(text.to_owned());
            }
            piece != Piece::Line("two\n")
        });
        assert_eq!(output.unwrap(), "one\nthree\n");
        assert_eq!(passing, ["half\r"]);
    }
}
