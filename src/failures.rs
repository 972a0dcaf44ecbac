//! Sizes that failed, remembered between runs, so that no search drives this device into the same failure twice. One JSON
//! file in the cache folder; several runs may read and write it at once.

use crate::shelf;
use crate::trial::{Device, Enforce, Form, KvCache, Offload, Phase, Precision};
use crate::units::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
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
    /// Its build, where the library tells it: builds of one version take different memory.
    pub runtime_build: Option<String>,
    /// How firmly the budget is held.
    pub enforce: Enforce,
    /// `ORT_FORCE_DETERMINISTIC_MOE` as the user set it: without it the timing of kernels may take GiB.
    pub moe_kernels: Option<String>,
    /// The variables of tunings as the user set them, with their values: some take hundreds of MiB.
    #[serde(default)]
    pub tunings: Vec<String>,
    /// Tokens that the KV cache has room for besides those of the sequence.
    #[serde(default)]
    pub kv_room: Option<u32>,
    /// `CUBLAS_WORKSPACE_CONFIG` as the user set it.
    pub cublas_workspace: Option<String>,
    /// Version of edgebench, with its commit.
    pub edgebench: String,
    /// Model name.
    pub model: String,
    /// Graph form.
    pub form: Form,
    /// Element type.
    pub precision: Precision,
    /// Type of the KV cache.
    #[serde(default)]
    pub kv_cache: KvCache,
    /// Which weights stay in main memory.
    #[serde(default)]
    pub offload: Offload,
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

    /// What is remembered of a search. A file that cannot be read is told as a sentence and written anew; a line that another
    /// version of edgebench wrote, and this one does not understand, is passed over.
    pub fn recall(&self, key: &Key) -> Result<Option<Remembered>, String> {
        let lines = match self.read() {
            Ok(lines) => lines,
            Err(_) => self.mend()?,
        };
        let mut entries = lines.iter().filter_map(entry);
        let found = entries.find(|entry| entry.key == *key);
        Ok(found.map(|entry| entry.fails))
    }

    /// Empties a file that cannot be read, in a turn and after another look: another run may just have written it anew.
    fn mend(&self) -> Result<Vec<Value>, String> {
        let turn = shelf::turn(&self.folder);
        let cause = match self.read() {
            Ok(lines) => return Ok(lines),
            Err(cause) => cause,
        };
        if turn.is_ok() {
            // Where it cannot be written either, the next failure to remember says so.
            let _ = self.write(&[]);
        }
        Err(format!(
            "the failures remembered in {} cannot be read ({cause}) and are forgotten; sizes that failed are tried again",
            self.file().display()
        ))
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
        let mut lines = self.read().unwrap_or_default();
        let known = lines.iter().enumerate().find_map(|(place, line)| {
            let entry = entry(line).filter(|entry| entry.key == *key)?;
            Some((place, entry.fails.size))
        });
        let size = fails.size;
        let key = key.clone();
        let line =
            serde_json::to_value(Entry { key, fails }).map_err(|cause| wrap(cause.into()))?;
        match known {
            Some((_, smaller)) if smaller <= size => return Ok(()),
            Some((place, _)) => lines[place] = line,
            None => lines.push(line),
        }
        self.write(&lines).map_err(wrap)
    }

    /// The lines of the file as they stand there: those of other versions are kept for them.
    fn read(&self) -> Result<Vec<Value>, String> {
        match fs::read(self.file()) {
            Ok(text) => serde_json::from_slice(&text).map_err(|cause| cause.to_string()),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(cause) => Err(cause.to_string()),
        }
    }

    fn write(&self, lines: &[Value]) -> io::Result<()> {
        let mut staged = tempfile::NamedTempFile::new_in(&self.folder)?;
        let mut text = serde_json::to_vec_pretty(lines)?;
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

/// A line of the file, if it is one of this version's.
fn entry(line: &Value) -> Option<Entry> {
    Entry::deserialize(line).ok()
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
            runtime_build: None,
            enforce: Enforce::Hard,
            moe_kernels: None,
            tunings: Vec::new(),
            kv_room: None,
            cublas_workspace: None,
            edgebench: "0.1.0".to_owned(),
            model: model.to_owned(),
            form: Form::Fused,
            precision: Precision::Fp16,
            kv_cache: KvCache::Float,
            offload: Offload::None,
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
        let like = || key("a");
        let others = [
            Key {
                budget: Bytes(5),
                ..like()
            },
            Key {
                enforce: Enforce::Soft,
                ..like()
            },
            Key {
                moe_kernels: Some("0".to_owned()),
                ..like()
            },
            Key {
                cublas_workspace: Some(":16:8".to_owned()),
                ..like()
            },
            Key {
                runtime_build: Some("git-branch=HEAD".to_owned()),
                ..like()
            },
        ];
        for other in others {
            assert_eq!(again.recall(&other), Ok(None));
        }
        assert_eq!(again.listing().unwrap().name, "ceilings/failures.json");
        assert!(again.clear() && again.listing().is_none() && !again.clear());
    }

    #[test]
    fn a_damaged_file_is_told_and_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let failures = Failures::new(folder.path());
        failures.remember(&key("a"), failed(640), true).unwrap();
        for text in ["", "{", "{\"key\": 1}", "\u{0}"] {
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
    fn a_line_of_another_version_is_passed_over_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let failures = Failures::new(folder.path());
        failures.remember(&key("a"), failed(640), true).unwrap();
        let mut lines = failures.read().unwrap();
        let mut foreign = lines[0].clone();
        foreign["key"]["form"] = "sparse".into();
        lines.insert(0, foreign.clone());
        failures.write(&lines).unwrap();
        assert_eq!(failures.recall(&key("a")), Ok(Some(failed(640))));
        failures.remember(&key("a"), failed(576), true).unwrap();
        assert_eq!(failures.recall(&key("a")), Ok(Some(failed(576))));
        assert_eq!(failures.read().unwrap()[0], foreign);
    }

    #[test]
    fn a_damaged_file_is_emptied_in_a_turn_and_not_what_was_written_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let failures = Failures::new(folder.path());
        failures.remember(&key("a"), failed(640), true).unwrap();
        let good = fs::read(failures.file()).unwrap();
        fs::write(failures.file(), "{").unwrap();
        let turn = shelf::turn(&failures.folder).unwrap();
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| failures.recall(&key("a")));
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(!reading.is_finished());
            fs::write(failures.file(), &good).unwrap();
            drop(turn);
            assert_eq!(reading.join().unwrap(), Ok(Some(failed(640))));
        });
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
