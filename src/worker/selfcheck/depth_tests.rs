//! Long decodes on the ONNX Runtime of the build, on the CPU: every test-size model, form and precision stays with its prefill up to
//! more than 1,000 tokens, and leaves it where a step is fed a stale id.

use super::tests::{generate, request};
use super::*;
use crate::engine;
use crate::model::{ModelSpec, Store, Variant, builtin, decode_rule};
use crate::protocol::EngineKind;
use crate::trial::{Arena, Form, LoadFacts, Precision};
use crate::units::{Bytes, Nanos};

/// Positions of the models here: the built-in ones have 128.
const POSITIONS: u32 = 1024;
const PROMPT: u32 = 32;
/// Where the logits are compared.
const DEPTHS: [u32; 4] = [64, 256, 512, 1023];

/// A decoder whose steps read an id that nobody writes any more: that of the first step.
struct Stale {
    engine: Box<dyn Engine>,
    ids: Option<Vec<Vec<i64>>>,
}

impl Engine for Stale {
    fn load(&mut self, holds: &dyn Fn() -> Option<Bytes>) -> Result<LoadFacts, EngineError> {
        self.engine.load(holds)
    }
    fn reset(&mut self) -> Result<(), EngineError> {
        self.engine.reset()
    }
    fn append(&mut self, rows: &[Vec<i64>]) -> Result<Nanos, EngineError> {
        self.engine.append(rows)
    }
    fn step(&mut self) -> Result<Nanos, EngineError> {
        let now = self.engine.next_ids().iter().map(|id| vec![*id]).collect();
        self.engine.append(self.ids.get_or_insert(now))
    }
    fn next_ids(&self) -> &[i64] {
        self.engine.next_ids()
    }
    fn logits(&mut self) -> Result<Vec<f32>, EngineError> {
        self.engine.logits()
    }
    fn device_used(&self) -> Option<Bytes> {
        self.engine.device_used()
    }
    fn arena(&self) -> Option<Arena> {
        self.engine.arena()
    }
}

/// A test-size model with more positions.
fn long(spec: &ModelSpec) -> ModelSpec {
    ModelSpec {
        max_positions: POSITIONS,
        ..spec.clone()
    }
}

/// A trial that ends with `depth` tokens in the cache, and its engine.
fn open(
    store: &mut Store,
    spec: &ModelSpec,
    (form, precision): (Form, Precision),
    (batch, depth): (u32, u32),
) -> (TrialRequest, Box<dyn Engine>) {
    let library = env!("EDGEBENCH_BUILD_ORT");
    assert!(
        !library.is_empty(),
        "a build with an ONNX Runtime is needed"
    );
    let row = |row: u32| (0..PROMPT).map(move |at| i64::from(2 + (7 * at + 3 * row) % 90));
    let prompts = (0..batch).map(|index| row(index).collect()).collect();
    let mut request = request(prompts, depth + 1 - PROMPT);
    request.trial.form = form;
    request.trial.precision = precision;
    let trial = &request.trial;
    let numerics = trial.numerics();
    let prepared = store
        .prepare(spec, Variant::of(trial), numerics, trial.seed, &mut |_| {})
        .unwrap();
    request.engine = EngineKind::Onnx {
        library: library.into(),
        cuda_dirs: Vec::new(),
    };
    request.graph = prepared.graph;
    request.io = prepared.io;
    request.weights = prepared.weights;
    request.weight_file = prepared.weight_file;
    request.tensors = prepared.tensors;
    let mut engine = engine::open(&request).unwrap();
    engine.load(&|| None).unwrap();
    (request, engine)
}

/// Every form with every precision it has.
const GRAPHS: [(Form, Precision); 6] = [
    (Form::Plain, Precision::Fp32),
    (Form::Plain, Precision::Fp16),
    (Form::Fused, Precision::Fp32),
    (Form::Fused, Precision::Fp16),
    (Form::Fused, Precision::Int8),
    (Form::Fused, Precision::Int4),
];

#[test]
fn a_long_decode_stays_with_prefill_and_a_stale_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::new(folder.path(), Bytes(u64::MAX));
    store.ensure().unwrap();
    let mut compared = 0;
    let tiny = builtin()
        .iter()
        .filter(|spec| spec.name.starts_with("tiny-"));
    for spec in tiny.map(long) {
        for graph in GRAPHS {
            for depth in DEPTHS {
                let batch = if depth == 64 { 2 } else { 1 };
                let (request, mut engine) = open(&mut store, &spec, graph, (batch, depth));
                let rule = decode_rule(&spec, &request.trial);
                let what = format!("{} {} {} at {depth}", spec.name, graph.0, graph.1);
                let transcript = generate(&mut *engine, &request);
                let facts = check(&mut *engine, &request, &transcript, rule).unwrap();
                assert_eq!(facts.position, depth, "{what}");
                assert!(facts.passed(), "{what}: {facts:?}");
                compared += 1;
                if depth > DEPTHS[1] {
                    continue;
                }
                let ids = None;
                let mut stale = Stale { engine, ids };
                let transcript = generate(&mut stale, &request);
                let facts = check(&mut stale, &request, &transcript, rule).unwrap();
                assert!(!facts.passed(), "{what}, stale: {facts:?}");
            }
        }
    }
    assert_eq!(compared, 7 * GRAPHS.len() * DEPTHS.len());
}
