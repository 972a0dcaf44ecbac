//! How a graph is a decoder: what each input and output carries, by types, shapes and the operators that read them. What is not
//! understood is named, with what to export instead.

use super::caches::{Dim, Value};
use super::element::Element;
use super::network::{Network, integer};
use super::pairs::{Pair, pairs};
use super::passes::vocabulary;
use super::shapes::host_nodes;
use super::steps::uneven;
use crate::protocol::{Axis, CachePorts, CacheUpdate, Fed, Fill, ForeignIo, Port, PortType, Told};

/// A decoder as its graph says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoder {
    /// How it is fed.
    pub io: ForeignIo,
    /// Query heads, where an attention operator tells.
    pub heads: Option<u64>,
    /// Key and value heads and the size of one, of the first cache.
    pub cache_heads: Option<(u64, u64)>,
}

/// What to export instead of something else.
const INSTEAD: &str = "export it as a decoder with input_ids, past and present keys and values, and logits (onnxruntime-genai's builder, Optimum with the task text-generation-with-past)";

/// Finds out.
pub fn decoder(network: &Network, inputs: &[Value], outputs: &[Value]) -> Told<Decoder> {
    let pairs = pairs(network, inputs, outputs);
    let ids = ids(network, inputs).ok_or_else(|| {
        let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        format!(
            "none of its inputs ({}) is looked up in a table of tokens, so it is no decoder of text; {INSTEAD}",
            names.join(", ")
        )
    })?;
    let logits = logits(inputs, outputs, ids, &pairs)?;
    // An encoder's states are as wide as its layers.
    if pairs.is_empty()
        && let Some(rows) = vocabulary(network, &inputs[ids].name)
        && logits
            .axes
            .last()
            .is_some_and(|axis| matches!(axis, Axis::Size(width) if *width < rows))
    {
        return Err(format!(
            "{} has fewer numbers than there are tokens ({rows}), so it is no decoder of text; {INSTEAD}",
            logits.name
        ));
    }
    let mut fed = Vec::new();
    for (place, input) in inputs.iter().enumerate() {
        if pairs.iter().all(|pair| pair.input != place) {
            fed.push(match place == ids {
                true => ids_port(input)?,
                false => role(network, input)?,
            });
        }
    }
    let caches: Vec<CachePorts> = pairs
        .iter()
        .map(|pair| cache(inputs, outputs, pair))
        .collect::<Told<_>>()?;
    let first = caches.first().map(|cache| cache.past.axes.as_slice());
    let sizes = |axes: &[Axis]| {
        let sizes: Vec<u64> = axes
            .iter()
            .filter_map(|axis| match axis {
                Axis::Size(size) => Some(*size),
                _ => None,
            })
            .collect();
        match sizes.as_slice() {
            [.., heads, size] => Some((*heads, *size)),
            _ => None,
        }
    };
    let update = update(network, inputs, outputs, &pairs);
    Ok(Decoder {
        cache_heads: first.and_then(sizes),
        heads: heads(network),
        io: ForeignIo {
            host_nodes: host_nodes(network, inputs),
            uneven_steps: uneven(network, &fed, &update),
            update,
            inputs: fed,
            logits,
            caches,
        },
    })
}

/// The input that tokens are looked up by.
fn ids(network: &Network, inputs: &[Value]) -> Option<usize> {
    let may_be = |input: &Value| {
        let rank = input.dims.as_ref().map(Vec::len);
        is_whole(input) && rank == Some(2) && !input.name.contains("position")
    };
    let all: Vec<usize> = (0..inputs.len())
        .filter(|place| may_be(&inputs[*place]))
        .collect();
    let named = all
        .iter()
        .find(|place| inputs[**place].name.contains("input_ids"));
    let looked_up = || {
        let tables = network.nodes.iter().filter_map(|node| {
            let table = match node.op_type.as_str() {
                "Gather" | "GatherBlockQuantized" => network.constant(node.input.first()?)?,
                _ => return None,
            };
            let by = network.source(node.input.get(1)?)?;
            let place = all.iter().find(|place| inputs[**place].name == by)?;
            (table.dims.len() == 2).then_some((table.dims[0], place))
        });
        tables.max_by_key(|(rows, _)| *rows).map(|(_, place)| place)
    };
    named.or_else(looked_up).copied()
}

fn is_whole(value: &Value) -> bool {
    matches!(value.element, Some(Element(6 | 7)))
}

