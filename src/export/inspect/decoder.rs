//! How a file is understood as a decoder: what its inputs are for, how its cache lies, where its texts end.

use super::super::human;
use super::super::lists::grouped;
use super::{Sheet, line};
use crate::model::onnx::{Config, Decoder, OnnxFile};
use crate::protocol::{Axis, CacheUpdate, Fed, Port};
use serde_json::{Value, json};

/// As lines of text.
pub(super) fn text(file: &OnnxFile) -> String {
    let decoder = match &file.decoder {
        Ok(decoder) => decoder,
        Err(reason) => return line("decoder", &format!("no: {reason}")),
    };
    let io = &decoder.io;
    let fed = io.inputs.iter().map(|fed| {
        let name = human::one_line(&fed.port.name);
        format!("{name} {} ({})", shape(&fed.port), fed.fill.words())
    });
    let fed: Vec<String> = fed.collect();
    let of = if io.all_logits() {
        "of all positions"
    } else {
        "of the last position"
    };
    let logits = human::one_line(&io.logits.name);
    let mut text = line(
        "decoder",
        &format!(
            "fed by {}; logits {of} in {logits} {}",
            fed.join(", "),
            shape(&io.logits)
        ),
    );
    if let Some(cache) = io.caches.first() {
        let heads = decoder.cache_heads.map_or_else(
            || "of unknown heads".to_owned(),
            |(heads, size)| format!("of {} heads of {}", grouped(heads), grouped(size)),
        );
        let queries = decoder.heads.map_or_else(String::new, |heads| {
            format!(", {} query heads", grouped(heads))
        });
        let layout = format!(
            "{} caches {heads} in {}, laid out as {}{queries}; {}",
            grouped(io.caches.len() as u64),
            cache.past.kind.name(),
            shape(&cache.past),
            update(&io.update)
        );
        text.push_str(&line("cache layout", &human::one_line(&layout)));
    } else {
        text.push_str(&line("cache layout", &update(&io.update)));
    }
    text.push_str(&ends(&file.config));
    text
}

fn ends(config: &Config) -> String {
    let (Some(file), [_, ..]) = (config.file, config.eos.as_slice()) else {
        return String::new();
    };
    let ids: Vec<String> = config.eos.iter().map(u64::to_string).collect();
    line(
        "ends at",
        &format!(
            "token {}, by {file}; measured texts go on",
            ids.join(" or ")
        ),
    )
}

fn update(update: &CacheUpdate) -> String {
    match update {
        CacheUpdate::InPlace => "past and present are one buffer".into(),
        CacheUpdate::Grown(why) => format!("copied from one buffer into another: {why}"),
        CacheUpdate::None => "none: the whole sequence is run again for each token".into(),
    }
}

fn shape(port: &Port) -> String {
    let axes = port.axes.iter().map(|axis| match axis {
        Axis::Size(size) => size.to_string(),
        Axis::Batch => "batch".into(),
        Axis::New => "new".into(),
        Axis::Past => "past".into(),
        Axis::Total => "total".into(),
    });
    format!("[{}]", axes.collect::<Vec<_>>().join(", "))
}

/// For programs.
pub(super) fn json(decoder: &Decoder) -> Value {
    let io = &decoder.io;
    let port = |port: &Port| json!({ "name": port.name, "type": port.kind, "axes": port.axes });
    let fed = |fed: &Fed| json!({ "input": port(&fed.port), "role": fed.fill });
    let caches = io
        .caches
        .iter()
        .map(|cache| json!({ "past": port(&cache.past), "present": port(&cache.present) }));
    let mut out = Sheet::new();
    out.put(
        "inputs",
        json!(io.inputs.iter().map(fed).collect::<Vec<_>>()),
    );
    out.put("logits", port(&io.logits));
    out.put("all_logits", json!(io.all_logits()));
    out.put("caches", json!(caches.collect::<Vec<_>>()));
    let in_place = match &io.update {
        CacheUpdate::InPlace => Ok(true),
        CacheUpdate::Grown(_) => Ok(false),
        CacheUpdate::None => Err("it has no KV cache".to_owned()),
    };
    out.told("cache_in_place", &in_place, |told| json!(told));
    out.put(
        "cache_note",
        match &io.update {
            CacheUpdate::InPlace => Value::Null,
            other => json!(update(other)),
        },
    );
    out.put("query_heads", json!(decoder.heads));
    out.put("kv_heads", json!(decoder.cache_heads.map(|heads| heads.0)));
    out.put("head_size", json!(decoder.cache_heads.map(|heads| heads.1)));
    out.finish()
}
