//! Follows values through a network: to where they go, or back to where they come from.

use super::super::proto::NodeProto;
use super::network::{Network, Tensor, Use};
use std::collections::HashSet;

/// Most steps in one direction: what separates a value from its purpose is a handful of nodes.
const STEPS: usize = 12;

/// Operators that hand a weight on: it is still the same weight.
const SAME_WEIGHT: [&str; 10] = [
    "Cast",
    "DequantizeLinear",
    "Flatten",
    "Identity",
    "QuantizeLinear",
    "Reshape",
    "Slice",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// Operators that change a value's shape or type only.
pub const RESHAPING: [&str; 8] = [
    "Cast",
    "Expand",
    "Flatten",
    "Identity",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

impl Network {
    /// What reads a constant, through what only hands it on.
    pub fn uses(&self, tensor: &Tensor) -> Vec<Use> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        let mut open: Vec<&str> = tensor.views.iter().map(String::as_str).collect();
        open.push(&tensor.name);
        while let Some(value) = open.pop() {
            if !seen.insert(value) {
                continue;
            }
            for (index, slot) in self.readers(value) {
                let node = &self.nodes[*index];
                if *slot == 0 && SAME_WEIGHT.contains(&node.op_type.as_str()) {
                    open.extend(node.output.first().map(String::as_str));
                } else {
                    found.push((*index, *slot));
                }
            }
        }
        found
    }

    /// Whether what `node` makes gets through operators named in `through` to a node and place that `wanted` knows.
    pub fn leads_to(
        &self,
        node: &NodeProto,
        through: &[&str],
        wanted: &dyn Fn(&NodeProto, usize) -> bool,
    ) -> bool {
        let mut seen = HashSet::new();
        let mut front: Vec<&str> = node.output.iter().map(String::as_str).collect();
        for _ in 0..STEPS {
            let mut next = Vec::new();
            for value in front {
                for (index, slot) in self.readers(value) {
                    let reader = &self.nodes[*index];
                    if wanted(reader, *slot) {
                        return true;
                    }
                    if through.contains(&reader.op_type.as_str()) && seen.insert(*index) {
                        next.extend(reader.output.iter().map(String::as_str));
                    }
                }
            }
            front = next;
        }
        false
    }

    /// Whether what `node` makes gets through operators named in `through` to an output that `wanted` knows.
    pub fn ends_as(
        &self,
        node: &NodeProto,
        through: &[&str],
        wanted: &dyn Fn(&str) -> bool,
    ) -> bool {
        let is_wanted = |node: &NodeProto| {
            let mut values = node.output.iter();
            values.any(|value| self.outputs.contains(value) && wanted(value))
        };
        is_wanted(node)
            || self.leads_to(node, through, &|reader, _| {
                through.contains(&reader.op_type.as_str()) && is_wanted(reader)
            })
    }

    /// Where a value comes from: the first node on its way back, by first inputs, that is not named in `through`.
    pub fn origin(&self, value: &str, through: &[&str]) -> Option<&NodeProto> {
        let mut node = self.maker(value)?;
        for _ in 0..STEPS {
            if !through.contains(&node.op_type.as_str()) {
                return Some(node);
            }
            node = self.maker(node.input.first()?)?;
        }
        None
    }

    /// The graph's own input that a value is, but for its shape and type.
    pub fn source<'a>(&'a self, value: &'a str) -> Option<&'a str> {
        let mut value = value;
        for _ in 0..STEPS {
            match self.maker(value) {
                None => return Some(value),
                Some(node) if RESHAPING.contains(&node.op_type.as_str()) => {
                    value = node.input.first()?;
                }
                Some(_) => return None,
            }
        }
        None
    }
}
