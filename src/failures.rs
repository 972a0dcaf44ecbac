//! Sizes that failed, remembered between runs, so that no search drives this device into the same failure twice. One JSON
//! file in the cache folder; several runs may read and write it at once.

use crate::shelf;
use crate::trial::{Device, Form, Phase, Precision};
use crate::units::Bytes;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Folder of the file in the cache folder.
pub const FOLDER: &str = "ceilings";
const FILE: &str = "failures.json";

/// Everything that a failure depends on. What is not equal in all of it is another search.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Name of the GPU, or of the CPU.
    pub device_name: Option<String>,
    /// The device.
    pub device: Device,
    /// All of its memory.
    pub memory_total: Option<Bytes>,
    /// Driver version.
    pub driver: Option<String>,
    /// Version of ONNX Runtime.
    pub runtime: String,
    /// Version of edgebench, with its commit.
    pub edgebench: String,
    /// Model name.
    pub model: String,
    /// Graph form.
    pub form: Form,
    /// Element type.
    pub precision: Precision,
    /// What is searched for: `context` or `batch`.
    pub kind: String,
    /// Prompt length of each sequence; 0 where it is what is searched for.
    pub prompt_tokens: u32,
    /// Generated tokens of each sequence.
    pub gen_tokens: u32,
    /// Threads of the CPU provider.
    pub threads: u32,
    /// Whether decode steps are captured.
    pub cuda_graph: bool,
    /// Memory budget.
    pub budget: Bytes,
}

/// The smallest size that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The size.
    pub size: u32,
    /// How its trial ended, as results say it.
    pub status: String,
    /// Phase in which it failed, where that is known.
    pub phase: Option<Phase>,
    /// Why, in one sentence.
    pub reason: String,
    /// When, RFC 3339 in UTC.
    pub date: String,
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    key: Key,
    fails: Remembered,
}

/// The file.
pub struct Failures {
    folder: PathBuf,
}

/// What `edgebench cache` says of the file.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Its name below the cache folder.
    pub name: String,
    /// Its size.
    pub bytes: Bytes,
    /// When it was last written.
    pub modified: std::time::SystemTime,
}

