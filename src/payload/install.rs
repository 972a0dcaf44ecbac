//! The payload on disk: extracted once into a folder named by its content, found again without reading it.
//!
//! A folder appears whole, by a rename, with a record of every file's size and time; one whose files no longer match is
//! replaced. The program that carries the payload is verified before anything of it is extracted or run; a stamp remembers
//! which file was verified, so that later starts need not.

use super::format::{Kind, Package, Part, RESERVED};
use super::parallel;
use super::scratch::{self, Scratch};
use crate::error::{Error, Result};
use rustix::fs::StatVfsMountFlags;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const RECORD: &str = RESERVED[0];
const STAMP: &str = RESERVED[1];
const LOCK: &str = RESERVED[2];
/// Whoever extracts or removes has locked this file in the root: one at a time.
const TURN: &str = ".lock";
/// Folders being written or removed start with this.
const STAGING: &str = ".staging-";
/// Folders of links to memory files start with this.
const LINKS: &str = ".edgebench-links-";
const HINT: &str = " with --runtime-dir or EDGEBENCH_RUNTIME_DIR";

/// An extracted payload, ready to be loaded. The folder is not removed by `edgebench cache clear` while this lives.
#[derive(Debug)]
pub struct Installed {
    /// The folder that holds the worker and the libraries.
    pub folder: PathBuf,
    /// What the user should know, if anything.
    pub note: Option<String>,
    _keep: Keep,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held for their drop only")]
enum Keep {
    /// The lock of a folder in the cache.
    Lock(Option<File>),
    /// Anonymous files, and the folder of links to them.
    Memory(Vec<File>, Scratch),
}

/// One extracted file as it was when it was whole.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Recorded {
    name: String,
    bytes: u64,
    modified_ns: i128,
}

/// Extracts the payload below `root`, or finds it there. Where `root` cannot be written or may not hold programs, the
/// payload goes into anonymous memory files instead, and the note says so.
pub fn ensure(package: &Package, root: &Path) -> Result<Installed> {
    let folder = root.join(&package.id);
    let reason = match prepare_root(root)? {
        Some(reason) => reason,
        None => match on_disk(package, root, &folder) {
            Ok(lock) => {
                return Ok(Installed {
                    folder,
                    note: None,
                    _keep: Keep::Lock(lock),
                });
            }
            Err(Failed::Told(error)) => return Err(error),
            Err(Failed::Io(cause)) if read_only(&cause) => cause.to_string(),
            Err(Failed::Io(cause)) if cause.kind() == io::ErrorKind::InvalidData => {
                return Err(Error::Runtime(format!(
                    "{} was packed wrongly ({cause}), so nothing in it is run; pack it again",
                    package.path().display()
                )));
            }
            Err(Failed::Io(cause)) => return Err(Error::output(&folder, cause, HINT)),
        },
    };
    in_memory(package, root, &reason)
}

enum Failed {
    Told(Error),
    Io(io::Error),
}

impl From<io::Error> for Failed {
    fn from(cause: io::Error) -> Failed {
        Failed::Io(cause)
    }
}

