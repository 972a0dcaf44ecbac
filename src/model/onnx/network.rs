//! The nodes of a file, those of its branches and functions among them, and who makes and who reads each value.

use super::super::proto::{AttributeProto, EXTERNAL, GraphProto, NodeProto, TensorProto};
use super::element::Element;
use super::skim::{Cause, Skimmed, SkimmedTensor};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A constant tensor.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Name of its value.
    pub name: String,
    /// Dimensions.
    pub dims: Vec<u64>,
    /// Element type.
    pub element: Element,
    /// Number of elements.
    pub elements: u64,
    /// Bytes it takes in memory; `None` where its type does not tell.
    pub bytes: Option<u64>,
    /// File that its values are in, beside the graph's, and where they end there.
    pub external: Option<(String, u64)>,
    /// Its values, for a few integers.
    pub integers: Vec<i64>,
    /// Names of other constants that are the same bytes of the same file.
    pub views: Vec<String>,
}

/// A node's input: the node's index and the place among its inputs.
pub type Use = (usize, usize);

/// All nodes and constants of a file.
#[derive(Debug, Default)]
pub struct Network {
    /// Nodes, branches' after the node they belong to.
    pub nodes: Vec<NodeProto>,
    /// Constants.
    pub tensors: Vec<Tensor>,
    /// Names of the graph's outputs.
    pub outputs: HashSet<String>,
    /// Sparse initializers, which are not read.
    pub sparse: usize,
    /// What looks wrong, in words.
    pub notes: Vec<String>,
    readers: HashMap<String, Vec<Use>>,
    makers: HashMap<String, usize>,
    constants: HashMap<String, usize>,
    /// Where constants start in files beside the graph's.
    places: HashMap<(String, u64), usize>,
}

impl Tensor {
    /// Where its values start, if it has any and they are in a file of their own.
    fn place(&self) -> Option<(String, u64)> {
        let (name, end) = self.external.as_ref()?;
        let start = end.checked_sub(self.bytes.filter(|bytes| *bytes > 0)?)?;
        Some((name.clone(), start))
    }

    /// Counts another constant that starts where this one does as this one: one table that is read in two ways. It has the
    /// values of the shorter, without rows that only fill up a matrix, and the bytes of the longer.
    fn add_view(&mut self, other: &Tensor) {
        self.views.push(other.name.clone());
        if other.bytes < self.bytes {
            self.dims.clone_from(&other.dims);
            self.elements = other.elements;
        } else {
            self.bytes = other.bytes;
            self.external.clone_from(&other.external);
        }
    }
}

impl Network {
    /// Takes a file apart.
    pub fn of(file: Skimmed) -> Result<Network, Cause> {
        let mut network = Network::default();
        for tensor in file.tensors {
            network.add_tensor(tensor)?;
        }
        if let Some(graph) = file.model.graph {
            network.outputs = graph.output.iter().map(|out| out.name.clone()).collect();
            network.add_graph(graph)?;
        }
        for function in file.model.functions {
            network.add_nodes(function.node)?;
        }
        for (index, node) in network.nodes.iter().enumerate() {
            for (slot, value) in node.input.iter().enumerate() {
                if !value.is_empty() {
                    let readers = network.readers.entry(value.clone()).or_default();
                    readers.push((index, slot));
                }
            }
            for value in &node.output {
                network.makers.insert(value.clone(), index);
            }
        }
        Ok(network)
    }

    fn add_graph(&mut self, graph: GraphProto) -> Result<(), Cause> {
        self.sparse += graph.sparse_initializer.len();
        for tensor in graph.initializer {
            self.add_tensor(inline(tensor))?;
        }
        self.add_nodes(graph.node)
    }

    fn add_nodes(&mut self, nodes: Vec<NodeProto>) -> Result<(), Cause> {
        for mut node in nodes {
            let attributes = std::mem::take(&mut node.attribute);
            let mut branches = Vec::new();
            for attribute in attributes {
                match (attribute.t, attribute.g) {
                    (Some(mut tensor), _) if node.op_type == "Constant" => {
                        tensor.name = node.output.first().cloned().unwrap_or_default();
                        self.add_tensor(inline(tensor))?;
                    }
                    (Some(tensor), _) if tensor.data_location == Some(EXTERNAL) => {
                        return Err(format!(
                            "an attribute of {} {:?} has its values in another file, where only weights may be",
                            node.op_type, node.name
                        ));
                    }
                    (Some(_), _) => {}
                    (None, Some(branch)) => branches.push(*branch),
                    (None, None) if !attribute.graphs.is_empty() => {
                        branches.extend(attribute.graphs)
                    }
                    (None, None) => node.attribute.push(AttributeProto {
                        t: None,
                        g: None,
                        ..attribute
                    }),
                }
            }
            self.nodes.push(node);
            for branch in branches {
                self.add_graph(branch)?;
            }
        }
        Ok(())
    }

