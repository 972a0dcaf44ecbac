//! Damaged ONNX files of many kinds go through the whole reader: no panic, no hang, memory bounded by the file's size.
//! `EDGEBENCH_MUTATIONS=CASES` or `EDGEBENCH_MUTATION_SECONDS=N` makes it run longer, `EDGEBENCH_MUTATION_SEED=N` elsewhere.

#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Counts what is allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[expect(
    unsafe_code,
    reason = "an allocator is unsafe by its trait; this one counts and hands on"
)]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that the reader may take whatever the file: its buffers, the sheet as text and as JSON, tables of its own.
const BASE: usize = 2 << 20;

/// And for each byte of the file. A node of few bytes is a structure of some hundred, kept in lists, sheets and sentences.
const TIMES: usize = 256;

/// One case may take so long, on a busy machine and without optimisation.
const LONGEST: Duration = Duration::from_secs(1);

const CASES: u64 = 3000;
/// However slow the machine.
const SECONDS: u64 = 15;

/// Numbers that look random, the same everywhere (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// The graphs of other exporters that are committed.
fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let all = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"));
    let mut folders: Vec<PathBuf> = ["foreign", "passes"]
        .iter()
        .flat_map(|kind| std::fs::read_dir(all.join(kind)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    let graphs = folders.into_iter().map(|folder| {
        let bytes = std::fs::read(folder.join("model.onnx")).unwrap();
        (folder, bytes)
    });
    graphs.collect()
}

/// Places where a field of some length begins: a key of that kind, and a length that fits.
fn lengths(bytes: &[u8]) -> Vec<usize> {
    let fits = |at: &usize| {
        let (key, length) = (bytes[*at], usize::from(bytes[at + 1]));
        key & 7 == 2 && key >> 3 != 0 && length < 128 && at + 2 + length <= bytes.len()
    };
    (0..bytes.len().saturating_sub(1)).filter(fits).collect()
}

/// Does one kind of damage.
fn damage(bytes: &mut Vec<u8>, other: &[u8], places: &[usize], random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    let length = bytes.len();
    match random.below(8) {
        0 => {
            for _ in 0..=random.below(8) {
                bytes[random.below(length)] ^= 1 << random.below(8);
            }
        }
        1 => bytes.truncate(random.below(length)),
        2 | 3 => {
            // A length, or a number behind a key, blown up or nearly so.
            let at = places
                .get(random.below(places.len()))
                .map_or(0, |at| at + 1);
            let huge: &[&[u8]] = &[
                &[0xff; 9],
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
                &[0xff, 0xff, 0xff, 0xff, 0x07],
                &[0x80, 0x80, 0x80, 0x80, 0x10],
                &[0xff, 0x7f],
                &[0],
            ];
            let value = huge[random.below(huge.len())];
            let at = at.min(bytes.len());
            let end = (at + 1).min(bytes.len());
            bytes.splice(at..end, value.iter().copied());
        }
        4 => {
            // A piece of another file.
            let from = random.below(other.len());
            let piece = random.below(other.len() - from).min(4096);
            let at = random.below(length);
            let until = (at + random.below(4096)).min(length);
            bytes.splice(at..until, other[from..from + piece].iter().copied());
        }
        5 => {
            // A piece twice.
            let at = random.below(length);
            let piece = bytes[at..(at + 1 + random.below(512)).min(length)].to_vec();
            bytes.splice(at..at, piece);
        }
        6 => {
            let at = random.below(length);
            let until = (at + 1 + random.below(64)).min(length);
            bytes.drain(at..until);
        }
        _ => {
            // Another name or number of the same length: letters into letters.
            for _ in 0..=random.below(16) {
                let (from, to) = (random.below(length), random.below(length));
                bytes[to] = bytes[from];
            }
        }
    }
}

/// A number that a variable gives.
fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Reads a file, and says what was wrong with how that went.
fn read(path: &Path, length: usize) -> Result<bool, String> {
    let (before, started) = (NOW.load(Relaxed), Instant::now());
    PEAK.store(before, Relaxed);
    let read = std::panic::catch_unwind(|| edgebench::read_onnx(path).is_ok());
    let (took, peak) = (started.elapsed(), PEAK.load(Relaxed) - before);
    let understood = read.map_err(|_| "it panicked".to_owned())?;
    if took > LONGEST {
        return Err(format!("it took {took:?}"));
    }
    match BASE + TIMES * length {
        most if peak > most => Err(format!("it took {peak} bytes, more than {most}")),
        _ => Ok(understood),
    }
}

#[test]
fn no_damage_makes_the_reader_panic_hang_or_take_much_memory() {
    let seed = given("EDGEBENCH_MUTATION_SEED").unwrap_or(1);
    let seconds = given("EDGEBENCH_MUTATION_SECONDS");
    let cases = given("EDGEBENCH_MUTATIONS").unwrap_or(match seconds {
        Some(_) => u64::MAX,
        None => CASES,
    });
    let limit = Duration::from_secs(seconds.unwrap_or(SECONDS));
    let (corpus, scratch) = (corpus(), tempfile::tempdir().unwrap());
    let folders = corpus.iter().enumerate().map(|(at, (from, bytes))| {
        // Beside the files that the whole graph came with.
        let folder = scratch.path().join(at.to_string());
        std::fs::create_dir(&folder).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let file = entry.unwrap().path();
            std::fs::copy(&file, folder.join(file.file_name().unwrap())).unwrap();
        }
        let graph = folder.join("model.onnx");
        assert_eq!(read(&graph, bytes.len()), Ok(true), "{}", from.display());
        graph
    });
    let graphs: Vec<PathBuf> = folders.collect();
    let places: Vec<Vec<usize>> = corpus.iter().map(|(_, bytes)| lengths(bytes)).collect();
    let (started, mut done, mut understood) = (Instant::now(), 0, 0);
    while done < cases && started.elapsed() < limit {
        let mut random = Random(seed.wrapping_mul(1 << 40).wrapping_add(done));
        let at = random.below(corpus.len());
        let mut bytes = corpus[at].1.clone();
        for _ in 0..=random.below(3) {
            let other = random.below(corpus.len());
            damage(&mut bytes, &corpus[other].1, &places[at], &mut random);
        }
        std::fs::write(&graphs[at], &bytes).unwrap();
        match read(&graphs[at], bytes.len()) {
            Ok(whole) => understood += u64::from(whole),
            Err(what) => {
                let kept = std::env::temp_dir().join("edgebench-damaged.onnx");
                std::fs::write(&kept, &bytes).unwrap();
                panic!(
                    "case {done} of seed {seed}, a damaged {}: {what}; it is kept as {}",
                    corpus[at].0.display(),
                    kept.display()
                );
            }
        }
        done += 1;
    }
    let seconds = started.elapsed().as_secs_f64();
    // Damage that nothing gets past would not reach what comes behind the messages.
    assert!(
        understood > 0 && understood < done,
        "{understood} of {done}"
    );
    #[expect(clippy::print_stderr, reason = "what a long run is made for")]
    {
        eprintln!("{done} cases in {seconds:.1} s, {understood} of them understood");
    }
}
