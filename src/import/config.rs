//! From config.json to a spec: each family's options, and nothing that the graphs cannot do.

use super::options::Options;
use super::positions::{positions, rope};
use crate::error::Result;
use crate::model::{Ffn, ModelSpec, Norm, NormKind, NormSpan, Position};
use serde_json::json;

/// Longest name of a model.
const LONGEST_NAME: usize = 80;

// Sizes beyond every model there is, small enough for products of a few of them to be 64-bit numbers.
const MOST_LAYERS: u32 = 1 << 10;
const MOST_EXPERTS: u32 = 1 << 12;
const MOST_HEADS: u32 = 1 << 10;
const MOST_HEAD_DIM: u32 = 1 << 12;
const MOST_WIDTH: u32 = 1 << 20;
pub(super) const MOST_TOKENS: u32 = 1 << 24;

/// An architecture of transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// GPT-2.
    Gpt2,
    /// Llama 1 to 3, SmolLM2.
    Llama,
    /// Mistral.
    Mistral,
    /// Qwen3.
    Qwen3,
    /// Mixtral.
    Mixtral,
    /// OLMoE.
    Olmoe,
    /// Qwen3-MoE.
    Qwen3Moe,
    /// GraniteMoE.
    GraniteMoe,
}

/// `model_type`, the one class of `architectures` that is meant, and the family.
const FAMILIES: &[(&str, &str, Family)] = &[
    ("gpt2", "GPT2LMHeadModel", Family::Gpt2),
    ("llama", "LlamaForCausalLM", Family::Llama),
    ("mistral", "MistralForCausalLM", Family::Mistral),
    ("qwen3", "Qwen3ForCausalLM", Family::Qwen3),
    ("mixtral", "MixtralForCausalLM", Family::Mixtral),
    ("olmoe", "OlmoeForCausalLM", Family::Olmoe),
    ("qwen3_moe", "Qwen3MoeForCausalLM", Family::Qwen3Moe),
    ("granitemoe", "GraniteMoeForCausalLM", Family::GraniteMoe),
];

/// What a checkpoint is.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// Its architecture.
    pub family: Family,
    /// Its dimensions.
    pub spec: ModelSpec,
    /// What weights are multiplied with, so that the graph need not do it.
    pub folds: Folds,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Factors of weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Folds {
    /// Of an embedding that is no head as well.
    pub embedding: f32,
    /// Of the last layers of each branch.
    pub branch: f32,
    /// Of the normalisation before the head.
    pub final_norm: f32,
}

/// Reads what a checkpoint called `name` is.
pub fn describe(mut options: Options, name: &str) -> Result<Described> {
    let kind = options.text("model_type")?;
    let known = FAMILIES.iter().find(|(known, ..)| *known == kind);
    let Some((_, class, family)) = known else {
        let known: Vec<&str> = FAMILIES.iter().map(|(known, ..)| *known).collect();
        return Err(options.wrong(format!(
            "its model_type is {kind}, and known are {}",
            known.join(", ")
        )));
    };
    options.only("architectures", &[json!([class])]);
    let name = tidy(name).unwrap_or_else(|| kind.clone());
    let mut described = match family {
        Family::Gpt2 => gpt2(&mut options)?,
        _ => Rotary::of(*family).describe(&mut options)?,
    };
    described.spec.name = name;
    described.spec.source = format!("imported from a checkpoint of model_type {kind}");
    described.spec.summary = format!("Checkpoint of model_type {kind}");
    check(&described.spec, &mut options);
    options.close()?;
    Ok(described)
}

/// A folder's name as the name of a model: letters that mean nothing to any program that reads it.
fn tidy(name: &str) -> Option<String> {
    let plain = |char: char| match char {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => char,
        _ => '-',
    };
    let name: String = name.chars().map(plain).take(LONGEST_NAME).collect();
    let name = name.trim_matches(['.', '-']);
    (!name.is_empty()).then(|| name.to_owned())
}

/// What has to be true of every model.
fn check(spec: &ModelSpec, options: &mut Options) {
    let (heads, kv_heads) = (spec.n_heads, spec.n_kv_heads);
    if !heads.is_multiple_of(kv_heads) {
        options.refuse(format!(
            "{heads} query heads cannot be shared out evenly among {kv_heads} key heads"
        ));
    }
    if !spec.head_dim.is_multiple_of(2) {
        options.refuse(format!("heads of {} have no halves", spec.head_dim));
    }
    if let Ffn::Moe { experts, top_k, .. } = spec.ffn
        && top_k > experts
    {
        options.refuse(format!("{top_k} of {experts} experts cannot be chosen"));
    }
}

