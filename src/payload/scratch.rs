//! Folders that a process needs for a while. What a killed process left behind is removed by the next one that makes such a folder.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// A folder of this process alone (mode 0700), removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    // Dropped first: the folder stays locked until it is gone.
    folder: tempfile::TempDir,
    /// Tells others that the process lives. Where there are no locks, nothing is ever swept.
    _lock: File,
}

impl Scratch {
    /// Makes a folder in `place` whose name starts with `prefix`.
    pub fn new(place: &Path, prefix: &str) -> io::Result<Scratch> {
        sweep(place, prefix);
        // Until it is locked, another's sweep may take it for one that was left.
        for _ in 0..64 {
            let folder = tempfile::Builder::new()
                .prefix(prefix)
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(place)
                .map_err(without_path)?;
            let lock = match File::open(folder.path()) {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            let _ = lock.lock_shared();
            if folder.path().exists() {
                return Ok(Scratch {
                    folder,
                    _lock: lock,
                });
            }
        }
        Err(io::Error::other("other processes keep removing it"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// An error without the name of the folder that was to be: it is nobody's business, and longer than the cause.
fn without_path(cause: io::Error) -> io::Error {
    match cause.to_string().split_once(" at path ") {
        Some((reason, _)) => io::Error::new(cause.kind(), reason),
        None => cause,
    }
}

/// Removes the folders in `place` that killed processes of this user left.
pub fn sweep(place: &Path, prefix: &str) {
    let us = rustix::process::geteuid().as_raw();
    for item in fs::read_dir(place).into_iter().flatten().flatten() {
        let ours = item
            .metadata()
            .is_ok_and(|facts| facts.is_dir() && facts.uid() == us);
        if !ours || !item.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        if let Ok(lock) = File::open(item.path())
            && lock.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(item.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let items = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = items
            .map(|item| item.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_process_left_goes_and_what_is_in_use_or_anothers_stays() {
        let place = tempfile::tempdir().unwrap();
        for left in [".a-left", ".b-left"] {
            fs::create_dir_all(place.path().join(left).join("new")).unwrap();
        }
        fs::write(place.path().join(".a-file"), "").unwrap();
        std::os::unix::fs::symlink("/nonexistent", place.path().join(".a-link")).unwrap();
        let first = Scratch::new(place.path(), ".a-").unwrap();
        let second = Scratch::new(place.path(), ".a-").unwrap();
        assert!(first.path().is_dir() && second.path().is_dir());
        assert_eq!(fs::metadata(first.path()).unwrap().mode() & 0o777, 0o700);
        assert!(!place.path().join(".a-left").exists());
        drop((first, second));
        assert_eq!(names(place.path()), [".a-file", ".a-link", ".b-left"]);
    }

    #[test]
    fn where_none_can_be_made_the_cause_is_told_and_no_name() {
        let error = Scratch::new(Path::new("/nonexistent"), ".a-").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), "No such file or directory (os error 2)");
    }

    #[test]
    fn folders_made_at_once_do_not_sweep_each_other_away() {
        let place = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let scratch = Scratch::new(place.path(), ".s-").unwrap();
                        fs::write(scratch.path().join("file"), "kept").unwrap();
                        std::thread::yield_now();
                        assert_eq!(fs::read(scratch.path().join("file")).unwrap(), b"kept");
                    }
                });
            }
        });
        assert!(names(place.path()).is_empty());
    }
}
