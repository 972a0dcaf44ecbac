//! The part of each constant by the nodes that read it, and by names where those do not tell. What nothing tells is unknown.

use super::super::part::Part;
use super::super::proto::NodeProto;
use super::names::by_name;
use super::network::{Network, Tensor, integer};
use super::walk::RESHAPING;

/// What a place among a node's inputs holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holds {
    /// Parameters as they are.
    Plain,
    /// Quantised parameters, so many.
    Packed(u64),
    /// What quantised parameters are scaled and shifted by: bytes, and no parameters.
    Scales,
}

/// What a constant is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// The part it belongs to.
    pub part: Part,
    /// What it holds.
    pub holds: Holds,
    /// Whether it is only looked up, a row for each token.
    pub is_lookup: bool,
}

/// A role by one reader.
fn role(part: Part, holds: Holds) -> Role {
    Role {
        part,
        holds,
        is_lookup: false,
    }
}

fn lookup(part: Part, holds: Holds) -> Role {
    Role {
        part,
        holds,
        is_lookup: true,
    }
}

/// Operators that compute attention from queries, keys and values.
const ATTENTION: [&str; 7] = [
    "Attention",
    "DecoderMaskedMultiHeadAttention",
    "GroupQueryAttention",
    "MultiHeadAttention",
    "PackedMultiHeadAttention",
    "PagedAttention",
    "SparseAttention",
];

const ACTIVATIONS: [&str; 12] = [
    "BiasGelu",
    "Elu",
    "Erf",
    "FastGelu",
    "Gelu",
    "HardSwish",
    "QuickGelu",
    "Relu",
    "Sigmoid",
    "Silu",
    "Swish",
    "Tanh",
];

/// Operators between the head and the logits.
const TO_LOGITS: [&str; 12] = [
    "Add",
    "Cast",
    "Div",
    "Flatten",
    "Gather",
    "Identity",
    "Mul",
    "Reshape",
    "Slice",
    "Squeeze",
    "Tanh",
    "Unsqueeze",
];

/// Operators between a router and the choice of experts.
const TO_CHOICE: [&str; 8] = [
    "Add",
    "Cast",
    "Identity",
    "Mul",
    "Reshape",
    "Sigmoid",
    "Softmax",
    "Transpose",
];

/// Operators between a projection and attention.
const TO_ATTENTION: [&str; 19] = [
    "Add",
    "Cast",
    "Concat",
    "Expand",
    "Flatten",
    "Identity",
    "LayerNormalization",
    "Mul",
    "Neg",
    "RMSNormalization",
    "Reshape",
    "RotaryEmbedding",
    "SimplifiedLayerNormalization",
    "Slice",
    "Split",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
];

/// The role of a constant.
pub fn of(network: &Network, tensor: &Tensor) -> Role {
    let uses = network.uses(tensor);
    if uses.is_empty() && !network.outputs.contains(&tensor.name) {
        return role(Part::Unused, Holds::Plain);
    }
    if makes_rotations(network, tensor) {
        return role(Part::Tables, Holds::Plain);
    }
    let roles: Vec<Role> = uses
        .iter()
        .map(|(node, slot)| by_reader(network, tensor, &network.nodes[*node], *slot))
        .collect();
    let is_lookup = !roles.is_empty() && roles.iter().all(|role| role.is_lookup);
    // A table that is looked up and also read in full is the embedding as head; of other readers the first that tells.
    let telling = roles
        .iter()
        .find(|role| role.is_lookup && role.part != Part::Unknown);
    let telling = telling.or_else(|| roles.iter().find(|role| role.part != Part::Unknown));
    let Some(found) = telling.or(roles.first()) else {
        return role(Part::Unknown, Holds::Plain);
    };
    Role {
        is_lookup,
        ..found.clone()
    }
}

/// More frequencies than this no head has.
const FREQUENCIES: u64 = 4096;

/// Whether positions are multiplied with a constant, on their way to be a cosine or sine: then it is computed, and not learned.
fn makes_rotations(network: &Network, tensor: &Tensor) -> bool {
    const THROUGH: [&str; 11] = [
        "Cast",
        "Concat",
        "Einsum",
        "Expand",
        "Flatten",
        "Identity",
        "MatMul",
        "Mul",
        "Reshape",
        "Transpose",
        "Unsqueeze",
    ];
    let is_wave = |node: &NodeProto| matches!(node.op_type.as_str(), "Cos" | "Sin");
    let mut readers = network.readers(&tensor.name).iter();
    tensor.element.is_float()
        && tensor.elements <= FREQUENCIES
        && readers.any(|(node, _)| {
            let node = &network.nodes[*node];
            let through = THROUGH.contains(&node.op_type.as_str());
            is_wave(node)
                || through && network.leads_to(node, &THROUGH, &|reader, _| is_wave(reader))
        })
}

