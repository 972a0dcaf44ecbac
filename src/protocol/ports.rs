//! How a graph that another program wrote is fed: its inputs and outputs by what they carry, each dimension by what it counts.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a dimension of an input or output counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Always so many.
    Size(u64),
    /// Sequences.
    Batch,
    /// New tokens of each.
    New,
    /// Tokens already in the cache.
    Past,
    /// Those and the new ones.
    Total,
}

/// Element type of an input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortType {
    /// IEEE 754 binary32.
    Fp32,
    /// IEEE 754 binary16.
    Fp16,
    /// The upper half of binary32.
    Bf16,
    /// Signed 64 bits.
    Int64,
    /// Signed 32 bits.
    Int32,
    /// Signed 8 bits.
    Int8,
    /// Unsigned 8 bits.
    Uint8,
    /// A byte that is 0 or 1.
    Bool,
}

impl PortType {
    /// Size of one element in bytes.
    pub fn bytes(self) -> u64 {
        match self {
            PortType::Int64 => 8,
            PortType::Fp32 | PortType::Int32 => 4,
            PortType::Fp16 | PortType::Bf16 => 2,
            PortType::Int8 | PortType::Uint8 | PortType::Bool => 1,
        }
    }

    /// NumPy's word for it, where there is one.
    pub fn numpy(self) -> Option<&'static str> {
        Some(match self {
            PortType::Fp32 => "<f4",
            PortType::Fp16 => "<f2",
            PortType::Int64 => "<i8",
            PortType::Int32 => "<i4",
            PortType::Int8 => "|i1",
            PortType::Uint8 => "|u1",
            PortType::Bool => "|b1",
            PortType::Bf16 => return None,
        })
    }

    /// Its name in every output.
    pub fn name(self) -> &'static str {
        match self {
            PortType::Fp32 => "fp32",
            PortType::Fp16 => "fp16",
            PortType::Bf16 => "bf16",
            PortType::Int64 => "int64",
            PortType::Int32 => "int32",
            PortType::Int8 => "int8",
            PortType::Uint8 => "uint8",
            PortType::Bool => "bool",
        }
    }
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its name in the graph.
    pub name: String,
    /// Element type.
    pub kind: PortType,
    /// Dimensions.
    pub axes: Vec<Axis>,
}

/// What is written into an input before each run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// Ids of the new tokens.
    Ids,
    /// One for each token that may be attended to.
    Mask,
    /// Positions of the new tokens.
    Positions,
    /// The last position of each sequence.
    LastPosition,
    /// Tokens in all.
    TotalLength,
    /// Tokens already in the cache.
    PastLength,
    /// Whether anything is in the cache.
    HasPast,
    /// One: logits of the last position only.
    One,
    /// Zero: what only some models tell apart, such as kinds of tokens.
    Zero,
}

impl Fill {
    /// The role of such an input, in words.
    pub fn words(self) -> &'static str {
        match self {
            Fill::Ids => "ids of the new tokens",
            Fill::Mask => "attention mask: one for each token so far",
            Fill::Positions => "positions of the new tokens",
            Fill::LastPosition => "last position of each sequence",
            Fill::TotalLength => "tokens in all",
            Fill::PastLength => "tokens in the cache",
            Fill::HasPast => "whether anything is in the cache",
            Fill::One => "one: logits of the last position only",
            Fill::Zero => "zeros",
        }
    }
}

/// An input with what is written into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fed {
    /// The input.
    pub port: Port,
    /// Its content.
    pub fill: Fill,
}

/// A cache: the input that holds the past, and the output that it comes back as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachePorts {
    /// The input.
    pub past: Port,
    /// The output.
    pub present: Port,
}

impl CachePorts {
    /// Bytes that one token of one sequence takes in it.
    pub fn bytes_per_token(&self) -> u64 {
        let sizes = self.past.axes.iter().map(|axis| match axis {
            Axis::Size(size) => *size,
            _ => 1,
        });
        sizes.fold(self.past.kind.bytes(), u64::saturating_mul)
    }
}

/// How the cache takes up new tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheUpdate {
    /// One buffer is past and present.
    InPlace,
    /// From one buffer into another; why not in place.
    Grown(String),
    /// There is none: the whole sequence is run again for each token.
    None,
}

/// Operators that compute shapes, positions and masks in the graphs of exporters, besides what else they are used for.
pub const SHAPE_OPERATORS: [&str; 44] = [
    "Add",
    "And",
    "Cast",
    "Ceil",
    "Clip",
    "Concat",
    "ConstantOfShape",
    "CumSum",
    "Div",
    "Equal",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "GatherElements",
    "GatherND",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "Less",
    "LessOrEqual",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "Range",
    "ReduceMax",
    "ReduceProd",
    "ReduceSum",
    "Reshape",
    "Shape",
    "Size",
    "Slice",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
];

/// Which nodes of a graph may stay in main memory in a CUDA run: those that compute shapes, positions and masks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostNodes {
    /// Nodes of [`SHAPE_OPERATORS`] by name: whether that is all they compute.
    pub nodes: BTreeMap<String, bool>,
    /// Those without a name, by operator.
    pub unnamed: BTreeMap<String, Unnamed>,
}

/// Nodes without a name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unnamed {
    /// So many compute shapes, positions and masks only.
    pub shapes: u64,
    /// So many compute with a model's numbers.
    pub computing: u64,
}

/// A decoder that another program wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignIo {
    /// Inputs that are no caches.
    pub inputs: Vec<Fed>,
    /// Its logits.
    pub logits: Port,
    /// Its caches.
    pub caches: Vec<CachePorts>,
    /// How these take up new tokens.
    pub update: CacheUpdate,
    /// What it computes that may stay in main memory.
    #[serde(default)]
    pub host_nodes: HostNodes,
    /// Why a step cannot be bound once and for all, with the same shapes as the one before it; `None` where it can.
    #[serde(default)]
    pub uneven_steps: Option<String>,
}

impl ForeignIo {
    /// The number of sequences that the graph is made for, where it is fixed: what a batch is, and what its first input says.
    pub fn fixed_batch(&self) -> Option<u64> {
        let ids = self.inputs.iter().find(|fed| fed.fill == Fill::Ids)?;
        match ids.port.axes.first() {
            Some(Axis::Size(size)) => Some(*size),
            _ => None,
        }
    }

    /// Whether it gives logits of all new tokens, and not of the last one only.
    pub fn all_logits(&self) -> bool {
        self.logits.axes.contains(&Axis::New)
    }

    /// Size of the vocabulary.
    pub fn vocab(&self) -> u64 {
        match self.logits.axes.last() {
            Some(Axis::Size(size)) => *size,
            _ => 0,
        }
    }

    /// Bytes that one token of one sequence takes in its caches.
    pub fn bytes_per_token(&self) -> u64 {
        let caches = self.caches.iter().map(CachePorts::bytes_per_token);
        caches.fold(0, u64::saturating_add)
    }
}
