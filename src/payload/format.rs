//! The payload's layout in a file: program, header, index, parts. Read and written here; nothing is extracted.
//!
//! ```text
//! [program: an ELF file][header, 64 bytes][index, JSON][part][part]...
//! header: magic "EDGEPACK", u32 format, u32 index length, u64 file length, u64 zero, SHA-256 of the index (little-endian)
//! ```
//!
//! The header lies in front so that a file that was cut short still knows how long it should be.

use crate::elf;
use crate::error::{Error, Result};
use crate::shelf;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"EDGEPACK";
const FORMAT: u32 = 1;
/// Length of the header.
pub const HEADER: u64 = 64;
/// No index is near this long; one that claims to be is damaged.
const LONGEST_INDEX: u32 = 1 << 20;

/// Name of the worker.
pub const WORKER: &str = "edgebench-worker";
/// Names that the folder of an extracted payload uses for itself: the record of its files, the stamp, the lock.
pub const RESERVED: [&str; 3] = ["files.json", "verified", shelf::LOCK];

/// What a part is for. In this order they lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The program that loads the runtime.
    Worker,
    /// ONNX Runtime's main library.
    Runtime,
    /// A provider that ONNX Runtime loads from beside it.
    Provider,
    /// A library of CUDA.
    Cuda,
    /// A licence or notice; it is read in place and never extracted.
    Notice,
}

/// One compressed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its file name; for a notice, the thing it is about and the file's name: `onnxruntime/LICENSE`.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// Length of the file.
    pub bytes: u64,
    /// Length of its compressed form (one zstd frame with a checksum).
    pub stored: u64,
    /// SHA-256 of the compressed form, in hex.
    pub sha256: String,
}

/// How many GPU kernels of one architecture a library keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernels {
    /// The library's file name.
    pub library: String,
    /// Architectures, as `sm_86`.
    pub architectures: Vec<String>,
    /// Bytes of other architectures that were blanked.
    pub blanked_bytes: u64,
    /// Kernel modules that have no code for an architecture that was asked for, cut or not: they are for other GPUs only.
    pub modules_without: BTreeMap<String, usize>,
}

/// What the payload holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Version of the edgebench that packed it.
    pub version: String,
    /// The machine that everything in it is for, by Rust's name.
    pub arch: String,
    /// Length of the program before the header.
    pub front_bytes: u64,
    /// SHA-256 of that program, in hex.
    pub front_sha256: String,
    /// File name of the wheel, folder or library that ONNX Runtime was taken from.
    pub runtime_source: String,
    /// GPU kernels kept, for each library that has any.
    pub kernels: Vec<Kernels>,
    /// The parts, in the order in which they lie.
    pub parts: Vec<Part>,
}

impl Index {
    /// Whether the parts fill the file from `at` to `end`, and each has a name of its own that may be used.
    fn fills(&self, at: u64, end: u64) -> bool {
        let mut names = BTreeSet::new();
        let parts_end = self
            .parts
            .iter()
            .try_fold(at, |at, part| at.checked_add(part.stored));
        parts_end == Some(end)
            && self
                .parts
                .iter()
                .all(|part| may_be_called(part.kind, &part.name) && names.insert(&part.name))
    }
}

/// A file with a payload, open.
#[derive(Debug)]
pub struct Package {
    file: File,
    path: PathBuf,
    /// Where the first part begins.
    parts_at: u64,
    /// What it holds.
    pub index: Index,
    /// Identity of the content: the first 16 hex digits of the index's SHA-256.
    pub id: String,
}

