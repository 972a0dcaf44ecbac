//! A built-in model: its spec, its graphs, and what it is predicted to take.

use super::super::human;
use super::super::lists::{WIDTH, grouped, kib, pretty, table};
use super::super::plan::{LABEL, basis, basis_json, bound, terms, trial_json};
use super::{amounts, line, operators, parts_json, types_json};
use crate::error::Result;
use crate::model::onnx::OnnxFile;
use crate::model::{self, ModelSpec};
use crate::plan::{Plan, PlannedTrial};
use crate::trial::{Device, Float, Form, KvCache, Numerics};
use crate::units::Bytes;
use serde_json::{Map, Value, json};

/// A graph as it is written for a run.
#[derive(Debug)]
pub struct Graph {
    /// Its form.
    pub form: Form,
    /// Its number formats.
    pub numerics: Numerics,
    /// What it says of itself.
    pub file: OnnxFile,
}

/// Everything about a built-in model.
#[derive(Debug)]
pub struct Builtin<'a> {
    /// The model.
    pub spec: &'a ModelSpec,
    /// Its graphs.
    pub graphs: Vec<Graph>,
    /// Predictions, a plan for each device.
    pub plans: Vec<Plan>,
    /// The budgets that were given, in ascending order.
    pub budgets: Vec<Bytes>,
}

/// A built-in model as text or JSON.
pub fn builtin(sheet: &Builtin<'_>, as_json: bool) -> Result<String> {
    if as_json {
        return pretty(&to_json(sheet)?);
    }
    let spec = sheet.spec;
    let mut text = format!(
        "{}\n\n",
        human::wrap(
            &format!("{}: {}. {}.", spec.name, spec.summary, spec.source),
            WIDTH,
            2
        )
    );
    text.push_str(&head(sheet));
    text.push_str(&weights(sheet));
    let columns: Vec<_> = sheet
        .graphs
        .iter()
        .map(|graph| {
            (
                format!("{} {}", graph.form, graph.numerics.precision()),
                &graph.file.operators,
            )
        })
        .collect();
    text.push_str(&format!("\n{}\n", operators(&columns)));
    text.push_str(&predictions(sheet));
    Ok(text)
}

/// Weights by part for each element type, and constants by type for each graph.
fn weights(sheet: &Builtin<'_>) -> String {
    let mut text = String::new();
    let mut numerics: Vec<Numerics> = sheet.graphs.iter().map(|one| one.numerics).collect();
    // The weights are the same in both forms.
    numerics.dedup();
    for numerics in numerics {
        let parts = model::parts(sheet.spec, numerics);
        let named = parts
            .iter()
            .map(|(part, amount)| (part.to_string(), amount));
        text.push_str(&format!(
            "\n{}",
            amounts(&format!("part, {numerics}"), named)
        ));
    }
    text.push('\n');
    for graph in &sheet.graphs {
        let types = graph.file.counts.types.iter();
        let types: Vec<String> = types
            .map(|(name, amount)| format!("{name} {}", grouped(amount.bytes.0)))
            .collect();
        text.push_str(&line(
            &format!("{} {}", graph.form, graph.numerics.precision()),
            &format!("{} bytes of constants by type", types.join(", ")),
        ));
    }
    text
}

fn head(sheet: &Builtin<'_>) -> String {
    let spec = sheet.spec;
    let census = model::census(spec);
    let mut counts = format!(
        "{} in all, {} active for one token, {} read to decode one token",
        grouped(census.total),
        grouped(census.active),
        grouped(census.active_read)
    );
    if census.unused > 0 {
        counts.push_str(&format!(
            ", {} stored and never used",
            grouped(census.unused)
        ));
    }
    let cache = |cache, float| kib(model::kv_bytes_per_token(spec, cache, float));
    let cache = format!(
        "{} for each token in fp32, {} in fp16, {} in int8",
        cache(KvCache::Float, Float::Fp32),
        cache(KvCache::Float, Float::Fp16),
        cache(KvCache::Int8, Float::Fp16)
    );
    let positions = format!(
        "{}, the model's own limit and not a matter of memory",
        grouped(spec.max_positions.into())
    );
    let head = if spec.tied_head {
        "reads the embedding, which is stored once"
    } else {
        "a matrix of its own"
    };
    line("parameters", &counts)
        + &line("KV cache", &cache)
        + &line("positions", &positions)
        + &line("output head", head)
}

