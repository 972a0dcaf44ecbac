//! Graphs of other exporters on the ONNX Runtime of the build, on the CPU: each is held to what ONNX Runtime's Python API computes of it.

use super::reference;
use super::selfcheck::tests::request;
use crate::engine;
use crate::model::foreign::{self, ExternalPaths};
use crate::protocol::{EngineKind, Golden, TrialRequest};
use crate::trial::{CheckFacts, Form, Precision};
use crate::worker::{selfcheck::Transcript, whole};
use std::path::{Path, PathBuf};

/// What was exported: folder, form, precision, how its cache grows, parameters, whether the active ones are told.
const MODELS: [(&str, Form, Precision, &str); 11] = [
    (
        "attention-23-moe",
        Form::Plain,
        Precision::Fp32,
        "concatenated",
    ),
    ("genai-llama-fp16", Form::Fused, Precision::Fp16, "in place"),
    ("genai-llama-fp32", Form::Fused, Precision::Fp32, "in place"),
    ("genai-llama-int4", Form::Fused, Precision::Int4, "in place"),
    ("genai-qwen3-fp32", Form::Fused, Precision::Fp32, "in place"),
    ("genai-qwen3-int4", Form::Fused, Precision::Int4, "in place"),
    ("merged", Form::Plain, Precision::Fp32, "concatenated"),
    ("optimum-gpt2", Form::Plain, Precision::Fp32, "concatenated"),
    (
        "optimum-gpt2-no-cache",
        Form::Plain,
        Precision::Fp32,
        "none",
    ),
    (
        "optimum-llama",
        Form::Plain,
        Precision::Fp32,
        "concatenated",
    ),
    ("torch-dynamo", Form::Plain, Precision::Fp32, "concatenated"),
];

fn folder(name: &str) -> PathBuf {
    let all = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/foreign");
    Path::new(all).join(name)
}

fn golden(name: &str) -> Golden {
    let text = std::fs::read_to_string(folder(name).join("golden.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The request that a run would make of the model, for one row of the golden's prompt.
fn asked(name: &str, rows: usize) -> TrialRequest {
    let library = env!("EDGEBENCH_BUILD_ORT");
    assert!(
        !library.is_empty(),
        "a build with an ONNX Runtime is needed"
    );
    let graph = foreign::graph(&folder(name)).unwrap().unwrap();
    let spec = foreign::adopt(&graph, ExternalPaths::Inside).unwrap();
    let prepared = spec.foreign.unwrap().prepared();
    let golden = golden(name);
    let mut request = request(vec![golden.prompt; rows], golden.ids.len() as u32);
    request.engine = EngineKind::Onnx {
        library: library.into(),
        cuda_dirs: Vec::new(),
    };
    let foreign = spec.foreign.unwrap();
    (request.trial.form, request.trial.precision) = (foreign.form, foreign.precision);
    (request.graph, request.io) = (prepared.graph, prepared.io);
    (request.weights, request.weight_file) = (prepared.weights, prepared.weight_file);
    request
}

#[test]
fn every_graph_keeps_to_what_onnx_runtime_computes_of_it() {
    for (name, form, precision, kv_mode) in MODELS {
        let request = asked(name, 1);
        assert_eq!(
            (request.trial.form, request.trial.precision),
            (form, precision),
            "{name}"
        );
        let mut engine = engine::open(&request).unwrap();
        let facts = engine
            .load(&|| None)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(facts.kv_mode, kv_mode, "{name}");
        let golden = golden(name);
        if kv_mode == "none" {
            let mut transcript = Transcript::of(&request.trial);
            whole::repeat(
                &mut *engine,
                &request.prompts,
                request.trial.gen_tokens,
                &mut transcript,
            )
            .unwrap();
            assert_eq!(transcript.first_ids(), golden.ids, "{name}");
            engine.reset().unwrap();
            engine.append(&request.prompts).unwrap();
            let error = reference::difference(&engine.logits().unwrap(), &golden.logits[0]);
            assert!(error < 1e-4, "{name}: {error}");
            continue;
        }
        // Weights in int4 meet activations that the CPU provider rounds, several tokens otherwise than one.
        let tolerance = match precision {
            Precision::Fp32 => 1e-4,
            Precision::Fp16 => 2e-2,
            Precision::Int8 | Precision::Int4 => 5e-2,
        };
        let facts = reference::check(&mut *engine, &golden, tolerance).unwrap();
        assert!(facts.passed(), "{name}: {facts:?}");
        if precision != Precision::Fp32 {
            // One token after the other, and the prompt in one go, are computed just as in Python.
            let CheckFacts {
                prefill_error,
                decode_error,
                ..
            } = facts;
            assert!(
                prefill_error < 1e-3 && decode_error < 1e-3,
                "{name}: {facts:?}"
            );
        }
    }
}

#[test]
fn a_batch_decodes_each_row_as_if_it_were_alone() {
    for (name, _, _, kv_mode) in MODELS {
        let request = asked(name, 3);
        let mut engine = engine::open(&request).unwrap();
        engine.load(&|| None).unwrap();
        engine.append(&request.prompts).unwrap();
        let golden = golden(name);
        let mut steps = golden.ids.iter();
        assert_eq!(engine.next_ids(), [*steps.next().unwrap(); 3], "{name}");
        if kv_mode == "none" {
            assert!(engine.step().is_err());
            continue;
        }
        for id in steps {
            engine.step().unwrap();
            assert_eq!(engine.next_ids(), [*id; 3], "{name}");
        }
    }
}

#[test]
fn a_mask_as_wide_as_the_cache_tells_each_repetition_anew_how_much_of_it_counts() {
    for name in ["genai-llama-fp32", "genai-qwen3-fp32"] {
        let mut request = asked(name, 2);
        // Far more room than is used: were the rest of the cache attended to, the ids would be others.
        request.trial.gen_tokens += 40;
        assert_eq!(request.io.foreign.as_ref().unwrap().uneven_steps, None);
        let mut engine = engine::open(&request).unwrap();
        engine.load(&|| None).unwrap();
        let golden = golden(name);
        for _ in 0..2 {
            engine.reset().unwrap();
            engine.append(&request.prompts).unwrap();
            for id in &golden.ids {
                assert_eq!(engine.next_ids(), [*id; 2], "{name}");
                engine.step().unwrap();
            }
            // The same tokens from the host, with a mask of just their length.
            let stepped = engine.logits().unwrap();
            engine.reset().unwrap();
            engine.append(&request.prompts).unwrap();
            for id in &golden.ids {
                engine.append(&vec![vec![*id]; 2]).unwrap();
            }
            let error = reference::difference(&stepped, &engine.logits().unwrap());
            assert!(error < 1e-5, "{name}: {error}");
        }
    }
}
