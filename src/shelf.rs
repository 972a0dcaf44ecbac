//! Folders that several runs make, use and remove at the same time, side by side below one root.
//!
//! A folder in use is locked, shared, by a file in it. Which folders there are changes only under the root's own lock: a
//! folder is made and locked, renamed into place, or found free and removed, each without another run in between.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use tempfile::TempDir;

/// In each folder: the file whose lock says that the folder is in use.
pub const LOCK: &str = "lock";
/// In the root: the file whose lock is one run's turn. It stays, for one who waits for a removed file waits with nobody.
const TURN: &str = ".lock";
/// Folders being written start with this; one that nobody holds is left over from a run that was killed.
const STAGING: &str = ".staging-";

/// While it lives, no other run adds or removes a folder below the root.
pub struct Turn {
    _file: File,
}

/// Waits until no other run is changing which folders there are. Not to be held while a folder is filled.
pub fn turn(root: &Path) -> io::Result<Turn> {
    let path = root.join(TURN);
    // To be written: a network file system may lock others out by no other kind of handle.
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = match file {
        // Made by another user, say by root in a folder of ours.
        Err(cause) if cause.kind() == ErrorKind::PermissionDenied => File::open(&path)?,
        other => other?,
    };
    file.lock()?;
    Ok(Turn { _file: file })
}

/// A folder being filled. It goes when this is dropped, unless it was renamed into place.
pub struct Staged {
    /// The folder; what it holds is nobody else's business yet.
    pub folder: TempDir,
    /// Its lock, which stays with the folder when it is renamed.
    pub lock: File,
}

/// Makes a folder to fill, with these permissions, and locks it.
pub fn stage(root: &Path, mode: u32) -> io::Result<Staged> {
    let _turn = turn(root)?;
    let folder = tempfile::Builder::new()
        .prefix(STAGING)
        .permissions(Permissions::from_mode(mode))
        .tempdir_in(root)?;
    let lock = File::create(folder.path().join(LOCK))?;
    lock.lock_shared()?;
    Ok(Staged { folder, lock })
}

/// The folder's lock, held together with other users of it; `None` when there is none to be had.
pub fn hold(folder: &Path) -> io::Result<Option<File>> {
    loop {
        let lock = match File::open(folder.join(LOCK)) {
            Ok(lock) => lock,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(cause),
        };
        lock.lock_shared()?;
        // It may have been removed, and even made again, between the two lines: then this lock keeps nothing.
        let ours = lock.metadata()?;
        let same = |other: Metadata| (ours.dev(), ours.ino()) == (other.dev(), other.ino());
        if fs::metadata(folder.join(LOCK)).is_ok_and(same) {
            return Ok(Some(lock));
        }
    }
}

/// Removes a folder unless a run holds it, `seal` first: the file without which nobody takes the rest for whole.
pub fn discard(root: &Path, folder: &Path, seal: &str) -> io::Result<()> {
    remove(&turn(root)?, folder, seal)
}

/// Removes what runs that were killed left half-written.
pub fn sweep(root: &Path) {
    let Ok(turn) = turn(root) else {
        return;
    };
    for item in fs::read_dir(root).into_iter().flatten().flatten() {
        if item.file_name().to_string_lossy().starts_with(STAGING) {
            // One that is held stays.
            let _ = remove(&turn, &item.path(), LOCK);
        }
    }
}