impl Package {
    /// Opens the payload of the program at `path`; `None` when it carries none. One that is damaged is an error.
    pub fn open(path: &Path) -> Result<Option<Package>> {
        let unreadable = |cause: &io::Error| {
            let remedy = match cause.kind() {
                io::ErrorKind::PermissionDenied => "give this user the right to read it (chmod +r)",
                _ => "copy it again",
            };
            Error::Runtime(format!(
                "could not read the program {}: {cause}; {remedy}",
                path.display()
            ))
        };
        let file = File::open(path).map_err(|cause| unreadable(&cause))?;
        let length = file.metadata().map_err(|cause| unreadable(&cause))?.len();
        let damaged = |cause: String| {
            Error::Runtime(format!(
                "{} {cause}, so nothing in it is run; copy it again",
                path.display()
            ))
        };
        let front = match elf::read(&file) {
            Ok(facts) => facts.end,
            Err(cause) if cause.kind() == io::ErrorKind::InvalidData => {
                return Err(damaged(format!("is cut short or was altered ({cause})")));
            }
            Err(cause) => return Err(unreadable(&cause)),
        };
        if length == front {
            return Ok(None);
        }
        let (index_bytes, total, digest) =
            header(&file, front, length).map_err(|cause| damaged(cause.to_owned()))?;
        if total != length {
            return Err(damaged(if length < total {
                format!("is cut short ({length} of {total} bytes)")
            } else {
                format!("is longer than it should be ({length} bytes instead of {total})")
            }));
        }
        let mut text = vec![0; index_bytes as usize];
        file.read_exact_at(&mut text, front + HEADER)
            .map_err(|cause| unreadable(&cause))?;
        if Sha256::digest(&text)[..] != digest {
            return Err(damaged("was altered (its index)".into()));
        }
        let index: Index = serde_json::from_slice(&text)
            .map_err(|cause| damaged(format!("has an index that cannot be read ({cause})")))?;
        let parts_at = front + HEADER + u64::from(index_bytes);
        if index.front_bytes != front || !index.fills(parts_at, total) {
            return Err(damaged("does not add up to its index".into()));
        }
        Ok(Some(Package {
            file,
            path: path.to_owned(),
            parts_at,
            index,
            id: hex(&digest)[..16].to_owned(),
        }))
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The parts with the place of their compressed bytes.
    pub fn located(&self) -> impl Iterator<Item = (&Part, u64)> {
        let mut at = self.parts_at;
        self.index.parts.iter().map(move |part| {
            let place = at;
            at += part.stored;
            (part, place)
        })
    }

    /// A reader of a part's content.
    pub fn content(&self, part: &Part, at: u64) -> io::Result<impl Read + use<'_>> {
        let stored = Slice {
            file: &self.file,
            at,
            end: at + part.stored,
        };
        let mut decoder = zstd::Decoder::new(stored)?.single_frame();
        decoder.window_log_max(WINDOW_LOG)?;
        Ok(decoder)
    }

    /// Refuses a program or a part whose bytes are not those that were packed.
    pub fn verify(&self) -> Result<()> {
        let front = (
            0,
            self.index.front_bytes,
            &self.index.front_sha256,
            "its program",
        );
        let parts = self
            .located()
            .map(|(part, at)| (at, part.stored, &part.sha256, part.name.as_str()));
        let pieces: Vec<_> = std::iter::once(front).chain(parts).collect();
        let check = |(at, bytes, expected, name): &(u64, u64, &String, &str)| {
            let slice = Slice {
                file: &self.file,
                at: *at,
                end: at + bytes,
            };
            match digest(slice) {
                Ok(found) if found == **expected => Ok(()),
                Ok(_) => Err(format!("was altered ({name})")),
                Err(cause) => Err(format!("could not be read ({name}: {cause})")),
            }
        };
        super::parallel(&pieces, check).map_err(|cause| {
            Error::Runtime(format!(
                "{} {cause}, so nothing in it is run; copy it again",
                self.path.display()
            ))
        })
    }
}

