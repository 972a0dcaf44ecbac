//! The tensors of a checkpoint: one safetensors file, or several that an index names. Mapped; nothing of a file is believed that
//! was not compared with its length.

use super::mapped::Mapped;
use crate::error::{Error, Result};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const ONE_FILE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Values that are read between two times that memory is given back.
const READ_BETWEEN: u64 = 16 << 20;

/// Number formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
}

impl Kind {
    /// Size of a value in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Kind::F32 => 4,
            Kind::F16 | Kind::Bf16 => 2,
        }
    }
}

/// Where a tensor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its dimensions.
    pub dims: Vec<u64>,
    /// Its number format.
    pub kind: Kind,
    shard: usize,
    from: usize,
    bytes: usize,
}

/// All files of a checkpoint.
pub struct Checkpoint {
    folder: PathBuf,
    files: Vec<String>,
    shards: Vec<Mapped>,
    tensors: BTreeMap<String, Stored>,
    read: AtomicU64,
}

/// The file that says which tensor is where.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens the files in a folder.
    pub fn open(folder: &Path) -> Result<Checkpoint> {
        let mut checkpoint = Checkpoint {
            folder: folder.to_owned(),
            files: Vec::new(),
            shards: Vec::new(),
            tensors: BTreeMap::new(),
            read: AtomicU64::new(0),
        };
        match checkpoint.index()? {
            None => checkpoint.add(ONE_FILE, None)?,
            Some(index) => {
                let files: BTreeSet<&String> = index.weight_map.values().collect();
                for file in files {
                    checkpoint.add(file, Some(&index))?;
                }
                let gone = |name: &&String| !checkpoint.tensors.contains_key(*name);
                if let Some(name) = index.weight_map.keys().find(gone) {
                    let file = &index.weight_map[name];
                    return Err(checkpoint.wrong(
                        file,
                        format!("{INDEX} says that {name} is in it, and it is not"),
                    ));
                }
            }
        }
        Ok(checkpoint)
    }

    fn index(&self) -> Result<Option<Index>> {
        let path = self.folder.join(INDEX);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read(&path).map_err(|cause| self.wrong(INDEX, cause))?;
        let index: Index =
            serde_json::from_slice(&text).map_err(|cause| self.wrong(INDEX, cause))?;
        for file in index.weight_map.values() {
            // A file of the folder itself, and of no other.
            let mut parts = Path::new(file).components();
            let first = parts.next();
            if !matches!(first, Some(std::path::Component::Normal(_))) || parts.next().is_some() {
                return Err(self.wrong(
                    INDEX,
                    format!("it names {file}, which is no name of a file in this folder"),
                ));
            }
        }
        Ok(Some(index))
    }

    /// Adds the tensors of a file.
    fn add(&mut self, file: &str, index: Option<&Index>) -> Result<()> {
        let map = Mapped::open(&self.folder.join(file)).map_err(|cause| self.wrong(file, cause))?;
        let read = SafeTensors::deserialize(&map).map_err(|cause| self.wrong(file, cause))?;
        let shard = self.shards.len();
        let mut found = Vec::new();
        for (name, view) in read.iter() {
            let kind = match view.dtype() {
                Dtype::F32 => Kind::F32,
                Dtype::F16 => Kind::F16,
                Dtype::BF16 => Kind::Bf16,
                other => {
                    return Err(self.wrong(
                        file,
                        format!("{name} is of type {other}, and F32, F16 and BF16 are known"),
                    ));
                }
            };
            if index.is_some_and(|index| index.weight_map.get(name).is_none_or(|of| of != file)) {
                return Err(self.wrong(
                    file,
                    format!("{name} is in it, and {INDEX} does not say so"),
                ));
            }
            let stored = Stored {
                dims: view.shape().iter().map(|dim| *dim as u64).collect(),
                kind,
                shard,
                // The data is a part of the map.
                from: view.data().as_ptr().addr() - map.as_ptr().addr(),
                bytes: view.data().len(),
            };
            found.push((name.to_owned(), stored));
        }
        drop(read);
        self.tensors.extend(found);
        self.files.push(file.to_owned());
        self.shards.push(map);
        Ok(())
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Stored> {
        self.tensors.get(name)
    }

    /// Names of the files that tensors are in.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    /// All names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor's bytes.
    pub fn bytes(&self, stored: &Stored) -> &[u8] {
        &self.shards[stored.shard][stored.from..][..stored.bytes]
    }

    /// Is told that so many values are about to be read. Now and then it gives back the memory of what was.
    pub fn reading(&self, values: u64) {
        let before = self.read.fetch_add(values, Ordering::Relaxed);
        if before / READ_BETWEEN != (before + values) / READ_BETWEEN {
            self.shards.iter().for_each(Mapped::let_go);
        }
    }

    /// An error about one of the files.
    fn wrong(&self, file: &str, cause: impl Display) -> Error {
        Error::Model(format!(
            "could not import {}: {cause}; nothing was written, give the folder of a whole checkpoint in safetensors files",
            self.folder.join(file).display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A safetensors file of these tensors, all of zeros.
    pub fn file(tensors: &[(&str, &str, &[u64])]) -> Vec<u8> {
        let (mut header, mut end) = (serde_json::Map::new(), 0);
        for (name, kind, dims) in tensors {
            let size = if *kind == "F32" { 4 } else { 2 };
            let next = end + size * dims.iter().product::<u64>();
            header.insert(
                (*name).into(),
                serde_json::json!({"dtype": kind, "shape": dims, "data_offsets": [end, next]}),
            );
            end = next;
        }
        let header = serde_json::Value::Object(header).to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.into_bytes());
        bytes.resize(bytes.len() + end as usize, 0);
        bytes
    }

    /// What is said of a folder with these files.
    fn refusal(files: &[(&str, &[u8])]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        match Checkpoint::open(folder.path()) {
            Ok(_) => "nothing".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_way_in_which_files_can_be_wrong_is_told_with_the_file() {
        let good = file(&[("a", "F16", &[2, 3])]);
        assert_eq!(refusal(&[(ONE_FILE, &good)]), "nothing");
        let index =
            |map: &str| format!("{{\"metadata\": {{}}, \"weight_map\": {map}}}").into_bytes();
        let mut long = good.clone();
        long.push(0);
        type Files<'a> = &'a [(&'a str, &'a [u8])];
        let cases: &[(Files, &[&str])] = &[
            (&[], &["model.safetensors", "No such file"]),
            (
                &[(ONE_FILE, &good[..good.len() - 1])],
                &["model.safetensors"],
            ),
            (&[(ONE_FILE, &long)], &["model.safetensors"]),
            (&[(ONE_FILE, b"")], &["model.safetensors"]),
            (&[(ONE_FILE, &[255; 64])], &["model.safetensors"]),
            (
                &[(ONE_FILE, &file(&[("a", "I16", &[4])]))],
                &["a is of type I16", "BF16"],
            ),
            (&[(INDEX, b"{}")], &[INDEX, "weight_map"]),
            (
                &[(INDEX, &index("{\"a\": \"../model.safetensors\"}"))],
                &[INDEX, "../model.safetensors", "no name of a file"],
            ),
            (
                &[(INDEX, &index("{\"a\": \"/etc/passwd\"}"))],
                &["/etc/passwd", "no name of a file"],
            ),
            (
                &[(INDEX, &index("{\"a\": \"one.safetensors\"}"))],
                &["one.safetensors", "No such file"],
            ),
            (
                &[
                    (INDEX, &index("{\"a\": \"one\", \"b\": \"one\"}")),
                    ("one", &good),
                ],
                &["b is in it, and it is not", "one"],
            ),
            (
                &[(INDEX, &index("{\"b\": \"one\"}")), ("one", &good)],
                &["a is in it", "does not say so"],
            ),
        ];
        for (files, parts) in cases {
            let text = refusal(files);
            for part in *parts {
                assert!(text.contains(part), "{part}: {text}");
            }
            assert!(text.contains("nothing was written"), "{text}");
        }
    }
}
