//! The payload on disk: extracted once into a folder named by its content, found again without reading it.
//!
//! A folder appears whole, by a rename, with a record of every file's size and time; one whose files no longer match is
//! replaced. The program that carries the payload is verified before anything of it is extracted or run; a stamp remembers
//! which file was verified, so that later starts need not.

use super::format::{Kind, Package, Part, RESERVED};
use super::memory::{LINKS, Unpacked};
use super::parallel;
use super::scratch;
use crate::error::{Error, Result};
use crate::shelf::{self, LOCK};
use rustix::fs::StatVfsMountFlags;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const RECORD: &str = RESERVED[0];
const STAMP: &str = RESERVED[1];
/// Whoever extracts has locked this file in the root: of several first starts one does the work, and the others find it done.
const EXTRACTING: &str = ".extracting";
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
    /// Files in memory.
    Memory(Unpacked),
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
    package.verify()?;
    let unpacked = Unpacked::new(package, root).map_err(|cause| {
        Error::Runtime(format!(
            "could not unpack into {} ({reason}) nor into memory ({cause}); name a folder that can be written and may hold programs{HINT}",
            root.display()
        ))
    })?;
    Ok(Installed {
        folder: unpacked.folder().to_owned(),
        note: Some(format!(
            "the runtime is unpacked into memory for this run, because {} cannot be used ({reason}); choose a folder{HINT}",
            root.display()
        )),
        _keep: Keep::Memory(unpacked),
    })
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
    match fs::symlink_metadata(root) {
        Ok(facts) => trusted(root, &facts)?,
        Err(cause) => return Err(Error::output(root, cause, HINT)),
    }
    match rustix::fs::statvfs(root) {
        Ok(facts) if facts.f_flag.contains(StatVfsMountFlags::NOEXEC) => {
            Ok(Some("it is mounted noexec".to_owned()))
        }
        _ => Ok(None),
    }
}

