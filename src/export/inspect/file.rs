//! An ONNX file: what it says of itself, and what is predicted from that.

use super::super::human;
use super::super::lists::{WIDTH, grouped, pretty, table};
use super::super::plan::LABEL;
use super::decoder;
use super::file_json::to_json;
use super::{amounts, line, operators, told};
use crate::error::Result;
use crate::model;
use crate::model::onnx::{Caches, Counts, Dim, OnnxFile, Prediction, Shape, Update, Value as Port};
use crate::trial::Device;
use crate::units::Bytes;
use std::path::Path;

/// Everything about a file.
#[derive(Debug)]
pub struct FileSheet<'a> {
    /// Where it is.
    pub path: &'a Path,
    /// What it says.
    pub file: &'a OnnxFile,
    /// What is predicted, for each device and budget.
    pub predictions: Vec<(Shape, Option<Bytes>, Prediction)>,
    /// The budgets that were given, in ascending order.
    pub budgets: Vec<Bytes>,
}

/// A file as text or JSON.
pub fn file(sheet: &FileSheet<'_>, as_json: bool) -> Result<String> {
    if as_json {
        return pretty(&to_json(sheet));
    }
    let file = sheet.file;
    let counts = &file.counts;
    let mut text = head(sheet);
    let parts = counts.parts.iter();
    text.push_str(&format!(
        "\n{}",
        amounts(
            "part",
            parts.map(|(part, amount)| (part.to_string(), amount))
        )
    ));
    let types = counts.types.iter();
    text.push_str(&format!(
        "\n{}",
        amounts("type", types.map(|(name, amount)| (name.clone(), amount)))
    ));
    text.push_str(&format!(
        "\n{}",
        operators(&[("nodes".to_owned(), &file.operators)])
    ));
    text.push_str(&format!(
        "\n{}{}\n",
        ports("input", &file.inputs),
        ports("output", &file.outputs)
    ));
    text.push_str(&predictions(sheet));
    for note in &file.notes {
        text.push_str(&human::wrap(
            &format!("note: {}", human::one_line(note)),
            WIDTH,
            2,
        ));
        text.push('\n');
    }
    Ok(text)
}

fn head(sheet: &FileSheet<'_>) -> String {
    let file = sheet.file;
    let name = human::one_line(&sheet.path.display().to_string());
    let positions = |(count, why): &(u64, String)| {
        format!(
            "{} by {why}: a limit of the model and not of memory",
            grouped(*count)
        )
    };
    let mut text = format!(
        "{name}\n\n{}{}",
        line("file", &about(file)),
        parameters(&file.counts)
    );
    for external in &file.external {
        let found = external.found.map_or_else(
            || "missing".to_owned(),
            |found| format!("{} there", grouped(found)),
        );
        let (name, needed) = (&external.name, grouped(external.needed));
        let about = format!("{name}: {needed} bytes needed, {found}");
        text.push_str(&line("data file", &about));
    }
    text.push_str(&line("KV cache", &told(&file.caches, cache)));
    text.push_str(&line("positions", &told(&file.positions, positions)));
    text.push_str(&decoder::text(file));
    let unknown = &file.counts.unknown;
    for reason in unknown.iter().take(SHOWN) {
        text.push_str(&line("unknown part", reason));
    }
    if unknown.len() > SHOWN {
        let more = format!(
            "{} more like these",
            grouped((unknown.len() - SHOWN) as u64)
        );
        text.push_str(&line("unknown part", &more));
    }
    text
}

/// What kind of file it is.
fn about(file: &OnnxFile) -> String {
    let opsets: Vec<String> = file
        .opsets
        .iter()
        .map(|(domain, version)| format!("{domain} {version}"))
        .collect();
    let opsets = match opsets.as_slice() {
        [] => "no stated version".to_owned(),
        opsets => opsets.join(", "),
    };
    let version = file.ir_version;
    let mut about = format!("ONNX of IR version {version}, operators of {opsets}");
    if let Some(producer) = &file.producer {
        about.push_str(&format!(", written by {producer}"));
    }
    about
}

fn parameters(counts: &Counts) -> String {
    let count = |what: &'static str| move |count: &u64| format!("{} {what}", grouped(*count));
    let mut text = line("parameters", &told(&counts.total, count("in all")));
    text.push_str(&line(
        "active",
        &told(&counts.active, count("for one token")),
    ));
    text.push_str(&line(
        "active-read",
        &told(&counts.active_read, count("to decode one token")),
    ));
    if counts.unused > 0 {
        text.push_str(&line(
            "unused",
            &format!("{}, stored and read by no node", grouped(counts.unused)),
        ));
    }
    if let Some((chosen, of)) = counts.routing {
        text.push_str(&line(
            "experts",
            &format!("{chosen} of {of} for each token"),
        ));
    }
    if counts.is_tied {
        text.push_str(&line(
            "output head",
            "reads the embedding, which is stored once",
        ));
    }
    text
}

/// Tensors of unknown part that are named.
const SHOWN: usize = 5;

fn cache(caches: &Caches) -> String {
    let kinds: Vec<String> = caches
        .elements
        .iter()
        .map(|element| element.name())
        .collect();
    let update = match &caches.update {
        Ok(Update::InPlace) => {
            "which one operator reads and writes, so that one buffer can be both".to_owned()
        }
        Ok(Update::Grown) => "copied to grow, so that it is there twice".to_owned(),
        Err(reason) => format!("updated in an unknown way: {reason}"),
    };
    let length = caches.capacity.map_or_else(String::new, |length| {
        format!(", declared for {} tokens", grouped(length))
    });
    format!(
        "{} bytes for each token, {} inputs of {}{length}, {update}",
        grouped(caches.bytes_per_token.0),
        grouped(caches.inputs),
        kinds.join(" and ")
    )
}

