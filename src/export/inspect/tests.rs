//! Golden texts, and what must hold of every built-in model.

use super::*;
use crate::model::onnx::{self, Shape};
use crate::model::{self, find};
use crate::plan::{Facts, Plan, PrecisionChoice, Request, Selection};
use crate::trial::{Device, Form, Precision};
use std::path::Path;

fn sheet(name: &str, precisions: &[Precision], budget: Option<Bytes>) -> Builtin<'static> {
    let spec = find(name).unwrap();
    let forms = [Form::Plain, Form::Fused];
    let graphs = precisions
        .iter()
        .flat_map(|precision| forms.map(|form| (form, *precision)));
    let request = Request {
        selection: Selection::Models(vec![name.to_owned()]),
        forms: forms.to_vec(),
        precisions: precisions
            .iter()
            .copied()
            .map(PrecisionChoice::Exactly)
            .collect(),
        batches: vec![1],
        prompt_tokens: vec![],
        gen_tokens: vec![],
        repetitions: 1,
        warmup: 0,
        threads: None,
        cuda_graph: true,
        seed: 0,
        budget: Some(budget.unwrap_or(Bytes(u64::MAX))),
    };
    let facts = Facts {
        device: Device::Cuda(0),
        device_memory: None,
        cores: 1,
    };
    Builtin {
        spec,
        graphs: graphs
            .map(|(form, precision)| Graph {
                form,
                numerics: precision.on(Device::Cuda(0)),
                file: onnx::of_builtin(spec, form, precision.on(Device::Cuda(0))).unwrap(),
            })
            .collect(),
        plans: vec![Plan::build(&request, &facts, &model::footprint).unwrap()],
        budget,
    }
}

#[test]
fn a_built_in_model() {
    let sheet = sheet(
        "granite-1b-a400m",
        &[Precision::Fp16],
        Some(Bytes(3400 << 20)),
    );
    insta::assert_snapshot!(builtin(&sheet, false).unwrap());
}

#[test]
fn a_built_in_model_for_programs() {
    let sheet = sheet("tiny-moe-llama", &[Precision::Fp32], None);
    insta::assert_snapshot!(builtin(&sheet, true).unwrap());
}

/// A file's sheet, one of its data files missing.
fn file_text(as_json: bool) -> String {
    let spec = find("tiny-specialists").unwrap();
    let mut read =
        onnx::of_builtin(spec, Form::Fused, Precision::Fp16.on(Device::Cuda(0))).unwrap();
    // The version that is written changes with every release.
    read.producer = Some("a writer\u{1b}[31m 1".into());
    read.positions = Err("nothing says it".into());
    let shape = Shape {
        device: Device::Cuda(0),
        batch: 2,
        context: 96,
    };
    let budget = Some(Bytes::GIB);
    let sheet = FileSheet {
        path: Path::new("folder/model.onnx"),
        predictions: vec![(shape, onnx::predict(&read, shape, budget))],
        file: &read,
        budget,
    };
    file(&sheet, as_json).unwrap()
}

#[test]
fn a_file() {
    let text = file_text(false);
    assert!(!text.contains('\u{1b}'), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_file_for_programs() {
    insta::assert_snapshot!(file_text(true));
}

#[test]
fn what_is_unknown_is_null_with_a_reason() {
    let value: Value = serde_json::from_str(&file_text(true)).unwrap();
    assert!(value["max_positions"].is_null());
    assert_eq!(value["not_known"]["max_positions"], "nothing says it");
    let prediction = &value["predictions"][0];
    assert!(prediction["activations_bytes"].is_null());
    assert!(prediction["not_known"]["activations_bytes"].is_string());
}
