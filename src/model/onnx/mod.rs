//! Door of what is told about an ONNX file without loading it: operators, constants by type and part, inputs, caches.

mod caches;
mod config;
mod count;
mod decoder;
mod element;
mod names;
mod network;
mod pairs;
mod passes;
mod predict;
mod roles;
mod shapes;
mod skim;
mod steps;
#[cfg(test)]
mod tests;
mod walk;

pub use caches::{Caches, Dim, Update, Value};
pub use config::{Config, beside};
pub use count::Counts;
pub use decoder::Decoder;
pub use predict::{Prediction, Shape, predict};

use super::emit::{Variant, emit};
use super::spec::ModelSpec;
use super::weights::Layout;
use crate::error::{Error, Result};
use crate::protocol::{PassIo, Told};
use crate::trial::{Form, KvCache, Numerics};
use network::Network;
use skim::{Cause, Skimmed};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{Cursor, Read, Seek};
use std::path::{Component, Path};

/// What an ONNX file says of itself.
#[derive(Debug)]
pub struct OnnxFile {
    /// Length of the graph's file, without files beside it.
    pub file_bytes: u64,
    /// Version of the format.
    pub ir_version: i64,
    /// Versions of the operators, by domain.
    pub opsets: Vec<(String, i64)>,
    /// What wrote it.
    pub producer: Option<String>,
    /// Operators by name.
    pub operators: BTreeMap<String, u64>,
    /// Inputs that are no constants.
    pub inputs: Vec<Value>,
    /// Outputs.
    pub outputs: Vec<Value>,
    /// Parameters and bytes.
    pub counts: Counts,
    /// The KV cache, or why none is known.
    pub caches: Told<Caches>,
    /// How it is a decoder, or why it is not known to be one.
    pub decoder: Told<Decoder>,
    /// How it is fed where it is no decoder, or why it cannot be.
    pub pass: Told<PassIo>,
    /// Operators that neither the standard, nor ONNX Runtime, nor the file itself defines: of custom libraries.
    pub custom: Vec<String>,
    /// The most positions it can take and what says so, or why that is not known.
    pub positions: Told<(u64, String)>,
    /// What stands about it in the files that exporters put beside it.
    pub config: Config,
    /// Files beside it that hold constants.
    pub external: Vec<External>,
    /// What looks wrong or was left out, in words.
    pub notes: Vec<String>,
}

/// A file beside the graph's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// Its name, relative to the graph's folder.
    pub name: String,
    /// Bytes that must be in it at least.
    pub needed: u64,
    /// Bytes that are in it; `None` where it cannot be looked at.
    pub found: Option<u64>,
    /// Why it is not opened unless that is allowed: it may be any file of the machine.
    pub astray: Option<String>,
}

/// What the graph of a built-in model says, as it is written for its longest sequences.
pub fn of_builtin(spec: &ModelSpec, form: Form, numerics: Numerics) -> Result<OnnxFile> {
    let layout = Layout::of(spec, numerics);
    let variant = Variant::portable(form, KvCache::Float, spec.max_positions);
    let bytes = emit(spec, &layout, variant).bytes;
    let length = bytes.len() as u64;
    parse(Cursor::new(bytes), length, &Config::default()).map_err(Error::Bug)
}

/// Reads a file.
pub fn read(path: &Path) -> Result<OnnxFile> {
    let wrap = |cause: Cause| {
        Error::Model(format!(
            "could not read {} as an ONNX file: {cause}; name a model's .onnx file",
            path.display()
        ))
    };
    let (file, length) = open(path).map_err(wrap)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut read = parse(file, length, &config::beside(folder))
        .map_err(|cause| of_another_kind(path).unwrap_or(cause))
        .map_err(wrap)?;
    for external in &mut read.external {
        external.astray = astray(folder, &external.name);
        external.found = look(&folder.join(&external.name));
        read.notes.extend(external.complaint());
        let astray = external.astray.as_ref();
        read.notes.extend(astray.map(|why| {
            format!(
                "the weights in {} are not read in a run: {why}",
                external.name
            )
        }));
    }
    Ok(read)
}

