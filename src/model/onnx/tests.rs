//! Built-in graphs are read back as what their specs say; hand-made ones show what other writers do.

use super::super::census::Census;
use super::super::part::{Part, parts};
use super::super::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use super::super::{builtin, census, find, kv_bytes_per_token};
use super::predict::Most;
use super::*;
use crate::trial::{Device, Float, Precision};
use crate::units::Bytes;
use proptest::prelude::*;
use prost::Message;

fn of(bytes: &[u8]) -> Result<OnnxFile, Cause> {
    parse(Cursor::new(bytes), bytes.len() as u64, &Config::default())
}

fn emitted(spec: &ModelSpec, form: Form, precision: Precision) -> OnnxFile {
    of_builtin(spec, form, precision.with(Float::Fp16)).unwrap()
}

/// The census of a graph that cannot know which rows of a quantised head only fill up the matrix.
fn with_filling(spec: &ModelSpec, numerics: Numerics) -> Census {
    let mut census = census(spec);
    if !spec.tied_head && numerics.quantized_bits().is_some() {
        let rows = u64::from(spec.vocab).next_multiple_of(64) - u64::from(spec.vocab);
        let filling = u64::from(spec.bodies()) * rows * u64::from(spec.d_model);
        for count in [
            &mut census.total,
            &mut census.active,
            &mut census.active_read,
        ] {
            *count += filling;
        }
    }
    census
}

#[test]
fn every_built_in_graph_tells_what_its_spec_tells() {
    for spec in builtin() {
        for (form, precision) in [
            (Form::Plain, Precision::Fp32),
            (Form::Plain, Precision::Fp16),
            (Form::Fused, Precision::Fp32),
            (Form::Fused, Precision::Fp16),
            (Form::Fused, Precision::Int8),
            (Form::Fused, Precision::Int4),
        ] {
            let numerics = precision.with(Float::Fp16);
            let what = format!("{} {form} {precision}", spec.name);
            let file = emitted(spec, form, precision);
            let counts = &file.counts;
            let census = with_filling(spec, numerics);
            assert_eq!(counts.unknown, Vec::<String>::new(), "{what}");
            assert_eq!(counts.total, Ok(census.total), "{what}");
            assert_eq!(counts.active, Ok(census.active), "{what}");
            assert_eq!(counts.active_read, Ok(census.active_read), "{what}");
            assert_eq!(
                (counts.unused, counts.is_tied),
                (census.unused, spec.tied_head),
                "{what}"
            );
            let mut expected = parts(spec, numerics);
            let mut found = counts.parts.clone();
            found.remove(&Part::Constants);
            if let (Some(head), Some(same)) =
                (expected.get_mut(&Part::Head), found.get(&Part::Head))
            {
                head.params += census.total - super::super::census(spec).total;
                assert_eq!(head.params, same.params, "{what}");
            }
            // The plain form has a tensor for each expert.
            for amount in expected.values_mut().chain(found.values_mut()) {
                amount.tensors = 0;
            }
            assert_eq!(found, expected, "{what}");
            let caches = file.caches.unwrap();
            assert_eq!(
                caches.bytes_per_token,
                kv_bytes_per_token(spec, KvCache::Float, numerics.compute()),
                "{what}"
            );
            let (update, capacity) = match form {
                Form::Plain => (Update::Grown, None),
                Form::Fused => (Update::InPlace, Some(u64::from(spec.max_positions))),
            };
            assert_eq!(
                (caches.update, caches.capacity),
                (Ok(update), capacity),
                "{what}"
            );
            assert_eq!(
                file.positions.unwrap().0,
                u64::from(spec.max_positions),
                "{what}"
            );
            assert_eq!(file.external[0].name, "weights.bin");
            let layout = Layout::of(spec, numerics);
            assert_eq!(file.external[0].needed, layout.file_bytes.0, "{what}");
            assert_eq!(file.notes, Vec::<String>::new(), "{what}");
        }
    }
}

