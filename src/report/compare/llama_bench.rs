//! llama-bench's JSON as the comparison sees it: prompt tests are prefill speed, generation tests are decode speed, and
//! nothing else is made up.

use super::facts::{self, Facts};
use super::quantity::Quantity;
use super::run::{Case, Figure, Key, Parts, Run, Samples, Source};
use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Why most figures are missing.
const NOT_MEASURED: &str = "llama-bench does not measure it";

/// One test, with the fields that are read; the others are ignored.
#[derive(Debug, Clone, Deserialize)]
struct Test {
    /// For example `llama 1B Q4_0`.
    model_type: String,
    /// File of the model.
    model_filename: Option<String>,
    /// Stored parameters.
    model_n_params: u64,
    /// Prompt tokens, 0 in a generation test.
    n_prompt: u32,
    /// Generated tokens, 0 in a prompt test.
    n_gen: u32,
    /// Tokens in the cache before the test; older builds have no such choice.
    #[serde(default)]
    n_depth: u32,
    /// Mean speed.
    avg_ts: f64,
    /// Speed of each repetition.
    samples_ts: Option<Vec<f64>>,
    /// Threads.
    n_threads: Option<u64>,
    /// Prompt tokens handed over at once.
    n_batch: Option<u64>,
    /// Layers on the GPU.
    n_gpu_layers: Option<i64>,
    /// Key cache type.
    type_k: Option<String>,
    /// Value cache type.
    type_v: Option<String>,
    /// Processor.
    cpu_info: Option<String>,
    /// Graphics processor.
    gpu_info: Option<String>,
    /// For example `CUDA`.
    backends: Option<String>,
    /// Commit of llama.cpp.
    build_commit: Option<String>,
    /// Build number of llama.cpp.
    build_number: Option<u64>,
    /// Start, RFC 3339 in UTC.
    test_time: Option<String>,
}

/// The list of tests in `text`, which begins with a bracket.
pub fn run(file: &str, text: &str) -> Result<Run> {
    let refused = |cause: &dyn std::fmt::Display| {
        Error::Usage(format!(
            "this is a JSON list but not one of llama-bench ({cause}); give a result of edgebench, or what llama-bench -o json prints"
        ))
    };
    let tests: Vec<Test> = serde_json::from_str(text).map_err(|cause| refused(&cause))?;
    if tests.is_empty() {
        return Err(refused(&"it is empty"));
    }
    Ok(Run {
        file: file.to_owned(),
        source: Source::LlamaBench,
        started_utc: tests.iter().filter_map(|test| test.test_time.clone()).min(),
        command: None,
        finished: true,
        facts: machine(&tests),
        cases: tests.iter().map(case).collect(),
        ceilings: Vec::new(),
    })
}

/// Facts of the machine and the program.
fn machine(tests: &[Test]) -> Facts {
    let mut facts = Facts::default();
    let first =
        |read: fn(&Test) -> &Option<String>| tests.iter().find_map(|test| read(test).clone());
    let cpu = tests.iter().all(|test| test.n_gpu_layers == Some(0));
    let device = first(|test| &test.backends);
    facts.text("device", if cpu { Some("cpu".to_owned()) } else { device });
    facts.text("gpu", first(|test| &test.gpu_info));
    facts.text("cpu", first(|test| &test.cpu_info));
    let threads: Vec<u64> = tests.iter().filter_map(|test| test.n_threads).collect();
    facts.text("threads", facts::distinct(&threads, u64::to_string));
    facts.text("engine", Some("llama.cpp".to_owned()));
    let build = tests.iter().find_map(|test| test.build_number);
    let build = build.map_or_else(String::new, |number| format!(" build {number}"));
    facts.text("tool", Some(format!("llama-bench{build}")));
    facts.text("commit", first(|test| &test.build_commit));
    facts
}

/// One test alone.
fn case(test: &Test) -> Case {
    let speed = || Figure::Known {
        value: test.avg_ts,
        samples: match &test.samples_ts {
            Some(samples) => Samples::Own(samples.clone()),
            None => Samples::None("this file keeps no samples".to_owned()),
        },
    };
    let figure = |quantity| match (quantity, test.n_prompt > 0, test.n_gen > 0) {
        (Quantity::PrefillTokS, true, false) | (Quantity::DecodeTokS, false, true) => speed(),
        (Quantity::PrefillTokS | Quantity::DecodeTokS, true, true) => Figure::Missing(
            "a test of prompt and generation together tells neither speed".to_owned(),
        ),
        (Quantity::PrefillTokS, ..) => Figure::Missing("a generation test has none".to_owned()),
        (Quantity::DecodeTokS, ..) => Figure::Missing("a prompt test has none".to_owned()),
        _ => Figure::Missing(NOT_MEASURED.to_owned()),
    };
    Case {
        id: id(test),
        key: Key {
            model: test.model_type.clone(),
            batch: 1,
            prompt_tokens: test.n_prompt,
            gen_tokens: test.n_gen,
            depth: test.n_depth,
            kv_cache: kv_cache(test),
            // It makes caches as long as the sequence.
            kv_capacity: test.n_depth + test.n_prompt + test.n_gen,
        },
        budget: None,
        form: None,
        precision: precision(&test.model_type),
        params: test.model_n_params,
        obstacles: Vec::new(),
        settings: settings(test),
        memory_settings: BTreeMap::new(),
        currency: None,
        named_by_user: false,
        figures: Quantity::ALL
            .into_iter()
            .map(|quantity| (quantity, figure(quantity)))
            .collect(),
        memory: Parts::missing(NOT_MEASURED),
    }
}

