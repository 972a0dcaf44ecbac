//! The cache of generated models: one folder for each spec, number formats and seed or checkpoint, holding the weight file, its manifest and
//! the graphs that refer to it. Safe with several runs at once, checked before use, kept under a size limit.

use super::adopted;
use super::emit::{FEW, Variant, emit, emit_with_copies, packing_check, router_check};
use super::graph::WEIGHTS_FILE;
use super::spec::{Ffn, ModelSpec};
use super::weights::{Layout, Seeded, Source};
use crate::error::{Error, Result};
use crate::protocol::{DecoderIo, PackingCheck, RouterCheck, WeightTensor};
use crate::shelf::{self, Staged};
use crate::trial::{KvCache, KvUpdate, Numerics, Trial};
use crate::units::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use xxhash_rust::xxh3::Xxh3;

const MANIFEST: &str = "manifest.json";
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
    /// The file of weights.
    pub weight_file: PathBuf,
    /// The tensors in it that the graph refers to.
    pub tensors: Vec<WeightTensor>,
    /// Bytes of weights the graph refers to.
    pub weights: Bytes,
    /// The largest tensor.
    pub largest_tensor: Bytes,
    _in_use: Option<File>,
}

impl Prepared {
    /// A graph with its weights where they are, of which nothing was made here.
    pub fn as_is(graph: PathBuf, io: DecoderIo, weights: Bytes, largest_tensor: Bytes) -> Prepared {
        Prepared {
            weight_file: graph.clone(),
            graph,
            io,
            tensors: Vec::new(),
            weights,
            largest_tensor,
            _in_use: None,
        }
    }

    /// The same files in another folder, where they have been moved.
    pub fn moved_to(mut self, folder: &Path) -> Prepared {
        for path in [&mut self.graph, &mut self.weight_file] {
            *path = folder.join(path.file_name().unwrap_or_default());
        }
        self
    }
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
    /// Folder name: model, layout digest, seed or checkpoint, number formats.
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

    /// Makes sure the weights are there and right, writes the graph, and returns both.
    pub fn prepare(
        &mut self,
        spec: &ModelSpec,
        variant: Variant,
        numerics: Numerics,
        seed: u64,
        tell: &mut dyn FnMut(Preparing),
    ) -> Result<Prepared> {
        if let Some(foreign) = spec.foreign {
            return Ok(foreign.prepared());
        }
        let layout = Layout::of(spec, numerics);
        let (origin, source): (_, Box<dyn Source>) = match adopted::origin(spec) {
            Some(origin) => (format!("c{:016x}", origin.key()), origin.weights(numerics)),
            None => (format!("s{seed}"), Box::new(Seeded(seed))),
        };
        let folder = self.root.join(format!(
            "{}-{:016x}-{origin}-{numerics}",
            spec.name,
            layout.digest()
        ));
        shelf::sweep(&self.root);
        let in_use = self.weights(&folder, &layout, &*source, tell)?;
        let emitted = emit(spec, &layout, variant);
        let graph = folder.join(graph_name(variant));
        write_whole(&graph, &emitted.bytes)
            .map_err(|source| Error::output(&graph, source, HINT))?;
        self.evict(&folder);
        Ok(Prepared {
            graph,
            io: emitted.io,
            weight_file: folder.join(WEIGHTS_FILE),
            tensors: emitted.weights,
            weights: weight_sum(&layout),
            largest_tensor: layout.largest(),
            _in_use: Some(in_use),
        })
    }

    /// Writes a graph of a prepared model in which some weights are copied before they are used, beside its other one.
    pub fn with_copies(
        &self,
        prepared: &Prepared,
        spec: &ModelSpec,
        variant: Variant,
        numerics: Numerics,
        copied: &[String],
    ) -> Result<PathBuf> {
        let emitted = emit_with_copies(spec, &Layout::of(spec, numerics), variant, copied);
        let which = xxhash_rust::xxh3::xxh3_64(copied.join(" ").as_bytes());
        let name = graph_name(variant);
        let name = name.trim_end_matches(".onnx");
        let graph = prepared
            .graph
            .with_file_name(format!("{name}-copies-{which:016x}.onnx"));
        write_whole(&graph, &emitted.bytes)
            .map_err(|source| Error::output(&graph, source, HINT))?;
        Ok(graph)
    }

    /// Writes a graph that shows whether experts which the engine packs are what they were, beside a prepared model.
    pub fn with_packing_check(
        &self,
        prepared: &Prepared,
        spec: &ModelSpec,
        numerics: Numerics,
    ) -> Result<Option<PackingCheck>> {
        let check = packing_check(spec, &Layout::of(spec, numerics));
        let (Some((bytes, packed)), Ffn::Moe { experts, .. }) = (check, spec.ffn) else {
            return Ok(None);
        };
        let graph = prepared.graph.with_file_name("packing-check.onnx");
        write_whole(&graph, &bytes).map_err(|source| Error::output(&graph, source, HINT))?;
        Ok(Some(PackingCheck {
            graph,
            packed,
            width: spec.d_model,
            experts,
            few: FEW,
        }))
    }

