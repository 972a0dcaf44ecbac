//! A graph that runs a few experts twice: with codes that ONNX Runtime packs, and with those that the engine packed. Both must be the
//! same, or the engine puts codes where the kernels of that version do not look for them.

use super::super::graph::{CONTRIB, Dim, GraphBuilder};
use super::super::proto::DataType;
use super::super::spec::{Ffn, ModelSpec};
use super::super::weights::{Layout, Tensor};
use super::{experts, part, quantized};
use crate::protocol::Element;

/// Experts that run: the first ones of a layer.
pub const FEW: u32 = 2;

/// The graph, and the names of the weights that the engine packed; `None` for a model without quantised experts.
///
/// | value | shape |
/// |---|---|
/// | `x` | `[tokens, d]` |
/// | `logits` | `[tokens, experts]` |
/// | `few` | `[tokens, 2]`: the first of `logits` |
/// | outputs `raw`, `packed` | `[tokens, d]` |
pub fn packing_check(spec: &ModelSpec, layout: &Layout) -> Option<(Vec<u8>, Vec<String>)> {
    let Ffn::Moe { experts: count, .. } = spec.ffn else {
        return None;
    };
    let bits = i64::from(layout.numerics.quantized_bits()?);
    let get = |which: &str| {
        let name = |part: &str| format!("l0.experts.{which}.{part}");
        Some((layout.get(&name("q"))?, layout.get(&name("scales"))?))
    };
    let matrices = [get("fc1")?, get("fc2")?];
    let float = DataType::from(Element::from(layout.numerics.compute()));
    let mut graph = GraphBuilder::new("packing", float);
    let rows = |width: u32| [Dim::Named("tokens"), Dim::Fixed(width)];
    let x = graph.input("x", float, &rows(spec.d_model));
    let logits = graph.input("logits", float, &rows(count));
    let few = graph.input("few", float, &rows(FEW));
    for (name, logits, packed) in [("raw", &few, false), ("packed", &logits, true)] {
        let mut weights = Vec::new();
        for (codes, scales) in matrices {
            for tensor in [codes, scales] {
                weights.push(match packed {
                    true => whole(&mut graph, tensor),
                    false => first(&mut graph, tensor),
                });
            }
        }
        let mut attributes = experts::attributes(i64::from(FEW));
        attributes.extend(quantized::attributes(bits, packed));
        let [fc1, fc1_scales, fc2, fc2_scales] = [0, 1, 2, 3].map(|at| weights[at].as_str());
        let inputs = [&x, logits.as_str(), fc1, fc1_scales, "", fc2, fc2_scales];
        let y = graph.node(CONTRIB, "QMoE", &inputs, 1, &attributes);
        graph.output(&y[0], name, float, &rows(spec.d_model));
    }
    let names = matrices.map(|(codes, _)| codes.name.clone());
    Some((graph.finish(&[]), names.into()))
}

/// All of a tensor, under its name.
fn whole(graph: &mut GraphBuilder, tensor: &Tensor) -> String {
    let weight = part(tensor, &tensor.name, tensor.dims.clone(), 0);
    graph.weight(weight, tensor.bytes)
}

/// The first experts of a tensor.
fn first(graph: &mut GraphBuilder, tensor: &Tensor) -> String {
    let mut dims = tensor.dims.clone();
    let bytes = tensor.bytes / dims[0] * u64::from(FEW);
    dims[0] = u64::from(FEW);
    graph.weight(
        part(tensor, &format!("{}.few", tensor.name), dims, 0),
        bytes,
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::find;
    use super::super::super::proto::{ModelProto, NodeProto};
    use super::super::{Variant, emit_with_copies};
    use super::*;
    use crate::trial::{Device, Form, KvCache, Precision};
    use prost::Message;

    fn prepacked(node: &NodeProto) -> i64 {
        let mut attributes = node.attribute.iter();
        let found = attributes.find(|one| one.name == "weights_prepacked");
        found.unwrap().i.unwrap()
    }

    fn experts(bytes: &[u8]) -> Vec<NodeProto> {
        let graph = ModelProto::decode(bytes).unwrap().graph.unwrap();
        let nodes = graph.node.into_iter();
        nodes.filter(|node| node.op_type == "QMoE").collect()
    }

    #[test]
    fn both_operators_differ_in_nothing_but_who_packs() {
        let spec = find("granite-1b-a400m").unwrap();
        for precision in [Precision::Int4, Precision::Int8] {
            let layout = Layout::of(spec, precision.on(Device::Cuda(0)));
            let (bytes, names) = packing_check(spec, &layout).unwrap();
            assert_eq!(names, ["l0.experts.fc1.q", "l0.experts.fc2.q"]);
            let nodes = experts(&bytes);
            assert_eq!(nodes.iter().map(prepacked).collect::<Vec<_>>(), [0, 1]);
            let others = |node: &NodeProto| {
                let attributes = node.attribute.iter();
                let others = attributes.filter(|one| one.name != "weights_prepacked");
                others.cloned().collect::<Vec<_>>()
            };
            assert_eq!(others(&nodes[0]), others(&nodes[1]));
            assert_eq!(nodes[1].input[2], names[0]);
            assert_eq!(nodes[0].input[2], format!("{}.few", names[0]));
        }
        for (name, precision) in [
            ("llama-1b", Precision::Int4),
            ("granite-1b-a400m", Precision::Fp16),
        ] {
            let spec = find(name).unwrap();
            let layout = Layout::of(spec, precision.on(Device::Cuda(0)));
            assert!(packing_check(spec, &layout).is_none(), "{name}");
        }
    }

    #[test]
    fn a_graph_of_packed_experts_says_so_and_can_copy_them() {
        let spec = find("tiny-moe-q").unwrap();
        let layout = Layout::of(spec, Precision::Int4.on(Device::Cuda(0)));
        let variant = Variant {
            packed_experts: true,
            ..Variant::portable(Form::Fused, KvCache::Float, 64)
        };
        let copied = ["l0.experts.fc1.q".to_owned()];
        let emitted = emit_with_copies(spec, &layout, variant, &copied);
        let nodes = experts(&emitted.bytes);
        assert!(nodes.iter().all(|node| prepacked(node) == 1));
        assert_ne!(nodes[0].input[2], copied[0]);
        assert_eq!(nodes[0].input[5], "l0.experts.fc2.q");
        for tensor in &emitted.weights {
            let codes = tensor.name.contains("experts") && tensor.name.ends_with(".q");
            assert_eq!(tensor.packed, codes.then_some(4), "{}", tensor.name);
            let scales = tensor.name.contains("experts") && tensor.name.ends_with(".scales");
            assert_eq!(tensor.repacked, scales, "{}", tensor.name);
        }
        let plain = emit_with_copies(
            spec,
            &layout,
            Variant {
                packed_experts: false,
                ..variant
            },
            &[],
        );
        assert!(
            experts(&plain.bytes)
                .iter()
                .all(|node| prepacked(node) == 0)
        );
        assert!(plain.weights.iter().all(|tensor| tensor.packed.is_none()));
    }
}
