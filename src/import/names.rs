//! Which tensors of a checkpoint each weight of the graphs is made of, family by family.

use super::checkpoint::Checkpoint;
use super::config::{Described, Family};
use super::recipe::{Order, Recipe, Rows};
use crate::error::{Error, Result};
use crate::model::{self, Ffn, ModelSpec, Weight};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// Names that are told of tensors that are wrong.
const TOLD: usize = 3;

/// Rows of a tensor that a weight is made of, before anything is known of the tensor.
struct Wanted {
    tensor: String,
    /// The dimensions it has to have.
    dims: Vec<u64>,
    /// The rows that are meant; `None` for all.
    rows: Option<(u64, u64)>,
}

impl Wanted {
    fn whole(tensor: String, dims: &[u64]) -> Wanted {
        Wanted {
            tensor,
            dims: dims.to_vec(),
            rows: None,
        }
    }
}

/// Recipes of all weights, by their names. Tensors that are missing, of another shape or left over are an error.
pub fn recipes(
    described: &Described,
    checkpoint: &Checkpoint,
    folder: &Path,
) -> Result<HashMap<String, Recipe>> {
    let names = Names::of(described, checkpoint);
    let (mut recipes, mut used) = (HashMap::new(), BTreeSet::new());
    let (mut missing, mut wrong) = (BTreeSet::new(), BTreeSet::new());
    for weight in model::weights(&described.spec) {
        if weight.is_table() {
            continue;
        }
        let (wanted, order) = names.wanted(&weight);
        let mut parts = Vec::new();
        for Wanted { tensor, dims, rows } in wanted {
            let Some(stored) = checkpoint.get(&tensor) else {
                missing.insert(tensor);
                continue;
            };
            if stored.dims != dims {
                wrong.insert(format!("{tensor} {:?} instead of {dims:?}", stored.dims));
            }
            used.insert(tensor);
            let (first, count) = rows.unwrap_or((0, rows_of(&dims)));
            let stored = stored.clone();
            parts.push(Rows {
                stored,
                first,
                count,
            });
        }
        let width = match order {
            Order::Turned => weight.dims[0],
            Order::Stacked | Order::Woven => weight.last(),
        };
        let recipe = Recipe {
            parts,
            order,
            factor: names.factor(&weight.name),
            width,
        };
        recipes.insert(weight.name, recipe);
    }
    let left = checkpoint
        .names()
        .filter(|name| !used.contains(*name) && !names.means_nothing(name, checkpoint));
    let left: Vec<String> = left.map(str::to_owned).collect();
    complain(
        folder,
        &missing.into_iter().collect::<Vec<_>>(),
        "lacks tensors that its config.json needs",
    )?;
    complain(
        folder,
        &wrong.into_iter().collect::<Vec<_>>(),
        "has tensors of other shapes than its config.json says",
    )?;
    complain(
        folder,
        &left,
        "has tensors that nothing of its config.json reads",
    )?;
    Ok(recipes)
}

/// Rows of a tensor: all dimensions but the last.
fn rows_of(dims: &[u64]) -> u64 {
    dims.split_last()
        .map_or(1, |(_, rows)| rows.iter().product())
}

/// An error that names the first of some tensors.
fn complain(folder: &Path, names: &[String], what: &str) -> Result<()> {
    let more = match names.len() {
        0 => return Ok(()),
        count if count > TOLD => format!(" and {} more", count - TOLD),
        _ => String::new(),
    };
    let told = &names[..names.len().min(TOLD)];
    Err(Error::Model(format!(
        "could not import {}: it {what}: {}{more}; nothing was written, choose another checkpoint",
        folder.display(),
        told.join(", ")
    )))
}

/// The names of one checkpoint.
struct Names<'a> {
    described: &'a Described,
    spec: &'a ModelSpec,
    /// What all names but the head's begin with: nothing where the body was saved without its head.
    root: &'static str,
}