    fn add_tensor(&mut self, tensor: SkimmedTensor) -> Result<(), Cause> {
        let (tensor, note) = read(tensor)?;
        self.notes.extend(note);
        if let Some(place) = tensor.place() {
            let first = *self.places.entry(place).or_insert(self.tensors.len());
            if let Some(other) = self.tensors.get_mut(first) {
                other.add_view(&tensor);
                self.constants.insert(tensor.name, first);
                return Ok(());
            }
        }
        self.constants
            .insert(tensor.name.clone(), self.tensors.len());
        self.tensors.push(tensor);
        Ok(())
    }

    /// Who reads a value.
    pub fn readers(&self, value: &str) -> &[Use] {
        self.readers.get(value).map_or(&[], Vec::as_slice)
    }

    /// The node that makes a value.
    pub fn maker(&self, value: &str) -> Option<&NodeProto> {
        self.makers.get(value).map(|index| &self.nodes[*index])
    }

    /// The constant of this name.
    pub fn constant(&self, value: &str) -> Option<&Tensor> {
        self.constants.get(value).map(|index| &self.tensors[*index])
    }

    /// Operators by name, the domain before those that are not standard; a constant's node is none.
    pub fn operators(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for node in self.nodes.iter().filter(|node| node.op_type != "Constant") {
            let name = match node.domain.as_str() {
                "" | "ai.onnx" => node.op_type.clone(),
                domain => format!("{domain}.{}", node.op_type),
            };
            *counts.entry(name).or_default() += 1;
        }
        counts
    }
}

/// An attribute of a node.
pub fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|one| one.name == name)
}

/// An integer attribute that cannot be negative.
pub fn integer(node: &NodeProto, name: &str) -> Option<u64> {
    let value = attribute(node, name)?.i.unwrap_or(0);
    u64::try_from(value).ok()
}

/// A tensor that was read with its values.
fn inline(proto: TensorProto) -> SkimmedTensor {
    let raw_bytes = proto.raw_data.as_ref().map(|raw| raw.len() as u64);
    SkimmedTensor { proto, raw_bytes }
}

/// A tensor's facts, and what is odd about it.
fn read(tensor: SkimmedTensor) -> Result<(Tensor, Option<String>), Cause> {
    let SkimmedTensor { proto, raw_bytes } = tensor;
    let name = &proto.name;
    let mut elements = 1u64;
    let mut dims = Vec::with_capacity(proto.dims.len());
    for dim in &proto.dims {
        let dim = u64::try_from(*dim)
            .map_err(|_| format!("tensor {name:?} has a dimension of {dim}, less than none"))?;
        elements = elements
            .checked_mul(dim)
            .ok_or_else(|| format!("tensor {name:?} has more elements than a machine can count"))?;
        dims.push(dim);
    }
    let element = Element(proto.data_type);
    let bytes = element.bytes_of(elements);
    let external = external(&proto, bytes)?;
    let stored = external
        .as_ref()
        .map_or(raw_bytes, |found| Some(found.length));
    let note = match (stored, bytes) {
        (Some(stored), Some(bytes)) if stored != bytes => Some(format!(
            "tensor {name:?} takes {bytes} bytes by its dimensions, and {stored} are stored for it"
        )),
        _ => None,
    };
    let read = Tensor {
        name: name.clone(),
        dims,
        element,
        elements,
        bytes,
        external: external.map(|found| (found.location, found.end)),
        integers: integers(&proto),
        views: Vec::new(),
    };
    Ok((read, note))
}

/// Where values are that are not in the graph's file.
struct External {
    location: String,
    length: u64,
    end: u64,
}

fn external(proto: &TensorProto, bytes: Option<u64>) -> Result<Option<External>, Cause> {
    if proto.data_location != Some(EXTERNAL) {
        return Ok(None);
    }
    let entry = |key: &str| {
        let found = proto.external_data.iter().find(|entry| entry.key == key);
        found.map(|entry| entry.value.as_str())
    };
    let wrong = |what: &str| {
        format!(
            "tensor {:?} says that its values are in another file, but not {what}",
            proto.name
        )
    };
    let number = |key: &str| match entry(key) {
        Some(text) => text
            .parse::<u64>()
            .map(Some)
            .map_err(|_| wrong(&format!("with a whole number as {key}"))),
        None => Ok(None),
    };
    let location = entry("location").filter(|location| !location.is_empty());
    let location = location.ok_or_else(|| wrong("in which"))?.to_owned();
    let offset = number("offset")?.unwrap_or(0);
    let length = number("length")?.or(bytes);
    let length = length.ok_or_else(|| wrong("how long they are"))?;
    let end = offset
        .checked_add(length)
        .ok_or_else(|| wrong("at a place that a file can have"))?;
    Ok(Some(External {
        location,
        length,
        end,
    }))
}

/// The values of a few 64-bit integers.
fn integers(proto: &TensorProto) -> Vec<i64> {
    const INT64: i32 = 7;
    match &proto.raw_data {
        _ if proto.data_type != INT64 => Vec::new(),
        Some(raw) => {
            let (words, _) = raw.as_chunks::<8>();
            words.iter().map(|word| i64::from_le_bytes(*word)).collect()
        }
        None => proto.int64_data.clone(),
    }
}
