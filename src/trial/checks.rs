//! How far logits were from what they should be: from committed references, and decode from prefill.

use serde::{Deserialize, Serialize};

/// Difference between a worker's logits and the committed reference, relative to the reference's largest magnitude.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckFacts {
    /// Largest allowed difference.
    pub tolerance: f64,
    /// Prompt in one go.
    pub prefill_error: f64,
    /// Prompt in pieces.
    pub pieces_error: f64,
    /// Prompt token by token.
    pub stepwise_error: f64,
    /// Greedy decode: worst step.
    pub decode_error: f64,
    /// Whether the greedy ids were the reference's.
    pub ids_equal: bool,
    /// What quantising the weights or the KV cache changed; `None` where neither is quantised. No part of passing: it is a fact of
    /// the model.
    #[serde(default)]
    pub quantization: Option<DifferenceFacts>,
}

/// Difference of logits from those of the same weights and KV cache in fp32, on the same text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DifferenceFacts {
    /// Root mean square of the differences over that of the reference's logits: 0 where nothing changed, about 1.4 between models
    /// that have nothing to do with each other.
    pub error: f64,
    /// Positions at which the most likely token is the reference's.
    pub same_top: u32,
    /// Positions that were compared.
    pub positions: u32,
}

impl CheckFacts {
    /// Whether every difference is inside the tolerance and the ids agree.
    pub fn passed(&self) -> bool {
        let worst = [
            self.prefill_error,
            self.pieces_error,
            self.stepwise_error,
            self.decode_error,
        ];
        // Written so that NaN fails.
        self.ids_equal && worst.iter().all(|error| *error <= self.tolerance)
    }
}

/// How the tokens of a decode are read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// In pieces, as prompts are: by other kernels than those of decode.
    Pieces,
    /// The prompt in one go and then token by token: by the kernels of decode, but from the host and outside any captured graph.
    Tokens,
}

/// How decode is held to prefill.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DecodeRule {
    /// How the tokens are read again.
    pub reading: Reading,
    /// Largest allowed difference, relative to the largest logit.
    pub tolerance: f64,
}

/// Difference of the logits after the last decode step from those of the same tokens read again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DecodeFacts {
    /// Tokens of each sequence that had been read by then.
    pub position: u32,
    /// The largest difference of any sequence, relative to its largest magnitude.
    pub error: f64,
    /// What it was held to.
    pub rule: DecodeRule,
}

impl DecodeFacts {
    /// Whether the difference is inside the tolerance. Written so that NaN is not.
    pub fn passed(&self) -> bool {
        self.error <= self.rule.tolerance
    }
}