/// All predicted trials, with the device each is on.
fn planned<'a>(sheet: &'a Builtin<'_>) -> impl Iterator<Item = (Device, &'a PlannedTrial)> {
    let plans = sheet.plans.iter();
    plans.flat_map(|plan| plan.trials.iter().map(|trial| (plan.device, trial)))
}

fn predictions(sheet: &Builtin<'_>) -> String {
    let mut titles = vec![
        "form",
        "precision",
        "device",
        "weights",
        "KV cache",
        "activations",
        "runtime",
        "predicted peak",
    ];
    if sheet.budgets.len() > 1 {
        titles.push("budget");
    }
    if !sheet.budgets.is_empty() {
        titles.extend(["fits", "context at batch 1", "batch"]);
    }
    let rows = planned(sheet).map(|(device, planned)| {
        let trial = &planned.trial;
        let mut cells = vec![
            trial.form.to_string(),
            trial.precision.to_string(),
            device.to_string(),
        ];
        cells.extend(terms(planned));
        if sheet.budgets.len() > 1 {
            cells.push(human::bytes(trial.budget.0));
        }
        if !sheet.budgets.is_empty() {
            let fits = if planned.does_not_fit.is_none() {
                "yes"
            } else {
                "no"
            };
            let bounds = planned.fits_up_to;
            cells.extend([
                fits.to_owned(),
                bound(bounds.context_at_batch_1),
                bound(bounds.batch),
            ]);
        }
        cells
    });
    let mut text = table(&titles, rows, 3..8);
    if let Some((_, first)) = planned(sheet).next() {
        let trial = &first.trial;
        let mut note = format!(
            "Predicted at batch {}, {} tokens of context: {} of prompt and {} generated. {LABEL}",
            grouped(trial.batch.into()),
            grouped(trial.context().into()),
            grouped(trial.prompt_tokens.into()),
            grouped(trial.gen_tokens.into()),
        );
        let what = "the longest context at batch 1 (a prompt and one generated token), and the largest batch at these lengths; predicted too, and not found by running.";
        note.push_str(&match sheet.budgets.as_slice() {
            [] => " Give --vram-budget to see what fits it.".to_owned(),
            [budget] => format!(" In the budget of {}: {what}", human::bytes(budget.0)),
            _ => format!(" In each budget: {what}"),
        });
        text.push_str(&format!("{}\n", human::wrap(&note, WIDTH, 0)));
    }
    let devices: Vec<Device> = sheet.plans.iter().map(|plan| plan.device).collect();
    text + &basis(&devices)
}

fn to_json(sheet: &Builtin<'_>) -> Result<Value> {
    let spec = sheet.spec;
    let census = model::census(spec);
    let graphs: Vec<Value> = sheet
        .graphs
        .iter()
        .map(|graph| graph_json(spec, graph))
        .collect();
    let mut predictions = Vec::new();
    for (_, trial) in planned(sheet) {
        let mut value = trial_json(trial)?;
        if sheet.budgets.is_empty() {
            for name in ["fits_up_to", "does_not_fit"] {
                value.as_object_mut().map(|fields| fields.remove(name));
            }
            value["trial"]["budget"] = Value::Null;
        }
        predictions.push(value);
    }
    let bases: Map<String, Value> = sheet
        .plans
        .iter()
        .map(|plan| (plan.device.to_string(), basis_json(plan.device)))
        .collect();
    Ok(json!({
        "model": spec.name,
        "summary": spec.summary,
        "source": spec.source,
        "params": { "total": census.total, "active": census.active, "active_read": census.active_read, "unused": census.unused },
        "kv_bytes_per_token": {
            "fp32": model::kv_bytes_per_token(spec, KvCache::Float, Float::Fp32),
            "fp16": model::kv_bytes_per_token(spec, KvCache::Float, Float::Fp16),
            "int8": model::kv_bytes_per_token(spec, KvCache::Int8, Float::Fp16),
        },
        "max_positions": spec.max_positions,
        "head_is_embedding": spec.tied_head,
        "graphs": graphs,
        "budget": sheet.budgets.last(),
        "budgets": sheet.budgets,
        "label": LABEL,
        "basis": bases,
        "predictions": predictions,
    }))
}

fn graph_json(spec: &ModelSpec, graph: &Graph) -> Value {
    json!({
        "form": graph.form,
        "precision": graph.numerics.precision(),
        "activations": graph.numerics.compute(),
        "operators": graph.file.operators,
        "parts": parts_json(&model::parts(spec, graph.numerics)),
        "types": types_json(&graph.file.counts.types),
    })
}