fn read_only(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// Makes the root (mode 0700) and refuses one that somebody else controls. The answer says why it cannot be used, if so.
fn prepare_root(root: &Path) -> Result<Option<String>> {
    let made = match root.parent() {
        Some(parent) => fs::create_dir_all(parent),
        None => Ok(()),
    };
    let made = made.and_then(|()| match fs::DirBuilder::new().mode(0o700).create(root) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    match made {
        Ok(()) => {}
        Err(cause) if read_only(&cause) => return Ok(Some(cause.to_string())),
        Err(cause) => return Err(Error::output(root, cause, HINT)),
    }
    trusted(root)?;
    match rustix::fs::statvfs(root) {
        Ok(facts) if facts.f_flag.contains(StatVfsMountFlags::NOEXEC) => {
            Ok(Some("it is mounted noexec".to_owned()))
        }
        _ => Ok(None),
    }
}

/// Refuses a folder that another user owns or may change, and a link or file in its place: what lies there gets run.
fn trusted(path: &Path) -> Result<()> {
    let refuse = |flaw: &str, remedy: &str| {
        Err(Error::Runtime(format!(
            "{} {flaw}, so no program is kept or run there; {remedy}, or choose another folder{HINT}",
            path.display()
        )))
    };
    let facts = match fs::symlink_metadata(path) {
        Ok(facts) => facts,
        Err(cause) => return Err(Error::output(path, cause, HINT)),
    };
    let us = rustix::process::geteuid().as_raw();
    if facts.is_symlink() {
        return refuse("is a symbolic link", "remove it");
    }
    if !facts.is_dir() {
        return refuse("is not a folder", "remove it");
    }
    if facts.uid() != us && facts.uid() != 0 {
        let flaw = format!("belongs to another user (uid {})", facts.uid());
        return refuse(&flaw, "remove it");
    }
    if facts.mode() & 0o022 != 0 {
        return refuse(
            "can be written by other users",
            "take that right from them with chmod go-w",
        );
    }
    Ok(())
}

/// Sees to it that the folder in the cache is there and whole. The answer is the lock that keeps it there.
fn on_disk(package: &Package, root: &Path, folder: &Path) -> Result<Option<File>, Failed> {
    if folder.symlink_metadata().is_ok() {
        trusted(folder).map_err(Failed::Told)?;
    }
    let own = identity(package.file())?;
    let is_verified = || {
        whole(folder, package)
            && fs::read_to_string(folder.join(STAMP)).is_ok_and(|stamp| stamp == own)
    };
    // Locked before it is looked at: nobody clears it away in between.
    let kept = keep(folder);
    if is_verified() {
        return Ok(kept);
    }
    drop(kept);
    let _turn = turn(root);
    // Whoever had the turn before has usually done all the work.
    if !is_verified() {
        package.verify().map_err(Failed::Told)?;
        if !whole(folder, package) {
            let staging = Scratch::new(root, STAGING)?;
            let staged = staging.path().join("new");
            fs::DirBuilder::new().mode(0o700).create(&staged)?;
            extract(package, &staged)?;
            publish(&staged, folder, &staging.path().join("old"), package)?;
        }
        // Somebody else's folder, prepared for all, works without: then every start verifies.
        let _ = replace(&folder.join(STAMP), own.as_bytes());
    }
    Ok(keep(folder))
}

/// Waits until nobody else extracts or removes below `root`. Nothing where there are no locks, or the root is read-only:
/// what is there is then still replaced only by renames.
fn turn(root: &Path) -> Option<File> {
    let lock = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(root.join(TURN))
        .ok()?;
    lock.lock().ok().map(|()| lock)
}

/// Keeps an extracted folder from being removed.
fn keep(folder: &Path) -> Option<File> {
    let lock = File::open(folder.join(LOCK)).ok()?;
    lock.lock_shared().ok().map(|()| lock)
}

/// What tells this very file, unchanged, from any other.
fn identity(file: &File) -> io::Result<String> {
    let facts = file.metadata()?;
    Ok(format!(
        "{} {} {} {}.{} {}.{}\n",
        facts.dev(),
        facts.ino(),
        facts.len(),
        facts.mtime(),
        facts.mtime_nsec(),
        facts.ctime(),
        facts.ctime_nsec()
    ))
}

fn recorded(folder: &Path, name: &str) -> io::Result<Recorded> {
    let facts = fs::symlink_metadata(folder.join(name))?;
    if !facts.is_file() || facts.mode() & 0o022 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a file that only its owner may change",
        ));
    }
    Ok(Recorded {
        name: name.to_owned(),
        bytes: facts.len(),
        modified_ns: i128::from(facts.mtime()) * 1_000_000_000 + i128::from(facts.mtime_nsec()),
    })
}

