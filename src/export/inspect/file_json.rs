//! An ONNX file for programs: full figures, null with a reason where there is none.

use super::super::plan::LABEL;
use super::decoder;
use super::file::{FileSheet, WEIGHTS, runtime};
use super::{Sheet, parts_json, types_json};
use crate::model::onnx::{Caches, Dim, Prediction, Shape, Update, Value as Port};
use crate::units::Bytes;
use serde_json::{Value, json};

/// The sheet as one value.
pub(super) fn to_json(sheet: &FileSheet<'_>) -> Value {
    let (file, counts) = (sheet.file, &sheet.file.counts);
    let mut out = Sheet::new();
    out.put("file", json!(sheet.path));
    out.put("file_bytes", json!(file.file_bytes));
    out.put("ir_version", json!(file.ir_version));
    let opsets = file
        .opsets
        .iter()
        .map(|(domain, version)| (domain.clone(), json!(version)));
    out.put("opsets", Value::Object(opsets.collect()));
    out.put("producer", json!(file.producer));
    let mut params = Sheet::new();
    params.told("total", &counts.total, |count| json!(count));
    params.told("active", &counts.active, |count| json!(count));
    params.told("active_read", &counts.active_read, |count| json!(count));
    params.put("unused", json!(counts.unused));
    out.put("params", params.finish());
    out.put(
        "routing",
        json!(
            counts
                .routing
                .map(|(chosen, of)| json!({ "chosen": chosen, "experts": of }))
        ),
    );
    out.put("head_is_embedding", json!(counts.is_tied));
    out.put("parts", parts_json(&counts.parts));
    out.put("types", types_json(&counts.types));
    out.put("unknown_parts", json!(counts.unknown));
    out.put("operators", json!(file.operators));
    out.put(
        "inputs",
        json!(file.inputs.iter().map(port_json).collect::<Vec<_>>()),
    );
    out.put(
        "outputs",
        json!(file.outputs.iter().map(port_json).collect::<Vec<_>>()),
    );
    out.told("kv_cache", &file.caches, cache_json);
    out.told(
        "max_positions",
        &file.positions,
        |(count, by)| json!({ "positions": count, "by": by }),
    );
    out.told("decoder", &file.decoder, decoder::json);
    out.put("eos_token_ids", json!(file.config.eos));
    out.put("custom_operators", json!(file.custom));
    let external = file.external.iter().map(
        |one| json!({ "file": one.name, "needed_bytes": one.needed, "found_bytes": one.found, "refused": one.astray }),
    );
    out.put("external_files", json!(external.collect::<Vec<_>>()));
    out.put("budget", json!(sheet.budgets.last()));
    out.put("budgets", json!(sheet.budgets));
    out.put("label", json!(LABEL));
    let predictions = sheet
        .predictions
        .iter()
        .map(|(shape, budget, found)| prediction_json(*shape, *budget, found));
    out.put("predictions", json!(predictions.collect::<Vec<_>>()));
    out.put("notes", json!(file.notes));
    out.finish()
}

fn port_json(port: &Port) -> Value {
    let dim = |dim: &Dim| match dim {
        Dim::Size(size) => json!(size),
        Dim::Name(name) => json!(name),
        Dim::Unknown => Value::Null,
    };
    let dims = port
        .dims
        .as_ref()
        .map(|dims| dims.iter().map(dim).collect::<Vec<_>>());
    json!({ "name": port.name, "type": port.element.map(|element| element.name()), "shape": dims })
}

fn cache_json(caches: &Caches) -> Value {
    let mut out = Sheet::new();
    out.put("inputs", json!(caches.inputs));
    out.put("bytes_per_token", json!(caches.bytes_per_token));
    out.put(
        "types",
        json!(
            caches
                .elements
                .iter()
                .map(|element| element.name())
                .collect::<Vec<_>>()
        ),
    );
    out.put("capacity", json!(caches.capacity));
    out.told("update", &caches.update, |update| match update {
        Update::InPlace => json!("in_place"),
        Update::Grown => json!("grown"),
    });
    out.finish()
}

fn prediction_json(shape: Shape, budget: Option<Bytes>, found: &Prediction) -> Value {
    let mut out = Sheet::new();
    out.put("device", json!(shape.device));
    out.put("batch", json!(shape.batch));
    out.put("context", json!(shape.context));
    out.put("budget", json!(budget));
    out.told("weights_bytes", &found.weights, |bytes| json!(bytes));
    out.told("kv_cache_bytes", &found.kv_cache, |bytes| json!(bytes));
    out.told("activations_bytes", &found.activations, |bytes| {
        json!(bytes)
    });
    out.put("runtime_bytes", json!(found.runtime));
    out.put("at_least_bytes", json!(found.at_least));
    for (name, most) in [
        ("context_at_batch_1_at_most", &found.context_at_most),
        ("batch_at_most", &found.batch_at_most),
    ] {
        if let Some(most) = most {
            out.told(name, most, |most| json!({ "size": most.size, "limited_by": if most.is_all_positions { "positions" } else { "budget" } }));
        }
    }
    out.put("basis", json!({ "weights": WEIGHTS, "kv_cache": "its inputs by shape", "runtime": runtime(shape.device) }));
    out.finish()
}
