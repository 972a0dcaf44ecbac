//! How a model that is no decoder is fed: each input by type, shape and what is made for it.

use super::PortType;
use serde::{Deserialize, Serialize};

/// Its inputs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassIo {
    /// Each of them.
    pub inputs: Vec<PassInput>,
}

/// One input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassInput {
    /// Its name in the graph.
    pub name: String,
    /// Element type.
    pub kind: PortType,
    /// Dimensions.
    pub dims: Vec<PassDim>,
    /// What is made for it where no file is given.
    pub content: PassContent,
}

/// A dimension of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassDim {
    /// Always so many.
    Size(u64),
    /// Chosen for a run, by this name.
    Named(String),
}

/// What an input is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassContent {
    /// Whole numbers from 0 up to below this one, by chance.
    Below(u64),
    /// Ones, as a mask that hides nothing.
    Ones,
    /// Zeros.
    Zeros,
    /// Numbers by chance, of mean 0 and standard deviation 1.
    Normal,
}

impl PassContent {
    /// In words.
    pub fn words(self) -> String {
        match self {
            PassContent::Below(end) => format!("ids below {end} by chance"),
            PassContent::Ones => "ones".into(),
            PassContent::Zeros => "zeros".into(),
            PassContent::Normal => "numbers by chance, of mean 0 and deviation 1".into(),
        }
    }
}

impl PassIo {
    /// Names of the dimensions that are chosen for a run, each once, in the order of the inputs.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for dim in self.inputs.iter().flat_map(|input| &input.dims) {
            if let PassDim::Named(name) = dim
                && !names.contains(&name.as_str())
            {
                names.push(name);
            }
        }
        names
    }

    /// The dimension that counts the items of a pass: the first of the first input that has any.
    pub fn items(&self) -> Option<&PassDim> {
        self.inputs.iter().find_map(|input| input.dims.first())
    }
}

impl PassInput {
    /// Its shape for chosen sizes; the name of a dimension that has none otherwise.
    pub fn shape(&self, size: impl Fn(&str) -> Option<u32>) -> Result<Vec<u64>, String> {
        let dims = self.dims.iter().map(|dim| match dim {
            PassDim::Size(size) => Ok(*size),
            PassDim::Named(name) => size(name).map(u64::from).ok_or_else(|| name.clone()),
        });
        dims.collect()
    }
}