/// The header's figures: index length, file length, digest of the index.
fn header(
    file: &File,
    at: u64,
    length: u64,
) -> std::result::Result<(u32, u64, [u8; 32]), &'static str> {
    const CUT: &str = "is cut short or was altered behind its program";
    let mut header = [0; HEADER as usize];
    file.read_exact_at(&mut header, at).map_err(|_| CUT)?;
    let u32_at = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    if header[..8] != MAGIC {
        return Err(CUT);
    }
    if u32_at(8) != FORMAT {
        return Err("carries a payload of another edgebench's format");
    }
    let index = u32_at(12);
    if u64_at(24) != 0
        || index > LONGEST_INDEX
        || length < at + HEADER + u64::from(index) && u64_at(16) <= length
    {
        return Err("was altered (its header)");
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(&header[32..]);
    Ok((index, u64_at(16), digest))
}

/// Whether a part may have this name. Files go into a folder of ours: one plain word that the folder does not use for itself,
/// never a way out of it. A notice has two words.
pub fn may_be_called(kind: Kind, name: &str) -> bool {
    let words: Vec<&str> = name.split('/').collect();
    words.iter().all(|word| is_plain(word))
        && match kind {
            Kind::Worker => name == WORKER,
            Kind::Notice => words.len() == 2,
            Kind::Runtime | Kind::Provider | Kind::Cuda => {
                words.len() == 1 && name != WORKER && !RESERVED.contains(&name)
            }
        }
}

/// A file name that is not hidden and can be printed on one line.
fn is_plain(word: &str) -> bool {
    let bad = |char: char| char == '\\' || char.is_control();
    !word.is_empty() && word.len() < 256 && !word.starts_with('.') && !word.contains(bad)
}

/// Largest window a part may use, as a power of two: what a reader needs in memory.
pub const WINDOW_LOG: u32 = 27;

/// A stretch of a file, read without moving the file's own position: several threads read at once.
struct Slice<'file> {
    file: &'file File,
    at: u64,
    end: u64,
}

impl Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min((self.end - self.at) as usize);
        let length = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