fn gpt2(options: &mut Options) -> Result<Described> {
    let (d_model, heads) = (
        options.count("n_embd", MOST_WIDTH)?,
        options.count("n_head", MOST_HEADS)?,
    );
    let inner = options.count_if_set("n_inner", MOST_WIDTH)?;
    let positions = options.count("n_positions", MOST_TOKENS)?;
    options.only("n_ctx", &[json!(positions)]);
    // Two names of one function, GELU in its tanh form.
    let known = [json!("gelu_new"), json!("gelu_pytorch_tanh")];
    options.only("activation_function", &known);
    if options.value("activation_function").is_none() {
        options.refuse("it has no activation_function".into());
    }
    options.only("scale_attn_weights", &[json!(true)]);
    for key in [
        "add_cross_attention",
        "reorder_and_upcast_attn",
        "scale_attn_by_inverse_layer_idx",
    ] {
        options.only(key, &[json!(false)]);
    }
    let spec = ModelSpec {
        norm: Norm {
            kind: NormKind::LayerNorm,
            epsilon: options.float("layer_norm_epsilon", Some(1e-5))?,
        },
        position: Position::Learned,
        bias: true,
        tied_head: options.flag("tie_word_embeddings", true)?,
        max_positions: positions,
        n_layers: options.count("n_layer", MOST_LAYERS)?,
        ffn: Ffn::Gelu {
            d_ff: inner.unwrap_or(4 * d_model),
        },
        ..shape(options, d_model, heads, heads)?
    };
    Ok(Described::of(Family::Gpt2, spec))
}

/// What every family has; the rest is to be filled in.
fn shape(options: &mut Options, d_model: u32, heads: u32, kv_heads: u32) -> Result<ModelSpec> {
    let head_dim = match options.count_if_set("head_dim", MOST_HEAD_DIM)? {
        Some(head_dim) => head_dim,
        None if d_model.is_multiple_of(heads) && d_model / heads <= MOST_HEAD_DIM => {
            d_model / heads
        }
        None => {
            return Err(options.wrong(format!(
                "it has no head_dim, and a width of {d_model} is no whole number for each of {heads} heads"
            )));
        }
    };
    Ok(ModelSpec {
        name: String::new(),
        summary: String::new(),
        source: String::new(),
        suites: Vec::new(),
        vocab: options.count("vocab_size", MOST_TOKENS)?,
        max_positions: 0,
        n_layers: 0,
        d_model,
        n_heads: heads,
        n_kv_heads: kv_heads,
        head_dim,
        norm: Norm {
            kind: NormKind::RmsNorm,
            epsilon: 0.0,
        },
        position: Position::Learned,
        bias: false,
        qk_norm: false,
        qk_norm_over: NormSpan::Head,
        embedding_multiplier: None,
        attention_scale: None,
        ffn: Ffn::Swiglu { d_ff: 0 },
        tied_head: false,
        specialists: None,
        foreign: None,
    })
}

/// How the families with rotary positions and RMSNorm differ.
struct Rotary {
    family: Family,
    /// What `rope_theta` is where it is not set; `None` where it has to be.
    theta: Option<f64>,
    /// Whether each query head has a key head of its own unless `num_key_value_heads` is set.
    own_keys: bool,
    qk_norm: Option<NormSpan>,
    experts: bool,
}

impl Rotary {
    fn of(family: Family) -> Rotary {
        let plain = Rotary {
            family,
            theta: Some(10_000.0),
            own_keys: false,
            qk_norm: None,
            experts: false,
        };
        match family {
            Family::Gpt2 | Family::Llama => Rotary {
                own_keys: true,
                ..plain
            },
            Family::Mistral => plain,
            Family::Qwen3 | Family::Qwen3Moe => Rotary {
                theta: None,
                qk_norm: Some(NormSpan::Head),
                experts: family == Family::Qwen3Moe,
                ..plain
            },
            Family::Mixtral => Rotary {
                theta: None,
                experts: true,
                ..plain
            },
            Family::Olmoe => Rotary {
                own_keys: true,
                qk_norm: Some(NormSpan::AllHeads),
                experts: true,
                ..plain
            },
            Family::GraniteMoe => Rotary {
                own_keys: true,
                experts: true,
                ..plain
            },
        }
    }

