//! Model specs; the built-in ones are data files from `models/`, compiled in. A new one is a new file there, not code.

use super::adopted;
use super::foreign::Foreign;
use serde::Deserialize;
use std::sync::LazyLock;

/// Dimensions and architecture of one model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Name on the command line.
    pub name: String,
    /// One line for people.
    pub summary: String,
    /// Where the dimensions come from.
    pub source: String,
    /// Suites it belongs to.
    pub suites: Vec<String>,
    /// Vocabulary size.
    pub vocab: u32,
    /// Longest sequence the model is defined for.
    pub max_positions: u32,
    /// Decoder layers (of each specialist, in a mixture of specialists).
    pub n_layers: u32,
    /// Width of the residual stream.
    pub d_model: u32,
    /// Query heads.
    pub n_heads: u32,
    /// Key/value heads; fewer than `n_heads` is grouped-query attention.
    pub n_kv_heads: u32,
    /// Size of one head.
    pub head_dim: u32,
    /// Normalisation.
    pub norm: Norm,
    /// Position encoding.
    pub position: Position,
    /// Biases on the attention's and a GELU FFN's linear layers.
    pub bias: bool,
    /// RMSNorm on queries and keys, before the rotation.
    pub qk_norm: bool,
    /// What that normalisation runs over.
    #[serde(default)]
    pub qk_norm_over: NormSpan,
    /// What the embedding of a token is multiplied with, where it is.
    #[serde(default)]
    pub embedding_multiplier: Option<f32>,
    /// What the products of queries and keys are multiplied with, where it is not the inverse root of `head_dim`.
    #[serde(default)]
    pub attention_scale: Option<f32>,
    /// Feed-forward part of each layer.
    pub ffn: Ffn,
    /// The output head is the embedding.
    pub tied_head: bool,
    /// Several whole models with a router over their logits.
    #[serde(default)]
    pub specialists: Option<Specialists>,
    /// The graph that another program wrote, where it is one: then this tells its sizes, and of the fields above only names, layers,
    /// heads and positions are meant.
    #[serde(skip)]
    pub foreign: Option<&'static Foreign>,
}

/// Normalisation before attention and FFN, and at the end.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Norm {
    /// Kind.
    pub kind: NormKind,
    /// Added to the variance.
    pub epsilon: f32,
}

/// Kind of normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// Mean and variance, scale and bias.
    LayerNorm,
    /// Root mean square, scale only.
    RmsNorm,
}

/// Position encoding.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Position {
    /// A learned vector for each position, added to the embedding.
    Learned,
    /// Rotary embedding, halves rotated against each other.
    Rotary {
        /// Base of the frequencies.
        theta: f64,
        /// How low frequencies are lowered further, for longer sequences than the model was first trained with.
        #[serde(default)]
        scaling: Option<RopeScaling>,
    },
}

/// Llama 3's scaling of rotary frequencies: those whose wave is longer than `original_positions / low_freq_factor` are divided by
/// `factor`, those whose wave is shorter than `original_positions / high_freq_factor` stay, and those between are blended.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeScaling {
    /// What low frequencies are divided by.
    pub factor: f64,
    /// See above; less than `high_freq_factor`.
    pub low_freq_factor: f64,
    /// See above.
    pub high_freq_factor: f64,
    /// Longest sequence of the first training.
    pub original_positions: u32,
}

/// What the normalisation of queries and keys runs over.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormSpan {
    /// Each head by itself, all with the same weights.
    #[default]
    Head,
    /// All heads together.
    AllHeads,
}

/// Feed-forward part of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ffn {
    /// Two linear layers with GELU (tanh form) between.
    Gelu {
        /// Inner width.
        d_ff: u32,
    },
    /// `down(silu(gate(x)) * up(x))`.
    Swiglu {
        /// Inner width.
        d_ff: u32,
    },
    /// `top_k` of `experts` SwiGLU experts, chosen for each token by a linear router.
    Moe {
        /// Inner width of one expert.
        d_ff: u32,
        /// Experts in each layer.
        experts: u32,
        /// Experts run for each token.
        top_k: u32,
        /// Softmax over the chosen experts only, instead of over all.
        normalize: bool,
    },
}

