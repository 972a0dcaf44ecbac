//! Which weights stay in main memory, where the GPU reads them in place.

use crate::units::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What was asked for. Weights that stay in main memory are pinned and mapped: the GPU reads over the link what a token needs of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Offload {
    /// All weights in the GPU's memory.
    #[default]
    None,
    /// The experts of a Mixture of Experts in main memory.
    Experts,
    /// All matrices in main memory.
    All,
    /// Those of so many layers, the last ones.
    Layers(u32),
    /// As few as the budget demands, those first that are read least.
    Auto,
}

impl Offload {
    /// What a trial's id has behind it.
    pub fn suffix(self) -> String {
        match self {
            Offload::None => String::new(),
            other => format!("/off-{other}"),
        }
    }
}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Offload::None => f.pad("none"),
            Offload::Experts => f.pad("experts"),
            Offload::All => f.pad("all"),
            Offload::Layers(count) => f.pad(&count.to_string()),
            Offload::Auto => f.pad("auto"),
        }
    }
}

impl FromStr for Offload {
    type Err = String;

    fn from_str(text: &str) -> Result<Offload, String> {
        match text {
            "none" => Ok(Offload::None),
            "experts" => Ok(Offload::Experts),
            "all" => Ok(Offload::All),
            "auto" => Ok(Offload::Auto),
            _ => match text.parse() {
                Ok(count) if (1..=1024).contains(&count) => Ok(Offload::Layers(count)),
                _ => Err(
                    "give none, auto, experts, all, or a number of layers from 1 to 1024".into(),
                ),
            },
        }
    }
}

impl TryFrom<String> for Offload {
    type Error = String;

    fn try_from(text: String) -> Result<Offload, String> {
        text.parse()
    }
}

impl From<Offload> for String {
    fn from(offload: Offload) -> String {
        offload.to_string()
    }
}

/// Where the weights of a trial were put.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OffloadFacts {
    /// What was asked for.
    pub asked: Offload,
    /// Weights planned for the GPU's memory.
    pub resident: Bytes,
    /// Weights planned for main memory.
    pub mapped: Bytes,
    /// Tensors that these are.
    pub mapped_tensors: u32,
    /// All tensors.
    pub tensors: u32,
    /// Bytes that a decode step reads over the link, by shape: experts as a router without preferences chooses them.
    pub link_step: Bytes,
    /// The same of a prompt that reads each byte once.
    pub link_prompt: Bytes,
    /// CPU and GPU share one memory: weights kept apart in it are part of the same budget.
    #[serde(default)]
    pub unified: bool,
    /// What the driver refused before, where this is a second try with fewer weights on the GPU.
    #[serde(default)]
    pub refused: Option<String>,
}

/// How the GPU reads weights in main memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkWay {
    /// Where they lie: of experts only those that were chosen.
    #[default]
    InPlace,
    /// Those that a copy has room for are copied before they are used, all of them.
    Copied,
}

impl fmt::Display for LinkWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            LinkWay::InPlace => "in place",
            LinkWay::Copied => "copied",
        })
    }
}

/// What was tried before anything was timed, and taken for each phase. Milliseconds of single runs outside of CUDA graphs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkWays {
    /// The prompt's way.
    pub prompt: LinkWay,
    /// A decode step's.
    pub step: LinkWay,
    /// The prompt in place, and with copies; `None` where that was not run.
    pub prompt_ms: [Option<f64>; 2],
    /// A decode step in place, and with copies.
    pub step_ms: [Option<f64>; 2],
    /// How far the logits of the prompt with copies are from those in place, by their squares and relative to them.
    #[serde(default)]
    pub difference: Option<f64>,
    /// Why copies could not be tried.
    pub note: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for offload in [
            Offload::None,
            Offload::Experts,
            Offload::All,
            Offload::Layers(12),
            Offload::Auto,
        ] {
            assert_eq!(offload.to_string().parse(), Ok(offload));
        }
        for wrong in ["", "0", "-1", "1025", "expert", "4 layers"] {
            let error = wrong.parse::<Offload>().unwrap_err();
            assert!(error.contains("number of layers"), "{wrong}: {error}");
        }
    }
}
