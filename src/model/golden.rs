//! Reference logits of the test-size models, computed by `scripts/reference.py` with PyTorch and transformers.

use crate::protocol::Golden;
use crate::trial::{Float, Numerics, Precision};

/// Seed of the weights the references were computed with.
pub const SEED: u64 = 42;

/// Model, type of the weights, file. The references of quantised weights are computed from those weights turned back into
/// numbers, so they tell nothing of how far quantised weights are from the ones they were made from.
type Source = (&'static str, Option<Precision>, &'static str);

macro_rules! goldens {
    ($($name:literal),+ $(,)?) => {
        &[$(
            ($name, None, include_str!(concat!("../../models/golden/", $name, ".json"))),
            ($name, Some(Precision::Int8), include_str!(concat!("../../models/golden/", $name, ".int8.json"))),
            ($name, Some(Precision::Int4), include_str!(concat!("../../models/golden/", $name, ".int4.json"))),
        )+]
    };
}

const SOURCES: &[Source] = goldens![
    "tiny-gpt2",
    "tiny-llama",
    "tiny-qwen3",
    "tiny-moe-gpt2",
    "tiny-moe-llama",
    "tiny-moe-q",
    "tiny-specialists"
];

/// The committed reference of this model with such weights, if it has one for this seed.
pub fn golden(model: &str, seed: u64, precision: Precision) -> Option<Golden> {
    let quantized = precision.quantized_bits().map(|_| precision);
    let (_, _, source) = SOURCES
        .iter()
        .find(|(name, weights, _)| *name == model && *weights == quantized && seed == SEED)?;
    serde_json::from_str(source).ok()
}

/// The reference of the weights in fp32, for a model whose weights are quantised.
pub fn unquantized_golden(model: &str, seed: u64, precision: Precision) -> Option<Golden> {
    precision.quantized_bits()?;
    golden(model, seed, Precision::Fp32)
}

/// Largest allowed difference, relative to the largest logit.
///
/// Quantised weights are held to a reference of the same weights, so that a wrong layout, which gives other logits altogether,
/// cannot pass as an error of quantisation. What is left is the arithmetic: that of fp16 on a GPU. On the CPU the runtime
/// rounds activations to 8 bits as well, for its integer kernels: 0.05 at most was seen with the test-size models on x86-64.
pub fn tolerance(numerics: Numerics) -> f64 {
    match (numerics.quantized_bits(), numerics.compute()) {
        (None, Float::Fp32) => 1e-4,
        (_, Float::Fp16) => 1e-2,
        (Some(_), Float::Fp32) => 8e-2,
    }
}

#[cfg(test)]
mod tests {
    use super::super::builtin;
    use super::*;

    #[test]
    fn every_test_size_model_has_a_reference() {
        for spec in builtin()
            .iter()
            .filter(|spec| spec.name.starts_with("tiny-"))
        {
            for precision in Precision::ALL {
                let golden = golden(&spec.name, SEED, precision).unwrap();
                let what = format!("{} {precision}", spec.name);
                assert_eq!(golden.ids.len(), golden.logits.len(), "{what}");
                let width = spec.vocab as usize;
                assert!(golden.logits.iter().all(|row| row.len() == width), "{what}");
                let mut ids = golden.prompt.iter();
                assert!(
                    ids.all(|id| (2..i64::from(spec.vocab)).contains(id)),
                    "{what}"
                );
                let unquantized = unquantized_golden(&spec.name, SEED, precision);
                assert_eq!(unquantized.is_some(), precision.quantized_bits().is_some());
            }
        }
    }
}
