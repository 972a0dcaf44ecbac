//! Door of the room that reads checkpoints as transformers saves them: config.json and safetensors in, the graphs of the built-in
//! models out. Whatever is not understood is refused before anything is written.

mod checkpoint;
mod config;
mod mapped;
mod names;
mod options;
mod positions;
mod recipe;
#[cfg(test)]
mod tests;

use self::checkpoint::Checkpoint;
use self::config::Described;
use self::options::Options;
use self::recipe::Recipe;
use crate::error::{Error, Result};
use crate::model::{
    self, ModelSpec, Origin, Prepared, Preparing, Seeded, Source, Values, Variant, Weight,
};
use crate::trial::{Float, Form, Numerics};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Raised whenever the weights that are made of a checkpoint change, so that old cache entries are not used.
const READER: u32 = 1;

/// Values that a thread reads before the next are asked for.
const PIECE: u64 = 1 << 17;

/// What the attention operators of the fused graphs take heads in multiples of.
const HEAD_MULTIPLE: u32 = 16;

/// The text side of a model, copied as it is.
const TOKENIZER: &str = "tokenizer.json";

/// A checkpoint that was understood: every weight of its graphs is in it.
pub struct Imported {
    described: Described,
    folder: PathBuf,
    checkpoint: Checkpoint,
    recipes: HashMap<String, Recipe>,
    key: u64,
}

impl Imported {
    /// Reads what is in a folder. Weights are only looked at when they are written.
    pub fn open(folder: &Path) -> Result<Imported> {
        let name = fs::canonicalize(folder).ok();
        let name = name.as_deref().unwrap_or(folder).file_name();
        let name = name.unwrap_or_default().to_string_lossy();
        let described = config::describe(Options::read(folder)?, &name)?;
        let checkpoint = Checkpoint::open(folder)?;
        let recipes = names::recipes(&described, &checkpoint, folder)?;
        let key = key(folder, &checkpoint).map_err(|cause| {
            Error::Model(format!(
                "could not look at the files in {}: {cause}; try again when nothing changes them",
                folder.display()
            ))
        })?;
        Ok(Imported {
            described,
            folder: folder.to_owned(),
            checkpoint,
            recipes,
            key,
        })
    }

    /// Its dimensions.
    pub fn spec(&self) -> &ModelSpec {
        &self.described.spec
    }

    /// What the user should know.
    pub fn notes(&self) -> &[String] {
        &self.described.notes
    }

    /// Writes graph, weights and tokenizer into `output`: all of them, or on an error nothing.
    pub fn write(
        &self,
        form: Form,
        numerics: Numerics,
        output: &Path,
        tell: &mut dyn FnMut(Preparing),
    ) -> Result<Prepared> {
        let spec = self.spec();
        check_heads(spec, form)?;
        let wrap = |source| Error::output(output, source, " with -o");
        let staging = stage(output).map_err(wrap)?;
        let weights = self.in_formats(numerics);
        let variant = Variant::portable(form, crate::trial::KvCache::Float, spec.max_positions);
        let written = model::export(spec, variant, numerics, &weights, staging.path(), tell)?;
        let tokenizer = self.folder.join(TOKENIZER);
        if tokenizer.is_file() {
            fs::copy(&tokenizer, staging.path().join(TOKENIZER)).map_err(wrap)?;
        }
        publish(staging, output).map_err(wrap)?;
        Ok(written.moved_to(output))
    }

    fn in_formats(&self, numerics: Numerics) -> Weights<'_> {
        Weights {
            imported: self,
            largest: match (numerics.compute(), numerics.quantized_bits()) {
                (Float::Fp32, None) => f32::MAX,
                // Scales are rounded to fp16 whatever they are stored as.
                _ => f32::from(half::f16::MAX),
            },
            beyond: OnceLock::new(),
        }
    }
}

/// Refuses heads that the operators of a form do not take.
pub fn check_heads(spec: &ModelSpec, form: Form) -> Result<()> {
    match form {
        Form::Fused if !spec.head_dim.is_multiple_of(HEAD_MULTIPLE) => Err(Error::Usage(format!(
            "{} has heads of {}, and --form fused takes multiples of {HEAD_MULTIPLE}; give --form plain",
            spec.name, spec.head_dim
        ))),
        _ => Ok(()),
    }
}

/// A checkpoint as the source of a weight file.
struct Weights<'a> {
    imported: &'a Imported,
    /// The largest number that can be stored.
    largest: f32,
    /// The first weight that had a larger one.
    beyond: OnceLock<String>,
}

impl Source for Weights<'_> {
    fn check(&self) -> Result<()> {
        let Some(weight) = self.beyond.get() else {
            return Ok(());
        };
        Err(Error::Model(format!(
            "could not import {}: {weight} has values that are not finite or larger than {:e}, the most that the type can store; nothing was written, give --precision fp32 or choose another checkpoint",
            self.imported.folder.display(),
            self.largest
        )))
    }

    fn values<'a>(&'a self, weight: &'a Weight) -> Values<'a> {
        let Some(recipe) = self.imported.recipes.get(&weight.name) else {
            // A table, which no seed has a part in.
            return Seeded(0).values(weight);
        };
        let checkpoint = &self.imported.checkpoint;
        checkpoint.reading(PIECE);
        Box::new(move |start, step, out| {
            recipe.fill(checkpoint, weight.last(), start, step, out);
            // False for what is no number as well.
            if !out.iter().all(|value| value.abs() <= self.largest) {
                self.beyond.get_or_init(|| weight.name.clone());
            }
        })
    }
}

impl Origin for Imported {
    fn key(&self) -> u64 {
        self.key
    }

    fn weights(&self, numerics: Numerics) -> Box<dyn Source + '_> {
        Box::new(self.in_formats(numerics))
    }
}

/// What changes whenever the files of a folder do: where they are, how long they are, and when they were last written or put
/// there. What is in them would take as long to read as to import.
fn key(folder: &Path, checkpoint: &Checkpoint) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut text = format!("{READER} {}", fs::canonicalize(folder)?.display());
    for name in [options::FILE].into_iter().chain(checkpoint.files()) {
        let about = fs::metadata(folder.join(name))?;
        let written = (about.mtime(), about.mtime_nsec());
        let placed = (about.ctime(), about.ctime_nsec());
        text += &format!(" {name:?} {} {written:?} {placed:?}", about.len());
    }
    let config = fs::read(folder.join(options::FILE))?;
    Ok(xxh3_64_with_seed(text.as_bytes(), xxh3_64(&config)))
}

/// A folder beside the one to be written, on the same file system.
fn stage(output: &Path) -> io::Result<tempfile::TempDir> {
    let beside = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(beside)?;
    tempfile::Builder::new()
        .prefix(".importing-")
        .tempdir_in(beside)
}

/// Moves what was written to its place; into a folder that is there already, the graph last.
fn publish(staging: tempfile::TempDir, output: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if !output.exists() {
        fs::set_permissions(staging.path(), fs::Permissions::from_mode(0o755))?;
        fs::rename(staging.path(), output)?;
        let _ = staging.keep();
        return Ok(());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(staging.path())? {
        files.push(entry?.file_name());
    }
    files.sort_by_key(|name| name.to_string_lossy().ends_with(".onnx"));
    files
        .iter()
        .try_for_each(|name| fs::rename(staging.path().join(name), output.join(name)))
}
