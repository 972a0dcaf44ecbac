//! Which inputs of a graph are its KV cache: by their names and shapes, and by what reads them.

use super::super::proto::{DimensionProto, ValueInfoProto};
use super::element::Element;
use super::network::Network;
use super::pairs::pairs;
use crate::protocol::Told;
use crate::units::Bytes;

/// One dimension of an input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// Known size.
    Size(u64),
    /// Chosen at run time, under this name.
    Name(String),
    /// Nothing is said.
    Unknown,
}

/// An input or output of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Name.
    pub name: String,
    /// Element type; `None` for what is no tensor.
    pub element: Option<Element>,
    /// Dimensions; `None` where nothing is said of them.
    pub dims: Option<Vec<Dim>>,
}

impl Value {
    /// What a file says of an input or output.
    pub fn of(info: &ValueInfoProto) -> Value {
        let tensor = info
            .r#type
            .as_ref()
            .and_then(|kind| kind.tensor_type.as_ref());
        let dim = |dim: &DimensionProto| match (dim.dim_value, &dim.dim_param) {
            (Some(size), _) => u64::try_from(size).map_or(Dim::Unknown, Dim::Size),
            (None, Some(name)) if !name.is_empty() => Dim::Name(name.clone()),
            (None, _) => Dim::Unknown,
        };
        Value {
            name: info.name.clone(),
            element: tensor.map(|tensor| Element(tensor.elem_type)),
            dims: tensor
                .and_then(|tensor| tensor.shape.as_ref())
                .map(|shape| shape.dim.iter().map(dim).collect()),
        }
    }
}

/// How a cache takes up new keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// In one buffer that is bound as input and output.
    InPlace,
    /// Into a new, longer buffer.
    Grown,
}

/// The KV cache of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caches {
    /// Inputs that hold keys, values or both.
    pub inputs: u64,
    /// Bytes that one token of one sequence takes in all of them.
    pub bytes_per_token: Bytes,
    /// Their element types.
    pub elements: Vec<Element>,
    /// Tokens that they are declared for, where that is fixed.
    pub capacity: Option<u64>,
    /// How they take up new tokens.
    pub update: Told<Update>,
}

/// Finds the caches.
pub fn find(network: &Network, inputs: &[Value], outputs: &[Value]) -> Told<Caches> {
    let pairs: Vec<(&Value, &Value)> = pairs(network, inputs, outputs)
        .iter()
        .map(|pair| (&inputs[pair.input], &outputs[pair.output]))
        .collect();
    if pairs.is_empty() {
        return Err(
            "no input comes back longer as an output, by its name or by the operators between, so this graph has no KV cache, or hides it".into(),
        );
    }
    let mut bytes_per_token = 0u64;
    let (mut elements, mut capacities) = (Vec::new(), Vec::new());
    for (input, _) in &pairs {
        let bytes = per_token(input).ok_or_else(|| {
            format!(
                "the shape of {} does not tell its heads and their size",
                input.name
            )
        })?;
        bytes_per_token = bytes_per_token.saturating_add(bytes);
        elements.extend(input.element);
        capacities.push(length(input));
    }
    elements.sort();
    elements.dedup();
    // One without a fixed length sorts first.
    let capacity = capacities.into_iter().min().flatten();
    Ok(Caches {
        inputs: pairs.len() as u64,
        bytes_per_token: Bytes(bytes_per_token),
        elements,
        capacity,
        update: update(network, &pairs),
    })
}

/// Bytes of one token in one cache: `[batch, heads, length, size]`, with keys and values apart or, first of five, together.
fn per_token(input: &Value) -> Option<u64> {
    let factors = match input.dims.as_deref()? {
        [_, heads, _, size] => [heads, size].to_vec(),
        [both, _, heads, _, size] => [both, heads, size].to_vec(),
        _ => return None,
    };
    let mut count = 1u64;
    for factor in factors {
        let Dim::Size(factor @ 1..) = factor else {
            return None;
        };
        count = count.checked_mul(*factor)?;
    }
    input.element?.bytes_of(count)
}

/// The declared length of a cache, where it is a number.
fn length(input: &Value) -> Option<u64> {
    let dims = input.dims.as_deref()?;
    match dims.get(dims.len().checked_sub(2)?) {
        Some(Dim::Size(length @ 1..)) => Some(*length),
        _ => None,
    }
}

/// Operators that can write new keys and values into the buffer they are given.
const IN_PLACE: [&str; 6] = [
    "GroupQueryAttention",
    "PagedAttention",
    "DecoderMaskedMultiHeadAttention",
    "DecoderMaskedSelfAttention",
    "TensorScatter",
    "ScatterElements",
];

fn update(network: &Network, pairs: &[(&Value, &Value)]) -> Told<Update> {
    let mut found = Vec::new();
    for (input, output) in pairs {
        let maker = network
            .maker(&output.name)
            .map(|node| node.op_type.as_str());
        let reads = network
            .readers(&input.name)
            .iter()
            .any(|(node, _)| Some(network.nodes[*node].op_type.as_str()) == maker);
        found.push(match maker {
            Some(op) if reads && IN_PLACE.contains(&op) => Update::InPlace,
            Some("Concat") => Update::Grown,
            Some(op) => {
                return Err(format!(
                    "{} comes out of {op}, of which it is not known whether it takes a second buffer",
                    output.name
                ));
            }
            None => return Err(format!("nothing makes {}", output.name)),
        });
    }
    let grown = found.contains(&Update::Grown);
    Ok(if grown {
        Update::Grown
    } else {
        Update::InPlace
    })
}
