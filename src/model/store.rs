//! The cache of generated models: one folder for each spec, precision and seed, holding the weight file, its manifest and
//! the graphs that refer to it. Safe with several runs at once, checked before use, kept under a size limit.

use super::emit::emit;
use super::graph::WEIGHTS_FILE;
use super::spec::ModelSpec;
use super::weights::Layout;
use crate::error::{Error, Result};
use crate::protocol::DecoderIo;
use crate::trial::{Form, Precision};
use crate::units::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use xxhash_rust::xxh3::Xxh3;

const MANIFEST: &str = "manifest.json";
const LOCK: &str = "lock";
/// Folders being written start with this; one that nobody holds is left over from a run that was killed.
const STAGING: &str = ".staging-";
const HINT: &str = " with XDG_CACHE_HOME, or make room with `edgebench cache clear`";

/// The cache folder and its limit.
pub struct Store {
    root: PathBuf,
    limit: Bytes,
    checked: HashSet<PathBuf>,
}

/// A model on disk, ready to be loaded. The entry stays in the cache while this lives.
pub struct Prepared {
    /// The ONNX file.
    pub graph: PathBuf,
    /// Its inputs and outputs.
    pub io: DecoderIo,
    /// Bytes of weights the graph refers to.
    pub weights: Bytes,
    /// The largest tensor.
    pub largest_tensor: Bytes,
    _in_use: Option<File>,
}

/// Something to tell while a model is prepared.
pub enum Preparing<'a> {
    /// Weights are being written: bytes done, of so many.
    Writing(Bytes, Bytes),
    /// Something the user should know.
    Note(&'a str),
}

/// One entry, for `edgebench cache`.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Folder name: model, layout digest, seed, precision.
    pub name: String,
    /// Bytes on disk.
    pub bytes: Bytes,
    /// When it was last used.
    pub last_used: SystemTime,
}

/// Beside each weight file: what it must be. Written last, so that an entry without one is unfinished.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Manifest {
    bytes: Bytes,
    xxh3: String,
}

impl Store {
    /// The store below `root`, kept under `limit` bytes.
    pub fn new(root: &Path, limit: Bytes) -> Store {
        Store {
            root: root.join("models"),
            limit,
            checked: HashSet::new(),
        }
    }

    /// Makes the folder, so that a cache that cannot be had is known before anything runs.
    pub fn ensure(&self) -> Result<()> {
        let probe = fs::create_dir_all(&self.root).and_then(|()| tempfile::tempfile_in(&self.root));
        probe
            .map(drop)
            .map_err(|source| Error::output(&self.root, source, HINT))
    }

    /// Makes sure the weights are there and right, writes the graph for `context`, and returns both.
    pub fn prepare(
        &mut self,
        spec: &ModelSpec,
        form: Form,
        precision: Precision,
        context: u32,
        seed: u64,
        tell: &mut dyn FnMut(Preparing),
    ) -> Result<Prepared> {
        let layout = Layout::of(spec, precision);
        let folder = self.root.join(format!(
            "{}-{:016x}-s{seed}-{precision}",
            spec.name,
            layout.digest()
        ));
        self.sweep();
        let in_use = self.weights(&folder, &layout, seed, tell)?;
        let (bytes, io) = emit(spec, &layout, form, context);
        let graph = folder.join(format!("{form}-{context}.onnx"));
        write_whole(&graph, &bytes).map_err(|source| Error::output(&graph, source, HINT))?;
        self.evict(&folder);
        Ok(Prepared {
            graph,
            io,
            weights: weight_sum(&layout),
            largest_tensor: layout.largest(),
            _in_use: Some(in_use),
        })
    }

