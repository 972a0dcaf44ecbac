//! What is taken in, what is counted, and what is refused in a sentence.

use super::super::proto::{DimensionProto, EXTERNAL, ModelProto, NodeProto, OperatorSetIdProto};
use super::*;
use crate::protocol::ForeignIo;
use prost::Message;
use std::fs;

const MODEL: &str = "genai-llama-fp32";

fn fixture(name: &str) -> PathBuf {
    let all = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/foreign");
    Path::new(all).join(name)
}

fn model(name: &str) -> ModelProto {
    let bytes = fs::read(fixture(name).join("model.onnx")).unwrap();
    ModelProto::decode(bytes.as_slice()).unwrap()
}

/// A folder with a changed graph, its weights beside it.
fn changed(name: &str, change: impl FnOnce(&mut ModelProto)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut model = model(name);
    change(&mut model);
    fs::write(folder.path().join("model.onnx"), model.encode_to_vec()).unwrap();
    for beside in ["model.onnx.data", "genai_config.json"] {
        let from = fixture(name).join(beside);
        if from.is_file() {
            fs::copy(from, folder.path().join(beside)).unwrap();
        }
    }
    folder
}

/// Places the weights elsewhere.
fn located(location: &str) -> tempfile::TempDir {
    changed(MODEL, |model| {
        let tensors = &mut model.graph.as_mut().unwrap().initializer;
        let outside = tensors
            .iter_mut()
            .filter(|one| one.data_location == Some(EXTERNAL));
        for entry in outside.flat_map(|one| &mut one.external_data) {
            if entry.key == "location" {
                entry.value = location.into();
            }
        }
    })
}

fn understood(folder: &Path, paths: ExternalPaths) -> Result<Foreign, String> {
    let graph = graph(folder).unwrap().unwrap();
    understand(&graph, paths).map_err(|error| {
        assert_eq!(error.exit_code(), crate::error::exit::MODEL);
        error.to_string()
    })
}

#[track_caller]
fn refused(folder: &tempfile::TempDir, with: &[&str]) {
    let sentence = understood(folder.path(), ExternalPaths::Inside).unwrap_err();
    for part in with {
        assert!(sentence.contains(part), "{part}: {sentence}");
    }
    assert!(!sentence.contains('\n'));
}

#[test]
fn weights_are_counted_and_not_their_bytes() {
    // Embedding and head; in each of two layers attention, a gated FFN and two norms; the last norm. Qwen3 has norms of heads.
    let llama = 2 * 128 * 32 + 2 * (32 * 64 + 32 * 32 + 3 * 32 * 64 + 2 * 32) + 32;
    let table = [
        ("genai-llama-fp32", llama),
        ("genai-llama-fp16", llama),
        ("genai-llama-int4", llama),
        ("genai-qwen3-fp32", llama + 2 * 2 * 16),
        ("genai-qwen3-int4", llama + 2 * 2 * 16),
        ("optimum-llama", llama),
    ];
    for (name, expected) in table {
        let foreign = understood(&fixture(name), ExternalPaths::Inside).unwrap();
        assert_eq!(foreign.params, expected, "{name}");
    }
}

#[test]
fn of_experts_the_chosen_ones_are_active_and_what_is_computed_is_no_parameter() {
    let foreign = understood(&fixture("attention-23-moe"), ExternalPaths::Inside).unwrap();
    let (attention, norms, router) = (2 * 32 * 32 + 2 * 32 * 16, 2 * 32, 4 * 32);
    let expert = 2 * 32 * 32;
    let shared = 2 * 128 * 32 + 2 * (attention + norms + router);
    assert_eq!(foreign.params, shared + 2 * 4 * expert);
    let (active, read) = foreign.active();
    assert_eq!(active, Ok(shared + 2 * 2 * expert));
    assert_eq!(read, Ok(shared + 2 * 2 * expert - 128 * 32));
    assert!(foreign.routes());
    let spec = describe(&foreign).unwrap();
    let trial = Trial {
        prompt_tokens: 8,
        gen_tokens: 8,
        ..Trial::example()
    };
    let step = foreign.work(&spec, &trial).unwrap().step;
    // Single numbers are read too; the past in fp32 of 12 tokens, keys and values of two layers.
    let floor = 4 * (shared + 2 * 2 * expert - 128 * 32);
    assert!(
        step.weights.0 >= floor && step.weights.0 < floor + 256,
        "{step:?}"
    );
    assert_eq!(step.kv_cache.0, 12 * 4 * 16 * 4);
}