fn open(path: &Path) -> Result<(File, u64), Cause> {
    let about = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if about.is_dir() {
        return Err(format!("it is a folder{}", within(path)));
    }
    if !about.is_file() {
        return Err("it is no regular file".into());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    Ok((file, about.len()))
}

/// What a file is instead, where its first bytes tell.
fn of_another_kind(path: &Path) -> Option<Cause> {
    let mut start = [0; 8];
    File::open(path).ok()?.read_exact(&mut start).ok()?;
    let kind = match &start {
        [_, _, _, _, b'O', b'R', b'T', b'M'] => "ONNX Runtime's own format (.ort)",
        [b'G', b'G', b'U', b'F', ..] => "a GGUF file",
        [0x80, ..] | [b'P', b'K', 3, 4, ..] => "a pickled PyTorch file or an archive",
        _ if path.extension().is_some_and(|end| end == "safetensors") => "a safetensors file",
        _ => return None,
    };
    Some(format!("it is {kind}"))
}

/// The one ONNX file of a folder, as the end of a sentence.
fn within(folder: &Path) -> String {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = files
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".onnx"))
        .collect();
    names.sort();
    match names.as_slice() {
        [] => String::new(),
        [one] => format!(" with {one} in it"),
        [first, rest @ ..] => format!(" with {first} and {} more in it", rest.len()),
    }
}

fn look(path: &Path) -> Option<u64> {
    let about = std::fs::metadata(path).ok()?;
    about.is_file().then_some(about.len())
}

/// Why a file that a graph names is not one of its own folder: then a graph could have any file of the machine read.
fn astray(folder: &Path, name: &str) -> Option<String> {
    let mut path = folder.to_owned();
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => continue,
            Component::ParentDir => return Some("its path climbs out of the folder".into()),
            Component::RootDir | Component::Prefix(_) => {
                return Some("its path is an absolute one".into());
            }
        }
        if path.is_symlink() {
            return Some(format!("{} is a link", path.display()));
        }
    }
    None
}

impl External {
    /// What is wrong with its length.
    pub fn complaint(&self) -> Option<String> {
        let External {
            name,
            needed,
            found,
            ..
        } = self;
        match found {
            None => Some(format!(
                "{name}, which is to hold weights, is not beside the file; their sizes are told all the same"
            )),
            Some(found) if found < needed => Some(format!(
                "{name} has {found} bytes, and weights are to reach up to byte {needed} of it: it is cut off or another model's"
            )),
            Some(_) => None,
        }
    }
}

/// Reads the graph's file; files beside it are only named.
fn parse(source: impl Read + Seek, length: u64, config: &Config) -> Result<OnnxFile, Cause> {
    let mut skimmed = skim::skim(source, length)?;
    let graph = match skimmed.model.graph.take() {
        Some(graph) if skimmed.model.ir_version > 0 => graph,
        _ => return Err("no graph is in it".into()),
    };
    let inputs: Vec<Value> = graph.input.iter().map(Value::of).collect();
    let mut outputs: Vec<Value> = graph.output.iter().map(Value::of).collect();
    skimmed.model.graph = Some(graph);
    let (opsets, producer) = (opsets(&skimmed), producer(&skimmed));
    let (ir_version, functions) = (skimmed.model.ir_version, skimmed.model.functions.len());
    let own: HashSet<(String, String)> = skimmed
        .model
        .functions
        .iter()
        .map(|one| (one.domain.clone(), one.name.clone()))
        .collect();
    let network = Network::of(skimmed)?;
    let constants: HashSet<&str> = network
        .tensors
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    let mut inputs: Vec<Value> = inputs
        .into_iter()
        .filter(|input| !constants.contains(input.name.as_str()))
        .collect();
    pairs::settle(&network, config.head_size, &mut inputs, &mut outputs);
    let counts = count::count(&network);
    let caches = caches::find(&network, &inputs, &outputs);
    let decoder = decoder::decoder(&network, &inputs, &outputs);
    let pass = passes::passes(&network, &inputs);
    Ok(OnnxFile {
        file_bytes: length,
        ir_version,
        opsets,
        producer,
        operators: network.operators(),
        positions: positions(&counts, &caches, config),
        config: config.clone(),
        external: external(&network),
        notes: notes(&network, functions),
        inputs,
        outputs,
        counts,
        caches,
        decoder,
        pass,
        custom: custom(&network, &own),
    })
}