/// `llama 1B Q4_0/pp512`, in the way llama-bench names its tests.
fn id(test: &Test) -> String {
    let mut name = match (test.n_prompt, test.n_gen) {
        (prompt, 0) => format!("pp{prompt}"),
        (0, generated) => format!("tg{generated}"),
        (prompt, generated) => format!("pp{prompt}+tg{generated}"),
    };
    if test.n_depth > 0 {
        name.push_str(&format!(" @ d{}", test.n_depth));
    }
    format!("{}/{name}", test.model_type)
}

/// Our name of the element type where llama.cpp's means the same, else the whole type.
fn precision(model_type: &str) -> String {
    match model_type.rsplit(' ').next() {
        Some("F16") => "fp16".to_owned(),
        Some("F32") => "fp32".to_owned(),
        _ => model_type.to_owned(),
    }
}

/// Our name of the KV cache's type where llama.cpp's is of the same kind, else both of its names. Its 8 bits have a scale for each
/// 32, ours one for all of them: the settings tell it.
fn kv_cache(test: &Test) -> String {
    let kind = |name: &Option<String>| match name.as_deref() {
        None | Some("f32" | "f16" | "bf16") => "float".to_owned(),
        Some("q8_0") => "int8".to_owned(),
        Some(other) => other.to_owned(),
    };
    let (keys, values) = (kind(&test.type_k), kind(&test.type_v));
    match keys == values {
        true => keys,
        false => format!("{keys} and {values}"),
    }
}

/// Settings that are told where they differ.
fn settings(test: &Test) -> BTreeMap<&'static str, String> {
    let mut settings = BTreeMap::from([("engine", "llama.cpp".to_owned())]);
    let texts = [
        ("number of threads", test.n_threads.map(|n| n.to_string())),
        (
            "batch of prompt tokens",
            test.n_batch.map(|n| n.to_string()),
        ),
        (
            "number of layers on the GPU",
            test.n_gpu_layers.map(|n| n.to_string()),
        ),
        ("type of keys", test.type_k.clone()),
        ("type of values", test.type_v.clone()),
        ("model file", test.model_filename.clone()),
    ];
    let known = texts
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    settings.extend(known);
    settings
}

/// llama-bench's tests put together to rows like those of `ours`: the prompt test of the same length for the prefill,
/// the generation test of the same length for the decoding, best at the depth at which edgebench decodes. Gives the rows
/// and the names of the tests that were used.
pub fn align(tests: &[Case], ours: &[Case]) -> (Vec<Case>, Vec<String>) {
    let (mut rows, mut used) = (Vec::new(), Vec::new());
    for our in ours {
        // llama-bench runs one sequence.
        let same = |test: &&Case| {
            let (test, our) = (&test.key, &our.key);
            test.model == our.model && test.kv_cache == our.kv_cache && our.batch == 1
        };
        let tests: Vec<&Case> = tests.iter().filter(same).collect();
        let (prompt, generated) = (our.key.prompt_tokens, our.key.gen_tokens);
        let found = |prompt, generated, depth| -> Vec<&Case> {
            let wanted = |test: &&&Case| {
                let key = &test.key;
                (key.prompt_tokens, key.gen_tokens, key.depth) == (prompt, generated, depth)
            };
            tests.iter().filter(wanted).copied().collect()
        };
        let prefill = found(prompt, 0, 0);
        let deep = found(0, generated, prompt);
        let decode = if deep.is_empty() {
            found(0, generated, 0)
        } else {
            deep
        };
        if prefill.is_empty() && decode.is_empty() {
            continue;
        }
        used.extend(prefill.iter().chain(&decode).map(|test| test.id.clone()));
        rows.push(joined(our, &prefill, &decode));
    }
    (rows, used)
}

/// One row of the tests that belong to `our`.
fn joined(our: &Case, prefill: &[&Case], decode: &[&Case]) -> Case {
    let figure = |quantity, tests: &[&Case], test: String| match tests {
        [only] => only.figure(quantity).cloned(),
        [] => Some(Figure::Missing(format!("llama-bench has not run {test}"))),
        _ => Some(Figure::Missing(format!(
            "{} tests of llama-bench are {test}; leave one in the file",
            tests.len()
        ))),
    };
    let speeds = [
        (
            Quantity::PrefillTokS,
            figure(
                Quantity::PrefillTokS,
                prefill,
                format!("pp{}", our.key.prompt_tokens),
            ),
        ),
        (
            Quantity::DecodeTokS,
            figure(
                Quantity::DecodeTokS,
                decode,
                format!("tg{}", our.key.gen_tokens),
            ),
        ),
    ];
    let all: Vec<&Case> = prefill.iter().chain(decode).copied().collect();
    let mut row = all[0].clone();
    let ids: Vec<&str> = all.iter().map(|test| test.id.as_str()).collect();
    row.id = ids.join(", ");
    row.key = our.key.clone();
    for (quantity, figure) in &mut row.figures {
        let speed = speeds.iter().find(|(name, _)| name == quantity);
        *figure = speed
            .and_then(|(_, speed)| speed.clone())
            .unwrap_or_else(|| Figure::Missing(NOT_MEASURED.to_owned()));
    }
    if let Some(test) = decode.first() {
        let depth = test.key.depth.to_string();
        row.settings.insert("depth of decoding", depth);
    }
    row
}