impl<'a> Names<'a> {
    fn of(described: &'a Described, checkpoint: &Checkpoint) -> Names<'a> {
        let root = match described.family {
            Family::Gpt2 => "transformer.",
            _ => "model.",
        };
        let mut names = Names {
            described,
            spec: &described.spec,
            root,
        };
        let bare = names.embedding().replacen(root, "", 1);
        if checkpoint.get(&names.embedding()).is_none() && checkpoint.get(&bare).is_some() {
            names.root = "";
        }
        names
    }

    fn embedding(&self) -> String {
        let name = match self.described.family {
            Family::Gpt2 => "wte",
            _ => "embed_tokens",
        };
        format!("{}{name}.weight", self.root)
    }

    /// What a weight is multiplied with.
    fn factor(&self, weight: &str) -> f32 {
        let folds = self.described.folds;
        let (_, name) = layer_of(weight);
        match name {
            "wte" => folds.embedding,
            "final_norm.weight" => folds.final_norm,
            "o.weight" | "down.weight" | "experts.fc2" => folds.branch,
            _ => 1.0,
        }
    }

    /// The tensors of a weight, and their order.
    fn wanted(&self, weight: &Weight) -> (Vec<Wanted>, Order) {
        let dims = &weight.dims;
        let (layer, name) = layer_of(&weight.name);
        let Some(layer) = layer else {
            let name = match name {
                "wte" => self.embedding(),
                "head.weight" => "lm_head.weight".to_owned(),
                _ => format!("{}{}", self.root, self.outer(name)),
            };
            return (vec![Wanted::whole(name, dims)], Order::Stacked);
        };
        if self.described.family == Family::Gpt2 {
            // Matrices lie as the graphs want them.
            let name = format!("{}h.{layer}.{}", self.root, gpt2_layer(name));
            return (vec![Wanted::whole(name, dims)], Order::Stacked);
        }
        let prefix = format!("{}layers.{layer}.", self.root);
        match name {
            "experts.fc1" | "experts.fc2" => self.experts(&prefix, name == "experts.fc1", dims),
            _ if dims.len() == 1 => {
                let tensor = format!("{prefix}{}", vector(name));
                (vec![Wanted::whole(tensor, dims)], Order::Stacked)
            }
            _ => (self.linear(&prefix, name, dims), Order::Turned),
        }
    }

    /// The end of a name outside the layers.
    fn outer(&self, name: &str) -> &'static str {
        match (self.described.family, name) {
            (Family::Gpt2, "wpe") => "wpe.weight",
            (Family::Gpt2, "final_norm.bias") => "ln_f.bias",
            (Family::Gpt2, _) => "ln_f.weight",
            _ => "norm.weight",
        }
    }

    /// Linear layers, each `[outputs, inputs]`, whose outputs lie side by side in a weight `[inputs, outputs]`.
    fn linear(&self, prefix: &str, name: &str, dims: &[u64]) -> Vec<Wanted> {
        let (inputs, outputs) = (dims[0], dims[1]);
        let one = |tensor: &str, outputs: u64| {
            Wanted::whole(format!("{prefix}{tensor}.weight"), &[outputs, inputs])
        };
        let (q, kv) = (self.spec.q_width().into(), self.spec.kv_width().into());
        match name {
            "qkv.weight" => vec![
                one("self_attn.q_proj", q),
                one("self_attn.k_proj", kv),
                one("self_attn.v_proj", kv),
            ],
            "o.weight" => vec![one("self_attn.o_proj", outputs)],
            "gate.weight" => vec![one("mlp.gate_proj", outputs)],
            "up.weight" => vec![one("mlp.up_proj", outputs)],
            "down.weight" => vec![one("mlp.down_proj", outputs)],
            _ => vec![one(self.router(), outputs)],
        }
    }