/// Domains of operators that ONNX Runtime has itself.
const DOMAINS: [&str; 6] = [
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "ai.onnx.preview.training",
    "com.microsoft",
    "com.microsoft.nchwc",
];

/// Operators of other domains that the file does not define, each once.
fn custom(network: &Network, own: &HashSet<(String, String)>) -> Vec<String> {
    let nodes = network.nodes.iter();
    let of_others = nodes.filter(|node| {
        let defined = own.contains(&(node.domain.clone(), node.op_type.clone()));
        !DOMAINS.contains(&node.domain.as_str()) && !defined
    });
    let names: BTreeMap<String, ()> = of_others
        .map(|node| (format!("{}.{}", node.domain, node.op_type), ()))
        .collect();
    names.into_keys().collect()
}

fn opsets(file: &Skimmed) -> Vec<(String, i64)> {
    let name = |domain: &str| match domain {
        "" => "ai.onnx".to_owned(),
        domain => domain.to_owned(),
    };
    let opsets = file.model.opset_import.iter();
    opsets
        .map(|opset| (name(&opset.domain), opset.version))
        .collect()
}

fn producer(file: &Skimmed) -> Option<String> {
    let (name, version) = (&file.model.producer_name, &file.model.producer_version);
    let text = format!("{name} {version}").trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Length of the sequences it can take: what its cache or its tables of positions have room for.
fn positions(counts: &Counts, caches: &Told<Caches>, config: &Config) -> Told<(u64, String)> {
    let capacity = caches.as_ref().ok().and_then(|caches| caches.capacity);
    let capacity = capacity.map(|length| (length, "the declared length of its cache".to_owned()));
    let rows = counts
        .position_rows
        .iter()
        .map(|(name, rows)| (*rows, format!("the rows of {name}")));
    let told = config.context.zip(config.file);
    let told = told.map(|(length, file)| (length, file.to_owned()));
    let least = capacity.into_iter().chain(rows).chain(told).min();
    least.ok_or_else(|| {
        "neither its cache nor a table of positions has a fixed length; the model's own configuration says it".into()
    })
}

fn external(network: &Network) -> Vec<External> {
    let mut files: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, end) in network
        .tensors
        .iter()
        .filter_map(|one| one.external.as_ref())
    {
        let needed = files.entry(name).or_default();
        *needed = (*needed).max(*end);
    }
    let file = |(name, needed): (&str, u64)| External {
        name: name.to_owned(),
        needed,
        found: None,
        astray: None,
    };
    files.into_iter().map(file).collect()
}

/// At most this many tensors are complained about one by one.
const NOTES: usize = 5;

fn notes(network: &Network, functions: usize) -> Vec<String> {
    let mut notes: Vec<String> = network.notes.iter().take(NOTES).cloned().collect();
    if network.notes.len() > NOTES {
        notes.push(format!(
            "the same is true of {} more tensors",
            network.notes.len() - NOTES
        ));
    }
    if network.sparse > 0 {
        notes.push(format!(
            "{} sparse initializers are in it and not counted",
            network.sparse
        ));
    }
    if functions > 0 {
        notes.push(format!(
            "it defines {functions} functions of its own; what is in them is counted once, however often they are used"
        ));
    }
    notes
}