    /// Returns the entry's shared lock once its weight file is complete and checked.
    fn weights(
        &mut self,
        folder: &Path,
        layout: &Layout,
        seed: u64,
        tell: &mut dyn FnMut(Preparing),
    ) -> Result<File> {
        let wrap = |source| Error::output(folder, source, HINT);
        // Seconds to wait for a run that holds an entry this one would replace.
        let mut patience = 120;
        loop {
            if let Some(lock) = hold(folder).map_err(wrap)? {
                if self.checked.contains(folder) {
                    touch(folder);
                    return Ok(lock);
                }
                match check(folder, layout) {
                    Ok(()) => {
                        self.checked.insert(folder.to_owned());
                        touch(folder);
                        return Ok(lock);
                    }
                    Err(cause) => {
                        let file = folder.join(WEIGHTS_FILE);
                        let file = file.display();
                        tell(Preparing::Note(&format!(
                            "the cached weights {file} are damaged ({cause}); writing them again"
                        )));
                    }
                }
                drop(lock);
            }
            // Damaged, or left half-removed by a run that was killed; or another run is at it, then this one waits.
            match discard(folder) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy && patience > 0 => {
                    patience -= 1;
                    std::thread::sleep(Duration::from_secs(1));
                    continue;
                }
                other => other.map_err(wrap)?,
            }
            self.generate(folder, layout, seed, tell).map_err(wrap)?;
        }
    }

    /// Writes the entry into a staging folder and renames it into place; another run may do the same at the same time.
    fn generate(
        &mut self,
        folder: &Path,
        layout: &Layout,
        seed: u64,
        tell: &mut dyn FnMut(Preparing),
    ) -> io::Result<()> {
        let staging = tempfile::Builder::new()
            .prefix(STAGING)
            .tempdir_in(&self.root)?;
        let lock = File::create(staging.path().join(LOCK))?;
        lock.lock_shared()?;
        let total = layout.file_bytes;
        let file = File::create(staging.path().join(WEIGHTS_FILE))?;
        // Reserving the space first turns a full disk into an error now, not after gigabytes.
        reserve(&file, total)?;
        let mut out = Hashing {
            inner: BufWriter::with_capacity(1 << 20, file),
            hash: Xxh3::new(),
        };
        layout.write(seed, &mut out, |done| tell(Preparing::Writing(done, total)))?;
        let Hashing { mut inner, hash } = out;
        inner.flush()?;
        let manifest = Manifest {
            bytes: total,
            xxh3: format!("{:016x}", hash.digest()),
        };
        write_whole(
            &staging.path().join(MANIFEST),
            &serde_json::to_vec(&manifest)?,
        )?;
        match fs::rename(staging.path(), folder) {
            Ok(()) => {
                // Renamed away: there is nothing left for the temporary folder's guard to remove.
                let _ = staging.keep();
                self.checked.insert(folder.to_owned());
                Ok(())
            }
            // Another run was first: its entry is as good.
            Err(_) if folder.join(MANIFEST).exists() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes what runs that were killed left half-written.
    fn sweep(&self) {
        let listing = fs::read_dir(&self.root).into_iter().flatten().flatten();
        for item in listing {
            if item.file_name().to_string_lossy().starts_with(STAGING) {
                // One that is held, or was made this minute, stays.
                let _ = discard(&item.path());
            }
        }
    }

    /// Removes the least recently used entries over the limit, never `keep` and never one that a run holds.
    fn evict(&self, keep: &Path) {
        let Ok(mut entries) = self.entries() else {
            return;
        };
        entries.sort_by_key(|entry| entry.last_used);
        let mut total: Bytes = entries.iter().map(|entry| entry.bytes).sum();
        for entry in entries {
            let folder = self.root.join(&entry.name);
            if total <= self.limit {
                break;
            }
            if folder != keep && discard(&folder).is_ok() {
                total = total.saturating_sub(entry.bytes);
            }
        }
    }

    /// All entries, and staging folders that nobody holds any more.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let listing = match fs::read_dir(&self.root) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut entries = Vec::new();
        for item in listing {
            let item = item?;
            // An entry may vanish while we look: another run evicts too.
            let Ok(metadata) = item.metadata() else {
                continue;
            };
            if !metadata.is_dir() {
                continue;
            }
            let used =
                fs::metadata(item.path().join(MANIFEST)).and_then(|manifest| manifest.modified());
            entries.push(Entry {
                name: item.file_name().to_string_lossy().into_owned(),
                bytes: folder_bytes(&item.path()),
                last_used: used.or_else(|_| metadata.modified())?,
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Removes every entry that no run holds. Returns what was removed and what was in use.
    pub fn clear(&self) -> io::Result<(Vec<Entry>, Vec<Entry>)> {
        Ok(self
            .entries()?
            .into_iter()
            .partition(|entry| discard(&self.root.join(&entry.name)).is_ok()))
    }

    /// Where the entries are.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Writes a complete model into `folder` for other tools: the graph for the model's whole context, and its weights.
pub fn export(
    spec: &ModelSpec,
    form: Form,
    precision: Precision,
    seed: u64,
    folder: &Path,
    tell: &mut dyn FnMut(Preparing),
) -> Result<PathBuf> {
    let layout = Layout::of(spec, precision);
    let wrap = |source| Error::output(folder, source, " with -o");
    fs::create_dir_all(folder).map_err(wrap)?;
    let (bytes, _) = emit(spec, &layout, form, spec.max_positions);
    let total = layout.file_bytes;
    let weights = tempfile::NamedTempFile::new_in(folder).map_err(wrap)?;
    reserve(weights.as_file(), total).map_err(wrap)?;
    let mut out = BufWriter::with_capacity(1 << 20, weights.as_file());
    layout
        .write(seed, &mut out, |done| tell(Preparing::Writing(done, total)))
        .map_err(wrap)?;
    out.flush().map_err(wrap)?;
    drop(out);
    publish(weights, &folder.join(WEIGHTS_FILE)).map_err(wrap)?;
    let graph = folder.join("model.onnx");
    write_whole(&graph, &bytes).map_err(wrap)?;
    Ok(graph)
}

fn weight_sum(layout: &Layout) -> Bytes {
    Bytes(layout.tensors.iter().map(|tensor| tensor.bytes).sum())
}

fn reserve(file: &File, total: Bytes) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, total.0) {
        // Not every file system can; then a full disk shows while writing.
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(total.0),
        other => Ok(other?),
    }
}

/// The entry's lock, held together with other users of it; `None` when there is no such entry.
fn hold(folder: &Path) -> io::Result<Option<File>> {
    match File::open(folder.join(LOCK)) {
        Ok(lock) => {
            lock.lock_shared()?;
            // It may have been discarded, and even made again, between the two lines.
            let same = |other: fs::Metadata| {
                lock.metadata()
                    .is_ok_and(|ours| (ours.dev(), ours.ino()) == (other.dev(), other.ino()))
            };
            let current = fs::metadata(folder.join(LOCK)).is_ok_and(same);
            Ok((current && folder.join(MANIFEST).exists()).then_some(lock))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes an entry unless somebody holds it. The lock is held until the last file is gone.
fn discard(folder: &Path) -> io::Result<()> {
    let _lock = match File::open(folder.join(LOCK)) {
        Ok(lock) => {
            lock.try_lock().map_err(|_| {
                io::Error::new(io::ErrorKind::ResourceBusy, "in use by another run")
            })?;
            Some(lock)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Another run may have made the folder this moment and not yet its lock.
            if is_young(folder) {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "being made by another run",
                ));
            }
            None
        }
        Err(error) => return Err(error),
    };
    // The manifest goes first: without it nobody takes the rest for an entry.
    let _ = fs::remove_file(folder.join(MANIFEST));
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether a folder is there and was made in the last minute.
fn is_young(folder: &Path) -> bool {
    let modified = fs::metadata(folder).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| {
        modified
            .elapsed()
            .is_ok_and(|age| age < Duration::from_secs(60))
    })
}

fn touch(folder: &Path) {
    // Only the order of eviction hangs on this; a read-only cache works all the same.
    let _ = File::options()
        .append(true)
        .open(folder.join(MANIFEST))
        .and_then(|file| file.set_modified(SystemTime::now()));
}

/// Compares length and checksum with the manifest, in words where they differ.
fn check(folder: &Path, layout: &Layout) -> std::result::Result<(), String> {
    let read = |error: io::Error| error.to_string();
    let manifest = fs::read(folder.join(MANIFEST)).map_err(read)?;
    let manifest: Manifest =
        serde_json::from_slice(&manifest).map_err(|_| "its manifest is not readable".to_owned())?;
    let mut file = File::open(folder.join(WEIGHTS_FILE)).map_err(read)?;
    let length = file.metadata().map_err(read)?.len();
    if length != layout.file_bytes.0 || manifest.bytes != layout.file_bytes {
        return Err(format!("{length} bytes instead of {}", layout.file_bytes.0));
    }
    let mut hash = Xxh3::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block).map_err(read)? {
            0 => break,
            count => hash.update(&block[..count]),
        }
    }
    if format!("{:016x}", hash.digest()) == manifest.xxh3 {
        Ok(())
    } else {
        Err("wrong checksum".to_owned())
    }
}

fn folder_bytes(folder: &Path) -> Bytes {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    Bytes(
        files
            .filter_map(|file| file.metadata().ok())
            .map(|metadata| metadata.len())
            .sum(),
    )
}

/// Writes a file under a temporary name and renames it into place.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    publish(file, path)
}

/// Temporary files are private to their owner; what is published is readable like any other file.
fn publish(file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}

struct Hashing<W> {
    inner: W,
    hash: Xxh3,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::find;
    use super::*;

    fn prepare(store: &mut Store, model: &str) -> (Prepared, Vec<String>) {
        let mut notes = Vec::new();
        let prepared = store
            .prepare(
                find(model).unwrap(),
                Form::Fused,
                Precision::Fp32,
                64,
                1,
                &mut |event| {
                    if let Preparing::Note(note) = event {
                        notes.push(note.to_owned());
                    }
                },
            )
            .unwrap();
        (prepared, notes)
    }

    fn store(limit: u64) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), Bytes(limit));
        store.ensure().unwrap();
        (folder, store)
    }

    #[test]
    fn a_second_run_finds_the_weights() {
        let (_folder, mut store) = store(u64::MAX);
        let first = prepare(&mut store, "tiny-gpt2").0.graph;
        let written = fs::metadata(first.with_file_name(WEIGHTS_FILE))
            .unwrap()
            .modified()
            .unwrap();
        let mut again = Store::new(store.root.parent().unwrap(), Bytes(u64::MAX));
        let second = prepare(&mut again, "tiny-gpt2").0.graph;
        assert_eq!(first, second);
        assert_eq!(
            fs::metadata(second.with_file_name(WEIGHTS_FILE))
                .unwrap()
                .modified()
                .unwrap(),
            written
        );
    }

    #[test]
    fn damaged_weights_are_noticed_and_written_again() {
        let (_folder, mut store) = store(u64::MAX);
        let graph = prepare(&mut store, "tiny-gpt2").0.graph;
        let weights = graph.with_file_name(WEIGHTS_FILE);
        let good = fs::read(&weights).unwrap();
        let mut flipped = good.clone();
        flipped[5000] ^= 1;
        for (damage, word) in [
            (flipped, "checksum"),
            (good[..good.len() / 2].to_vec(), "bytes instead of"),
        ] {
            fs::write(&weights, damage).unwrap();
            let mut again = Store::new(store.root.parent().unwrap(), Bytes(u64::MAX));
            let (_, notes) = prepare(&mut again, "tiny-gpt2");
            assert!(notes.len() == 1 && notes[0].contains(word), "{notes:?}");
            assert!(notes[0].contains(weights.to_str().unwrap()), "{notes:?}");
            assert_eq!(fs::read(&weights).unwrap(), good);
        }
    }

    #[test]
    fn the_least_recently_used_goes_first_and_the_one_in_use_stays() {
        let (_folder, mut store) = store(1);
        let (held, _) = prepare(&mut store, "tiny-gpt2");
        drop(prepare(&mut store, "tiny-llama"));
        drop(prepare(&mut store, "tiny-qwen3"));
        let names = |store: &Store| {
            store
                .entries()
                .unwrap()
                .into_iter()
                .map(|entry| entry.name)
                .collect::<Vec<_>>()
        };
        let left = names(&store);
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left[0].starts_with("tiny-gpt2") && left[1].starts_with("tiny-qwen3"));
        let (removed, in_use) = store.clear().unwrap();
        assert_eq!((removed.len(), in_use.len()), (1, 1));
        drop(held);
        assert_eq!(store.clear().unwrap().0.len(), 1);
    }

    #[test]
    fn left_over_staging_is_removed_but_not_one_that_was_just_made() {
        let (_folder, mut store) = store(u64::MAX);
        fs::create_dir_all(store.root.join(".staging-young")).unwrap();
        fs::create_dir_all(store.root.join(".staging-dead")).unwrap();
        fs::write(
            store.root.join(".staging-dead").join(WEIGHTS_FILE),
            vec![0; 100],
        )
        .unwrap();
        let dead = File::open(store.root.join(".staging-dead")).unwrap();
        dead.set_modified(SystemTime::now() - Duration::from_secs(3600))
            .unwrap();
        drop(prepare(&mut store, "tiny-gpt2"));
        assert!(!store.root.join(".staging-dead").exists());
        assert!(store.root.join(".staging-young").exists());
    }
}
