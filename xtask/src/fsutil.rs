//! File operations whose errors name the file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Creates `dir` and what is missing above it.
pub fn create_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))
}

/// Removes `path`, file or folder, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The content of a file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The content of a text file.
pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file, but leaves it (and its time) alone if it has that content already.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    let content = content.as_ref();
    if fs::read(path).is_ok_and(|have| have == content) {
        return Ok(());
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// Copies the folder `from` to `to`, which is created. `place` puts one file there.
pub fn copy_tree(
    from: &Path,
    to: &Path,
    place: &dyn Fn(&Path, &Path) -> io::Result<()>,
) -> Result<()> {
    create_dir(to)?;
    for entry in entries(from)? {
        let target = to.join(entry.file_name().unwrap_or_default());
        let meta = fs::symlink_metadata(&entry)
            .with_context(|| format!("cannot read {}", entry.display()))?;
        let copied = if meta.is_dir() {
            copy_tree(&entry, &target, place)?;
            Ok(())
        } else if meta.is_symlink() {
            fs::read_link(&entry).and_then(|link| symlink(&link, &target))
        } else {
            place(&entry, &target)
        };
        copied
            .with_context(|| format!("cannot copy {} to {}", entry.display(), target.display()))?;
    }
    Ok(())
}

/// Copies a file together with its time of modification.
pub fn copy_with_time(from: &Path, to: &Path) -> Result<()> {
    let copied = || -> io::Result<()> {
        copy(from, to)?;
        let time = fs::metadata(from)?.modified()?;
        fs::File::options().write(true).open(to)?.set_modified(time)
    };
    copied().with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// For [`copy_tree`]: a copy of its own.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to).map(drop)
}

/// For [`copy_tree`]: another name for the same file where the file system allows it.
pub fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|_| copy(from, to))
}

/// The entries of a folder, sorted.
pub fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let mut paths = fs::read_dir(dir)?
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    };
    list().with_context(|| format!("cannot list {}", dir.display()))
}

/// A symbolic link at `at` that points to `to`.
#[cfg(unix)]
pub fn symlink(to: &Path, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, at)
}

/// A symbolic link at `at` that points to `to`.
#[cfg(not(unix))]
pub fn symlink(_to: &Path, _at: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