/// The lock is held until the last file is gone, and a folder without one was never finished: it was made in a turn.
fn remove(_turn: &Turn, folder: &Path, seal: &str) -> io::Result<()> {
    let _lock = match File::options().write(true).open(folder.join(LOCK)) {
        Ok(lock) => {
            lock.try_lock()
                .map_err(|_| io::Error::new(ErrorKind::ResourceBusy, "in use by another run"))?;
            Some(lock)
        }
        Err(cause) if cause.kind() == ErrorKind::NotFound => None,
        Err(cause) => return Err(cause),
    };
    let _ = fs::remove_file(folder.join(seal));
    match fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_folder_that_is_held_stays_and_one_that_is_free_goes() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("one");
        let staged = stage(root.path(), 0o700).unwrap();
        fs::rename(staged.folder.path(), &folder).unwrap();
        let held = hold(&folder).unwrap();
        drop(staged.lock);
        let error = discard(root.path(), &folder, "seal").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        drop(held);
        discard(root.path(), &folder, "seal").unwrap();
        assert!(!folder.exists() && hold(&folder).unwrap().is_none());
        discard(root.path(), &folder, "seal").unwrap();
    }

    #[test]
    fn what_is_being_written_stays_and_what_a_killed_run_left_goes() {
        let root = tempfile::tempdir().unwrap();
        let staged = stage(root.path(), 0o700).unwrap();
        let left = |name: &str, files: &[&str]| {
            let folder = root.path().join(name);
            fs::create_dir(&folder).unwrap();
            for file in files {
                fs::write(folder.join(file), "").unwrap();
            }
            folder
        };
        let dead = left(".staging-dead", &[LOCK, "weights.bin"]);
        let lockless = left(".staging-lockless", &["weights.bin"]);
        let other = left("other", &[]);
        sweep(root.path());
        assert!(staged.folder.path().exists() && other.exists());
        assert!(!dead.exists() && !lockless.exists());
    }

    #[test]
    fn whoever_waits_for_a_folder_that_is_made_again_holds_the_new_one() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("one");
        let make = || {
            fs::create_dir(&folder).unwrap();
            File::create(folder.join(LOCK)).unwrap()
        };
        let first = make();
        first.lock().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| hold(&folder).unwrap().unwrap());
            std::thread::sleep(Duration::from_millis(50));
            fs::remove_dir_all(&folder).unwrap();
            let second = make();
            drop(first);
            let _held = waiting.join().unwrap();
            assert!(second.try_lock().is_err());
        });
    }

    #[test]
    fn nothing_is_removed_out_of_turn() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(".staging-new");
        let ours = turn(root.path()).unwrap();
        std::thread::scope(|scope| {
            // What `stage` does between two steps of its turn: the folder is there, its lock is not.
            fs::create_dir(&folder).unwrap();
            let sweeping = scope.spawn(|| sweep(root.path()));
            std::thread::sleep(Duration::from_millis(50));
            assert!(folder.exists() && !sweeping.is_finished());
            drop(ours);
            sweeping.join().unwrap();
            assert!(!folder.exists());
        });
    }

    /// What a run does with an entry: takes it or makes it, looks at it while it is held, lets go, and makes room.
    fn use_and_remove(root: &Path, folder: &Path) -> io::Result<()> {
        let lock = loop {
            if let Some(lock) = hold(folder)? {
                break lock;
            }
            let staged = stage(root, 0o700)?;
            fs::write(staged.folder.path().join("seal"), "")?;
            let _turn = turn(root)?;
            if fs::rename(staged.folder.path(), folder).is_ok() {
                break staged.lock;
            }
        };
        fs::metadata(folder.join("seal"))?;
        drop(lock);
        match discard(root, folder, "seal") {
            Err(cause) if cause.kind() == ErrorKind::ResourceBusy => Ok(()),
            other => other,
        }
    }

    #[test]
    fn a_folder_is_there_while_it_is_held_however_many_make_and_remove_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("one");
        let failures: Vec<io::Error> = std::thread::scope(|scope| {
            let run = || -> Vec<io::Error> {
                let rounds = (0..1000).map(|_| use_and_remove(root.path(), &folder));
                rounds.filter_map(io::Result::err).collect()
            };
            let runs: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            let ended = runs.into_iter().map(|run| run.join().unwrap());
            ended.flatten().collect()
        });
        assert!(
            failures.is_empty(),
            "{} of 4000: {}",
            failures.len(),
            failures[0]
        );
    }
}