fn ids_port(input: &Value) -> Told<Fed> {
    let port = port(input, &[Axis::Batch, Axis::New])?;
    if let Axis::Size(length) = port.axes[1] {
        return Err(format!(
            "{} takes just {length} tokens at a time; export it with a sequence length that is free (dynamic)",
            input.name
        ));
    }
    Ok(Fed {
        port,
        fill: Fill::Ids,
    })
}

/// An input as a port: sizes that are fixed stay so, the others count what `axes` says.
fn port(value: &Value, axes: &[Axis]) -> Told<Port> {
    let kind = kind(value)?;
    let dims = value.dims.as_deref().unwrap_or_default();
    let axes = axes
        .iter()
        .enumerate()
        .map(|(at, axis)| match dims.get(at) {
            Some(Dim::Size(size)) => Axis::Size(*size),
            _ => *axis,
        });
    Ok(Port {
        name: value.name.clone(),
        kind,
        axes: axes.collect(),
    })
}

/// Element type of an input or output.
pub fn kind(value: &Value) -> Told<PortType> {
    Ok(match value.element {
        Some(Element(1)) => PortType::Fp32,
        Some(Element(2)) => PortType::Uint8,
        Some(Element(3)) => PortType::Int8,
        Some(Element(6)) => PortType::Int32,
        Some(Element(7)) => PortType::Int64,
        Some(Element(9)) => PortType::Bool,
        Some(Element(10)) => PortType::Fp16,
        Some(Element(16)) => PortType::Bf16,
        other => {
            let name = other.map_or_else(|| "no tensor".to_owned(), Element::name);
            return Err(format!(
                "{} is of {name}, which is not fed; export it in fp32, fp16 or bf16 with whole numbers as ids",
                value.name
            ));
        }
    })
}

/// What an input that is neither ids nor a cache is for.
fn role(network: &Network, input: &Value) -> Told<Fed> {
    let name = input.name.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let rank = input.dims.as_ref().map_or(0, Vec::len);
    let (is_bool, is_float) = (
        input.element == Some(Element(9)),
        input.element.is_some_and(Element::is_float),
    );
    let one = [Axis::Size(1)];
    let scalar = |fill| match input.dims.as_deref() {
        Some([]) => Some((fill, &[][..])),
        None | Some([_]) => Some((fill, &one[..])),
        _ => None,
    };
    let read_as = |op: &str, slot: usize| reads(network, &input.name, op, slot);
    let found: Option<(Fill, &[Axis])> = match rank {
        _ if is_bool && (read_as("If", 0) || has(&["use_cache"])) => scalar(Fill::HasPast),
        _ if has(&["keep", "num_logits"]) && is_whole(input) => scalar(Fill::One),
        0 | 1 if read_as("GroupQueryAttention", 6) || has(&["total_seq"]) => {
            scalar(Fill::TotalLength)
        }
        1 if read_as("GroupQueryAttention", 5) || has(&["seqlens_k"]) => {
            Some((Fill::LastPosition, &[Axis::Batch]))
        }
        2 if read_as("GroupQueryAttention", 5) || has(&["past_seq_len"]) => {
            Some((Fill::LastPosition, &[Axis::Batch, Axis::Size(1)]))
        }
        0 | 1 if is_whole(input) && has(&["past_len", "past_seq", "cache_len"]) => {
            scalar(Fill::PastLength)
        }
        1 if is_whole(input) && has(&["position"]) => Some((Fill::Positions, &[Axis::New])),
        2 if is_whole(input) && has(&["position"]) => {
            Some((Fill::Positions, &[Axis::Batch, Axis::New]))
        }
        2 if has(&["mask"]) && (is_whole(input) || is_bool || is_float) => {
            Some((Fill::Mask, &[Axis::Batch, Axis::Total]))
        }
        2 if is_whole(input) && has(&["token_type"]) => {
            Some((Fill::Zero, &[Axis::Batch, Axis::New]))
        }
        _ => None,
    };
    let Some((fill, axes)) = found else {
        let kind = input
            .element
            .map_or_else(|| "no tensor".to_owned(), Element::name);
        return Err(format!(
            "it is not known what its input {} ({kind} with {rank} dimensions) is for; {INSTEAD}",
            input.name
        ));
    };
    Ok(Fed {
        port: port(input, axes)?,
        fill,
    })
}

/// Whether an input gets, but for its shape and type, to that place of an operator.
fn reads(network: &Network, input: &str, op: &str, slot: usize) -> bool {
    let places = network.nodes.iter().filter(|node| node.op_type == op);
    let mut values = places.filter_map(|node| node.input.get(slot));
    values.any(|value| network.source(value) == Some(input))
}