    fn router(&self) -> &'static str {
        match self.described.family {
            Family::Mixtral => "block_sparse_moe.gate",
            Family::GraniteMoe => "block_sparse_moe.router.layer",
            _ => "mlp.gate",
        }
    }

    /// Experts: the gate's and the other rows of the first matrix by turns, or the second matrix as it is.
    fn experts(&self, prefix: &str, first: bool, dims: &[u64]) -> (Vec<Wanted>, Order) {
        let (count, width) = (dims[0], dims[2]);
        let order = if first { Order::Woven } else { Order::Stacked };
        if self.described.family == Family::GraniteMoe {
            // All experts in one tensor, of the first matrix the gate's rows before the others.
            let name = if first {
                "input_linear"
            } else {
                "output_linear"
            };
            let tensor = format!("{prefix}block_sparse_moe.{name}.weight");
            let halves = if first { 2 } else { 1 };
            let rows = dims[1] / halves;
            let parts = (0..count * halves).map(|part| Wanted {
                rows: Some((part * rows, rows)),
                ..Wanted::whole(tensor.clone(), dims)
            });
            return (parts.collect(), order);
        }
        let (block, [gate, up, down]) = match self.described.family {
            Family::Mixtral => ("block_sparse_moe", ["w1", "w3", "w2"]),
            _ => ("mlp", ["gate_proj", "up_proj", "down_proj"]),
        };
        let (names, rows) = match (first, self.spec.ffn) {
            (true, Ffn::Moe { d_ff, .. }) => (vec![gate, up], u64::from(d_ff)),
            _ => (vec![down], dims[1]),
        };
        let each = |expert: u64| {
            let names = names.clone();
            names.into_iter().map(move |name| {
                let tensor = format!("{prefix}{block}.experts.{expert}.{name}.weight");
                Wanted::whole(tensor, &[rows, width])
            })
        };
        ((0..count).flat_map(each).collect(), order)
    }

    /// Whether a tensor may be there though nothing reads it: it follows from what is read.
    fn means_nothing(&self, name: &str, checkpoint: &Checkpoint) -> bool {
        let computed = match self.described.family {
            // Causal masks, in files of old versions.
            Family::Gpt2 => [".attn.bias", ".attn.masked_bias"].as_slice(),
            _ => &[".rotary_emb.inv_freq"],
        };
        if computed.iter().any(|end| name.ends_with(end)) {
            return true;
        }
        if name != "lm_head.weight" || !self.spec.tied_head {
            return false;
        }
        // The embedding once more.
        let (head, embedding) = (checkpoint.get(name), checkpoint.get(&self.embedding()));
        head.zip(embedding).is_some_and(|(head, embedding)| {
            head.dims == embedding.dims
                && head.kind == embedding.kind
                && checkpoint.bytes(head) == checkpoint.bytes(embedding)
        })
    }
}

/// A weight's layer, if it is in one, and the rest of its name.
fn layer_of(weight: &str) -> (Option<&str>, &str) {
    match weight.split_once('.') {
        Some((layer, rest)) if layer.len() > 1 && layer.starts_with('l') => {
            match layer[1..].bytes().all(|byte| byte.is_ascii_digit()) {
                true => (Some(&layer[1..]), rest),
                false => (None, weight),
            }
        }
        _ => (None, weight),
    }
}

fn gpt2_layer(name: &str) -> String {
    let (module, kind) = name.rsplit_once('.').unwrap_or((name, ""));
    let module = match module {
        "attn_norm" => "ln_1",
        "ffn_norm" => "ln_2",
        "qkv" => "attn.c_attn",
        "o" => "attn.c_proj",
        "fc" => "mlp.c_fc",
        _ => "mlp.c_proj",
    };
    format!("{module}.{kind}")
}

/// The end of the name of a layer's vector.
fn vector(name: &str) -> &'static str {
    match name {
        "attn_norm.weight" => "input_layernorm.weight",
        "ffn_norm.weight" => "post_attention_layernorm.weight",
        "q_norm.weight" => "self_attn.q_norm.weight",
        _ => "self_attn.k_norm.weight",
    }
}