    /// How the router of a prepared model is looked at, with the graph for it written beside the model's own; `None` where it has no
    /// router.
    pub fn with_router_check(
        &self,
        prepared: &Prepared,
        spec: &ModelSpec,
        trial: &Trial,
        prompt: &[i64],
    ) -> Result<Option<RouterCheck>> {
        let layout = Layout::of(spec, trial.numerics());
        let Some((mut check, bytes)) = router_check(spec, &layout, trial, prompt) else {
            return Ok(None);
        };
        if let (Some(side), Some(bytes)) = (&mut check.graph, bytes) {
            let name = format!("router-check-{}.onnx", trial.form);
            side.graph = prepared.graph.with_file_name(name);
            write_whole(&side.graph, &bytes)
                .map_err(|source| Error::output(&side.graph, source, HINT))?;
        }
        Ok(Some(check))
    }

    /// Returns the entry's shared lock once its weight file is complete and checked.
    fn weights(
        &mut self,
        folder: &Path,
        layout: &Layout,
        source: &dyn Source,
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
            // Damaged, or left half-removed by a run that was killed; or another run holds it, then this one waits.
            match self.discard(folder) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy && patience > 0 => {
                    patience -= 1;
                    std::thread::sleep(Duration::from_secs(1));
                    continue;
                }
                other => other.map_err(wrap)?,
            }
            if let Some(lock) = self.generate(folder, layout, source, tell)? {
                return Ok(lock);
            }
        }
    }

    /// Writes the entry into a staging folder, renames it into place and returns its lock. Another run may do the same at
    /// the same time; where that one was first its entry stays, and there is no lock of ours.
    fn generate(
        &mut self,
        folder: &Path,
        layout: &Layout,
        source: &dyn Source,
        tell: &mut dyn FnMut(Preparing),
    ) -> Result<Option<File>> {
        let wrap = |cause| Error::output(folder, cause, HINT);
        let Staged {
            folder: staging,
            lock,
        } = shelf::stage(&self.root, 0o777).map_err(wrap)?;
        fill(staging.path(), layout, source, tell).map_err(wrap)?;
        source.check()?;
        self.publish(staging, folder)
            .map_err(wrap)
            .map(|ours| ours.then_some(lock))
    }

    /// Gives a staged entry its name; false where another run was first.
    fn publish(&mut self, staging: tempfile::TempDir, folder: &Path) -> io::Result<bool> {
        let _turn = shelf::turn(&self.root)?;
        match fs::rename(staging.path(), folder) {
            Ok(()) => {
                // Renamed away: there is nothing left for the temporary folder's guard to remove.
                let _ = staging.keep();
                self.checked.insert(folder.to_owned());
                Ok(true)
            }
            // Another run was first: its entry is as good.
            Err(_) if folder.join(MANIFEST).exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes an entry unless a run holds it.
    fn discard(&self, folder: &Path) -> io::Result<()> {
        shelf::discard(&self.root, folder, MANIFEST)
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
            if folder != keep && self.discard(&folder).is_ok() {
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
            .partition(|entry| self.discard(&self.root.join(&entry.name)).is_ok()))
    }

    /// Where the entries are.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Writes the files of an entry, the manifest last.
fn fill(
    folder: &Path,
    layout: &Layout,
    source: &dyn Source,
    tell: &mut dyn FnMut(Preparing),
) -> io::Result<()> {
    let total = layout.file_bytes;
    let file = File::create(folder.join(WEIGHTS_FILE))?;
    // Reserving the space first turns a full disk into an error now, not after gigabytes.
    reserve(&file, total)?;
    let mut out = Hashing {
        inner: BufWriter::with_capacity(1 << 20, file),
        hash: Xxh3::new(),
    };
    layout.write(source, &mut out, |done| {
        tell(Preparing::Writing(done, total))
    })?;
    let Hashing { mut inner, hash } = out;
    inner.flush()?;
    let manifest = Manifest {
        bytes: total,
        xxh3: format!("{:016x}", hash.digest()),
    };
    write_whole(&folder.join(MANIFEST), &serde_json::to_vec(&manifest)?)
}

/// Name of a graph beside its weights.
fn graph_name(variant: Variant) -> String {
    let mut name = variant.form.to_string();
    if variant.kv_cache != KvCache::Float {
        name += &format!("-kv-{}", variant.kv_cache);
    }
    if variant.kv_update == KvUpdate::Copied {
        name += "-copied";
    }
    if variant.for_cuda {
        name += "-cuda";
    }
    if variant.packed_experts {
        name += "-packed";
    }
    format!("{name}-{}.onnx", variant.context)
}

/// Writes a complete model into `folder` for other tools: the graph and its weights.
pub fn export(
    spec: &ModelSpec,
    variant: Variant,
    numerics: Numerics,
    source: &dyn Source,
    folder: &Path,
    tell: &mut dyn FnMut(Preparing),
) -> Result<Prepared> {
    let layout = Layout::of(spec, numerics);
    let wrap = |source| Error::output(folder, source, " with -o");
    fs::create_dir_all(folder).map_err(wrap)?;
    let emitted = emit(spec, &layout, variant);
    let total = layout.file_bytes;
    let weights = tempfile::NamedTempFile::new_in(folder).map_err(wrap)?;
    reserve(weights.as_file(), total).map_err(wrap)?;
    let mut out = BufWriter::with_capacity(1 << 20, weights.as_file());
    layout
        .write(source, &mut out, |done| {
            tell(Preparing::Writing(done, total))
        })
        .map_err(wrap)?;
    out.flush().map_err(wrap)?;
    drop(out);
    source.check()?;
    let weight_file = folder.join(WEIGHTS_FILE);
    publish(weights, &weight_file).map_err(wrap)?;
    let graph = folder.join("model.onnx");
    write_whole(&graph, &emitted.bytes).map_err(wrap)?;
    Ok(Prepared {
        graph,
        io: emitted.io,
        weight_file,
        tensors: emitted.weights,
        weights: weight_sum(&layout),
        largest_tensor: layout.largest(),
        _in_use: None,
    })
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
    let lock = shelf::hold(folder)?;
    Ok(lock.filter(|_| folder.join(MANIFEST).exists()))
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
    use crate::trial::{Float, Form, Precision};
    use std::sync::atomic::{AtomicBool, Ordering};

    const FUSED: Variant = Variant::portable(Form::Fused, KvCache::Float, 64);

    fn fp32() -> Numerics {
        Precision::Fp32.with(Float::Fp32)
    }

    fn prepare(store: &mut Store, model: &str) -> (Prepared, Vec<String>) {
        let mut notes = Vec::new();
        let prepared = store
            .prepare(find(model).unwrap(), FUSED, fp32(), 1, &mut |event| {
                if let Preparing::Note(note) = event {
                    notes.push(note.to_owned());
                }
            })
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
    fn what_a_killed_run_left_is_removed_by_the_next() {
        let (_folder, mut store) = store(u64::MAX);
        let dead = store.root.join(".staging-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(WEIGHTS_FILE), vec![0; 100]).unwrap();
        drop(prepare(&mut store, "tiny-gpt2"));
        assert!(!dead.exists());
    }

    #[test]
    fn graphs_of_both_caches_lie_beside_the_same_weights() {
        let int8 = Variant {
            kv_cache: KvCache::Int8,
            ..FUSED
        };
        assert_eq!(graph_name(FUSED), "fused-64.onnx");
        let copied = Variant {
            kv_update: KvUpdate::Copied,
            ..FUSED
        };
        let cuda = Variant {
            for_cuda: true,
            ..FUSED
        };
        let packed = Variant {
            packed_experts: true,
            ..cuda
        };
        let names: HashSet<String> = [FUSED, int8, copied, cuda, packed].map(graph_name).into();
        assert_eq!(names.len(), 5);
    }

    /// Prepares in a store of its own, as another process would, and looks at what it was given.
    fn prepare_apart(root: &Path, seed: u64) -> Option<String> {
        let spec = find("tiny-gpt2").unwrap();
        let mut store = Store::new(root, Bytes(u64::MAX));
        match store.prepare(spec, FUSED, fp32(), seed, &mut |_| {}) {
            Err(error) => Some(format!("{error:?}")),
            Ok(prepared) => [WEIGHTS_FILE, MANIFEST, shelf::LOCK, "fused-64.onnx"]
                .map(|name| prepared.graph.with_file_name(name))
                .iter()
                .find(|path| !path.exists())
                .map(|path| format!("{} is gone while it is held", path.display())),
        }
    }

    #[test]
    fn clearing_up_leaves_alone_what_another_run_has_just_begun() {
        let (folder, sweeper) = store(u64::MAX);
        let done = AtomicBool::new(false);
        let failures: Vec<String> = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    shelf::sweep(&sweeper.root);
                }
            });
            let failures = (0..100)
                .filter_map(|seed| prepare_apart(folder.path(), seed))
                .collect();
            done.store(true, Ordering::Relaxed);
            failures
        });
        assert!(
            failures.is_empty(),
            "{} of 100: {}",
            failures.len(),
            failures[0]
        );
    }
}