/// The output with the logits.
fn logits(inputs: &[Value], outputs: &[Value], ids: usize, pairs: &[Pair]) -> Told<Port> {
    let may_be = |place: &usize| {
        let output = &outputs[*place];
        let rank = output.dims.as_ref().map(Vec::len);
        let float = output.element.is_some_and(Element::is_float);
        float && matches!(rank, Some(2 | 3)) && pairs.iter().all(|pair| pair.output != *place)
    };
    let all: Vec<usize> = (0..outputs.len()).filter(may_be).collect();
    let named = all
        .iter()
        .find(|place| outputs[**place].name.contains("logits"));
    let place = match (named, all.as_slice()) {
        (Some(place), _) | (None, [place]) => *place,
        _ => {
            return Err(format!(
                "none of its outputs can be told to be the logits, one number for each token of the vocabulary; {INSTEAD}"
            ));
        }
    };
    let output = &outputs[place];
    let dims = output.dims.as_deref().unwrap_or_default();
    let Some(Dim::Size(_)) = dims.last() else {
        return Err(format!(
            "the last dimension of {} is not fixed, so the size of the vocabulary is not known; export it with a fixed vocabulary",
            output.name
        ));
    };
    let new = inputs[ids].dims.as_ref().and_then(|dims| dims.get(1));
    let keeps = inputs.iter().any(|input| {
        let name = input.name.to_lowercase();
        name.contains("keep") || name.contains("num_logits")
    });
    let middle = match dims.get(1) {
        Some(Dim::Name(name)) if Some(&Dim::Name(name.clone())) == new => Axis::New,
        _ if keeps => Axis::Size(1),
        _ => Axis::New,
    };
    let port = match dims.len() {
        2 => port(output, &[Axis::Batch, Axis::New]),
        _ => port(output, &[Axis::Batch, middle, Axis::New]),
    }?;
    match port.kind {
        PortType::Fp32 | PortType::Fp16 | PortType::Bf16 => Ok(port),
        other => Err(format!(
            "{} are of {}, which is not read; export them in fp32, fp16 or bf16",
            output.name,
            other.name()
        )),
    }
}

fn cache(inputs: &[Value], outputs: &[Value], pair: &Pair) -> Told<CachePorts> {
    let (input, output) = (&inputs[pair.input], &outputs[pair.output]);
    let dims = input.dims.as_deref().unwrap_or_default();
    if let Some(Dim::Size(length)) = dims.get(pair.length) {
        return Err(format!(
            "its cache {} has a fixed length of {length} (dimension {}), as for a static cache, which is not fed; export it with a length that is free (dynamic)",
            input.name, pair.length
        ));
    }
    let axes = |tokens: Axis| -> Vec<Axis> {
        let axis = |(at, dim): (usize, &Dim)| match dim {
            _ if at == pair.length => tokens,
            Dim::Size(size) => Axis::Size(*size),
            _ => Axis::Batch,
        };
        dims.iter().enumerate().map(axis).collect()
    };
    let port = |value: &Value, tokens| {
        Ok::<Port, String>(Port {
            name: value.name.clone(),
            kind: kind(input)?,
            axes: axes(tokens),
        })
    };
    Ok(CachePorts {
        past: port(input, Axis::Past)?,
        present: port(output, Axis::Total)?,
    })
}

/// How the caches grow: in place where each is read and written by an operator that may do so.
fn update(network: &Network, inputs: &[Value], outputs: &[Value], pairs: &[Pair]) -> CacheUpdate {
    for pair in pairs {
        let (input, output) = (&inputs[pair.input].name, &outputs[pair.output].name);
        let maker = network.maker(output).map(|node| node.op_type.as_str());
        let mut readers = network.readers(input).iter();
        let reads = readers.any(|(node, _)| Some(network.nodes[*node].op_type.as_str()) == maker);
        match maker {
            Some("GroupQueryAttention") if reads => {}
            Some("Identity") | None => {
                return CacheUpdate::Grown(format!("nothing tells how {output} grows"));
            }
            Some(op) => {
                return CacheUpdate::Grown(format!(
                    "{output} comes out of {op}, which needs a buffer of its own for it; GroupQueryAttention would write into the one it reads"
                ));
            }
        }
    }
    match pairs {
        [] => CacheUpdate::None,
        _ => CacheUpdate::InPlace,
    }
}

/// Query heads by the attribute of an attention operator.
fn heads(network: &Network) -> Option<u64> {
    let heads = |name: &str| network.nodes.iter().find_map(|node| integer(node, name));
    heads("q_num_heads").or_else(|| heads("num_heads"))
}
