//! A table of published figures as the comparison sees it: rows to be shown beside measured ones, and compared with none.

use super::facts::Facts;
use super::quantity::Quantity;
use super::run::{Case, Figure, Key, Parts, Run, Samples, Source};
use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Why a figure is missing.
const NOT_PUBLISHED: &str = "it is not among the published figures";

/// The file. Fields that are not known are refused: a figure under a misspelt name would be lost.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// Where the figures come from.
    published: Publication,
    /// The figures.
    rows: Vec<Row>,
}

/// What was published.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Publication {
    /// Its title.
    title: String,
    /// Where it stands.
    source: String,
    /// The day of the measurement or the publication.
    date: Option<String>,
    /// Graphics processor.
    gpu: Option<String>,
    /// Its driver.
    gpu_driver: Option<String>,
    /// CUDA version.
    cuda_version: Option<String>,
    /// Processor.
    cpu: Option<String>,
    /// What ran the models.
    engine: Option<String>,
    /// Why none of it may be compared.
    method: String,
}

/// A row.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// Its name, with the table it stands in.
    row: String,
    /// Why it may not be compared, where that is another reason than for the rest.
    method: Option<String>,
    /// The model of edgebench that it is, or its published name.
    model: String,
    /// Type of the weights.
    precision: String,
    /// Parameters, as published.
    params: u64,
    /// Tokens in the sequence.
    prompt_tokens: u32,
    /// Tokens generated.
    gen_tokens: u32,
    /// The figures.
    figures: Figures,
}

/// The figures, as published.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figures {
    /// Tokens per second of generation.
    decode_tok_s: Option<f64>,
    /// Tokens per second of whole sequences.
    prefill_tok_s: Option<f64>,
    /// What is called the latency of the first token, milliseconds.
    ttft_ms: Option<f64>,
    /// What is called peak memory, GiB.
    peak_gib: Option<f64>,
    /// Cost of a million tokens, US dollars.
    cost_per_million_tokens: Option<f64>,
}

/// Whether a JSON object is such a table.
pub fn is_one(value: &serde_json::Value) -> bool {
    value.get("published").is_some()
}

/// The table in `value`.
pub fn run(file: &str, value: serde_json::Value) -> Result<Run> {
    let table: Table = serde_json::from_value(value).map_err(|cause| {
        Error::Usage(format!(
            "this table of published figures is damaged ({cause}); mend it after benchmarks/published/study-4070ti.json"
        ))
    })?;
    let published = &table.published;
    Ok(Run {
        file: file.to_owned(),
        source: Source::Published,
        started_utc: published.date.clone(),
        command: None,
        finished: true,
        facts: facts(published),
        cases: table.rows.iter().map(|row| case(row, published)).collect(),
        ceilings: Vec::new(),
    })
}

/// The machine and the program.
fn facts(published: &Publication) -> Facts {
    let mut facts = Facts::default();
    facts.text("gpu", published.gpu.clone());
    facts.text("gpu_driver", published.gpu_driver.clone());
    facts.text("cuda_version", published.cuda_version.clone());
    facts.text("cpu", published.cpu.clone());
    facts.text("engine", published.engine.clone());
    let tool = format!("{} ({})", published.title, published.source);
    facts.text("tool", Some(tool));
    facts
}

/// One row.
fn case(row: &Row, published: &Publication) -> Case {
    let method = row.method.as_ref().unwrap_or(&published.method);
    Case {
        id: row.row.clone(),
        key: Key {
            model: row.model.clone(),
            batch: 1,
            prompt_tokens: row.prompt_tokens,
            gen_tokens: row.gen_tokens,
            depth: 0,
            kv_cache: "float".to_owned(),
            kv_capacity: row.prompt_tokens + row.gen_tokens,
        },
        budget: None,
        form: None,
        precision: row.precision.clone(),
        params: row.params,
        obstacles: vec![method.clone()],
        settings: BTreeMap::new(),
        memory_settings: BTreeMap::new(),
        currency: row
            .figures
            .cost_per_million_tokens
            .map(|_| "USD".to_owned()),
        named_by_user: false,
        figures: Quantity::ALL
            .into_iter()
            .map(|quantity| (quantity, figure(&row.figures, quantity)))
            .collect(),
        memory: Parts::missing(NOT_PUBLISHED),
    }
}

/// One figure.
fn figure(figures: &Figures, quantity: Quantity) -> Figure {
    let value = match quantity {
        Quantity::DecodeTokS => figures.decode_tok_s,
        Quantity::PrefillTokS => figures.prefill_tok_s,
        Quantity::TtftMs => figures.ttft_ms,
        Quantity::PeakBytes => figures.peak_gib.map(|gib| (gib * 1_073_741_824.0).round()),
        Quantity::CostPerMillionTokens => figures.cost_per_million_tokens,
        Quantity::ItlMsP50 | Quantity::ItlMsP90 | Quantity::EnergyPerTokenJ => None,
    };
    match value {
        Some(value) => Figure::Known {
            value,
            samples: Samples::None("the samples are not published".to_owned()),
        },
        None => Figure::Missing(NOT_PUBLISHED.to_owned()),
    }
}

/// Places of rows that stand beside each other: each published row, and the measured one of the same model that is most like it.
/// A measured row may stand beside several. Gives the pairs and the published rows without a fellow.
pub fn beside(published: &[Case], measured: &[Case]) -> (Vec<(usize, usize)>, Vec<usize>) {
    let (mut pairs, mut alone) = (Vec::new(), Vec::new());
    for (at, row) in published.iter().enumerate() {
        let of_model = measured.iter().enumerate();
        let of_model = of_model.filter(|(_, case)| case.key.model == row.key.model);
        // The first of the best: `max_by_key` would give the last.
        let best = of_model.rev().max_by_key(|(_, case)| likeness(row, case));
        match best {
            Some((place, _)) => pairs.push((at, place)),
            None => alone.push(at),
        }
    }
    (pairs, alone)
}

/// How much a measured row is like a published one, the weightiest first.
fn likeness(row: &Case, case: &Case) -> [bool; 4] {
    [
        case.obstacles.is_empty(),
        case.key.batch == row.key.batch,
        case.precision == row.precision,
        case.key.prompt_tokens == row.key.prompt_tokens,
    ]
}