/// Whether every file of the payload lies in the folder as it was left there.
fn whole(folder: &Path, package: &Package) -> bool {
    let Ok(text) = fs::read(folder.join(RECORD)) else {
        return false;
    };
    let Ok(records) = serde_json::from_slice::<Vec<Recorded>>(&text) else {
        return false;
    };
    extracted(package).all(|(part, _)| {
        let record = records.iter().find(|record| record.name == part.name);
        record.is_some_and(|record| {
            record.bytes == part.bytes
                && recorded(folder, &part.name).is_ok_and(|found| found == *record)
        })
    })
}

/// The parts that become files.
fn extracted(package: &Package) -> impl Iterator<Item = (&Part, u64)> {
    package
        .located()
        .filter(|(part, _)| part.kind != Kind::Notice)
}

/// Writes every file and the record into `folder`.
pub fn extract(package: &Package, folder: &Path) -> io::Result<()> {
    let mut parts: Vec<_> = extracted(package).collect();
    // The longest first, so that no thread is left alone with it at the end.
    parts.sort_by_key(|(part, _)| std::cmp::Reverse(part.bytes));
    parallel(&parts, |(part, at)| {
        let mode = if part.kind == Kind::Worker {
            0o700
        } else {
            0o600
        };
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(folder.join(&part.name))?;
        fill(&file, &mut package.content(part, *at)?, part.bytes)?;
        file.sync_all()
    })?;
    let records: Vec<Recorded> = parts
        .iter()
        .map(|(part, _)| recorded(folder, &part.name))
        .collect::<io::Result<_>>()?;
    File::create_new(folder.join(LOCK))?;
    replace(&folder.join(RECORD), &serde_json::to_vec(&records)?)?;
    File::open(folder)?.sync_all()
}

/// Writes the content, leaving holes where it is zero: blanked GPU code takes no space and no time.
fn fill(file: &File, content: &mut impl Read, bytes: u64) -> io::Result<()> {
    const BLOCK: usize = 1 << 16;
    let (mut block, mut at) = (vec![0; BLOCK], 0u64);
    file.set_len(bytes)?;
    let invalid = |cause: String| io::Error::new(io::ErrorKind::InvalidData, cause);
    loop {
        let length = read_block(content, &mut block).map_err(|cause| invalid(cause.to_string()))?;
        if length == 0 {
            break;
        }
        if at + length as u64 > bytes {
            return Err(invalid(format!(
                "it holds more than the {bytes} bytes that were packed"
            )));
        }
        if block[..length].iter().any(|byte| *byte != 0) {
            file.write_all_at(&block[..length], at)?;
        }
        at += length as u64;
    }
    if at == bytes {
        Ok(())
    } else {
        Err(invalid(format!(
            "it holds {at} bytes where {bytes} were packed"
        )))
    }
}