#[test]
fn caches_heads_and_positions_are_told_by_shapes_and_by_what_stands_beside_the_graph() {
    let genai = understood(&fixture(MODEL), ExternalPaths::Inside).unwrap();
    assert!(genai.in_place() && genai.form == Form::Fused);
    assert_eq!(genai.decoder.as_ref().unwrap().cache_heads, Some((1, 16)));
    assert_eq!(genai.decoder.as_ref().unwrap().heads, Some(2));
    assert_eq!(
        genai.decoder.as_ref().unwrap().io.bytes_per_token(),
        4 * 16 * 4
    );
    let spec = describe(&genai).unwrap();
    assert_eq!(
        (spec.n_layers, spec.vocab, spec.max_positions),
        (2, 128, 96)
    );
    assert_eq!(spec.name, MODEL);
    // Without a word beside it the tables of rotations tell the size of a head.
    let alone = tempfile::tempdir().unwrap();
    for name in ["model.onnx", "model.onnx.data"] {
        fs::copy(fixture(MODEL).join(name), alone.path().join(name)).unwrap();
    }
    let alone = understood(alone.path(), ExternalPaths::Inside).unwrap();
    assert_eq!(alone.decoder, genai.decoder);
    let dynamo = understood(&fixture("torch-dynamo"), ExternalPaths::Inside).unwrap();
    let ports = dynamo.decoder.as_ref().unwrap().io.caches.iter();
    let pairs: Vec<_> = ports
        .map(|cache| (cache.past.name.as_str(), cache.present.name.as_str()))
        .collect();
    assert_eq!(pairs.len(), 4, "{pairs:?}");
    assert_eq!(dynamo.decoder.as_ref().unwrap().io.logits.name, "linear_8");
}

#[test]
fn weights_outside_of_the_folder_are_refused_unless_that_is_allowed() {
    let data = fixture(MODEL).join("model.onnx.data");
    let absolute = located(data.to_str().unwrap());
    refused(&absolute, &["absolute", "--allow-external-paths"]);
    assert!(understood(absolute.path(), ExternalPaths::Anywhere).is_ok());
    refused(&located("../model.onnx.data"), &["climbs out"]);
    refused(&located("deep/../../model.onnx.data"), &["climbs out"]);
    for (link, to) in [("file.data", data.clone()), ("deep", fixture(MODEL))] {
        let location = match link {
            "deep" => "deep/model.onnx.data",
            link => link,
        };
        let linked = located(location);
        std::os::unix::fs::symlink(&to, linked.path().join(link)).unwrap();
        refused(&linked, &["is a link", "--allow-external-paths"]);
        assert!(understood(linked.path(), ExternalPaths::Anywhere).is_ok());
    }
    // As it came it is inside, also where that is said in a roundabout way.
    assert!(understood(located("./model.onnx.data").path(), ExternalPaths::Inside).is_ok());
}

#[test]
fn weights_that_are_missing_or_cut_off_are_a_sentence() {
    refused(&located("other.data"), &["other.data", "is not there"]);
    let cut = changed(MODEL, |_| {});
    let data = fs::File::options()
        .write(true)
        .open(cut.path().join("model.onnx.data"))
        .unwrap();
    data.set_len(1000).unwrap();
    refused(&cut, &["1000 bytes", "cut off"]);
    let far = |key: &'static str, value: &'static str| {
        changed(MODEL, move |model| {
            let tensors = &mut model.graph.as_mut().unwrap().initializer;
            let outside = tensors
                .iter_mut()
                .find(|one| one.data_location == Some(EXTERNAL))
                .unwrap();
            outside.external_data.retain(|entry| entry.key != key);
            let mut entry = outside.external_data[0].clone();
            (entry.key, entry.value) = (key.into(), value.into());
            outside.external_data.push(entry);
        })
    };
    refused(
        &far("offset", "18446744073709551000"),
        &["a place that a file can have"],
    );
    refused(&far("offset", "9000000000"), &["cut off"]);
    refused(&far("length", "-1"), &["whole number"]);
    let dims = changed(MODEL, |model| {
        model.graph.as_mut().unwrap().initializer[0].dims = vec![i64::MAX, i64::MAX];
    });
    refused(&dims, &["more elements"]);
}

