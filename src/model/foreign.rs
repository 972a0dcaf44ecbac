//! Models that another program wrote as ONNX: found in a file or folder, understood, and taken in beside the built-in ones. Nothing
//! of them is converted; what cannot be run is told in one sentence.

use super::adopted;
use super::footprint::{self, Footprint};
use super::onnx::{self, Decoder, OnnxFile};
use super::part::Part;
use super::spec::{Ffn, ModelSpec, Norm, NormKind, NormSpan, Position};
use super::store::Prepared;
use super::traffic::{Traffic, Work, experts_used};
use crate::error::{Error, Result};
use crate::protocol::{CacheUpdate, DecoderIo, PortType, Told};
use crate::trial::{Device, Form, KvCache, KvUpdate, Precision, Trial};
use crate::units::Bytes;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// Positions of a model that does not tell how many it has: as many as a flag takes.
const UNTOLD_POSITIONS: u32 = 1 << 20;

/// A model of another program, understood.
#[derive(Debug)]
pub struct Foreign {
    /// Its graph's file.
    pub graph: PathBuf,
    /// What that says.
    pub file: OnnxFile,
    /// How it is a decoder.
    pub decoder: Decoder,
    /// Whether attention is one of ONNX Runtime's own operators.
    pub form: Form,
    /// The precision that most of its weights are nearest to.
    pub precision: Precision,
    /// A tokenizer beside it.
    pub tokenizer: Option<PathBuf>,
    /// Parameters in all.
    pub params: u64,
    /// Bytes of its constants.
    pub bytes: Bytes,
}

impl PartialEq for Foreign {
    fn eq(&self, other: &Foreign) -> bool {
        self.graph == other.graph
    }
}

/// Whether files of weights may lie anywhere on the machine.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum ExternalPaths {
    /// Only in the graph's own folder, and not behind links.
    #[default]
    Inside,
    /// Wherever the graph says.
    Anywhere,
}

/// The graph that is meant by a path: the file, or the one of a folder. `None` where there is none in it.
pub fn graph(path: &Path) -> Result<Option<PathBuf>> {
    if path.is_file() {
        return Ok(path
            .extension()
            .is_some_and(|end| end == "onnx")
            .then(|| path.to_owned()));
    }
    for folder in [path.to_owned(), path.join("onnx")] {
        let mut names: Vec<String> = std::fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".onnx"))
            .collect();
        names.sort();
        let told = onnx::beside(&folder).graph;
        let usual = [
            "model.onnx",
            "decoder_model_merged.onnx",
            "decoder_with_past_model.onnx",
        ];
        let mut preferred = told.iter().map(String::as_str).chain(usual);
        let chosen = preferred.find(|name| names.iter().any(|one| one == name));
        match (chosen, names.as_slice()) {
            (Some(name), _) => return Ok(Some(folder.join(name))),
            (None, [one]) => return Ok(Some(folder.join(one))),
            (None, []) => {}
            (None, [first, rest @ ..]) => {
                return Err(Error::Model(format!(
                    "{} holds {first} and {} more .onnx files, and which is meant cannot be told; name the file",
                    folder.display(),
                    rest.len()
                )));
            }
        }
    }
    Ok(None)
}

/// Reads and understands a graph, and takes it in as a model.
pub fn adopt(graph: &Path, paths: ExternalPaths) -> Result<&'static ModelSpec> {
    let foreign = understand(graph, paths)?;
    let spec = describe(&foreign)?;
    Ok(adopted::adopt_foreign(spec, foreign))
}

fn understand(graph: &Path, paths: ExternalPaths) -> Result<Foreign> {
    let refuse =
        |cause: String| Error::Model(format!("{} cannot be run: {cause}", graph.display()));
    let file = onnx::read(graph)?;
    check_files(&file, paths).map_err(refuse)?;
    if let Some(first) = file.custom.first() {
        return Err(refuse(format!(
            "its operator {first} is neither of the standard nor of ONNX Runtime, and libraries of custom operators are not loaded; export it without"
        )));
    }
    let decoder = file.decoder.clone().map_err(refuse)?;
    let params = file.counts.total.clone().map_err(refuse)?;
    let bytes = Bytes(file.counts.bytes.clone().map_err(refuse)?);
    if decoder.io.logits.kind == PortType::Bf16 {
        return Err(refuse(format!(
            "its {} are of bf16, which results have no name for yet; export it in fp16 or fp32",
            decoder.io.logits.name
        )));
    }
    let own = ["GroupQueryAttention", "MultiHeadAttention", "Attention"];
    let fused = own.iter().any(|name| {
        file.operators
            .contains_key(&format!("com.microsoft.{name}"))
    });
    let tokenizer = graph.with_file_name("tokenizer.json");
    Ok(Foreign {
        graph: graph.to_owned(),
        form: if fused { Form::Fused } else { Form::Plain },
        precision: precision(&file),
        tokenizer: tokenizer.is_file().then_some(tokenizer),
        params,
        bytes,
        decoder,
        file,
    })
}

