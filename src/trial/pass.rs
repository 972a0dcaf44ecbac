//! A trial of a model that is no decoder: one forward pass after the other over the same inputs.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What such a trial runs over. Its `batch` counts the items of a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// Sizes of the dimensions that the graph leaves free, by name.
    pub dims: BTreeMap<String, u32>,
    /// Files of inputs that are not made.
    pub files: BTreeMap<String, PathBuf>,
}

impl Pass {
    /// The dimensions as a part of an id: `batch=1,seq=128`, or `fixed` where none is free.
    pub fn name(&self) -> String {
        let dims: Vec<String> = self
            .dims
            .iter()
            .map(|(name, size)| format!("{name}={size}"))
            .collect();
        match dims.is_empty() {
            true => "fixed".into(),
            false => dims.join(","),
        }
    }
}

/// What came out of such a model, in two passes over the same inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputFacts {
    /// Outputs.
    pub outputs: u32,
    /// Numbers in them.
    pub values: u64,
    /// Of these, which are no finite numbers.
    pub not_finite: u64,
    /// The output with the first of them.
    pub not_finite_in: Option<String>,
    /// The largest difference between the two passes, over the largest number of its output.
    pub difference: f64,
    /// How large it may be.
    pub tolerance: f64,
}

impl OutputFacts {
    /// Whether all is as it should be.
    pub fn passed(&self) -> bool {
        self.not_finite == 0 && self.difference <= self.tolerance
    }
}