#[test]
fn what_cannot_be_run_is_named() {
    let custom = changed(MODEL, |model| {
        model.opset_import.push(OperatorSetIdProto {
            domain: "acme".into(),
            version: 1,
        });
        model.graph.as_mut().unwrap().node.push(NodeProto {
            op_type: "Anvil".into(),
            domain: "acme".into(),
            output: vec!["dropped".into()],
            ..NodeProto::default()
        });
    });
    refused(&custom, &["acme.Anvil", "not loaded"]);
    let input = |change: fn(&mut ModelProto)| changed("attention-23-moe", change);
    let renamed = input(|model| {
        model.graph.as_mut().unwrap().input[1].name = "encoder_hidden_states".into();
    });
    refused(
        &renamed,
        &[
            "encoder_hidden_states",
            "is for",
            "text-generation-with-past",
        ],
    );
    let size = |input: usize, dim: usize, size: i64| {
        changed("attention-23-moe", move |model| {
            let input = &mut model.graph.as_mut().unwrap().input[input];
            let kind = input.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
            kind.shape.as_mut().unwrap().dim[dim] = DimensionProto {
                dim_value: Some(size),
                dim_param: None,
            };
        })
    };
    refused(&size(0, 1, 8), &["input_ids", "just 8 tokens", "dynamic"]);
    refused(&size(2, 2, 64), &["fixed length of 64", "dynamic"]);
    let fixed = understood(size(0, 0, 1).path(), ExternalPaths::Inside).unwrap();
    assert_eq!(fixed.decoder.as_ref().unwrap().io.fixed_batch(), Some(1));
    let no_ids = changed("attention-23-moe", |model| {
        model
            .graph
            .as_mut()
            .unwrap()
            .input
            .retain(|one| one.name != "input_ids");
    });
    refused(&no_ids, &["no decoder of text"]);
    let no_logits = changed("attention-23-moe", |model| {
        model
            .graph
            .as_mut()
            .unwrap()
            .output
            .retain(|one| one.name != "logits");
    });
    refused(&no_logits, &["logits"]);
}

#[test]
fn one_graph_of_a_folder_is_meant_or_a_sentence_says_that_none_is() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(graph(folder.path()).unwrap(), None);
    let write = |name: &str| fs::write(folder.path().join(name), "").unwrap();
    write("b.onnx");
    let found = |path: &Path| graph(path).map(|found| found.map(|path| name(&path)));
    assert_eq!(found(folder.path()).unwrap(), Some("b".into()));
    write("a.onnx");
    let sentence = graph(folder.path()).unwrap_err().to_string();
    assert!(sentence.contains("a.onnx and 1 more"), "{sentence}");
    write("model.onnx");
    assert_eq!(
        graph(folder.path()).unwrap(),
        Some(folder.path().join("model.onnx"))
    );
    let told = r#"{"model": {"decoder": {"filename": "b.onnx"}}}"#;
    fs::write(folder.path().join("genai_config.json"), told).unwrap();
    assert_eq!(found(folder.path()).unwrap(), Some("b".into()));
}

/// What is understood of a fixture.
fn io(name: &str) -> ForeignIo {
    understood(&fixture(name), ExternalPaths::Inside)
        .unwrap()
        .decoder
        .unwrap()
        .io
}

#[test]
fn what_computes_shapes_is_told_from_what_computes_with_numbers() {
    let nodes = io("genai-llama-fp16").host_nodes.nodes;
    let mask = "/model/attn_mask_reformat/attn_mask_subgraph";
    for (name, is_shape) in [
        (format!("{mask}/Shape"), true),
        (format!("{mask}/Gather"), true),
        (format!("{mask}/Gather/Cast"), true),
        (format!("{mask}/Sub/Cast"), true),
        ("/model/embed_tokens/Gather".to_owned(), false),
        ("/model/layers.0/mlp/Mul".to_owned(), false),
    ] {
        assert_eq!(nodes.get(&name), Some(&is_shape), "{name}");
    }
    let nodes = io("torch-dynamo").host_nodes.nodes;
    // The shape that heads are put together to, and a cache that grows.
    assert!(nodes["node_Concat_40"]);
    assert!(!nodes["node_cat"]);
    let unnamed = io("merged").host_nodes.unnamed;
    assert_eq!((unnamed["Sub"].shapes, unnamed["Sub"].computing), (1, 0));
    assert_eq!((unnamed["Add"].shapes, unnamed["Concat"].shapes), (0, 0));
}

#[test]
fn steps_are_even_where_caches_are_in_place_and_the_mask_only_tells_lengths() {
    for name in ["genai-llama-fp16", "genai-llama-int4", "genai-qwen3-fp32"] {
        assert_eq!(io(name).uneven_steps, None, "{name}");
    }
    for name in [
        "optimum-llama",
        "torch-dynamo",
        "merged",
        "attention-23-moe",
    ] {
        let why = io(name).uneven_steps.unwrap();
        assert!(why.contains("other shapes"), "{name}: {why}");
    }
}

#[test]
fn a_mask_whose_width_tells_more_than_a_bound_is_not_made_wider() {
    let folder = changed(MODEL, |model| {
        let nodes = &mut model.graph.as_mut().unwrap().node;
        let shape = nodes.iter().find(|node| node.op_type == "Shape").unwrap();
        nodes.push(NodeProto {
            op_type: "Range".into(),
            name: "count".into(),
            input: vec!["0".into(), shape.output[0].clone(), "1".into()],
            output: vec!["columns".into()],
            ..NodeProto::default()
        });
    });
    let foreign = understood(folder.path(), ExternalPaths::Inside).unwrap();
    let why = foreign.decoder.unwrap().io.uneven_steps.unwrap();
    assert!(
        why.contains("Range \"count\"") && why.contains("attention_mask"),
        "{why}"
    );
}
