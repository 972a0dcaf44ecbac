//! Parts of a model, by which its parameters and bytes are counted; and the part of each tensor of a built-in one.

use super::spec::{Ffn, ModelSpec};
use super::weights::Layout;
use crate::trial::Numerics;
use crate::units::Bytes;
use std::collections::BTreeMap;
use std::fmt;

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Vectors of the tokens.
    Embedding,
    /// Learned vectors of the positions.
    Positions,
    /// Projections around attention.
    Attention,
    /// Feed-forward experts.
    Experts,
    /// Feed-forward layers that every token goes through.
    Ffn,
    /// What chooses or weighs experts.
    Router,
    /// Normalisations.
    Norms,
    /// Output head; nothing where it is the embedding.
    Head,
    /// Computed tables, such as the rotations of the positions: no parameters.
    Tables,
    /// Shapes, indices and single numbers: no parameters.
    Constants,
    /// Stored and read by nothing.
    Unused,
    /// What cannot be told.
    Unknown,
}

impl Part {
    /// Its name in every output.
    pub fn name(self) -> &'static str {
        match self {
            Part::Embedding => "embedding",
            Part::Positions => "positions",
            Part::Attention => "attention",
            Part::Experts => "experts",
            Part::Ffn => "ffn",
            Part::Router => "router",
            Part::Norms => "norms",
            Part::Head => "head",
            Part::Tables => "tables",
            Part::Constants => "constants",
            Part::Unused => "unused",
            Part::Unknown => "unknown",
        }
    }

    /// Whether what it holds are parameters.
    pub fn is_learned(self) -> bool {
        !matches!(self, Part::Tables | Part::Constants)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How much of something there is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    /// Tensors.
    pub tensors: u64,
    /// Parameters.
    pub params: u64,
    /// Bytes.
    pub bytes: Bytes,
}

impl Amount {
    /// Adds one tensor.
    pub fn add(&mut self, params: u64, bytes: u64) {
        self.tensors += 1;
        self.params = self.params.saturating_add(params);
        self.bytes = Bytes(self.bytes.0.saturating_add(bytes));
    }
}

/// The weights of a built-in model by part. Scales and zero points of quantised weights are bytes of their part, and no parameters.
pub fn parts(spec: &ModelSpec, numerics: Numerics) -> BTreeMap<Part, Amount> {
    let mut parts: BTreeMap<Part, Amount> = BTreeMap::new();
    for tensor in &Layout::of(spec, numerics).tensors {
        let part = of_weight(&tensor.name);
        let params = if part.is_learned() { tensor.stored } else { 0 };
        parts.entry(part).or_default().add(params, tensor.bytes);
    }
    parts
}

/// Bytes of all stored parameters, with what quantised ones are scaled and shifted by.
pub fn weight_bytes(spec: &ModelSpec, numerics: Numerics) -> Bytes {
    if let Some(foreign) = spec.foreign {
        let parts = foreign.file.counts.parts.iter();
        let learned = parts.filter(|(part, _)| part.is_learned());
        return learned.map(|(_, amount)| amount.bytes).sum();
    }
    let parts = parts(spec, numerics);
    let learned = parts.iter().filter(|(part, _)| part.is_learned());
    learned.map(|(_, amount)| amount.bytes).sum()
}

/// The part of a weight by the name that its layout gives it: `l3.qkv.weight`, `s1.wte`, `l0.experts.fc1`.
pub(super) fn of_weight(name: &str) -> Part {
    let words: Vec<&str> = name.split('.').collect();
    let has = |word: &str| words.contains(&word);
    let last_norm = words.iter().any(|word| word.ends_with("norm"));
    match words.first() {
        Some(&"rope") => Part::Tables,
        Some(&"unused") => Part::Unused,
        _ if has("wte") => Part::Embedding,
        _ if has("wpe") => Part::Positions,
        _ if has("router") => Part::Router,
        _ if has("experts") => Part::Experts,
        _ if has("head") => Part::Head,
        _ if has("qkv") || has("o") => Part::Attention,
        _ if last_norm => Part::Norms,
        _ if ["fc", "proj", "gate", "up", "down"]
            .iter()
            .any(|word| has(word)) =>
        {
            Part::Ffn
        }
        _ => Part::Unknown,
    }
}

/// Bytes of one expert of one layer; `None` for a model without experts.
pub fn expert_bytes(spec: &ModelSpec, numerics: Numerics) -> Option<u64> {
    let Ffn::Moe { experts, .. } = spec.ffn else {
        return None;
    };
    let amount = parts(spec, numerics).get(&Part::Experts)?.bytes.0;
    let all = u64::from(experts) * u64::from(spec.n_layers);
    (all > 0).then(|| amount / all)
}

#[cfg(test)]
mod tests {
    use super::super::{builtin, census, find};
    use super::*;
    use crate::trial::{Float, Precision};

    const FP32: Float = Float::Fp32;

    #[test]
    fn parts_of_every_model_add_up_to_its_census_and_its_bytes() {
        for spec in builtin() {
            for precision in Precision::ALL {
                let parts = parts(spec, precision.with(FP32));
                assert!(!parts.contains_key(&Part::Unknown), "{}", spec.name);
                let params: u64 = parts.values().map(|amount| amount.params).sum();
                assert_eq!(params, census(spec).total, "{}", spec.name);
                let unused = parts.get(&Part::Unused).map_or(0, |amount| amount.params);
                assert_eq!(unused, census(spec).unused, "{}", spec.name);
            }
            for (precision, size) in [(Precision::Fp32, 4), (Precision::Fp16, 2)] {
                let bytes = weight_bytes(spec, precision.with(FP32));
                assert_eq!(bytes.0, census(spec).total * size, "{}", spec.name);
            }
        }
    }

    #[test]
    fn weights_of_few_bits_take_their_share() {
        let bytes = |name, precision: Precision| {
            weight_bytes(find(name).unwrap(), precision.with(Float::Fp16)).0 as f64
        };
        for name in ["llama-1b", "granite-1b-a400m", "dense-120m"] {
            let share = |precision| bytes(name, precision) / bytes(name, Precision::Fp16);
            // 4 or 8 bits and half a bit of scale against 16; norms, positions and routers are not quantised.
            let (int4, int8) = (share(Precision::Int4), share(Precision::Int8));
            assert!((0.281..0.295).contains(&int4), "{name}: {int4}");
            assert!((0.531..0.545).contains(&int8), "{name}: {int8}");
        }
    }

    #[test]
    fn only_untied_heads_have_bytes_of_their_own() {
        for spec in builtin() {
            let parts = parts(spec, Precision::Fp32.with(FP32));
            assert_eq!(parts.contains_key(&Part::Head), !spec.tied_head);
            assert_eq!(
                parts.contains_key(&Part::Experts),
                spec.has_experts(),
                "{}",
                spec.name
            );
        }
    }
}