#[test]
fn operators_are_counted_under_their_domain() {
    let spec = find("tiny-moe-llama").unwrap();
    let fused = emitted(spec, Form::Fused, Precision::Fp32).operators;
    let layers = u64::from(spec.n_layers);
    for op in ["com.microsoft.GroupQueryAttention", "com.microsoft.MoE"] {
        assert_eq!(fused[op], layers, "{op}");
    }
    let plain = emitted(spec, Form::Plain, Precision::Fp32).operators;
    assert!(plain.keys().all(|op| !op.contains('.')), "{plain:?}");
    assert_eq!(plain["TopK"], layers);
}

fn node(op: &str, inputs: &[&str], outputs: &[&str], integers: &[(&str, i64)]) -> NodeProto {
    let attribute = |(name, value): &(&str, i64)| AttributeProto {
        name: (*name).into(),
        i: Some(*value),
        ..AttributeProto::default()
    };
    NodeProto {
        input: inputs.iter().map(|one| (*one).into()).collect(),
        output: outputs.iter().map(|one| (*one).into()).collect(),
        op_type: op.into(),
        attribute: integers.iter().map(attribute).collect(),
        ..NodeProto::default()
    }
}

fn tensor(name: &str, data_type: i32, dims: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type,
        dims: dims.to_vec(),
        ..TensorProto::default()
    }
}

fn value(name: &str, elem_type: i32, dims: &[Result<i64, &str>]) -> ValueInfoProto {
    let dim = |dim: &Result<i64, &str>| DimensionProto {
        dim_value: dim.ok(),
        dim_param: dim.err().map(Into::into),
    };
    let shape = TensorShapeProto {
        dim: dims.iter().map(dim).collect(),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type,
                shape: Some(shape),
            }),
        }),
    }
}