/// Refuses a folder that another user owns or may change, and a link or file in its place: what lies there gets run.
fn trusted(path: &Path, facts: &fs::Metadata) -> Result<()> {
    let refuse = |flaw: &str, remedy: &str| {
        Err(Error::Runtime(format!(
            "{} {flaw}, so no program is kept or run there; {remedy}, or choose another folder{HINT}",
            path.display()
        )))
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
    // Looked at once: between two looks another run may clear it away.
    if let Ok(facts) = fs::symlink_metadata(folder) {
        trusted(folder, &facts).map_err(Failed::Told)?;
    }
    let own = identity(package.file())?;
    let is_verified = || {
        whole(folder, package)
            && fs::read_to_string(folder.join(STAMP)).is_ok_and(|stamp| stamp == own)
    };
    // Held before it is looked at, so that nobody removes it in between. A folder whose lock cannot be had works all the same.
    let hold = || shelf::hold(folder).ok().flatten();
    let kept = hold();
    if is_verified() {
        return Ok(kept);
    }
    drop(kept);
    let _alone = alone(root);
    let mut kept = hold();
    // Whoever was first has usually done all the work.
    if !is_verified() {
        package.verify().map_err(Failed::Told)?;
        if !whole(folder, package) {
            shelf::sweep(root);
            let staging = shelf::stage(root, 0o700)?;
            let staging = staging.folder.path();
            let staged = staging.join("new");
            fs::DirBuilder::new().mode(0o700).create(&staged)?;
            extract(package, &staged)?;
            let _turn = shelf::turn(root)?;
            publish(&staged, folder, &staging.join("old"), package)?;
            kept = hold();
        }
        // Somebody else's folder, prepared for all, works without: then every start verifies.
        let _ = replace(&folder.join(STAMP), own.as_bytes());
    }
    Ok(kept)
}

/// Waits until nobody else extracts below `root`. Nothing where that cannot be told: then several do the same work.
fn alone(root: &Path) -> Option<File> {
    let lock = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(root.join(EXTRACTING))
        .ok()?;
    lock.lock().ok().map(|()| lock)
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
pub fn extracted(package: &Package) -> impl Iterator<Item = (&Part, u64)> {
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
pub fn fill(file: &File, content: &mut impl Read, bytes: u64) -> io::Result<()> {
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
    if root.is_dir() {
        shelf::sweep(root);
        scratch::sweep(root, LINKS);
    }
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
    let root = entry.folder.parent();
    root.is_some_and(|root| shelf::discard(root, &entry.folder, RECORD).is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::format::WORKER;
    use super::super::samples::{self, Mount, names, told};
    use super::*;
    use crate::error::exit;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::{Child, Command, Output, Stdio};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    /// A place for a package and a root of its own.
    struct Place {
        folder: tempfile::TempDir,
        package: Package,
    }

    impl Place {
        fn new() -> Place {
            let folder = tempfile::tempdir().unwrap();
            let package = samples::opened(folder.path());
            Place { folder, package }
        }

        fn root(&self) -> PathBuf {
            self.folder.path().join("cache/runtime")
        }

        fn ensure(&self) -> Installed {
            let installed = ensure(&self.package, &self.root()).unwrap();
            assert_whole(&installed.folder);
            installed
        }

        /// What is wrong with the root.
        fn error(&self) -> Error {
            ensure(&self.package, &self.root()).unwrap_err()
        }

        /// Everything in the root but the files that are locked there.
        fn left(&self) -> Vec<String> {
            left(&self.root())
        }
    }

    /// What is in a root but the files that are locked there.
    fn left(root: &Path) -> Vec<String> {
        let mut names = names(root);
        names.retain(|name| name != ".lock" && name != EXTRACTING);
        names
    }

    /// What a program prints. While another test starts a process, that may hold a file open that was just written.
    fn output(program: &Path) -> Output {
        for _ in 0..1000 {
            match Command::new(program).output() {
                Err(cause) if cause.kind() == io::ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                ended => return ended.unwrap(),
            }
        }
        panic!("{} stays busy", program.display())
    }

    /// Checks that every file has its content, and that the worker can be started.
    #[track_caller]
    fn assert_whole(folder: &Path) {
        for (kind, name, content) in samples::parts() {
            if kind != Kind::Notice {
                assert!(fs::read(folder.join(name)).unwrap() == content, "{name}");
            }
        }
        let said = output(&folder.join(WORKER));
        assert_eq!(said.stdout, b"ready\n", "{said:?}");
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn modified(folder: &Path) -> Vec<(String, SystemTime)> {
        let time = |name: String| {
            let facts = fs::metadata(folder.join(&name)).unwrap();
            (name, facts.modified().unwrap())
        };
        names(folder).into_iter().map(time).collect()
    }

    #[test]
    fn the_first_start_extracts_and_only_this_user_may_touch_it() {
        let place = Place::new();
        let installed = place.ensure();
        assert_eq!(installed.folder, place.root().join(&place.package.id));
        assert_eq!(installed.note, None);
        let expected = [
            WORKER,
            "files.json",
            "libonnxruntime.so.1.2.3",
            "libprovider.so",
            "lock",
            "verified",
        ];
        assert_eq!(names(&installed.folder), expected, "notices stay packed");
        assert_eq!(
            (mode(&place.root()), mode(&installed.folder)),
            (0o700, 0o700)
        );
        assert_eq!(mode(&installed.folder.join(WORKER)), 0o700);
        for name in &expected[1..] {
            let mode = mode(&installed.folder.join(name));
            assert_eq!(mode & 0o133, 0, "{name}: {mode:o}");
        }
        assert_eq!(place.left(), [place.package.id.as_str()]);
    }

    #[test]
    fn zeros_become_holes() {
        let place = Place::new();
        let library = place.ensure().folder.join("libonnxruntime.so.1.2.3");
        let facts = fs::metadata(library).unwrap();
        assert_eq!(facts.len(), samples::library().len() as u64);
        assert!(
            facts.blocks() * 512 <= 256 << 10,
            "{} blocks",
            facts.blocks()
        );
    }

    #[test]
    fn the_second_start_writes_nothing() {
        let place = Place::new();
        let before = modified(&place.ensure().folder);
        let again = place.ensure();
        assert_eq!(modified(&again.folder), before);
    }

    #[test]
    fn a_damaged_missing_or_loosened_file_is_replaced() {
        let place = Place::new();
        let folder = place.ensure().folder.clone();
        let library = folder.join("libonnxruntime.so.1.2.3");
        let damages: [&dyn Fn(); 10] = [
            &|| fs::remove_file(&library).unwrap(),
            &|| fs::write(&library, "shorter").unwrap(),
            &|| {
                let mut bytes = samples::library();
                bytes[5] = 1;
                fs::write(&library, bytes).unwrap();
            },
            &|| fs::set_permissions(&library, Permissions::from_mode(0o666)).unwrap(),
            &|| {
                fs::rename(&library, folder.join("elsewhere")).unwrap();
                symlink("elsewhere", &library).unwrap();
            },
            &|| fs::remove_file(folder.join(RECORD)).unwrap(),
            &|| fs::write(folder.join(RECORD), "[]").unwrap(),
            &|| fs::write(folder.join(RECORD), "no json").unwrap(),
            &|| fs::remove_dir_all(&folder).unwrap(),
            &|| {
                fs::remove_dir_all(&folder).unwrap();
                fs::create_dir(&folder).unwrap();
            },
        ];
        for damage in damages {
            damage();
            assert_eq!(place.ensure().folder, folder);
            assert_eq!(place.left(), [place.package.id.as_str()]);
        }
    }

    #[test]
    fn an_altered_copy_is_noticed_although_its_payload_lies_there_whole() {
        let place = Place::new();
        drop(place.ensure());
        let mut bytes = fs::read(place.package.path()).unwrap();
        // In the program: index and parts are those that were extracted.
        bytes[2000] ^= 1;
        let copy = place.folder.path().join("copy");
        fs::write(&copy, &bytes).unwrap();
        let copy = Package::open(&copy).unwrap().unwrap();
        assert_eq!(copy.id, place.package.id);
        let error = ensure(&copy, &place.root()).unwrap_err();
        told(&error, exit::RUNTIME, &["altered (its program)", "copy"]);
        // In place, with its old time put back.
        let facts = fs::metadata(place.package.path()).unwrap();
        fs::write(place.package.path(), &bytes).unwrap();
        let file = File::options()
            .write(true)
            .open(place.package.path())
            .unwrap();
        file.set_modified(facts.modified().unwrap()).unwrap();
        told(&place.error(), exit::RUNTIME, &["altered (its program)"]);
    }

    #[test]
    fn a_good_copy_is_verified_and_shares_the_folder() {
        let place = Place::new();
        let first = place.ensure();
        let copy = place.folder.path().join("copy");
        fs::copy(place.package.path(), &copy).unwrap();
        let copy = Package::open(&copy).unwrap().unwrap();
        let stamp = fs::read(first.folder.join(STAMP)).unwrap();
        let library = first.folder.join("libonnxruntime.so.1.2.3");
        let before = fs::metadata(&library).unwrap().modified().unwrap();
        assert_eq!(ensure(&copy, &place.root()).unwrap().folder, first.folder);
        assert_eq!(fs::metadata(&library).unwrap().modified().unwrap(), before);
        assert_ne!(fs::read(first.folder.join(STAMP)).unwrap(), stamp);
    }

    #[test]
    fn a_part_that_is_not_as_long_as_the_index_says_is_never_installed() {
        let place = Place::new();
        for lie in [-1_i64, 1] {
            let path = place.folder.path().join("lying");
            samples::pack(&path, &samples::parts(), |index| {
                index.parts[2].bytes = index.parts[2].bytes.saturating_add_signed(lie);
            });
            let lying = Package::open(&path).unwrap().unwrap();
            let error = ensure(&lying, &place.root()).unwrap_err();
            told(&error, exit::RUNTIME, &["packed wrongly", "lying"]);
            assert!(place.left().is_empty());
        }
    }

    #[test]
    fn eight_threads_at_once_all_get_a_whole_copy() {
        let place = Place::new();
        for round in 0..3 {
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| place.ensure());
                }
            });
            assert_eq!(place.left(), [place.package.id.as_str()]);
            let worker = place.root().join(&place.package.id).join(WORKER);
            match round {
                0 => fs::write(worker, "damaged").unwrap(),
                _ => fs::remove_dir_all(place.root()).unwrap(),
            }
        }
    }

    const PROGRAM: &str = "EDGEBENCH_TEST_PROGRAM";
    const ROOT: &str = "EDGEBENCH_TEST_ROOT";

    #[test]
    #[ignore = "the other side of the tests with several processes, which start it"]
    fn one_start() {
        let [program, root] =
            [PROGRAM, ROOT].map(|name| PathBuf::from(std::env::var_os(name).unwrap()));
        let package = Package::open(&program).unwrap().unwrap();
        let installed = ensure(&package, &root).unwrap();
        let said = output(&installed.folder.join(WORKER));
        assert_eq!(said.stdout, b"ready\n");
    }

    /// Another process that starts the package.
    fn start(program: &Path, root: &Path) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "payload::install::tests::one_start", "--ignored"])
            .env(PROGRAM, program)
            .env(ROOT, root)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    #[test]
    fn eight_processes_at_once_all_get_a_whole_copy() {
        let place = Place::new();
        let starts: Vec<Child> = (0..8)
            .map(|_| start(place.package.path(), &place.root()))
            .collect();
        for mut child in starts {
            assert!(child.wait().unwrap().success());
        }
        assert_eq!(place.left(), [place.package.id.as_str()]);
        place.ensure();
    }

    #[test]
    fn a_start_that_is_killed_leaves_nothing_that_the_next_takes_or_keeps() {
        let place = Place::new();
        // Long enough to be caught in the middle.
        let noise: Vec<u8> = (0..24_u32 << 20)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let mut parts = samples::parts();
        parts.push((Kind::Cuda, "libnoise.so", noise));
        let path = place.folder.path().join("long");
        samples::pack(&path, &parts, |_| {});
        let long = Package::open(&path).unwrap().unwrap();
        let is_caught = || {
            let mut child = start(&path, &place.root());
            let began = std::time::Instant::now();
            while place.left().is_empty() {
                assert!(began.elapsed() < Duration::from_secs(60));
                std::thread::yield_now();
            }
            child.kill().unwrap();
            child.wait().unwrap();
            let caught = place
                .left()
                .iter()
                .any(|name| name.starts_with(".staging-"));
            if !caught {
                fs::remove_dir_all(place.root()).unwrap();
            }
            caught
        };
        assert!(
            (0..10).any(|_| is_caught()),
            "none was caught in the middle"
        );
        let folder = ensure(&long, &place.root()).unwrap().folder.clone();
        assert_whole(&folder);
        assert_eq!(place.left(), [long.id.as_str()]);
    }

    #[test]
    fn what_is_in_use_is_kept_and_the_rest_is_cleared() {
        let place = Place::new();
        let installed = place.ensure();
        let list = entries(&place.root());
        assert_eq!((list.len(), &list[0].name), (1, &place.package.id));
        assert!(
            list[0].bytes > 0 && list[0].bytes < 1 << 20,
            "holes count nothing"
        );
        assert!(!discard(&list[0]));
        assert_whole(&installed.folder);
        drop(installed);
        assert!(discard(&list[0]));
        assert!(place.left().is_empty());
        assert!(entries(&place.root()).is_empty());
        place.ensure();
    }

    #[test]
    fn a_start_finishes_and_keeps_its_folder_while_others_sweep_and_clear() {
        let place = Place::new();
        let (root, package) = (place.root(), &place.package);
        let done = AtomicBool::new(false);
        let until_done = |work: &dyn Fn()| {
            while !done.load(Ordering::Relaxed) {
                work();
            }
        };
        let failures: Vec<String> = std::thread::scope(|scope| {
            scope.spawn(|| until_done(&|| sweep(&root)));
            scope.spawn(|| {
                until_done(&|| {
                    entries(&root).iter().map(discard).for_each(drop);
                })
            });
            let start = |_| match ensure(package, &root) {
                Err(cause) => Some(cause.to_string()),
                Ok(found) if whole(&found.folder, package) => None,
                Ok(_) => Some("the folder is gone while it is held".to_owned()),
            };
            let another = scope.spawn(move || (0..100).filter_map(start).collect::<Vec<_>>());
            let mut failures: Vec<String> = (0..100).filter_map(start).collect();
            failures.extend(another.join().unwrap());
            done.store(true, Ordering::Relaxed);
            failures
        });
        assert!(
            failures.is_empty(),
            "{} of 200: {}",
            failures.len(),
            failures[0]
        );
    }

    #[test]
    fn a_folder_that_others_control_is_refused() {
        let place = Place::new();
        let folder = place.ensure().folder.clone();
        let set = |path: &Path, mode: u32| {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap()
        };
        for path in [&place.root(), &folder] {
            for mode in [0o770, 0o707, 0o1777] {
                set(path, mode);
                told(
                    &place.error(),
                    exit::RUNTIME,
                    &["other users", "chmod go-w", "--runtime-dir"],
                );
            }
            set(path, 0o700);
            let moved = path.with_extension("moved");
            fs::rename(path, &moved).unwrap();
            symlink(&moved, path).unwrap();
            told(
                &place.error(),
                exit::RUNTIME,
                &["symbolic link", "remove it"],
            );
            fs::remove_file(path).unwrap();
            symlink("/nonexistent", path).unwrap();
            told(&place.error(), exit::RUNTIME, &["symbolic link"]);
            fs::remove_file(path).unwrap();
            fs::write(path, "a file").unwrap();
            told(
                &place.error(),
                exit::RUNTIME,
                &["not a folder", "remove it"],
            );
            fs::remove_file(path).unwrap();
            fs::rename(&moved, path).unwrap();
            place.ensure();
        }
        if !samples::is_root() {
            return samples::skipped("only root can give a folder to another user");
        }
        for path in [&place.root(), &folder] {
            std::os::unix::fs::chown(path, Some(12_345), None).unwrap();
            told(&place.error(), exit::RUNTIME, &["another user (uid 12345)"]);
            std::os::unix::fs::chown(path, Some(0), None).unwrap();
        }
        place.ensure();
    }

    #[test]
    fn a_file_where_a_parent_should_be_is_told() {
        let place = Place::new();
        fs::write(place.folder.path().join("cache"), "a file").unwrap();
        told(
            &place.error(),
            exit::OUTPUT,
            &["cache/runtime", "--runtime-dir"],
        );
    }

    #[test]
    fn a_full_disk_is_told_and_nothing_half_written_stays() {
        let place = Place::new();
        let Some(disk) = Mount::new(place.folder.path(), "size=64k") else {
            return;
        };
        let noise: Vec<u8> = (0..200_000_u32)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let mut parts = samples::parts();
        parts.push((Kind::Cuda, "libnoise.so", noise));
        let path = place.folder.path().join("large");
        samples::pack(&path, &parts, |_| {});
        let large = Package::open(&path).unwrap().unwrap();
        let root = disk.path().join("runtime");
        let error = ensure(&large, &root).unwrap_err();
        told(&error, exit::OUTPUT, &["No space left", "--runtime-dir"]);
        assert!(left(&root).is_empty());
    }

    #[test]
    fn where_programs_may_not_run_or_nothing_be_written_memory_serves() {
        let place = Place::new();
        let Some(disk) = Mount::new(place.folder.path(), "noexec") else {
            return;
        };
        let in_memory = |root: &Path, why: &str| {
            let installed = ensure(&place.package, root).unwrap();
            let note = installed.note.clone().unwrap();
            assert!(
                note.contains(why) && note.contains("--runtime-dir"),
                "{note}"
            );
            assert!(!note.contains(". "), "{note}");
            assert_whole(&installed.folder);
            let folder = installed.folder.clone();
            drop(installed);
            assert!(!folder.exists());
        };
        let root = disk.path().join("runtime");
        in_memory(&root, "noexec");
        assert!(names(&root).is_empty());
        // The links of a run that was killed go with the next.
        fs::create_dir(root.join(format!("{LINKS}dead"))).unwrap();
        in_memory(&root, "noexec");
        assert!(names(&root).is_empty());
        disk.freeze();
        in_memory(&disk.path().join("absent"), "Read-only");
    }

    #[test]
    fn a_folder_prepared_for_all_is_used_although_it_cannot_be_written() {
        let place = Place::new();
        let Some(disk) = Mount::new(place.folder.path(), "size=8m") else {
            return;
        };
        drop(ensure(&place.package, disk.path()).unwrap());
        fs::remove_file(disk.path().join(&place.package.id).join(STAMP)).unwrap();
        disk.freeze();
        let installed = ensure(&place.package, disk.path()).unwrap();
        assert_eq!(
            (&installed.note, installed.folder.parent()),
            (&None, Some(disk.path()))
        );
        assert_whole(&installed.folder);
    }
}
