//! Onto the disk: a reader sees the old file or the new one, never half of one.

use crate::error::{Error, Result};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Names the flag that moves the output.
const HINT: &str = " with -o";

/// Replaces `path` with `bytes` by a rename, synced to the disk. What is no regular file (`/dev/stdout`, a pipe) is
/// written to instead, and a link keeps pointing where it does.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes).map_err(|cause| Error::output(path, cause, HINT))
}

/// Proves that `path` can be written before anything is measured. Missing folders are made; nothing else is left behind.
pub fn ensure_writable(path: &Path) -> Result<()> {
    prove(path).map_err(|cause| Error::output(path, cause, HINT))
}

/// The folder a file is in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What stands at the end of all links; the path itself where there is nothing yet.
fn target_of(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Whether something is there that a rename would take the place of without being a file.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|facts| !facts.is_file() && !facts.is_dir())
}

/// See [`write_atomically`].
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let target = target_of(path);
    if is_special(&target) {
        return OpenOptions::new()
            .write(true)
            .open(&target)?
            .write_all(bytes);
    }
    refuse_folder(&target)?;
    let folder = folder_of(&target);
    fs::create_dir_all(folder)?;
    let mut staged = tempfile::NamedTempFile::new_in(folder)?;
    staged.write_all(bytes)?;
    staged
        .as_file()
        .set_permissions(Permissions::from_mode(0o644))?;
    staged.as_file().sync_all()?;
    staged.persist(&target).map_err(|failed| failed.error)?;
    // The rename itself. Some file systems cannot sync a folder; the content is safe all the same.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// See [`ensure_writable`].
fn prove(path: &Path) -> io::Result<()> {
    let target = target_of(path);
    if is_special(&target) {
        return OpenOptions::new().write(true).open(&target).map(drop);
    }
    refuse_folder(&target)?;
    if path.file_name().is_none() || path.as_os_str().to_string_lossy().ends_with('/') {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it does not name a file",
        ));
    }
    if target.exists() {
        OpenOptions::new().append(true).open(&target)?;
    }
    let folder = folder_of(&target);
    fs::create_dir_all(folder)?;
    // Removed when dropped.
    tempfile::NamedTempFile::new_in(folder).map(drop)
}

/// A folder is no place for a file's content.
fn refuse_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a folder, not a file",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names in a folder.
    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        write_atomically(&path, b"long first text").unwrap();
        write_atomically(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644
        );
        assert_eq!(names(folder.path()), ["result.json"]);
    }

    #[test]
    fn proving_makes_the_folders_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/result.json");
        ensure_writable(&path).unwrap();
        assert!(names(&folder.path().join("a/b")).is_empty());
        fs::write(&path, "kept").unwrap();
        ensure_writable(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"kept");
    }

    #[test]
    fn what_cannot_be_written_is_an_error_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let bad = [
            folder.path().to_owned(),
            file.join("below-a-file.json"),
            PathBuf::from("/proc/edgebench/result.json"),
            folder.path().join("new/"),
        ];
        for path in bad {
            let error = ensure_writable(&path).unwrap_err();
            assert_eq!(error.exit_code(), crate::error::exit::OUTPUT);
            assert!(
                error.to_string().ends_with("choose another place with -o"),
                "{error}"
            );
        }
        assert!(write_atomically(folder.path(), b"").is_err());
    }

    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        let null = Path::new("/dev/null");
        ensure_writable(null).unwrap();
        write_atomically(null, b"text").unwrap();
        assert!(is_special(null));
    }

    #[test]
    fn a_link_keeps_pointing_where_it_does() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write_atomically(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"new");
    }
}
