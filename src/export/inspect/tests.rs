//! Golden texts, and what must hold of every built-in model.

use super::*;
use crate::model::onnx::{self, Shape};
use crate::model::{self, find};
use crate::plan::{Facts, Plan, PrecisionChoice, Request, Selection};
use crate::trial::{Device, Form, Precision};
use std::path::Path;

fn sheet(name: &str, precisions: &[Precision], budgets: &[Bytes]) -> Builtin<'static> {
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
        kv_caches: vec![Default::default()],
        ablate: false,
        offload: Default::default(),
        kv_room: None,
        external_paths: Default::default(),
        batches: vec![1],
        prompt_tokens: vec![],
        gen_tokens: vec![],
        repetitions: 1,
        warmup: 0,
        steady: false,
        threads: None,
        cuda_graph: true,
        seed: 0,
        budgets: match budgets {
            [] => vec![Bytes(u64::MAX)],
            given => given.to_vec(),
        },
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
        budgets: budgets.to_vec(),
    }
}

#[test]
fn a_built_in_model() {
    let sheet = sheet("granite-1b-a400m", &[Precision::Fp16], &[Bytes(3400 << 20)]);
    insta::assert_snapshot!(builtin(&sheet, false).unwrap());
}

#[test]
fn a_built_in_model_for_programs() {
    let sheet = sheet("tiny-moe-llama", &[Precision::Fp32], &[]);
    insta::assert_snapshot!(builtin(&sheet, true).unwrap());
}

/// A file's sheet, one of its data files missing.
fn file_text(budgets: &[Bytes], as_json: bool) -> String {
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
    let predict = |budget: &Bytes| {
        let budget = Some(*budget);
        (shape, budget, onnx::predict(&read, shape, budget))
    };
    let sheet = FileSheet {
        path: Path::new("folder/model.onnx"),
        predictions: budgets.iter().map(predict).collect(),
        file: &read,
        budgets: budgets.to_vec(),
    };
    file(&sheet, as_json).unwrap()
}

#[test]
fn a_file() {
    let text = file_text(&[Bytes::GIB], false);
    assert!(!text.contains('\u{1b}'), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_file_for_programs() {
    insta::assert_snapshot!(file_text(&[Bytes::GIB], true));
}

#[test]
fn with_several_budgets_each_has_its_lines() {
    let budgets = [Bytes::MIB, Bytes::GIB];
    let lines = |text: &str, word: &str| text.lines().filter(|line| line.contains(word)).count();
    let text = builtin(&sheet("llama-1b", &[Precision::Fp16], &budgets), false).unwrap();
    assert_eq!(
        (lines(&text, "1.00 MiB"), lines(&text, "1.00 GiB")),
        (2, 2),
        "{text}"
    );
    let text = file_text(&budgets, false);
    assert_eq!(
        (lines(&text, "1.00 MiB"), lines(&text, "1.00 GiB")),
        (1, 1),
        "{text}"
    );
    let value: Value = serde_json::from_str(&file_text(&budgets, true)).unwrap();
    let told = |at: usize| value["predictions"][at]["budget"].clone();
    assert_eq!([told(0), told(1)], [json!(Bytes::MIB), json!(Bytes::GIB)]);
}

#[test]
fn what_is_unknown_is_null_with_a_reason() {
    let value: Value = serde_json::from_str(&file_text(&[Bytes::GIB], true)).unwrap();
    assert!(value["max_positions"].is_null());
    assert_eq!(value["not_known"]["max_positions"], "nothing says it");
    let prediction = &value["predictions"][0];
    assert!(prediction["activations_bytes"].is_null());
    assert!(prediction["not_known"]["activations_bytes"].is_string());
}