/// Fills the block as far as the content goes.
fn read_block(content: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < block.len() {
        match content.read(&mut block[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(length)
}

/// Renames `staged` into place. A whole folder that came there first stays; a damaged one is moved aside.
fn publish(staged: &Path, folder: &Path, aside: &Path, package: &Package) -> io::Result<()> {
    for _ in 0..8 {
        match fs::rename(staged, folder) {
            Ok(()) => return Ok(()),
            Err(_) if whole(folder, package) => return Ok(()),
            // Between the two another start may do the same: then its folder is looked at in the next round.
            Err(cause) => match fs::rename(folder, aside.with_extension(unique())) {
                Err(moved) if moved.kind() != io::ErrorKind::NotFound => return Err(cause),
                _ => {}
            },
        }
    }
    Err(io::Error::other("other starts keep replacing it"))
}

/// A number that this process gives once.
fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut staged = tempfile::NamedTempFile::new_in(folder)?;
    staged.write_all(bytes)?;
    staged.persist(path).map_err(|failed| failed.error)?;
    Ok(())
}

/// Removes what killed starts left below `root`.
pub fn sweep(root: &Path) {
    scratch::sweep(root, STAGING);
    scratch::sweep(root, LINKS);
}

/// One extracted payload, for `edgebench cache`.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Identity of the content.
    pub name: String,
    /// Disk space it takes: holes count nothing.
    pub bytes: u64,
    /// When a file that carries it was last verified.
    pub last_used: SystemTime,
    folder: PathBuf,
}

/// The extracted payloads below `root`.
pub fn entries(root: &Path) -> Vec<Entry> {
    let space = |folder: &Path| -> u64 {
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        files
            .filter_map(|file| Some(file.metadata().ok()?.blocks() * 512))
            .sum()
    };
    let items = fs::read_dir(root).into_iter().flatten().flatten();
    let mut entries: Vec<Entry> = items
        .filter_map(|item| {
            let folder = item.path();
            let record = fs::metadata(folder.join(RECORD)).ok()?;
            let stamp = fs::metadata(folder.join(STAMP)).unwrap_or(record);
            Some(Entry {
                name: item.file_name().to_string_lossy().into_owned(),
                bytes: space(&folder),
                last_used: stamp.modified().ok()?,
                folder,
            })
        })
        .collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

/// Removes an extracted payload unless a run uses it. `true` when it is gone.
pub fn discard(entry: &Entry) -> bool {
    let Some(root) = entry.folder.parent() else {
        return false;
    };
    let _turn = turn(root);
    let lock = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(entry.folder.join(LOCK));
    let is_free = match &lock {
        Ok(lock) => lock.try_lock().is_ok(),
        // Without its lock nobody uses it any more.
        Err(cause) => cause.kind() == io::ErrorKind::NotFound,
    };
    // Moved away whole, and still locked: a start that waits for the lock finds nothing, and none finds a part of it.
    is_free
        && Scratch::new(root, STAGING)
            .is_ok_and(|aside| fs::rename(&entry.folder, aside.path().join("old")).is_ok())
}

/// The payload in anonymous memory files. ONNX Runtime looks for its providers beside the path it was loaded by, so a folder
/// of links stands in for one of files; the links lead through the descriptors that the worker inherits.
fn in_memory(package: &Package, root: &Path, reason: &str) -> Result<Installed> {
    let failed = |cause: &dyn std::fmt::Display| {
        Error::Runtime(format!(
            "could not unpack into {} ({reason}) nor into memory ({cause}); name a folder that can be written and may hold programs{HINT}",
            root.display()
        ))
    };
    package.verify()?;
    let places = [root.to_owned(), std::env::temp_dir(), "/dev/shm".into()];
    let links = places
        .iter()
        .find_map(|place| Scratch::new(place, LINKS).ok());
    let Some(links) = links else {
        return Err(failed(&"no folder can be written, not even for links"));
    };
    let parts: Vec<_> = extracted(package).collect();
    let files: Vec<File> = parts
        .iter()
        .map(|(part, _)| memory_file(&part.name))
        .collect::<io::Result<_>>()
        .map_err(|cause| failed(&cause))?;
    let work: Vec<_> = parts.iter().zip(&files).collect();
    parallel(&work, |((part, at), file)| {
        fill(file, &mut package.content(part, *at)?, part.bytes)
    })
    .map_err(|cause| failed(&cause))?;
    for ((part, _), file) in &work {
        use std::os::fd::AsRawFd;
        let target = format!("/proc/self/fd/{}", file.as_raw_fd());
        std::os::unix::fs::symlink(target, links.path().join(&part.name))
            .map_err(|cause| failed(&cause))?;
    }
    Ok(Installed {
        folder: links.path().to_owned(),
        note: Some(format!(
            "the runtime is unpacked into memory for this run, because {} cannot be used ({reason}); choose a folder{HINT}",
            root.display()
        )),
        _keep: Keep::Memory(files, links),
    })
}

/// A file without a name that a child inherits and may execute.
fn memory_file(name: &str) -> io::Result<File> {
    use rustix::fs::MemfdFlags;
    // Kernels from 6.3 want to be told that it may be executed; older ones do not know the flag.
    let made = rustix::fs::memfd_create(name, MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create(name, MemfdFlags::empty()))?;
    Ok(File::from(made))
}
