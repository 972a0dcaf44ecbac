//! Quantised graphs on the ONNX Runtime of the build, on the CPU, made to compute exactly: every operator must read its weights
//! for what they stand for. The references are from PyTorch, of the same quantised weights.

use super::graph::CONTRIB;
use super::proto::{
    DimensionProto, ModelProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use super::store::Prepared;
use super::{Store, Variant, builtin, find, golden, unquantized_golden};
use crate::engine::{self, Engine};
use crate::protocol::{EngineKind, Golden, TrialRequest};
use crate::trial::{KvCache, Precision, Trial};
use crate::units::Bytes;
use prost::Message;
use std::fs;

const SEED: u64 = 42;

fn trial(model: &str, precision: Precision) -> Trial {
    Trial {
        model: model.into(),
        precision,
        prompt_tokens: 24,
        seed: SEED,
        budget: Bytes(u64::MAX),
        ..Trial::example()
    }
}

/// Changes a graph so that the CPU provider rounds no activations: its linear layers are told so, and its experts do it only
/// for weights that are constant, which a weight that is an input as well is not.
fn make_exact(prepared: &Prepared) {
    let mut model = ModelProto::decode(&fs::read(&prepared.graph).unwrap()[..]).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let mut changed = 0;
    for node in graph.node.iter_mut().filter(|node| node.domain == CONTRIB) {
        let levels = node.attribute.iter_mut();
        for level in levels.filter(|attribute| attribute.name == "accuracy_level") {
            level.i = Some(1);
            changed += 1;
        }
    }
    assert!(changed > 0, "{}", prepared.graph.display());
    let experts = graph.initializer.iter();
    let inputs = experts
        .filter(|tensor| tensor.name.contains(".experts."))
        .map(|tensor| {
            let dims = tensor.dims.iter().map(|dim| DimensionProto {
                dim_value: Some(*dim),
                dim_param: None,
            });
            ValueInfoProto {
                name: tensor.name.clone(),
                r#type: Some(TypeProto {
                    tensor_type: Some(TensorTypeProto {
                        elem_type: tensor.data_type,
                        shape: Some(TensorShapeProto {
                            dim: dims.collect(),
                        }),
                    }),
                }),
            }
        });
    let inputs: Vec<_> = inputs.collect();
    graph.input.extend(inputs);
    fs::write(&prepared.graph, model.encode_to_vec()).unwrap();
}

/// A written model in an engine.
pub fn load(prepared: &Prepared, trial: Trial) -> Box<dyn Engine> {
    let request = request(prepared, trial);
    let mut engine = engine::open(&request).unwrap();
    engine.load(&|| None).unwrap();
    engine
}

fn request(prepared: &Prepared, trial: Trial) -> TrialRequest {
    let library = env!("EDGEBENCH_BUILD_ORT");
    assert!(
        !library.is_empty(),
        "this test needs a build with an ONNX Runtime"
    );
    TrialRequest {
        engine: EngineKind::Onnx {
            library: library.into(),
            cuda_dirs: Vec::new(),
        },
        graph: prepared.graph.clone(),
        copies_graph: None,
        packing_check: None,
        io: prepared.io.clone(),
        weights: prepared.weights,
        largest_tensor: prepared.largest_tensor,
        weight_file: prepared.weight_file.clone(),
        tensors: prepared.tensors.clone(),
        prompts: Vec::new(),
        golden: None,
        unquantized: None,
        tolerance: 0.0,
        decode_rule: None,
        fp32_text: None,
        output_check: false,
        router_check: None,
        whole_sequence: false,
        routing: false,
        sample_interval: None,
        enforce: crate::trial::Enforce::Soft,
        enforce_note: None,
        enforce_asked: false,
        device_free: None,
        bus_id: None,
        exclusive: false,
        unified_memory: false,
        trial,
    }
}

/// Difference from a reference along its text: the largest, relative to the largest logit, and that of all, relative to all
/// logits, by their squares.
pub fn errors(engine: &mut dyn Engine, golden: &Golden) -> (f32, f32) {
    engine.reset().unwrap();
    let mut read = golden.prompt.clone();
    let (mut worst, mut wrong, mut all) = (0.0f32, 0.0f32, 0.0f32);
    for (expected, id) in golden.logits.iter().zip(&golden.ids) {
        engine.append(&[read]).unwrap();
        let logits = engine.logits().unwrap();
        assert_eq!(logits.len(), expected.len());
        let largest = expected
            .iter()
            .fold(0.0f32, |most, value| most.max(value.abs()));
        for (found, expected) in logits.iter().zip(expected) {
            assert!(found.is_finite());
            worst = worst.max((found - expected).abs() / largest);
            wrong += (found - expected).powi(2);
            all += expected.powi(2);
        }
        read = vec![*id];
    }
    (worst, (wrong / all).sqrt())
}

