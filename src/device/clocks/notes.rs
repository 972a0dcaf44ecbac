//! Notes on disk about clocks that are locked, one file for each GPU. Whoever locks holds its note locked as well, as long as it lives.

use crate::shelf::{self, Turn};
use crate::trial::ClocksBefore;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Folder of the notes in the cache folder.
pub const CLOCKS_FOLDER: &str = "clocks";
const EXTENSION: &str = "json";

/// A note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// UUID of the GPU.
    pub uuid: String,
    /// Its name.
    pub gpu: String,
    /// What the multiprocessors are to be held to.
    pub graphics_mhz: u32,
    /// What the memory is to be held to.
    pub memory_mhz: u32,
    /// The GPU before that.
    pub before: ClocksBefore,
    /// The process that restores them.
    pub pid: u32,
    /// When it started, in the kernel's ticks since the boot: numbers of processes come again.
    pub start_ticks: Option<u64>,
}

/// A note that nobody holds.
#[derive(Debug)]
pub struct Left {
    /// Its file.
    pub file: PathBuf,
    /// The GPU's UUID, which is the file's name.
    pub uuid: String,
    /// What it says; `None` where it cannot be read.
    pub note: Option<Note>,
}

/// A note of this process. The file stays until [`Held::remove`].
#[derive(Debug)]
pub struct Held {
    file: PathBuf,
    _lock: File,
}

impl Held {
    /// Removes it, for the clocks are restored.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.file)
    }

    /// Its file.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

/// When a process started; `None` where it is not there, or dead.
pub fn start_ticks(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the state is the third field and the start the twenty-second.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    // One that nobody has reaped yet restores nothing any more.
    let is_dead = matches!(fields.next()?, "Z" | "X");
    fields.nth(18)?.parse().ok().filter(|_| !is_dead)
}

/// Whether a run of before may have left clocks locked. Reads only.
pub fn clocks_are_left(folder: &Path) -> bool {
    !left(folder).is_empty()
}

/// The notes that nobody holds.
pub fn left(folder: &Path) -> Vec<Left> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = files.map(|entry| entry.path()).filter(|path| {
        let extension = path.extension();
        extension.is_some_and(|extension| extension == EXTENSION)
    });
    let mut found: Vec<Left> = files.filter_map(free).collect();
    found.sort_by(|a, b| a.uuid.cmp(&b.uuid));
    found
}

/// What is left in a file, unless its owner is alive.
fn free(file: PathBuf) -> Option<Left> {
    let open = File::open(&file).ok()?;
    if matches!(open.try_lock(), Err(TryLockError::WouldBlock)) {
        return None;
    }
    let note: Option<Note> = serde_json::from_reader(&open).ok();
    // Not every file system knows locks, so the process is looked for too.
    let alive = note.as_ref().is_some_and(|note| {
        note.start_ticks.is_some() && start_ticks(note.pid) == note.start_ticks
    });
    (!alive).then(|| Left {
        uuid: file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        note,
        file,
    })
}

/// Waits until no other process reads or writes notes.
pub fn turn(folder: &Path) -> io::Result<Turn> {
    fs::create_dir_all(folder)?;
    shelf::turn(folder)
}

/// Writes the note of this process to the disk itself. `None` where another process holds one for the GPU.
pub fn write(_turn: &Turn, folder: &Path, note: &Note) -> io::Result<Option<Held>> {
    let plain = |char: &char| char.is_ascii_alphanumeric() || *char == '-';
    let name: String = note.uuid.chars().filter(plain).collect();
    let file = folder.join(name).with_extension(EXTENSION);
    match File::open(&file) {
        Ok(open) if matches!(open.try_lock(), Err(TryLockError::WouldBlock)) => return Ok(None),
        Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    let mut staged = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer_pretty(&mut staged, note)?;
    staged.write_all(b"\n")?;
    staged.as_file().sync_all()?;
    // Where there are no locks, the process's number and start say whose it is.
    let _ = staged.as_file().try_lock();
    let lock = staged.persist(&file)?;
    File::open(folder)?.sync_all()?;
    Ok(Some(Held { file, _lock: lock }))
}