    fn describe(&self, options: &mut Options) -> Result<Described> {
        let d_model = options.count("hidden_size", MOST_WIDTH)?;
        let heads = options.count("num_attention_heads", MOST_HEADS)?;
        let kv_heads = match options.count_if_set("num_key_value_heads", MOST_HEADS)? {
            Some(kv_heads) => kv_heads,
            None if self.own_keys => heads,
            None => return Err(options.wrong("it has no number num_key_value_heads")),
        };
        options.only("hidden_act", &[json!("silu")]);
        for key in ["attention_bias", "mlp_bias", "rope_interleaved"] {
            options.only(key, &[json!(false)]);
        }
        // `clip_qkv` of OLMoE is not asked for: where it is set it is one more option that is not known.
        let ffn = match self.experts {
            true => self.experts(options)?,
            false => Ffn::Swiglu {
                d_ff: options.count("intermediate_size", MOST_WIDTH)?,
            },
        };
        let position = rope(options, self.theta)?;
        let mut notes = Vec::new();
        let spec = ModelSpec {
            norm: Norm {
                kind: NormKind::RmsNorm,
                epsilon: options.float("rms_norm_eps", None)?,
            },
            position,
            qk_norm: self.qk_norm.is_some(),
            qk_norm_over: self.qk_norm.unwrap_or_default(),
            tied_head: options.flag("tie_word_embeddings", false)?,
            max_positions: positions(options, &mut notes)?,
            n_layers: options.count("num_hidden_layers", MOST_LAYERS)?,
            ffn,
            ..shape(options, d_model, heads, kv_heads)?
        };
        let mut described = Described::of(self.family, spec);
        described.notes = notes;
        if self.family == Family::GraniteMoe {
            described.multiply(options)?;
        }
        Ok(described)
    }

    fn experts(&self, options: &mut Options) -> Result<Ffn> {
        let inner = match self.family {
            Family::Qwen3Moe => {
                // The width of layers without experts, of which there are none: `mlp_only_layers` and the step say so.
                options.value("intermediate_size");
                options.only("decoder_sparse_step", &[json!(1)]);
                options.only("mlp_only_layers", &[json!([])]);
                "moe_intermediate_size"
            }
            _ => "intermediate_size",
        };
        // One number under two names.
        let local = options.count_if_set("num_local_experts", MOST_EXPERTS)?;
        let experts = match (local, options.count_if_set("num_experts", MOST_EXPERTS)?) {
            (Some(one), Some(other)) if one != other => {
                return Err(options.wrong(format!(
                    "num_local_experts is {one} and num_experts is {other}"
                )));
            }
            (Some(count), _) | (None, Some(count)) => count,
            (None, None) => return Err(options.wrong("it has no number num_local_experts")),
        };
        let normalize = match self.family {
            Family::Olmoe | Family::Qwen3Moe => options.flag("norm_topk_prob", false)?,
            _ => true,
        };
        Ok(Ffn::Moe {
            d_ff: options.count(inner, MOST_WIDTH)?,
            experts,
            top_k: options.count("num_experts_per_tok", MOST_EXPERTS)?,
            normalize,
        })
    }
}

impl Described {
    fn of(family: Family, spec: ModelSpec) -> Described {
        Described {
            family,
            spec,
            folds: Folds {
                embedding: 1.0,
                branch: 1.0,
                final_norm: 1.0,
            },
            notes: Vec::new(),
        }
    }

    /// Granite's multipliers: into the weights but for those of an embedding that is the head too, and of attention.
    fn multiply(&mut self, options: &mut Options) -> Result<()> {
        let embedding = options.float("embedding_multiplier", Some(1.0))?;
        match self.spec.tied_head {
            true if embedding != 1.0 => self.spec.embedding_multiplier = Some(embedding),
            true => (),
            false => self.folds.embedding = embedding,
        }
        self.spec.attention_scale = Some(options.float("attention_multiplier", Some(1.0))?);
        self.folds.branch = options.float("residual_multiplier", Some(1.0))?;
        self.folds.final_norm = 1.0 / options.float("logits_scaling", Some(1.0))?;
        Ok(())
    }
}