fn model(graph: GraphProto) -> Vec<u8> {
    let model = ModelProto {
        ir_version: 9,
        graph: Some(graph),
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

const FLOAT: i32 = 1;
const UINT8: i32 = 2;
const INT8: i32 = 3;
const HALF: i32 = 10;

/// A layer as a builder of quantised decoders writes it: embedding and linear layers of 4 bits, experts too.
fn quantised() -> GraphProto {
    let linear = |name: &str, x: &str, y: &str| {
        let inputs = [x, &format!("{name}.q"), &format!("{name}.s")];
        node(
            "MatMulNBits",
            &inputs,
            &[y],
            &[("K", 64), ("N", 96), ("bits", 4), ("block_size", 32)],
        )
    };
    let cache = [Ok(-1), Ok(2), Err("past_sequence_length"), Ok(16)];
    let cache = |name: &str| {
        value(
            name,
            HALF,
            &[Err("batch_size"), cache[1], cache[2], cache[3]],
        )
    };
    let names = [
        "past_key_values.0.key",
        "past_key_values.0.value",
        "present.0.key",
        "present.0.value",
    ];
    let caches = names.map(cache);
    let attention = [
        "qkv", "", "", names[0], names[1], "lens", "total", "cos", "sin",
    ];
    GraphProto {
        node: vec![
            node(
                "GatherBlockQuantized",
                &["e.q", "input_ids", "e.s"],
                &["x"],
                &[("block_size", 32)],
            ),
            node(
                "GatherBlockQuantized",
                &["wpe.q", "position_ids", "wpe.s"],
                &["p"],
                &[("block_size", 32)],
            ),
            linear("a", "x", "qkv"),
            node(
                "GroupQueryAttention",
                &attention,
                &["mixed", names[2], names[3]],
                &[("num_heads", 4)],
            ),
            node("MatMul", &["mixed", "router"], &["choice"], &[]),
            node(
                "QMoE",
                &["mixed", "choice", "f1.q", "f1.s", "", "f2.q", "f2.s"],
                &["y"],
                &[("k", 2), ("expert_weight_bits", 4)],
            ),
            linear("h", "y", "logits"),
        ],
        initializer: vec![
            tensor("e.q", UINT8, &[100, 32]),
            tensor("e.s", HALF, &[100, 2]),
            tensor("a.q", UINT8, &[96, 2, 16]),
            tensor("a.s", HALF, &[96, 2]),
            tensor("h.q", UINT8, &[96, 2, 16]),
            tensor("h.s", HALF, &[96, 2]),
            tensor("router", HALF, &[64, 8]),
            tensor("f1.q", UINT8, &[8, 128, 32]),
            tensor("f1.s", HALF, &[8, 128]),
            tensor("f2.q", UINT8, &[8, 64, 32]),
            tensor("f2.s", HALF, &[8, 64]),
            tensor("wpe.q", 21, &[512, 64]),
            tensor("wpe.s", HALF, &[512, 2]),
            tensor("cos", HALF, &[4096, 8]),
            tensor("sin", HALF, &[4096, 8]),
        ],
        input: [value("input_ids", 7, &[Err("b"), Err("s")])]
            .into_iter()
            .chain(caches[..2].iter().cloned())
            .collect(),
        output: [value("logits", HALF, &[])]
            .into_iter()
            .chain(caches[2..].iter().cloned())
            .collect(),
        ..GraphProto::default()
    }
}

#[test]
fn quantised_weights_are_counted_and_not_their_bytes() {
    let file = of(&model(quantised())).unwrap();
    let counts = &file.counts;
    let params = |part: Part| counts.parts[&part].params;
    assert_eq!(params(Part::Embedding), 100 * 64);
    assert_eq!(params(Part::Positions), 512 * 64);
    assert_eq!(
        counts.parts[&Part::Positions].bytes,
        Bytes(512 * 32 + 512 * 2 * 2)
    );
    assert_eq!(
        (params(Part::Attention), params(Part::Head)),
        (64 * 96, 64 * 96)
    );
    assert_eq!(params(Part::Router), 64 * 8);
    assert_eq!(params(Part::Experts), 8 * (128 + 64) * 64);
    assert_eq!(
        counts.parts[&Part::Attention].bytes,
        Bytes(96 * 32 + 96 * 2 * 2)
    );
    assert_eq!(counts.unknown, Vec::<String>::new());
    let experts = 8 * (128 + 64) * 64;
    let lookups = (100 + 512) * 64;
    let total = lookups + 2 * 64 * 96 + 64 * 8 + experts;
    assert_eq!(counts.total, Ok(total));
    assert_eq!(counts.active, Ok(total - experts + experts / 4));
    assert_eq!(
        counts.active_read,
        Ok(total - experts + experts / 4 - lookups)
    );
    assert_eq!(counts.routing, Some((2, 8)));
    let caches = file.caches.clone().unwrap();
    assert_eq!(
        (caches.bytes_per_token, caches.update),
        (Bytes(2 * 2 * 16 * 2), Ok(Update::InPlace))
    );
    assert_eq!(file.positions, Ok((512, "the rows of wpe.q".into())));
    let shape = Shape {
        device: Device::Cuda(0),
        batch: 2,
        context: 10,
    };
    let known = predict(&file, shape, Some(Bytes::GIB));
    assert_eq!(known.kv_cache, Ok(Bytes(2 * 10 * 128)));
    assert!(known.activations.is_err());
    let room = Bytes::GIB.0 - known.runtime.0 - known.weights.clone().unwrap().0;
    let size = |most: Option<Told<Most>>| most.unwrap().unwrap();
    let context = size(known.context_at_most);
    assert_eq!((context.size, context.is_all_positions), (512, true));
    assert_eq!(size(known.batch_at_most).size, room / 1280);
    let some = known.runtime.0 + known.weights.unwrap().0 + 100 * 128;
    let context = size(predict(&file, shape, Some(Bytes(some))).context_at_most);
    assert_eq!((context.size, context.is_all_positions), (100, false));
    let none = predict(&file, shape, Some(Bytes(1)));
    assert_eq!(size(none.context_at_most).size, 0);
}

#[test]
fn scaled_constants_constants_of_nodes_and_of_branches_are_found() {
    let mut constant = node("Constant", &[], &["w1"], &[]);
    constant.attribute.push(AttributeProto {
        name: "value".into(),
        t: Some(tensor("", FLOAT, &[4, 4])),
        ..AttributeProto::default()
    });
    let branch = GraphProto {
        node: vec![node("MatMul", &["mlp_in", "mlp.w2"], &["z"], &[])],
        initializer: vec![tensor("mlp.w2", FLOAT, &[4, 5])],
        ..GraphProto::default()
    };
    let mut choose = node("If", &["flag"], &["mlp_out"], &[]);
    choose.attribute.push(AttributeProto {
        name: "then_branch".into(),
        g: Some(Box::new(branch)),
        ..AttributeProto::default()
    });
    let graph = GraphProto {
        node: vec![
            constant,
            node("DequantizeLinear", &["w0", "scale", "zero"], &["w0f"], &[]),
            node("MatMul", &["x", "w0f"], &["y"], &[]),
            node("Relu", &["y"], &["y2"], &[]),
            node("MatMul", &["y2", "w1"], &["mlp_in"], &[]),
            node("Mystery", &["mlp_out", "odd"], &["out"], &[]),
            choose,
        ],
        initializer: vec![
            tensor("w0", INT8, &[4, 4]),
            tensor("scale", FLOAT, &[]),
            tensor("zero", INT8, &[]),
            tensor("odd", FLOAT, &[2, 2]),
        ],
        output: vec![value("out", FLOAT, &[])],
        ..GraphProto::default()
    };
    let mut file = of(&model(graph.clone())).unwrap();
    assert_eq!(file.counts.parts[&Part::Ffn].params, 16 + 16 + 20);
    assert_eq!(
        file.counts.parts[&Part::Ffn].bytes,
        Bytes(16 + 4 + 1 + 64 + 80)
    );
    assert_eq!(file.counts.total, Ok(16 + 16 + 20 + 4));
    assert_eq!(file.counts.unknown.len(), 1);
    assert!(file.counts.active.unwrap_err().contains("4 parameters"));
    assert!(
        file.counts.unknown[0].contains("Mystery"),
        "{:?}",
        file.counts.unknown
    );
    assert!(!file.operators.contains_key("Constant") && file.operators["MatMul"] == 3);
    assert!(file.caches.unwrap_err().contains("no KV cache"));
    assert!(file.positions.is_err());
    let mut strange = graph;
    strange.initializer[3].data_type = UINT8;
    file = of(&model(strange)).unwrap();
    assert!(file.counts.total.unwrap_err().contains("\"odd\""));
    assert!(file.counts.active.is_err());
}

#[test]
fn an_embedding_and_a_router_of_eight_bits_keep_their_parts() {
    let graph = GraphProto {
        node: vec![
            node("Gather", &["wte", "input_ids"], &["rows"], &[]),
            node(
                "DequantizeLinear",
                &["rows", "wte_scale", "wte_zero"],
                &["x"],
                &[],
            ),
            node("DynamicQuantizeLinear", &["x"], &["xq", "xs", "xz"], &[]),
            node(
                "MatMulInteger",
                &["xq", "gate", "xz", "gate_zero"],
                &["y"],
                &[],
            ),
            node("Cast", &["y"], &["yf"], &[]),
            node("Mul", &["yf", "xs"], &["logit"], &[]),
            node("TopK", &["logit", "k"], &["best", "which"], &[]),
        ],
        initializer: vec![
            tensor("wte", UINT8, &[10, 4]),
            tensor("wte_scale", FLOAT, &[]),
            tensor("wte_zero", UINT8, &[]),
            tensor("gate", INT8, &[4, 8]),
            tensor("gate_zero", INT8, &[]),
            TensorProto {
                int64_data: vec![2],
                ..tensor("k", 7, &[1])
            },
        ],
        input: vec![value("input_ids", 7, &[Err("b"), Err("s")])],
        ..GraphProto::default()
    };
    let counts = of(&model(graph)).unwrap().counts;
    assert_eq!(counts.unknown, Vec::<String>::new());
    assert_eq!(counts.parts[&Part::Embedding].bytes, Bytes(40 + 4 + 1));
    assert_eq!(counts.parts[&Part::Router].params, 32);
    assert_eq!((counts.total, counts.active_read), (Ok(72), Ok(32)));
    assert_eq!(counts.routing, Some((2, 8)));
}

#[test]
fn a_scale_that_scales_itself_is_no_endless_search() {
    let graph = GraphProto {
        node: vec![
            node("DequantizeLinear", &["w", "w", "w"], &["f"], &[]),
            node("Identity", &["g"], &["g"], &[]),
            node("MatMul", &["f", "f"], &["f"], &[]),
        ],
        initializer: vec![tensor("w", INT8, &[4, 4]), tensor("g", FLOAT, &[4])],
        ..GraphProto::default()
    };
    of(&model(graph)).unwrap();
}

#[test]
fn tensors_that_cannot_be_are_sentences() {
    let external = |entries: &[(&str, &str)]| TensorProto {
        data_location: Some(1),
        external_data: entries
            .iter()
            .map(|(key, value)| StringStringEntryProto {
                key: (*key).into(),
                value: (*value).into(),
            })
            .collect(),
        ..tensor("w", FLOAT, &[4])
    };
    let table = [
        (tensor("w", FLOAT, &[4, -1]), "dimension of -1"),
        (tensor("w", FLOAT, &[i64::MAX, 4]), "more elements"),
        (external(&[]), "not in which"),
        (external(&[("location", "f"), ("offset", "x")]), "as offset"),
        (
            external(&[
                ("location", "f"),
                ("offset", "18446744073709551615"),
                ("length", "8"),
            ]),
            "a place that a file can have",
        ),
    ];
    for (tensor, cause) in table {
        let graph = GraphProto {
            initializer: vec![tensor],
            ..GraphProto::default()
        };
        let error = of(&model(graph)).unwrap_err();
        assert!(error.contains(cause), "{error}");
    }
    let graph = GraphProto {
        initializer: vec![
            external(&[("location", "f"), ("length", "15")]),
            tensor("s", 8, &[3]),
        ],
        ..GraphProto::default()
    };
    let file = of(&model(graph)).unwrap();
    assert!(file.notes[0].contains("16 bytes") && file.notes[0].contains("15 are stored"));
    assert!(file.counts.bytes.unwrap_err().contains("\"s\""));
    assert!(of(b"").unwrap_err().contains("no graph"));
}

#[test]
fn caches_are_told_from_names_and_shapes() {
    let io = |past: &str, present: &str, dims: &[Result<i64, &str>]| GraphProto {
        node: vec![node("Concat", &[past, "new"], &[present], &[])],
        input: vec![value(past, FLOAT, dims)],
        output: vec![value(present, FLOAT, dims)],
        ..GraphProto::default()
    };
    let four = [Err("b"), Ok(3), Err("p"), Ok(8)];
    type Dims<'a> = &'a [Result<i64, &'a str>];
    let table: [(&str, &str, Dims<'_>, Option<u64>); 6] = [
        ("past_key_values.0.key", "present.0.key", &four, Some(96)),
        ("past_key_0", "present_key_0", &four, Some(96)),
        (
            "past_0",
            "present_0",
            &[Ok(2), Err("b"), Ok(3), Err("p"), Ok(8)],
            Some(192),
        ),
        (
            "past_key_values.0.key",
            "present.0.key",
            &[Err("b"), Err("h"), Err("p"), Ok(8)],
            None,
        ),
        // The operator between tells where names do not.
        ("past_key_values.0.key", "present.1.key", &four, Some(96)),
        ("tensor_7", "cat_3", &four, Some(96)),
    ];
    for (past, present, dims, expected) in table {
        let caches = of(&model(io(past, present, dims))).unwrap().caches;
        let bytes = caches.map(|caches| (caches.bytes_per_token.0, caches.update));
        assert_eq!(
            bytes.clone().ok(),
            expected.map(|bytes| (bytes, Ok(Update::Grown))),
            "{past}: {bytes:?}"
        );
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = of(&bytes);
    }

    #[test]
    fn no_damage_makes_it_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = model(quantised());
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(file) = of(&bytes) {
            let shape = Shape { device: Device::Cpu, batch: u64::MAX, context: u64::MAX };
            predict(&file, shape, Some(Bytes(u64::MAX)));
        }
    }
}