/// Refuses weights that are elsewhere, missing or cut off.
fn check_files(file: &OnnxFile, paths: ExternalPaths) -> Result<(), String> {
    for external in &file.external {
        let name = &external.name;
        if let (Some(why), ExternalPaths::Inside) = (&external.astray, paths) {
            return Err(format!(
                "it would read weights from {name}, and {why}; put the file beside the graph, or allow it with --allow-external-paths"
            ));
        }
        match external.found {
            None => {
                return Err(format!(
                    "{name}, which holds weights of it, is not there; put it beside the graph"
                ));
            }
            Some(found) if found < external.needed => {
                return Err(format!(
                    "{name} has {found} bytes, and weights are to reach up to byte {} of it; it is cut off or another model's: export or copy it again",
                    external.needed
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// By the bits that a parameter takes, with its scales, where it is multiplied with.
fn precision(file: &OnnxFile) -> Precision {
    let of = |wanted: &dyn Fn(Part) -> bool| {
        let parts = file.counts.parts.iter().filter(|(part, _)| wanted(**part));
        parts.fold((0u64, 0u64), |sum, (_, one)| {
            (
                sum.0.saturating_add(one.params),
                sum.1.saturating_add(one.bytes.0),
            )
        })
    };
    let layers = of(&|part| {
        matches!(
            part,
            Part::Attention | Part::Ffn | Part::Experts | Part::Unknown
        )
    });
    let (params, bytes) = match layers {
        (0, _) => of(&Part::is_learned),
        layers => layers,
    };
    match bytes.saturating_mul(8) as f64 / params.max(1) as f64 {
        bits if bits < 6.5 => Precision::Int4,
        bits if bits < 12.0 => Precision::Int8,
        bits if bits < 24.0 => Precision::Fp16,
        _ => Precision::Fp32,
    }
}

/// Its name and the sizes that plans ask for.
fn describe(foreign: &Foreign) -> Result<ModelSpec> {
    let too_large = |what: &str| {
        Error::Model(format!(
            "{} cannot be run: its {what} is larger than any that is known; export it again",
            foreign.graph.display()
        ))
    };
    let narrow = |size: u64, what: &str| u32::try_from(size).map_err(|_| too_large(what));
    let (decoder, config) = (&foreign.decoder, &foreign.file.config);
    let (kv_heads, head_dim) = decoder.cache_heads.unwrap_or((1, 1));
    let heads = decoder.heads.or(config.heads).unwrap_or(kv_heads);
    let caches = decoder.io.caches.len() as u64;
    // Keys and values apart, or together with two in front.
    let together = decoder
        .io
        .caches
        .first()
        .is_some_and(|cache| cache.past.axes.len() == 5);
    let positions = foreign
        .file
        .positions
        .as_ref()
        .ok()
        .map(|(count, _)| *count);
    let positions = positions.and_then(|count| u32::try_from(count).ok());
    let producer = foreign
        .file
        .producer
        .as_deref()
        .unwrap_or("an unnamed program");
    Ok(ModelSpec {
        name: name(&foreign.graph),
        summary: format!("ONNX file written by {producer}"),
        source: foreign.graph.display().to_string(),
        suites: Vec::new(),
        vocab: narrow(decoder.io.vocab(), "vocabulary")?,
        max_positions: positions.unwrap_or(UNTOLD_POSITIONS).min(UNTOLD_POSITIONS),
        n_layers: narrow(
            if together { caches } else { caches / 2 },
            "number of layers",
        )?,
        d_model: narrow(heads.saturating_mul(head_dim), "width")?,
        n_heads: narrow(heads, "number of heads")?,
        n_kv_heads: narrow(kv_heads, "number of heads")?,
        head_dim: narrow(head_dim, "head")?,
        norm: Norm {
            kind: NormKind::RmsNorm,
            epsilon: 0.0,
        },
        position: Position::Learned,
        bias: false,
        qk_norm: false,
        qk_norm_over: NormSpan::Head,
        embedding_multiplier: None,
        attention_scale: None,
        ffn: Ffn::Gelu { d_ff: 0 },
        tied_head: foreign.file.counts.is_tied,
        specialists: None,
        foreign: None,
    })
}

/// The file's name, or its folder's where the file is named as all are.
fn name(graph: &Path) -> String {
    let text =
        |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let stem = text(graph.file_stem()).unwrap_or_default();
    let folder = || {
        let folder = graph.parent()?.canonicalize().ok()?;
        text(folder.file_name())
            .filter(|name| name != "onnx")
            .or_else(|| text(folder.parent()?.file_name()))
    };
    let usual = stem == "model" || stem.starts_with("decoder_");
    let name = if usual {
        folder().unwrap_or(stem)
    } else {
        stem
    };
    let plain = |letter: char| match letter {
        letter if letter.is_ascii_alphanumeric() || "-_.".contains(letter) => letter,
        _ => '-',
    };
    name.chars().map(plain).collect()
}

impl Foreign {
    /// Why some figure of its counts is not known, or the figure.
    pub fn active(&self) -> (Result<u64, String>, Result<u64, String>) {
        (
            self.file.counts.active.clone(),
            self.file.counts.active_read.clone(),
        )
    }

    /// Whether past and present of its cache are one buffer.
    pub fn in_place(&self) -> bool {
        self.decoder.io.update == CacheUpdate::InPlace
    }

    /// Whether each token needs the whole sequence again.
    pub fn is_whole(&self) -> bool {
        self.decoder.io.update == CacheUpdate::None
    }

    /// How its trials name the growth of the cache.
    pub fn kv_update(&self) -> KvUpdate {
        match self.in_place() {
            true => KvUpdate::InPlace,
            false => KvUpdate::Copied,
        }
    }

    /// Whether operators choose experts.
    pub fn routes(&self) -> bool {
        self.file.counts.routing.is_some() || self.file.counts.parts.contains_key(&Part::Experts)
    }

    /// Predicted memory of a trial. Of activations only the logits are known by shape.
    pub fn footprint(&self, trial: &Trial, probed: Option<Bytes>) -> Footprint {
        let io = &self.decoder.io;
        let copies = if self.in_place() { 1 } else { 2 };
        let tokens = u64::from(trial.batch).saturating_mul(trial.context().into());
        let cache = io
            .bytes_per_token()
            .saturating_mul(tokens)
            .saturating_mul(copies);
        let rows = match (io.all_logits(), self.is_whole()) {
            (false, _) => u64::from(trial.batch),
            (true, false) => u64::from(trial.batch).saturating_mul(trial.prompt_tokens.into()),
            (true, true) => tokens,
        };
        // Made by the head, and handed out.
        let logits = rows
            .saturating_mul(io.vocab())
            .saturating_mul(io.logits.kind.bytes());
        let half = self
            .file
            .counts
            .types
            .get("float16")
            .map_or(0, |one| one.bytes.0);
        let weights = match trial.device {
            // The CPU provider computes in fp32 and keeps what it converts beside what was loaded.
            Device::Cpu => self.bytes.0.saturating_add(half.saturating_mul(2)),
            Device::Cuda(_) => self.bytes.0,
        };
        Footprint {
            // Nothing of a foreign graph is put into main memory apart.
            unified: false,
            weights: Bytes(weights),
            kv_cache: Bytes(cache),
            activations: Bytes(logits.saturating_mul(2)),
            runtime: probed.unwrap_or_else(|| footprint::runtime(trial.device)),
        }
    }

    /// What a trial asks of a device at least, or why it cannot be told.
    pub fn work(&self, spec: &ModelSpec, trial: &Trial) -> Told<Work> {
        let counts = &self.file.counts;
        let active_read = counts.active_read.clone()?;
        let tokens = u64::from(trial.batch).saturating_mul(trial.prompt_tokens.into());
        let read = |tokens: u64| {
            let share = counts.routing.map_or(1.0, |(chosen, of)| {
                let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
                experts_used(narrow(of.max(1)), narrow(chosen), tokens)
            });
            let bytes = counts.parts.iter().map(|(part, amount)| match part {
                Part::Embedding if !counts.is_tied => 0,
                Part::Positions | Part::Tables | Part::Unused => 0,
                Part::Experts => (amount.bytes.0 as f64 * share) as u64,
                _ => amount.bytes.0,
            });
            Bytes(bytes.fold(0, u64::saturating_add))
        };
        let depth = u64::from(trial.prompt_tokens) + u64::from(trial.gen_tokens) / 2;
        let per_token = self.decoder.io.bytes_per_token();
        let cache = per_token
            .saturating_mul(depth)
            .saturating_mul(trial.batch.into());
        let wide = f64::from;
        let (batch, prompt) = (wide(trial.batch), wide(trial.prompt_tokens));
        let head = wide(spec.vocab) * wide(spec.d_model);
        let layers = (active_read as f64 - head).max(0.0);
        let attention = wide(spec.n_layers) * wide(spec.n_heads * spec.head_dim) * prompt;
        let heads = if self.decoder.io.all_logits() {
            prompt * head
        } else {
            head
        };
        Ok(Work {
            step: Traffic {
                weights: read(trial.batch.into()),
                kv_cache: Bytes(cache),
            },
            prompt_weights: read(tokens),
            prompt_flop: 2.0 * batch * (prompt * (layers + attention) + heads),
        })
    }

    /// The files as they are.
    pub fn prepared(&self) -> Prepared {
        let io = DecoderIo {
            caches: Vec::new(),
            vocab: u32::try_from(self.decoder.io.vocab()).unwrap_or(u32::MAX),
            shared_kv: self.in_place(),
            // What this asks of a session is true of edgebench's own graphs only.
            fused: false,
            kv_cache: KvCache::Float,
            position_ids: false,
            router_width: None,
            foreign: Some(Box::new(self.decoder.io.clone())),
        };
        Prepared::as_is(
            self.graph.clone(),
            io,
            self.bytes,
            Bytes(self.file.counts.largest),
        )
    }
}
