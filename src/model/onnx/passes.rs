//! How a graph that is no decoder is fed: what is made for each input, by its type, its shape and what reads it.

use super::caches::{Dim, Value};
use super::decoder::kind;
use super::network::Network;
use crate::protocol::{PassContent, PassDim, PassInput, PassIo, PortType, Told};

/// Finds out.
pub fn passes(network: &Network, inputs: &[Value]) -> Told<PassIo> {
    if inputs.is_empty() {
        return Err("it has no input, so there is nothing to run it over".into());
    }
    let inputs = inputs.iter().map(|input| one(network, input));
    Ok(PassIo {
        inputs: inputs.collect::<Told<_>>()?,
    })
}

fn one(network: &Network, input: &Value) -> Told<PassInput> {
    let kind = kind(input)?;
    let Some(dims) = &input.dims else {
        return Err(format!(
            "nothing is said of the shape of its input {}; export it with shapes",
            input.name
        ));
    };
    let named = dims.iter().enumerate().map(|(at, dim)| match dim {
        Dim::Size(size) => PassDim::Size(*size),
        Dim::Name(name) => PassDim::Named(name.clone()),
        Dim::Unknown => PassDim::Named(format!("{}.{at}", input.name)),
    });
    Ok(PassInput {
        name: input.name.clone(),
        kind,
        dims: named.collect(),
        content: content(network, input, kind, dims.len()),
    })
}

/// Whole numbers are what is looked up where a table is, a mask by name, pixels by their shape, and else 0, which is an index of
/// whatever there is; single ones are 1, which is a size of whatever there is.
fn content(network: &Network, input: &Value, kind: PortType, rank: usize) -> PassContent {
    let is_mask = input.name.to_lowercase().contains("mask");
    match kind {
        _ if is_mask => PassContent::Ones,
        PortType::Fp32 | PortType::Fp16 | PortType::Bf16 => PassContent::Normal,
        PortType::Bool => PassContent::Ones,
        _ => match (rows(network, &input.name), kind) {
            (Some(rows), _) => PassContent::Below(rows.max(1)),
            (None, PortType::Uint8) if rank > 2 => PassContent::Below(256),
            (None, PortType::Int8) if rank > 2 => PassContent::Below(128),
            (None, _) if rank < 2 => PassContent::Ones,
            (None, _) => PassContent::Zeros,
        },
    }
}

/// Rows of the smallest table that is looked up by an input.
fn rows(network: &Network, input: &str) -> Option<u64> {
    let tables = network.nodes.iter().filter_map(|node| {
        let table = match node.op_type.as_str() {
            "Gather" | "GatherBlockQuantized" => network.constant(node.input.first()?)?,
            _ => return None,
        };
        let by = network.source(node.input.get(1)?)?;
        (by == input).then(|| table.dims.first().copied())?
    });
    // Operators that look up in one go: ids, kinds of tokens; tables behind them.
    let fused = network.nodes.iter().filter_map(|node| {
        if node.op_type != "EmbedLayerNormalization" {
            return None;
        }
        let by = |slot: usize, table: usize| {
            let from = network.source(node.input.get(slot)?)?;
            let rows = network.constant(node.input.get(table)?)?.dims.first()?;
            (from == input).then_some(*rows)
        };
        by(0, 2).or_else(|| by(1, 4))
    });
    tables.chain(fused).min()
}

/// Rows of the table that tokens are looked up by an input in, where there is one.
pub fn vocabulary(network: &Network, input: &str) -> Option<u64> {
    rows(network, input)
}
