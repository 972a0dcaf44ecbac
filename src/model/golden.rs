//! Reference logits of the test-size models, computed by `scripts/reference.py` with PyTorch and transformers.

use crate::protocol::Golden;
use crate::trial::Precision;

/// Seed of the weights the references were computed with.
pub const SEED: u64 = 42;

macro_rules! goldens {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../models/golden/", $name, ".json")))),+]
    };
}

const SOURCES: &[(&str, &str)] = goldens![
    "tiny-gpt2",
    "tiny-llama",
    "tiny-qwen3",
    "tiny-moe-gpt2",
    "tiny-moe-llama",
    "tiny-specialists"
];

/// The committed reference of this model, if it has one for this seed.
pub fn golden(model: &str, seed: u64) -> Option<Golden> {
    let (_, source) = SOURCES
        .iter()
        .find(|(name, _)| *name == model && seed == SEED)?;
    serde_json::from_str(source).ok()
}

/// Largest allowed difference, relative to the largest logit.
pub fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::Fp32 => 1e-4,
        Precision::Fp16 | Precision::Int8 | Precision::Int4 => 1e-2,
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
            let golden = golden(&spec.name, SEED).unwrap();
            assert_eq!(golden.ids.len(), golden.logits.len(), "{}", spec.name);
            assert!(
                golden
                    .logits
                    .iter()
                    .all(|row| row.len() == spec.vocab as usize),
                "{}",
                spec.name
            );
            assert!(
                golden
                    .prompt
                    .iter()
                    .all(|id| (2..i64::from(spec.vocab)).contains(id)),
                "{}",
                spec.name
            );
        }
    }
}
