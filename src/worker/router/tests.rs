//! Routers of every test-size model, form and precision on the ONNX Runtime of the build; and wrong ones.

use super::*;
use crate::engine;
use crate::model::{ModelSpec, Store, Variant, builtin, find, load};
use crate::protocol::SideGraph;
use crate::trial::{Form, Precision, Trial};
use crate::units::Bytes;

const GRAPHS: [(Form, Precision); 6] = [
    (Form::Plain, Precision::Fp32),
    (Form::Plain, Precision::Fp16),
    (Form::Fused, Precision::Fp32),
    (Form::Fused, Precision::Fp16),
    (Form::Fused, Precision::Int8),
    (Form::Fused, Precision::Int4),
];

/// What is done with an engine, how its router is looked at, and prompts.
type Look<'a> = &'a mut dyn FnMut(&mut dyn engine::Engine, RouterCheck, &[Vec<i64>]);

/// A model's engine and how its router is looked at.
fn open(spec: &ModelSpec, (form, precision): (Form, Precision), run: Look<'_>) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::new(folder.path(), Bytes(u64::MAX));
    store.ensure().unwrap();
    let trial = Trial {
        model: spec.name.clone(),
        form,
        precision,
        prompt_tokens: 8,
        gen_tokens: 4,
        ..Trial::example()
    };
    let variant = Variant::of(&Trial {
        batch: 1,
        ..trial.clone()
    });
    let trial = Trial { batch: 1, ..trial };
    let prepared = store
        .prepare(spec, variant, trial.numerics(), 7, &mut |_| {})
        .unwrap();
    let prompts = vec![vec![5, 17, 42, 3, 90, 61, 7, 8]];
    let check = store
        .with_router_check(&prepared, spec, &trial, &prompts[0])
        .unwrap();
    let mut engine = load(&prepared, trial);
    run(engine.as_mut(), check.unwrap(), &prompts);
}

fn with_router() -> impl Iterator<Item = &'static ModelSpec> {
    let tiny = builtin()
        .iter()
        .filter(|spec| spec.name.starts_with("tiny-"));
    tiny.filter(|spec| spec.has_experts() || spec.specialists.is_some())
}

#[test]
fn every_router_of_test_size_passes_in_every_form_and_precision() {
    let mut seen = 0;
    for spec in with_router() {
        for graph in GRAPHS {
            open(spec, graph, &mut |engine, check, prompts| {
                let facts = look(engine, &check, prompts).unwrap().unwrap();
                let what = format!("{} {} {}: {facts:?}", spec.name, graph.0, graph.1);
                verdict(&facts).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(
                    facts.tokens >= 8 && facts.experts_per_token >= 1.0,
                    "{what}"
                );
                seen += 1;
            });
        }
    }
    assert_eq!(seen, 4 * GRAPHS.len());
}

/// The same graph with another number of experts for each token.
fn mutated(side: &SideGraph, top_k: i64) {
    let changed = crate::model::with_top_k(&std::fs::read(&side.graph).unwrap(), top_k);
    std::fs::write(&side.graph, changed).unwrap();
}

#[test]
fn a_graph_that_chooses_one_expert_more_is_refused() {
    let spec = find("tiny-moe-llama").unwrap();
    for graph in [GRAPHS[2], GRAPHS[4], GRAPHS[5]] {
        open(spec, graph, &mut |engine, check, prompts| {
            mutated(check.graph.as_ref().unwrap(), 3);
            let facts = look(engine, &check, prompts).unwrap().unwrap();
            assert!(!facts.passed(), "{graph:?}: {facts:?}");
            // The poisoned expert was read as the third.
            assert_eq!(facts.weight_sum_error, f64::MAX, "{graph:?}");
            let error = verdict(&facts).unwrap_err().to_string();
            assert!(error.contains("router check: tokens go to"), "{error}");
        });
    }
}

fn rule(per_token: u32, normalized: bool) -> RouterCheck {
    RouterCheck {
        read: RouterRead::Outputs,
        graph: None,
        experts: 4,
        per_token: Some(per_token),
        normalized,
        tolerance: 1e-3,
    }
}

#[test]
fn weights_have_to_be_what_they_are_for() {
    let logits = [0.0, 2.0, 1.0, -1.0];
    let token = |weights: &[f32], chosen: &[f32]| vec![read(weights, chosen, &logits)];
    let passed = |tokens: &[Token], normalized| judge(tokens, &rule(2, normalized)).passed();
    assert!(passed(&token(&[0.7, 0.3], &[1.0, 2.0]), true));
    // The same expert twice; one that there is not; one with less than another; one below zero; a sum of more; no number.
    for (weights, chosen) in [
        ([0.7, 0.3], [1.0, 1.0]),
        ([0.7, 0.3], [1.0, 4.0]),
        ([0.7, 0.3], [1.0, 0.0]),
        ([1.2, -0.2], [1.0, 2.0]),
        ([0.8, 0.3], [1.0, 2.0]),
        ([f32::NAN, 0.3], [1.0, 2.0]),
    ] {
        let facts = judge(&token(&weights, &chosen), &rule(2, true));
        assert!(!facts.passed(), "{facts:?}");
        assert!(
            verdict(&facts)
                .unwrap_err()
                .to_string()
                .contains("router check: ")
        );
    }
    let shares = [0.6439, 0.2369];
    assert!(passed(&token(&shares, &[1.0, 2.0]), false));
    assert!(!passed(&token(&shares, &[1.0, 2.0]), true));
    assert!(!judge(&[], &rule(2, true)).passed());
}