fn prepare(store: &mut Store, trial: &Trial) -> Prepared {
    let spec = find(&trial.model).unwrap();
    let prepared = store.prepare(
        spec,
        Variant::of(trial),
        trial.numerics(),
        SEED,
        &mut |_| {},
    );
    prepared.unwrap()
}

fn store(folder: &tempfile::TempDir) -> Store {
    let store = Store::new(folder.path(), Bytes(u64::MAX));
    store.ensure().unwrap();
    store
}

#[test]
fn every_operator_reads_quantised_weights_for_what_they_stand_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder);
    let mut told = Vec::new();
    let names = builtin().iter().map(|spec| spec.name.as_str());
    for name in names.filter(|name| name.starts_with("tiny-")) {
        for (precision, most) in [(Precision::Int8, 0.2), (Precision::Int4, 0.9)] {
            let (what, trial) = (format!("{name} {precision}"), trial(name, precision));
            let prepared = prepare(&mut store, &trial);
            let unquantized = unquantized_golden(&trial).unwrap();
            make_exact(&prepared);
            let mut engine = load(&prepared, trial);
            let (same, _) = errors(
                &mut *engine,
                &golden(name, SEED, precision, KvCache::Float).unwrap(),
            );
            assert!(same > 0.0 && same < 1e-4, "{what}: {same}");
            // What quantising costs: far more than arithmetic, less than the 1.4 of logits that have nothing to do with each
            // other. Much of it is in random weights of so few dimensions, and in tokens that get other experts.
            let (_, other) = errors(&mut *engine, &unquantized);
            assert!(other > 1e-3 && other < most, "{what}: {other}");
            told.push(format!("{what}: {same:.1e}, against fp32 {other:.3}"));
        }
    }
    assert_eq!(told.len(), 14, "{told:#?}");
}

#[test]
fn a_cache_in_int8_is_read_for_what_it_holds_and_costs_what_rounding_costs() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder);
    let mut told = Vec::new();
    let names = builtin().iter().map(|spec| spec.name.as_str());
    for name in names.filter(|name| name.starts_with("tiny-")) {
        let trial = Trial {
            kv_cache: KvCache::Int8,
            ..trial(name, Precision::Fp32)
        };
        let unquantized = unquantized_golden(&trial).unwrap();
        let golden = golden(name, SEED, trial.precision, trial.kv_cache).unwrap();
        let prepared = prepare(&mut store, &trial);
        let bound = super::tolerance(trial.numerics(), trial.kv_cache) as f32;
        let mut engine = load(&prepared, trial);
        let (same, _) = errors(&mut *engine, &golden);
        assert!(same > 0.0 && same < bound, "{name}: {same}");
        // Far more than arithmetic. A tenth of it is in tokens of random weights that get other experts.
        let (_, other) = errors(&mut *engine, &unquantized);
        assert!(other > 1e-3 && other < 0.2, "{name}: {other}");
        told.push(format!("{name}: {same:.1e}, against fp32 {other:.3}"));
    }
    assert_eq!(told.len(), 7, "{told:#?}");
}

/// Weights that an operator of ours copies first are what they are where they lie; the engine compares the logits of both.
#[test]
fn copied_weights_are_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::new(folder.path(), Bytes(1 << 30));
    store.ensure().unwrap();
    // With quantised weights that are no constants the CPU provider rounds no activations: other logits, for a reason of its own.
    for model in ["tiny-gpt2", "tiny-llama", "tiny-moe-llama"] {
        let trial = trial(model, Precision::Fp32);
        let prepared = prepare(&mut store, &trial);
        let spec = find(model).unwrap();
        let names: Vec<String> = super::weights::Layout::of(spec, trial.numerics())
            .tensors
            .iter()
            .filter(|tensor| tensor.bytes > 4096)
            .map(|tensor| tensor.name.clone())
            .collect();
        let numerics = trial.numerics();
        let graph = store
            .with_copies(&prepared, spec, Variant::of(&trial), numerics, &names)
            .unwrap();
        let nodes = ModelProto::decode(&fs::read(&graph).unwrap()[..]).unwrap();
        let nodes = nodes.graph.unwrap().node;
        let copies = nodes.iter().filter(|node| node.domain == super::graph::OWN);
        assert!(copies.count() >= 8, "{model}");
        let mut request = request(&prepared, trial);
        request.copies_graph = Some(graph);
        let mut engine = engine::open(&request).unwrap();
        let ways = engine.load(&|| None).unwrap().link_ways.unwrap();
        assert_eq!(ways.note, None);
        assert!(
            ways.prompt_ms
                .iter()
                .chain(&ways.step_ms)
                .all(Option::is_some)
        );
        engine.append(&[vec![1, 2, 3]]).unwrap();
        engine.step().unwrap();
    }
}