fn by_reader(network: &Network, tensor: &Tensor, node: &NodeProto, slot: usize) -> Role {
    let op = node.op_type.as_str();
    let packed = |bits: &str, default: u64| packed(tensor, node, bits, default);
    match (op, slot) {
        _ if !tensor.element.is_float() && !tensor.element.is_narrow() => {
            role(Part::Constants, Holds::Plain)
        }
        ("DequantizeLinear" | "QuantizeLinear", 1..) => {
            role(scaled_part(network, node), Holds::Scales)
        }
        _ if tensor.dims.is_empty() => role(Part::Constants, Holds::Plain),
        ("Gather", 0) => lookup(table(network, tensor, node), Holds::Plain),
        ("GatherBlockQuantized", 0) => lookup(table(network, tensor, node), packed("bits", 4)),
        ("GatherBlockQuantized", _) => role(table(network, tensor, node), Holds::Scales),
        ("EmbedLayerNormalization", 2 | 4) => lookup(Part::Embedding, Holds::Plain),
        ("EmbedLayerNormalization", 3) => lookup(Part::Positions, Holds::Plain),
        ("SkipLayerNormalization", 4) | ("SkipSimplifiedLayerNormalization", 3) => {
            role(bias(network, tensor, node, 0), Holds::Plain)
        }
        (op, 1..) if op.ends_with("Normalization") => role(Part::Norms, Holds::Plain),
        ("MoE", 2..) => role(Part::Experts, Holds::Plain),
        ("QMoE", 2 | 5 | 8) => role(Part::Experts, packed("expert_weight_bits", 4)),
        ("QMoE", 4 | 7 | 10) => role(Part::Experts, Holds::Plain),
        ("QMoE", 3..) => role(Part::Experts, Holds::Scales),
        ("GroupQueryAttention", 7 | 8) => role(Part::Tables, Holds::Plain),
        ("GroupQueryAttention", 14 | 15) => role(Part::Norms, Holds::Plain),
        ("RotaryEmbedding", 1..) => role(Part::Tables, Holds::Plain),
        (op, _) if ATTENTION.contains(&op) => role(Part::Attention, Holds::Plain),
        ("MatMulNBits", 2..=4)
        | ("MatMulInteger", 2 | 3)
        | ("DynamicQuantizeMatMul", 2 | 3)
        | ("MatMulIntegerToFloat", 2..=5) => role(linear(network, tensor, node), Holds::Scales),
        ("MatMulNBits", 1) => {
            let weights = integer(node, "K").zip(integer(node, "N"));
            let weights = weights.and_then(|(inputs, outputs)| inputs.checked_mul(outputs));
            role(
                linear(network, tensor, node),
                weights.map_or(Holds::Plain, Holds::Packed),
            )
        }
        _ if is_linear(op) => role(linear(network, tensor, node), Holds::Plain),
        ("Add" | "FastGelu" | "BiasGelu", _) if tensor.dims.len() == 1 && tensor.elements > 1 => {
            role(
                bias(network, tensor, node, usize::from(slot == 0)),
                Holds::Plain,
            )
        }
        ("Mul", _) if tensor.dims.len() == 1 && tensor.elements > 1 => {
            role(scale(network, tensor, node, slot), Holds::Plain)
        }
        _ if tensor.elements == 1 => role(Part::Constants, Holds::Plain),
        _ => role(by_name(&tensor.name).unwrap_or(Part::Unknown), Holds::Plain),
    }
}

/// Quantised parameters in a tensor: several to an element where that is an unsigned byte, one where it is as narrow.
fn packed(tensor: &Tensor, node: &NodeProto, bits: &str, default: u64) -> Holds {
    let bits = integer(node, bits).unwrap_or(default);
    let per_element = match tensor.element.bits() {
        Some(8) if matches!(bits, 2 | 4 | 8) => 8 / bits,
        _ => 1,
    };
    if tensor.element.is_float() {
        return Holds::Plain;
    }
    tensor
        .elements
        .checked_mul(per_element)
        .map_or(Holds::Plain, Holds::Packed)
}

/// Whether an operator multiplies by a matrix.
pub fn is_linear(op: &str) -> bool {
    matches!(
        op,
        "MatMul"
            | "Gemm"
            | "FusedMatMul"
            | "FusedGemm"
            | "GemmFastGelu"
            | "MatMulNBits"
            | "MatMulBnb4"
            | "MatMulInteger"
            | "MatMulIntegerToFloat"
            | "DynamicQuantizeMatMul"
            | "QLinearMatMul"
    )
}

/// What a table of rows is looked up by.
fn table(network: &Network, tensor: &Tensor, node: &NodeProto) -> Part {
    let by = node.input.get(1).and_then(|value| network.source(value));
    let named = by_name(&tensor.name)
        .filter(|part| matches!(part, Part::Embedding | Part::Positions | Part::Tables));
    match by {
        Some(by) if by.contains("input_ids") || by.contains("token") => Part::Embedding,
        Some(by) if by.contains("position") => match named {
            Some(Part::Tables) => Part::Tables,
            _ if rotates(network, node) => Part::Tables,
            _ => Part::Positions,
        },
        _ if tensor.dims.len() < 2 => Part::Constants,
        _ => named.unwrap_or(Part::Unknown),
    }
}