/// The SHA-256 of everything a reader has, in hex.
pub fn digest(mut reader: impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 18];
    loop {
        match reader.read(&mut block) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(length) => hash.update(&block[..length]),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes program, header, index and the compressed parts of `parts` (one file after the other, in the index's order).
pub fn write(
    front: &mut impl Read,
    index: &Index,
    parts: &mut File,
    out: &mut impl Write,
) -> io::Result<()> {
    let text = serde_json::to_vec(index)?;
    let stored: u64 = index.parts.iter().map(|part| part.stored).sum();
    let total = index.front_bytes + HEADER + text.len() as u64 + stored;
    let mut header = Vec::with_capacity(HEADER as usize);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&FORMAT.to_le_bytes());
    header.extend_from_slice(&(text.len() as u32).to_le_bytes());
    header.extend_from_slice(&total.to_le_bytes());
    header.extend_from_slice(&[0; 8]);
    header.extend_from_slice(&Sha256::digest(&text));
    io::copy(&mut front.take(index.front_bytes), out)?;
    out.write_all(&header)?;
    out.write_all(&text)?;
    parts.seek(SeekFrom::Start(0))?;
    io::copy(&mut parts.take(stored), out)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, told};
    use super::*;
    use crate::error::exit;
    use proptest::prelude::*;
    use std::fs;

    /// Writes `bytes` and opens them; what is wrong with them, if anything.
    fn opened(folder: &Path, bytes: &[u8]) -> Result<Option<Package>> {
        let path = folder.join("changed");
        fs::write(&path, bytes).unwrap();
        let package = Package::open(&path)?;
        if let Some(package) = &package {
            package.verify()?;
        }
        Ok(package)
    }

    /// A good file, and where its program, header, index and parts end.
    fn good(folder: &Path) -> (Vec<u8>, Package, Vec<usize>) {
        let package = samples::opened(folder);
        let bytes = fs::read(package.path()).unwrap();
        let front = package.index.front_bytes;
        let ends = package.located().map(|(part, at)| at + part.stored);
        let ends = [front, front + HEADER, package.parts_at]
            .into_iter()
            .chain(ends);
        let ends = ends.map(|end| end as usize).collect();
        (bytes, package, ends)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let (bytes, package, ends) = good(folder.path());
        assert_eq!(ends.last(), Some(&bytes.len()));
        package.verify().unwrap();
        assert_eq!(package.id.len(), 16);
        let contents: Vec<Vec<u8>> = package
            .located()
            .map(|(part, at)| {
                let mut content = Vec::new();
                let mut reader = package.content(part, at).unwrap();
                reader.read_to_end(&mut content).unwrap();
                assert_eq!(content.len() as u64, part.bytes);
                content
            })
            .collect();
        let packed: Vec<Vec<u8>> = samples::parts().into_iter().map(|part| part.2).collect();
        assert!(contents == packed);
    }

    #[test]
    fn a_program_alone_carries_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            opened(folder.path(), &samples::program())
                .unwrap()
                .is_none()
        );
        let own = std::env::current_exe().unwrap();
        assert!(Package::open(&own).unwrap().is_none());
    }

    #[test]
    fn a_file_cut_short_anywhere_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let (bytes, _, ends) = good(folder.path());
        let around = ends.iter().flat_map(|end| [end - 1, *end, end + 1]);
        let inside = [0, 3, 63, 64, 100, 2000, bytes.len() - 100];
        for length in around.chain(inside) {
            // The end of the program is the end of a program without a payload.
            if length >= bytes.len() || length == ends[0] {
                continue;
            }
            let error = opened(folder.path(), &bytes[..length]).unwrap_err();
            told(&error, exit::RUNTIME, &["cut short", "copy it again"]);
        }
        let header = ends[1];
        let error = opened(folder.path(), &bytes[..header]).unwrap_err();
        let lengths = format!("({header} of {} bytes)", bytes.len());
        told(&error, exit::RUNTIME, &[&lengths]);
    }

    #[test]
    fn a_file_that_grew_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let (bytes, _, _) = good(folder.path());
        let error = opened(folder.path(), &[&bytes[..], b"!"].concat()).unwrap_err();
        told(&error, exit::RUNTIME, &["longer than it should be"]);
        let program = samples::program();
        for more in [&b"!"[..], &[0; 64], &[7; 5000]] {
            let error = opened(folder.path(), &[&program[..], more].concat()).unwrap_err();
            told(&error, exit::RUNTIME, &["altered behind its program"]);
        }
    }

    #[test]
    fn an_altered_byte_is_found_and_its_place_named() {
        let folder = tempfile::tempdir().unwrap();
        let (bytes, package, ends) = good(folder.path());
        let changed = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x20;
            opened(folder.path(), &bytes).unwrap_err()
        };
        told(
            &changed(ends[0] - 1),
            exit::RUNTIME,
            &["altered (its program)"],
        );
        told(&changed(ends[1]), exit::RUNTIME, &["altered (its index)"]);
        told(
            &changed(ends[2] - 1),
            exit::RUNTIME,
            &["altered (its index)"],
        );
        for ((part, at), end) in package.located().zip(&ends[3..]) {
            for at in [at as usize, end - 1] {
                told(&changed(at), exit::RUNTIME, &["altered", &part.name]);
            }
        }
        // In the header: the mark, the format, the index's length, the file's, what is kept for later, the digest.
        let header = ends[0];
        for (at, says) in [
            (0, "altered behind its program"),
            (8, "another edgebench's format"),
            (12, "altered"),
            (15, "altered (its header)"),
            (16, "is "),
            (23, "cut short"),
            (24, "altered (its header)"),
            (31, "altered (its header)"),
            (32, "altered (its index)"),
            (63, "altered (its index)"),
        ] {
            told(&changed(header + at), exit::RUNTIME, &[says]);
        }
    }

    #[test]
    fn an_index_that_tells_lies_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |change: fn(&mut Index), says: &str| {
            let path = folder.path().join("lying");
            samples::pack(&path, &samples::parts(), change);
            let opened = Package::open(&path).map(Option::unwrap);
            let error = opened.and_then(|package| package.verify()).unwrap_err();
            told(&error, exit::RUNTIME, &[says]);
        };
        const ADDS_UP: &str = "does not add up to its index";
        refused(|index| index.front_bytes -= 1, "altered behind its program");
        refused(|index| index.front_sha256.clear(), "altered (its program)");
        refused(
            |index| index.parts[2].sha256.clear(),
            "libonnxruntime.so.1.2.3",
        );
        refused(|index| index.parts.swap(0, 1), "altered");
        refused(
            |index| index.parts[1].name = index.parts[0].name.clone(),
            ADDS_UP,
        );
        refused(
            |index| index.parts[3].name = index.parts[2].name.clone(),
            ADDS_UP,
        );
        refused(|index| index.parts[0].kind = Kind::Cuda, ADDS_UP);
    }

    #[test]
    fn lengths_beyond_all_measure_are_refused() {
        let part = |stored| Part {
            name: format!("lib{stored}.so"),
            kind: Kind::Cuda,
            bytes: 1,
            stored,
            sha256: String::new(),
        };
        let index = |lengths: &[u64]| Index {
            version: String::new(),
            arch: String::new(),
            front_bytes: 0,
            front_sha256: String::new(),
            runtime_source: String::new(),
            kernels: Vec::new(),
            parts: lengths.iter().copied().map(part).collect(),
        };
        assert!(index(&[2, 3]).fills(10, 15));
        assert!(!index(&[2, 3]).fills(10, 16));
        assert!(!index(&[u64::MAX, 16]).fills(10, 25));
        assert!(!index(&[u64::MAX - 5]).fills(10, 4));
    }

    #[test]
    fn a_name_leads_nowhere_but_into_the_folder() {
        for name in [
            "",
            ".",
            "..",
            "../up",
            "/etc/passwd",
            "a/b",
            "a/../b",
            ".hidden",
            "a\\b",
            "a\nb",
            "a\0",
            "lock",
            "verified",
            "files.json",
            WORKER,
        ] {
            assert!(!may_be_called(Kind::Runtime, name), "{name:?}");
        }
        assert!(!may_be_called(Kind::Cuda, &"x".repeat(256)));
        assert!(may_be_called(Kind::Cuda, "libcublas.so.12"));
        assert!(may_be_called(Kind::Worker, WORKER) && !may_be_called(Kind::Worker, "worker"));
        assert!(may_be_called(Kind::Notice, "onnxruntime/LICENSE"));
        for name in ["LICENSE", "a/b/c", "../LICENSE", "a/", "/a", "a/.b"] {
            assert!(!may_be_called(Kind::Notice, name), "{name:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad");
        for name in ["../../escaped", "/tmp/escaped", "sub/escaped", "lock"] {
            let parts = [(Kind::Runtime, name, b"x".to_vec())];
            samples::pack(&path, &parts, |_| {});
            let error = Package::open(&path).unwrap_err();
            told(&error, exit::RUNTIME, &["does not add up"]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn no_change_to_the_bytes_is_overlooked_or_brings_it_down(
            flips in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 0..4),
            // Most of the file is program and filler; the rest is what can go wrong.
            behind in any::<bool>(),
            cut in proptest::option::of(any::<prop::sample::Index>()),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let (good, package, ends) = good(folder.path());
            let mut bytes = good.clone();
            let from = if behind { ends[0] } else { 0 };
            for (at, mask) in &flips {
                let room = bytes.len() - from;
                bytes[from + at.index(room)] ^= mask;
            }
            if let Some(cut) = cut {
                bytes.truncate(from + cut.index(good.len() - from));
            }
            match opened(folder.path(), &bytes) {
                Ok(Some(found)) => {
                    prop_assert!(bytes == good);
                    prop_assert_eq!(found.index, package.index);
                }
                Ok(None) => prop_assert_eq!(bytes.len(), ends[0]),
                Err(error) => told(&error, exit::RUNTIME, &[]),
            }
        }
    }
}