impl Failures {
    /// The file below the cache folder; nothing is read yet.
    pub fn new(cache: &Path) -> Failures {
        Failures {
            folder: cache.join(FOLDER),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// What is remembered of a search. A file that cannot be read is told as a sentence and written anew.
    pub fn recall(&self, key: &Key) -> Result<Option<Remembered>, String> {
        match self.read() {
            Ok(entries) => {
                let found = entries.into_iter().find(|entry| entry.key == *key);
                Ok(found.map(|entry| entry.fails))
            }
            Err(cause) => {
                let file = self.file();
                // Where it cannot be written either, the next failure to remember says so.
                let _ = self.write(&[]);
                Err(format!(
                    "the failures remembered in {} cannot be read ({cause}) and are forgotten; sizes that failed are tried again",
                    file.display()
                ))
            }
        }
    }

    /// Remembers a failure, unless a smaller one is known or this one may have been others' doing: programs that used the
    /// device at the same time make it untrustworthy.
    pub fn remember(&self, key: &Key, fails: Remembered, trustworthy: bool) -> Result<(), String> {
        if !trustworthy {
            return Ok(());
        }
        let wrap = |cause: io::Error| {
            format!(
                "the failure could not be remembered in {}: {cause}; the next run tries that size again",
                self.file().display()
            )
        };
        fs::create_dir_all(&self.folder).map_err(wrap)?;
        // Read and written in one turn: two runs may have something to remember.
        let _turn = shelf::turn(&self.folder).map_err(wrap)?;
        let mut entries = self.read().unwrap_or_default();
        match entries.iter_mut().find(|entry| entry.key == *key) {
            Some(entry) if entry.fails.size <= fails.size => return Ok(()),
            Some(entry) => entry.fails = fails,
            None => entries.push(Entry {
                key: key.clone(),
                fails,
            }),
        }
        self.write(&entries).map_err(wrap)
    }

    fn read(&self) -> Result<Vec<Entry>, String> {
        match fs::read(self.file()) {
            Ok(text) => serde_json::from_slice(&text).map_err(|cause| cause.to_string()),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(cause) => Err(cause.to_string()),
        }
    }

    fn write(&self, entries: &[Entry]) -> io::Result<()> {
        let mut staged = tempfile::NamedTempFile::new_in(&self.folder)?;
        let mut text = serde_json::to_vec_pretty(entries)?;
        text.push(b'\n');
        staged.write_all(&text)?;
        staged.persist(self.file())?;
        Ok(())
    }

    /// The file, if there is one.
    pub fn listing(&self) -> Option<Listing> {
        let metadata = fs::metadata(self.file()).ok()?;
        Some(Listing {
            name: format!("{FOLDER}/{FILE}"),
            bytes: Bytes(metadata.len()),
            modified: metadata.modified().ok()?,
        })
    }

    /// Forgets everything. `false` where the file could not be removed.
    pub fn clear(&self) -> bool {
        fs::remove_file(self.file()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(model: &str) -> Key {
        Key {
            device_name: Some("a GPU".to_owned()),
            device: Device::Cuda(0),
            memory_total: Some(Bytes::GIB),
            driver: Some("580.1".to_owned()),
            runtime: "1.31.1".to_owned(),
            edgebench: "0.1.0".to_owned(),
            model: model.to_owned(),
            form: Form::Fused,
            precision: Precision::Fp16,
            kind: "context".to_owned(),
            prompt_tokens: 0,
            gen_tokens: 16,
            threads: 2,
            cuda_graph: true,
            budget: Bytes::GIB,
        }
    }

    fn failed(size: u32) -> Remembered {
        Remembered {
            size,
            status: "out_of_memory".to_owned(),
            phase: Some(Phase::Prefill),
            reason: "an allocation was refused".to_owned(),
            date: "2026-01-02T03:04:05Z".to_owned(),
        }
    }

    #[test]
    fn the_smallest_failure_of_each_search_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let failures = Failures::new(folder.path());
        assert!(failures.listing().is_none() && !folder.path().join(FOLDER).exists());
        for (model, size) in [("a", 640), ("a", 576), ("a", 704), ("b", 128)] {
            failures.remember(&key(model), failed(size), true).unwrap();
        }
        failures.remember(&key("a"), failed(64), false).unwrap();
        let again = Failures::new(folder.path());
        assert_eq!(again.recall(&key("a")), Ok(Some(failed(576))));
        assert_eq!(again.recall(&key("b")), Ok(Some(failed(128))));
        assert_eq!(again.recall(&key("c")), Ok(None));
        let other = Key {
            budget: Bytes(5),
            ..key("a")
        };
        assert_eq!(again.recall(&other), Ok(None));
        assert_eq!(again.listing().unwrap().name, "ceilings/failures.json");
        assert!(again.clear() && again.listing().is_none() && !again.clear());
    }

    #[test]
    fn a_damaged_file_is_told_and_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let failures = Failures::new(folder.path());
        failures.remember(&key("a"), failed(640), true).unwrap();
        for text in ["", "{", "[{\"key\": 1}]", "\u{0}"] {
            fs::write(failures.file(), text).unwrap();
            let sentence = failures.recall(&key("a")).unwrap_err();
            assert!(
                sentence.contains("failures.json") && sentence.contains("tried again"),
                "{sentence}"
            );
            assert_eq!(failures.recall(&key("a")), Ok(None));
        }
        fs::write(failures.file(), "{").unwrap();
        failures.remember(&key("a"), failed(640), true).unwrap();
        assert_eq!(failures.recall(&key("a")), Ok(Some(failed(640))));
    }

    #[test]
    fn runs_at_the_same_time_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for index in 0..16 {
                let failures = Failures::new(folder.path());
                scope.spawn(move || {
                    failures
                        .remember(&key(&index.to_string()), failed(64), true)
                        .unwrap()
                });
            }
        });
        let failures = Failures::new(folder.path());
        for index in 0..16 {
            assert_eq!(
                failures.recall(&key(&index.to_string())),
                Ok(Some(failed(64)))
            );
        }
    }
}