/// A mixture of whole specialists: each runs in full, a router MLP on the token embedding weighs their logits.
/// The weights are thresholded, renormalised and averaged over the sequence (the published study's design).
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Specialists {
    /// Number of specialists.
    pub count: u32,
    /// Inner width of the router MLP.
    pub router_hidden: u32,
    /// Router weights under this become zero.
    pub threshold: f32,
    /// Heads of `d_model + 1` parameters that the published model stores and never uses.
    pub unused_heads: u32,
}

impl ModelSpec {
    /// Number of whole models inside: 1, but for a mixture of specialists.
    pub fn bodies(&self) -> u32 {
        self.specialists.map_or(1, |specialists| specialists.count)
    }

    /// Whether a router sends each token to some of many experts.
    pub fn has_experts(&self) -> bool {
        matches!(self.ffn, Ffn::Moe { .. })
    }

    /// Width of the packed query, key and value projection.
    pub fn qkv_width(&self) -> u32 {
        (self.n_heads + 2 * self.n_kv_heads) * self.head_dim
    }

    /// Width of all key heads, and of all value heads.
    pub fn kv_width(&self) -> u32 {
        self.n_kv_heads * self.head_dim
    }

    /// Width of all query heads.
    pub fn q_width(&self) -> u32 {
        self.n_heads * self.head_dim
    }
}

macro_rules! builtin {
    ($($name:literal),+ $(,)?) => {
        &[$(include_str!(concat!("../../models/", $name, ".json"))),+]
    };
}

/// In the order in which they are listed and run.
const SOURCES: &[&str] = builtin![
    "dense-120m",
    "moe-120m-a82m",
    "moe-295m-a120m",
    "alchemist-16m",
    "dense-16m",
    "moe-16m-a10m",
    "moe-41m-a16m",
    "dense-350m",
    "moe-350m-a210m",
    "moe-946m-a350m",
    "swiglu-124m",
    "one-expert-124m",
    "qwen3-0.6b",
    "qwen3-4b",
    "granite-1b-a400m",
    "llama-1b",
    "moe-1b-a632m",
    "moe-2.8b-a1b",
    "olmoe-1b-7b",
    "qwen3-30b-a3b",
    "tiny-gpt2",
    "tiny-llama",
    "tiny-qwen3",
    "tiny-moe-gpt2",
    "tiny-moe-llama",
    "tiny-moe-q",
    "tiny-specialists",
];

static SPECS: LazyLock<Vec<ModelSpec>> = LazyLock::new(|| {
    let parse = |source: &&str| serde_json::from_str(source);
    // A spec that does not parse cannot leave the build: `every_spec_parses` is a test.
    SOURCES
        .iter()
        .filter_map(|source| parse(source).ok())
        .collect()
});

/// All built-in models.
pub fn builtin() -> &'static [ModelSpec] {
    &SPECS
}

/// The built-in or adopted model of this name.
pub fn find(name: &str) -> Option<&'static ModelSpec> {
    let found = builtin().iter().find(|spec| spec.name == name);
    found.or_else(|| adopted::find(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spec_parses() {
        for source in SOURCES {
            serde_json::from_str::<ModelSpec>(source).unwrap();
        }
        assert_eq!(builtin().len(), SOURCES.len());
    }

    #[test]
    fn every_file_in_models_is_compiled_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/models");
        let files = std::fs::read_dir(folder).unwrap().filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().ends_with(".json")
        });
        assert_eq!(files.count(), SOURCES.len());
    }

    #[test]
    fn heads_divide_evenly() {
        for spec in builtin() {
            assert_eq!(spec.n_heads % spec.n_kv_heads, 0, "{}", spec.name);
            assert_eq!(
                spec.head_dim % 16,
                0,
                "{}: the CUDA attention operator needs a multiple of 16",
                spec.name
            );
        }
    }
}