/// Inputs or outputs; those that differ only in a number are one line.
fn ports(title: &str, ports: &[Port]) -> String {
    let mut lines: Vec<(String, String, String, u64)> = Vec::new();
    for port in ports {
        let kind = port
            .element
            .map_or_else(|| "no tensor".to_owned(), |element| element.name());
        let (name, shape) = (pattern(&port.name), shape(port));
        let same = lines
            .iter_mut()
            .find(|line| (&line.0, &line.1, &line.2) == (&name, &kind, &shape));
        match same {
            Some(line) => line.3 += 1,
            None => lines.push((name, kind, shape, 1)),
        }
    }
    let rows = lines.into_iter().map(|(name, kind, shape, count)| {
        vec![
            human::one_line(&name),
            kind,
            human::one_line(&shape),
            grouped(count),
        ]
    });
    table(&[title, "type", "shape", "how many"], rows, 3..4)
}

/// A name with `N` for the number in it.
fn pattern(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        match letter.is_ascii_digit() {
            false => text.push(letter),
            true if text.ends_with('N') => {}
            true => text.push('N'),
        }
    }
    text
}

fn shape(port: &Port) -> String {
    let Some(dims) = &port.dims else {
        return "unknown".into();
    };
    let dims: Vec<String> = dims
        .iter()
        .map(|dim| match dim {
            Dim::Size(size) => size.to_string(),
            Dim::Name(name) => name.clone(),
            Dim::Unknown => "?".into(),
        })
        .collect();
    format!("[{}]", dims.join(", "))
}

fn predictions(sheet: &FileSheet<'_>) -> String {
    let mut titles = vec![
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
        titles.extend(["context at batch 1", "batch"]);
    }
    let short = |term: &crate::protocol::Told<Bytes>| {
        term.as_ref()
            .map_or_else(|_| "unknown".to_owned(), |bytes| human::bytes(bytes.0))
    };
    let rows = sheet.predictions.iter().map(|(shape, budget, found)| {
        let mut cells = vec![shape.device.to_string()];
        cells.extend([&found.weights, &found.kv_cache, &found.activations].map(short));
        cells.extend([
            human::bytes(found.runtime.0),
            format!("at least {}", human::bytes(found.at_least.0)),
        ]);
        if sheet.budgets.len() > 1 {
            cells.extend(budget.map(|budget| human::bytes(budget.0)));
        }
        for most in [&found.context_at_most, &found.batch_at_most]
            .into_iter()
            .flatten()
        {
            cells.push(most.as_ref().map_or_else(
                |_| "unknown".to_owned(),
                |most| {
                    let all = if most.is_all_positions {
                        " (all positions)"
                    } else {
                        ""
                    };
                    format!("at most {}{all}", grouped(most.size))
                },
            ));
        }
        cells
    });
    let mut text = table(&titles, rows, 1..6);
    text.push_str(&remarks(sheet));
    text
}

/// What the predictions rest on and leave out.
fn remarks(sheet: &FileSheet<'_>) -> String {
    let mut text = String::new();
    if let Some((shape, _, found)) = sheet.predictions.first() {
        let mut note = format!(
            "Predicted at batch {}, {} tokens of context. {LABEL} {}",
            grouped(shape.batch),
            grouped(shape.context),
            reasons(found),
        );
        note.push_str(&match sheet.budgets.as_slice() {
            [] => " Give --vram-budget to see what fits it.".to_owned(),
            [budget] => format!(
                " What fits the budget of {} at most leaves out what is unknown.",
                human::bytes(budget.0)
            ),
            _ => " What fits a budget at most leaves out what is unknown.".to_owned(),
        });
        text.push_str(&format!("{}\n", human::wrap(&note, WIDTH, 0)));
    }
    let mut devices: Vec<Device> = sheet
        .predictions
        .iter()
        .map(|(shape, ..)| shape.device)
        .collect();
    devices.dedup();
    for device in devices {
        let note = format!(
            "Predictions on {} rest on this: weights: {}; KV cache: its inputs by shape; runtime: {}.",
            device,
            WEIGHTS,
            runtime(device)
        );
        text.push_str(&format!("{}\n", human::wrap(&note, WIDTH, 2)));
    }
    text
}

/// What the weights of a file are predicted by.
pub(super) const WEIGHTS: &str =
    "its constants as they are stored, without what the runtime packs or converts at load";

pub(super) fn runtime(device: Device) -> &'static str {
    let terms = model::basis(device);
    terms
        .iter()
        .find(|(term, _)| *term == "runtime")
        .map_or("", |(_, words)| words)
}

/// Why terms are not known, each reason once.
fn reasons(found: &Prediction) -> String {
    let terms = [
        ("weights", &found.weights),
        ("KV cache", &found.kv_cache),
        ("activations", &found.activations),
    ];
    let unknown = terms.iter().filter_map(|(name, term)| {
        term.as_ref()
            .err()
            .map(|reason| format!("{name} unknown: {reason}."))
    });
    unknown.collect::<Vec<_>>().join(" ")
}
