//! Whether the steps of a decoder can all have the same shapes, so that one binding, or one captured CUDA graph, does for all of them:
//! caches that are written in place, and a mask that may be as wide as the cache, its ones telling how far that is filled.

use super::network::{Network, integer};
use crate::protocol::{CacheUpdate, Fed, Fill, Told};
use std::collections::HashSet;

/// What a value on its way from the mask still tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Carries {
    /// The mask itself.
    Mask,
    /// How many ones are in it.
    Sum,
    /// How wide it is.
    Width,
}

/// Inputs of GroupQueryAttention: what is used of the cache, and a bound of it.
const LENGTHS: usize = 5;
const TOTAL: usize = 6;

/// Why they cannot; `None` where they can.
pub fn uneven(network: &Network, fed: &[Fed], update: &CacheUpdate) -> Option<String> {
    if *update != CacheUpdate::InPlace {
        return Some(
            "a step has other shapes than the one before it, and a graph cannot".to_owned(),
        );
    }
    let told = fed.iter().map(|one| match one.fill {
        Fill::Mask => may_be_wider(network, &one.port.name),
        Fill::PastLength => Err(format!(
            "{} is another number with every step, and in main memory, where a captured graph does not look again",
            one.port.name
        )),
        Fill::TotalLength => bounds_only(network, &one.port.name),
        _ => Ok(()),
    });
    told.filter_map(Result::err).next()
}

/// Whether nothing but a bound depends on how wide a mask is.
fn may_be_wider(network: &Network, mask: &str) -> Told<()> {
    follow(network, mask, Carries::Mask)
}

/// Whether a length is nothing but a bound.
fn bounds_only(network: &Network, total: &str) -> Told<()> {
    follow(network, total, Carries::Width)
}

/// Follows a value to all of its readers, which must be those of the graphs that are known to be captured so.
fn follow(network: &Network, from: &str, carries: Carries) -> Told<()> {
    let (mut open, mut seen) = (vec![(from, carries)], HashSet::new());
    while let Some((value, carries)) = open.pop() {
        if !seen.insert((value, carries)) {
            continue;
        }
        if network.outputs.contains(value) {
            return Err(format!("{from} gets to an output, {value}"));
        }
        for (index, slot) in network.readers(value) {
            let node = &network.nodes[*index];
            let next = match (node.op_type.as_str(), carries, *slot) {
                ("GroupQueryAttention", Carries::Sum, LENGTHS)
                | ("GroupQueryAttention", Carries::Width, TOTAL) => continue,
                ("ReduceSum", Carries::Mask, 0) => Carries::Sum,
                ("Shape", Carries::Mask, _) => Carries::Width,
                // A row of a shape; with other constants it might be the number of sequences, which does not change.
                ("Gather" | "Slice", Carries::Width, 0) => Carries::Width,
                ("Sub", Carries::Sum, 0) if is_one(network, node.input.get(1)) => Carries::Sum,
                ("Cast" | "Identity" | "Reshape" | "Squeeze" | "Unsqueeze", _, 0) => carries,
                (operator, ..) => {
                    return Err(format!(
                        "{operator} {:?} reads what {from} is, which a mask of the cache's width would change",
                        node.name
                    ));
                }
            };
            open.extend(node.output.iter().map(|output| (output.as_str(), next)));
        }
    }
    Ok(())
}

/// Whether a value is the constant one.
fn is_one(network: &Network, value: Option<&String>) -> bool {
    let Some(value) = value else {
        return false;
    };
    match network.constant(value) {
        Some(constant) => constant.elements == 1 && constant.integers == [1],
        None => network.maker(value).is_some_and(|node| {
            node.op_type == "Constant" && integer(node, "value_int") == Some(1)
        }),
    }
}
