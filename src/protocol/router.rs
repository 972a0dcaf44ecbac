//! What a worker needs to look at the weights that a router gives the experts of a token.

use crate::trial::RouterRead;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How a trial's router is held to what a router has to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouterCheck {
    /// Where its weights are read.
    pub read: RouterRead,
    /// The graph that shows them; `None` where they are in a cache.
    pub graph: Option<SideGraph>,
    /// Experts there are.
    pub experts: u32,
    /// Experts that a token has to go to; `None` where their number is free.
    pub per_token: Option<u32>,
    /// Whether weights have to sum to 1, or to the sum of the largest shares of the softmax.
    pub normalized: bool,
    /// Largest allowed difference of a sum.
    pub tolerance: f64,
}

/// What an expert writes to its place where weights are read through the operator, times its weight: silu(16) times 4.
pub const EXPERT_WRITES: f32 = 64.0;

/// A graph that is run once beside a trial's own. Everything that goes in and comes out is of 32-bit floating point numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SideGraph {
    /// The ONNX file.
    pub graph: PathBuf,
    /// Its inputs.
    pub inputs: Vec<SideInput>,
    /// Its outputs.
    pub outputs: Vec<SideOutput>,
}

/// An input with its values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SideInput {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub dims: Vec<i64>,
    /// As many numbers as that has room for.
    pub values: Vec<f32>,
}

/// An output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SideOutput {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub dims: Vec<i64>,
}

impl SideOutput {
    /// Numbers that it has.
    pub fn count(&self) -> usize {
        self.dims.iter().product::<i64>().max(0) as usize
    }
}