/// Whether looked-up rows are multiplied with, as rotations are, and not added.
fn rotates(network: &Network, node: &NodeProto) -> bool {
    network.leads_to(node, &RESHAPING, &|reader, _| {
        matches!(
            reader.op_type.as_str(),
            "Mul" | "RotaryEmbedding" | "Cos" | "Sin"
        )
    })
}

/// The part of a matrix by what it is multiplied with and what becomes of that.
fn linear(network: &Network, tensor: &Tensor, node: &NodeProto) -> Part {
    if let Some(Part::Experts) = by_name(&tensor.name).or_else(|| by_name(&node.name)) {
        return Part::Experts;
    }
    if network.ends_as(node, &TO_LOGITS, &|name| name.contains("logits")) {
        return Part::Head;
    }
    let chooses = |reader: &NodeProto, slot: usize| match reader.op_type.as_str() {
        "TopK" => slot == 0,
        "MoE" | "QMoE" => slot == 1 || slot == 14,
        _ => false,
    };
    if network.leads_to(node, &TO_CHOICE, &chooses) {
        return Part::Router;
    }
    if comes_from_attention(network, node) {
        return Part::Attention;
    }
    let attends = |reader: &NodeProto, _: usize| {
        ATTENTION.contains(&reader.op_type.as_str()) || multiplies_activations(network, reader)
    };
    if network.leads_to(node, &TO_ATTENTION, &attends) {
        return Part::Attention;
    }
    if let Some(part) = by_name(&tensor.name).or_else(|| by_name(&node.name)) {
        return part;
    }
    let activates = |reader: &NodeProto, _: usize| ACTIVATIONS.contains(&reader.op_type.as_str());
    let from = node
        .input
        .first()
        .and_then(|value| network.origin(value, &["Mul"]));
    let activated = from.is_some_and(|node| ACTIVATIONS.contains(&node.op_type.as_str()));
    if activated || network.leads_to(node, &["Add", "Div", "Mul", "Split"], &activates) {
        return Part::Ffn;
    }
    Part::Unknown
}

/// Whether a node multiplies two computed matrices, as scores and their weighing do.
fn multiplies_activations(network: &Network, node: &NodeProto) -> bool {
    matches!(node.op_type.as_str(), "MatMul" | "FusedMatMul")
        && node.input.iter().all(|value| {
            let origin = network.origin(value, &["Transpose", "Cast", "DequantizeLinear"]);
            origin.is_some() && network.constant(value).is_none()
        })
}

fn comes_from_attention(network: &Network, node: &NodeProto) -> bool {
    let input = node
        .input
        .iter()
        .find(|value| network.constant(value).is_none());
    let origin = input.and_then(|value| network.origin(value, &RESHAPING));
    origin.is_some_and(|node| {
        ATTENTION.contains(&node.op_type.as_str()) || multiplies_activations(network, node)
    })
}

/// The part of a bias: that of the matrix product it is added to.
fn bias(network: &Network, tensor: &Tensor, node: &NodeProto, other: usize) -> Part {
    let product = node
        .input
        .get(other)
        .and_then(|value| network.origin(value, &["Cast", "Reshape", "Mul"]))
        .filter(|node| is_linear(&node.op_type));
    match product {
        Some(product) => {
            let matrix = product.input.get(1).and_then(|name| network.constant(name));
            linear(network, matrix.unwrap_or(tensor), product)
        }
        None => by_name(&tensor.name).unwrap_or(Part::Unknown),
    }
}

/// The part of a vector that is multiplied with: a normalisation where its partner is divided by a root.
fn scale(network: &Network, tensor: &Tensor, node: &NodeProto, slot: usize) -> Part {
    let other = node.input.get(usize::from(slot == 0));
    let origin = other.and_then(|value| network.origin(value, &["Cast"]));
    match origin.map(|node| node.op_type.as_str()) {
        Some("Div") => Part::Norms,
        Some(op) if op.ends_with("Normalization") => Part::Norms,
        _ => by_name(&tensor.name).unwrap_or(Part::Unknown),
    }
}

/// The part of what is scaled: that of whoever reads the values that come out.
fn scaled_part(network: &Network, node: &NodeProto) -> Part {
    let Some(name) = node.input.first() else {
        return Part::Unknown;
    };
    // Rows may be looked up before they are scaled.
    let looked_up = network
        .origin(name, &RESHAPING)
        .filter(|maker| maker.op_type == "Gather")
        .and_then(|maker| maker.input.first());
    let Some(data) = network.constant(looked_up.unwrap_or(name)) else {
        return Part::Unknown;
    };
    let uses = network.uses(data);
    let readers = uses
        .iter()
        .map(|(node, slot)| (&network.nodes[*node], *slot));
    // A damaged file may scale something by itself.
    readers
        .filter(|(reader, _)| {
            !matches!(
                reader.op_type.as_str(),
                "DequantizeLinear" | "QuantizeLinear"
            )
        })
        .map(|(reader, slot)| by_reader(network, data, reader, slot).part)
        .find(|part| *part != Part::Unknown)
        .unwrap_or(Part::Unknown)
}
