//! `docs/imports.md`, made from the lists in `xtask/kit/def`.

use std::{fmt::Write, path::PathBuf};

use anyhow::Result;

use super::allowlist::{self, Library};
use crate::{fsutil, paths};

const HEAD: &str = "\
# Kernel functions that the driver may import

Made by `cargo xtask imports` from the lists in `xtask/kit/def`. The build fails when the finished image
imports anything else. Every function is documented by Microsoft, except those that the compiler calls by
itself and the two by which the KMDF entry code of every driver finds the framework.
";

/// Where the page is.
pub fn path() -> PathBuf {
    paths::root().join("docs").join("imports.md")
}

/// The page, made from the lists as they are.
pub fn text() -> Result<String> {
    let libraries = allowlist::load(&paths::kit_sources().join("def"))?;
    Ok(render(&libraries))
}

/// Writes the page.
pub fn write() -> Result<()> {
    fsutil::write(&path(), text()?)
}

fn render(libraries: &[Library]) -> String {
    let mut text = HEAD.to_owned();
    for library in libraries {
        let mut rows = library
            .exports
            .iter()
            .filter(|(_, export)| export.is_allowed())
            .peekable();
        if rows.peek().is_none() {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n## {}\n\n| function | used for |\n|---|---|\n",
            library.module
        );
        for (name, export) in rows {
            let purpose = export.purpose.replace('|', "\\|");
            let _ = match export.documentation(name) {
                Some(page) => writeln!(text, "| [{name}]({page}) | {purpose} |"),
                None => writeln!(text, "| {name} | {purpose} |"),
            };
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_up_to_date() {
        let page = fsutil::read_text(&path()).unwrap();
        assert!(page == text().unwrap(), "run `cargo xtask imports`");
    }
}
