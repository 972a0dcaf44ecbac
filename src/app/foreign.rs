//! Models that another program wrote: what a run cannot ask of them, and what of their rows is to be told.

use crate::cli::RunCommand;
use crate::error::{Error, Result};
use crate::model::foreign::{Foreign, NO_DECODER};
use crate::model::onnx::Decoder;
use crate::model::{self, ModelSpec};
use crate::plan::{PlannedTrial, PrecisionChoice, Request, Selection};
use crate::progress::{Event, Progress};
use crate::protocol::{CacheUpdate, ForeignIo};
use crate::report::{ForeignRow, Row};
use crate::text::Tokenizer;
use crate::trial::{Device, Form, KvCache, LoadFacts, Offload, Trial};
use std::collections::BTreeMap;

/// Refuses what only graphs can have that edgebench writes itself.
pub fn check(spec: &ModelSpec, request: &Request) -> Result<()> {
    let Some(foreign) = spec.foreign else {
        return Ok(());
    };
    let name = &spec.name;
    check_pass(spec, foreign, request)?;
    let refuse = |flag: &str, what: &str| {
        Err(Error::Usage(format!(
            "{flag} {what}, and the graph of {name} is run as it was exported; leave it out"
        )))
    };
    if request.forms != [Form::Fused] && request.forms != [foreign.form] {
        return refuse("--form", "chooses among graphs that edgebench writes");
    }
    let as_it_is = [
        PrecisionChoice::Auto,
        PrecisionChoice::Exactly(foreign.precision),
    ];
    if request
        .precisions
        .iter()
        .any(|choice| !as_it_is.contains(choice))
    {
        return refuse(
            "--precision",
            "chooses the type of weights that edgebench writes",
        );
    }
    if request.kv_caches != [KvCache::Float] {
        return refuse(
            "--kv-cache",
            "chooses the type of a cache that edgebench writes",
        );
    }
    if request.offload != Offload::None {
        return refuse("--offload", "places weights that edgebench loads itself");
    }
    if request.ablate {
        return refuse("--ablate", "compares graphs that edgebench writes");
    }
    let decoder = foreign.decoder.as_ref();
    let fixed = decoder.and_then(|decoder| decoder.io.fixed_batch());
    match (
        fixed,
        request
            .batches
            .iter()
            .find(|batch| Some(u64::from(**batch)) != fixed),
    ) {
        (Some(fixed), Some(batch)) => Err(Error::Usage(format!(
            "--batch {batch}: the graph of {name} takes just {fixed} sequences at a time; give --batch {fixed}, or export it with a batch that is free (dynamic)"
        ))),
        _ => Ok(()),
    }
}

/// Refuses what a model that is no decoder has not, or what only such a one has.
fn check_pass(spec: &ModelSpec, foreign: &Foreign, request: &Request) -> Result<()> {
    let name = &spec.name;
    let refuse = |flag: &str| {
        Err(Error::Usage(format!(
            "{flag} is for decoders of text, and {name} is none; give the sizes of its inputs with --dim NAME=N"
        )))
    };
    match foreign.pass(&request.dims, &request.inputs) {
        None if !request.dims.is_empty() || !request.inputs.is_empty() => {
            Err(Error::Usage(format!(
                "--dim and --input are for models that are no decoders, and {name} is one; give --batch, --prompt-tokens and --gen-tokens"
            )))
        }
        None => Ok(()),
        Some(Err(reason)) => Err(Error::Usage(format!("{name}: {reason}"))),
        Some(Ok(_)) if request.batches != [1] => refuse("--batch"),
        Some(Ok(_)) if !request.prompt_tokens.is_empty() => refuse("--prompt-tokens"),
        Some(Ok(_)) if !request.gen_tokens.is_empty() => refuse("--gen-tokens"),
        Some(Ok(_)) if request.kv_room.is_some() => refuse("--context"),
        Some(Ok(_)) => Ok(()),
    }
}

/// Refuses sizes and files of inputs where no model is named that has such.
pub fn check_all(request: &Request) -> Result<()> {
    if request.dims.is_empty() && request.inputs.is_empty() {
        return Ok(());
    }
    let names = match &request.selection {
        Selection::Models(names) => names.as_slice(),
        Selection::Suite(_) => &[],
    };
    let all = names.iter().all(|name| {
        let foreign = model::find(name).and_then(|spec| spec.foreign);
        foreign.is_some_and(|foreign| foreign.decoder.is_none())
    });
    if all && !names.is_empty() {
        return Ok(());
    }
    Err(Error::Usage(
        "--dim and --input are for models that are no decoders, and only for those; name one with --model FILE.onnx".into(),
    ))
}

