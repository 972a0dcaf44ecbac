//! Which nodes of a graph compute shapes, positions and masks only. ONNX Runtime keeps such nodes in main memory on purpose, as their
//! values are needed there; a node that reads a weight or an activation is none of them, whatever its operator.

use super::caches::Value;
use super::element::Element;
use super::network::{Network, Tensor, attribute};
use crate::protocol::{HostNodes, SHAPE_OPERATORS, Unnamed};
use std::collections::HashMap;

/// Most integers of a constant that is about shapes; the limits of a cut, or the axes of a sum, are a handful.
const FEW: u64 = 1024;

/// Finds them: a node does when its operator may and all that it reads was computed from shapes, whole numbers that are fed, and
/// small constants. In branches and loops what comes from outside is known by name; what a loop hands in is not, so it computes.
pub fn host_nodes(network: &Network, inputs: &[Value]) -> HostNodes {
    let mut told = HostNodes::default();
    let is_shape = arithmetic(network, inputs);
    for (node, is_shape) in network.nodes.iter().zip(is_shape) {
        let operator = node.op_type.as_str();
        if !SHAPE_OPERATORS.contains(&operator) {
            continue;
        }
        match (node.name.as_str(), is_shape) {
            ("", true) => unnamed(&mut told, operator).shapes += 1,
            ("", false) => unnamed(&mut told, operator).computing += 1,
            // Branches may use a name twice.
            (name, is_shape) => *told.nodes.entry(name.to_owned()).or_insert(true) &= is_shape,
        }
    }
    told
}

fn unnamed<'a>(told: &'a mut HostNodes, operator: &str) -> &'a mut Unnamed {
    told.unnamed.entry(operator.to_owned()).or_default()
}

/// For each node whether it is arithmetic of shapes. Each node is looked at once for each of its inputs, however a file is knotted.
fn arithmetic(network: &Network, inputs: &[Value]) -> Vec<bool> {
    let mut makers: HashMap<&str, usize> = HashMap::new();
    let outputs = network.nodes.iter().flat_map(|node| &node.output);
    for output in outputs.filter(|output| !output.is_empty()) {
        *makers.entry(output).or_default() += 1;
    }
    let whole = inputs
        .iter()
        .filter(|input| input.element.is_some_and(is_whole));
    let mut known: Vec<&str> = whole.map(|input| input.name.as_str()).collect();
    let small = network.tensors.iter().filter(|tensor| is_small(tensor));
    known.extend(small.flat_map(|tensor| {
        let views = tensor.views.iter().map(String::as_str);
        views.chain([tensor.name.as_str()])
    }));
    let mut waiting: Vec<usize> = network.nodes.iter().map(missing).collect();
    let mut is_shape = vec![false; network.nodes.len()];
    let mut ready: Vec<usize> = (0..waiting.len())
        .filter(|node| waiting[*node] == 0)
        .collect();
    loop {
        if let Some(value) = known.pop() {
            for (node, _) in network.readers(value) {
                waiting[*node] = waiting[*node].saturating_sub(1);
                if waiting[*node] == 0 {
                    ready.push(*node);
                }
            }
        } else if let Some(index) = ready.pop() {
            let node = &network.nodes[index];
            if is_shape[index]
                || !SHAPE_OPERATORS.contains(&node.op_type.as_str()) && !is_number(network, index)
            {
                continue;
            }
            is_shape[index] = true;
            for output in node.output.iter().filter(|output| !output.is_empty()) {
                let left = makers.entry(output).or_default();
                *left = left.saturating_sub(1);
                if *left == 0 {
                    known.push(output);
                }
            }
        } else {
            return is_shape;
        }
    }
}

/// Inputs that must be known before a node is: none of one that reads a shape and no values.
fn missing(node: &super::super::proto::NodeProto) -> usize {
    match node.op_type.as_str() {
        "Shape" | "Size" => 0,
        _ => node.input.iter().filter(|input| !input.is_empty()).count(),
    }
}

/// Whether a node is a constant of numbers that stand in its attributes.
fn is_number(network: &Network, index: usize) -> bool {
    let node = &network.nodes[index];
    let has = |name| attribute(node, name).is_some();
    node.op_type == "Constant"
        && ["value_int", "value_ints", "value_float"]
            .iter()
            .any(|name| has(name))
}

/// Integers and truth values.
fn is_whole(element: Element) -> bool {
    matches!(element.0, 2..=7 | 9 | 12 | 13)
}

fn is_small(tensor: &Tensor) -> bool {
    match is_whole(tensor.element) {
        true => tensor.elements <= FEW,
        // The root of a head's size, or what is added where a mask is zero.
        false => tensor.elements <= 1,
    }
}
