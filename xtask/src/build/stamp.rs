//! Folders that are made once and again only when what they are made from changes.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
};

use anyhow::{Context, Result};

use crate::fsutil;

/// The name of the file in a finished folder that says what it was made from.
const STAMP: &str = ".made-from";

/// A short summary of what a folder is made from.
#[derive(Default)]
pub struct Inputs(DefaultHasher);

impl Inputs {
    /// Adds a value.
    pub fn add(&mut self, value: impl Hash) -> &mut Self {
        value.hash(&mut self.0);
        self
    }

    /// Adds the names and contents of all files in a folder, subfolders included.
    pub fn add_dir(&mut self, dir: &Path) -> Result<&mut Self> {
        for path in fsutil::entries(dir)? {
            path.file_name().hash(&mut self.0);
            if path.is_dir() {
                self.add_dir(&path)?;
            } else {
                fsutil::read(&path)?.hash(&mut self.0);
            }
        }
        Ok(self)
    }

    /// The summary.
    pub fn finish(&self) -> String {
        format!("{:016x}", self.0.finish())
    }
}

/// Whether `dir` is finished and was made from `inputs`.
pub fn is_fresh(dir: &Path, inputs: &str) -> bool {
    fs::read_to_string(dir.join(STAMP)).is_ok_and(|have| have == inputs)
}

/// Makes `dir` anew: `fill` works in a folder beside it, which takes its place when all is there. A run
/// that is interrupted leaves no half-made `dir`.
pub fn make(dir: &Path, inputs: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let draft = dir.with_extension("new");
    fsutil::remove(&draft)?;
    fsutil::create_dir(&draft)?;
    fill(&draft)?;
    fsutil::write(&draft.join(STAMP), inputs)?;
    fsutil::remove(dir)?;
    fs::rename(&draft, dir).with_context(|| format!("cannot create {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn an_interrupted_folder_is_not_fresh_and_the_old_one_stays() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("kit");
        make(&dir, "one", |draft| fsutil::write(&draft.join("a"), "1")).unwrap();
        assert!(is_fresh(&dir, "one"));

        let failed = make(&dir, "two", |draft| {
            fsutil::write(&draft.join("a"), "2")?;
            bail!("interrupted")
        });
        assert!(failed.is_err());
        assert!(is_fresh(&dir, "one") && !is_fresh(&dir, "two"));
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "1");

        make(&dir, "two", |draft| fsutil::write(&draft.join("b"), "2")).unwrap();
        assert!(is_fresh(&dir, "two") && !dir.join("a").exists());
    }

    #[test]
    fn inputs_see_names_and_contents() {
        let temp = tempfile::tempdir().unwrap();
        let summary = || Inputs::default().add_dir(temp.path()).unwrap().finish();
        fs::write(temp.path().join("a"), "1").unwrap();
        let first = summary();
        fs::write(temp.path().join("a"), "2").unwrap();
        let second = summary();
        fs::rename(temp.path().join("a"), temp.path().join("b")).unwrap();
        assert!(first != second && second != summary());
    }
}
