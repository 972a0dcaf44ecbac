//! Models that are no decoders on the ONNX Runtime of the build, on the CPU: each is held to what ONNX Runtime's Python API computes of
//! the same inputs.

use super::outputs;
use super::selfcheck::tests::request;
use crate::engine;
use crate::model::foreign::{self, ExternalPaths, Foreign};
use crate::protocol::{EngineKind, PassContent, TrialRequest};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the Python API computed.
#[derive(Deserialize)]
struct Golden {
    output: String,
    shape: Vec<i64>,
    values: Vec<f64>,
}

fn folder(name: &str) -> PathBuf {
    let all = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/passes");
    Path::new(all).join(name)
}

fn adopted(name: &str) -> &'static Foreign {
    let graph = foreign::graph(&folder(name)).unwrap().unwrap();
    let spec = foreign::adopt(&graph, ExternalPaths::Inside).unwrap();
    spec.foreign.unwrap()
}

/// The request that a run would make of the model, over these sizes, or over the saved inputs.
fn asked(name: &str, dims: &[(&str, u32)]) -> TrialRequest {
    let foreign = adopted(name);
    let io = foreign.io.as_ref().unwrap();
    let saved = io.inputs.iter().map(|input| {
        let file = folder(name).join(format!("{}.npy", input.name));
        (input.name.clone(), file)
    });
    let files = match dims {
        [] => saved.collect(),
        _ => BTreeMap::new(),
    };
    let dims = dims.iter().map(|(name, size)| ((*name).to_owned(), *size));
    let (pass, items) = foreign.pass(&dims.collect(), &files).unwrap().unwrap();
    let prepared = foreign.prepared();
    let mut request = request(vec![Vec::new()], 0);
    request.prompts.clear();
    (request.trial.prompt_tokens, request.trial.gen_tokens) = (0, 0);
    request.engine = EngineKind::Onnx {
        library: env!("EDGEBENCH_BUILD_ORT").into(),
        cuda_dirs: Vec::new(),
    };
    (request.trial.form, request.trial.precision) = (foreign.form, foreign.precision);
    (request.trial.pass, request.trial.batch) = (Some(pass), items);
    (request.graph, request.io) = (prepared.graph, prepared.io);
    (request.weights, request.weight_file) = (prepared.weights, prepared.weight_file);
    request
}

#[test]
fn every_model_keeps_to_what_onnx_runtime_computes_of_it() {
    for (name, dims) in [
        ("vision", vec![("batch", 2)]),
        ("embedding", vec![("batch", 2), ("seq", 9)]),
    ] {
        let request = asked(name, &[]);
        let settled = &request.trial.pass.as_ref().unwrap().dims;
        let expected = dims.iter().map(|(name, size)| ((*name).to_owned(), *size));
        assert_eq!(*settled, expected.collect(), "{name}");
        assert_eq!(request.trial.batch, 2, "{name}");
        let mut engine = engine::open(&request).unwrap();
        engine.load(&|| None).unwrap();
        let text = std::fs::read_to_string(folder(name).join("golden.json")).unwrap();
        let golden: Golden = serde_json::from_str(&text).unwrap();
        let found = engine.outputs().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(
            (&found[0].name, &found[0].shape),
            (&golden.output, &golden.shape)
        );
        let apart = outputs::difference(&golden.values, &found[0].values);
        assert!(apart < 1e-4, "{name}: {apart}");
        assert!(engine.append(&[]).unwrap().0 > 0);
        let facts = outputs::check(&mut *engine).unwrap();
        assert!(
            facts.passed() && facts.values == golden.values.len() as u64,
            "{facts:?}"
        );
    }
}

#[test]
fn inputs_are_made_by_type_and_by_what_reads_them() {
    let content = |name: &str| -> Vec<(String, PassContent)> {
        let inputs = &adopted(name).io.as_ref().unwrap().inputs;
        let each = inputs
            .iter()
            .map(|input| (input.name.clone(), input.content));
        each.collect()
    };
    assert_eq!(
        content("vision"),
        [("pixel_values".to_owned(), PassContent::Normal)]
    );
    let embedding = [
        ("input_ids".to_owned(), PassContent::Below(128)),
        ("attention_mask".to_owned(), PassContent::Ones),
        ("token_type_ids".to_owned(), PassContent::Below(2)),
    ];
    assert_eq!(content("embedding"), embedding);
}

#[test]
fn the_same_seed_makes_the_same_inputs_and_another_others() {
    let outputs = |seed: u64| {
        let mut request = asked("embedding", &[("batch", 3), ("seq", 5)]);
        request.trial.seed = seed;
        let mut engine = engine::open(&request).unwrap();
        engine.load(&|| None).unwrap();
        engine.outputs().unwrap().remove(0)
    };
    let first = outputs(1);
    assert_eq!(first.shape, [3, 32]);
    assert_eq!(first, outputs(1));
    assert_ne!(first, outputs(2));
}