/// The tokenizers that stand beside the graphs of a request, by the names of their models.
pub fn tokenizers(request: &Request) -> Result<BTreeMap<String, Tokenizer>> {
    let Selection::Models(names) = &request.selection else {
        return Ok(BTreeMap::new());
    };
    let foreign = names
        .iter()
        .filter_map(|name| model::find(name)?.foreign.map(|foreign| (name, foreign)));
    let with_own =
        foreign.filter_map(|(name, foreign)| Some((name, foreign.tokenizer.as_deref()?)));
    with_own
        .map(|(name, file)| Ok((name.clone(), Tokenizer::from_file(file)?)))
        .collect()
}

/// Tells what is odd about a file.
pub fn tell_notes(spec: &ModelSpec, progress: &Progress) {
    for note in spec.foreign.iter().flat_map(|foreign| &foreign.file.notes) {
        progress.event(&Event::Warning(format!("{}: {note}", spec.name)));
    }
}

/// The row with what is to be told of such a graph, and why figures are missing that it does not have.
pub fn with_facts(
    mut row: Row,
    planned: &PlannedTrial,
    command: &RunCommand,
    load: Option<&LoadFacts>,
) -> Row {
    let Some(foreign) = planned.spec.foreign else {
        return row;
    };
    let (active, active_read) = foreign.active();
    for (name, told) in [
        ("params.active", active),
        ("params.active_read", active_read),
    ] {
        if let Err(reason) = told {
            row.not_measured.insert(name.to_owned(), reason);
        }
    }
    let tuning = "the graph is run as it was exported; settings of the runtime are tried for edgebench's own";
    if row.tuning.is_none() {
        row.not_measured
            .insert("tuning".to_owned(), tuning.to_owned());
    }
    let Some(Decoder { io, .. }) = &foreign.decoder else {
        row.foreign = Some(ForeignRow {
            path: foreign.graph.display().to_string(),
            producer: foreign.file.producer.clone(),
            cache_in_place: None,
            cache_note: Some(NO_DECODER.into()),
            graph: false,
            graph_note: Some(NO_DECODER.into()),
            host_nodes: None,
            host_note: None,
            whole_sequence: false,
            tokenizer: None,
            all_logits: false,
        });
        return row;
    };
    let (cache_in_place, cache_note) = match &io.update {
        CacheUpdate::InPlace => (Some(true), None),
        CacheUpdate::Grown(why) => (Some(false), Some(why.clone())),
        CacheUpdate::None => (
            None,
            Some(
                "it has no KV cache, so the whole sequence is run again for each token".to_owned(),
            ),
        ),
    };
    let graph_note = no_graph(&planned.trial, io, load);
    let host_nodes = host_nodes(load);
    if foreign.is_whole() {
        let reason = "it has no KV cache, so there is no decode to hold to prefill";
        row.not_measured
            .insert("decode_check".to_owned(), reason.to_owned());
        row.warnings.push("it has no KV cache: every token runs the whole sequence again, which is slower the longer it gets; export it with one (past and present keys and values)".to_owned());
    }
    let cache = io.caches.first().map(|cache| cache.past.kind);
    if let Some(kind) = cache {
        let name = match kind.name() {
            "fp32" => "f32",
            "fp16" => "f16",
            other => other,
        };
        (row.llama_bench.type_k, row.llama_bench.type_v) = (name.to_owned(), name.to_owned());
    }
    let tokenizer = foreign
        .tokenizer
        .as_ref()
        .filter(|_| command.tokenizer.is_none());
    row.foreign = Some(ForeignRow {
        path: foreign.graph.display().to_string(),
        producer: foreign.file.producer.clone(),
        cache_in_place,
        cache_note,
        graph: graph_note.is_none(),
        graph_note,
        host_nodes,
        host_note: host_nodes.map(|_| {
            "they compute shapes, positions and masks, which ONNX Runtime needs in main memory"
                .to_owned()
        }),
        whole_sequence: foreign.is_whole(),
        tokenizer: tokenizer.map(|file| file.display().to_string()),
        all_logits: io.all_logits(),
    });
    row
}

/// Why decode steps are not captured into a CUDA graph; `None` where they are.
fn no_graph(trial: &Trial, io: &ForeignIo, load: Option<&LoadFacts>) -> Option<String> {
    if trial.device == Device::Cpu {
        return Some("only the CUDA provider captures graphs".to_owned());
    }
    if io.uneven_steps.is_some() {
        return io.uneven_steps.clone();
    }
    if !trial.cuda_graph {
        return Some("--no-cuda-graph leaves it out".to_owned());
    }
    match load {
        None => Some("it was not loaded".to_owned()),
        Some(load) => load.not_captured.clone(),
    }
}

/// Nodes of a CUDA run that compute in main memory, if there are any.
fn host_nodes(load: Option<&LoadFacts>) -> Option<u64> {
    let placement = load?.placement.as_ref()?;
    Some(placement.host_operators.values().sum()).filter(|count| *count > 0)
}
