//! Reference logits of the test-size models, computed by `scripts/reference.py` with PyTorch and transformers.

use super::references;
use crate::protocol::Golden;
use crate::trial::{Float, KvCache, Numerics, Precision, Trial};

/// Seed of the weights the references were computed with.
pub const SEED: u64 = 42;

/// The committed reference of this model with such weights and such a cache, if it has one for this seed.
///
/// The references of quantised weights are computed from those weights turned back into numbers, those of a quantised cache with every
/// key and value rounded as the cache rounds it, so they tell nothing of how far quantised ones are from the ones they were made from.
pub fn golden(model: &str, seed: u64, precision: Precision, cache: KvCache) -> Option<Golden> {
    if seed != SEED {
        return None;
    }
    let weights = precision
        .quantized_bits()
        .map_or_else(String::new, |_| format!(".{precision}"));
    let kept = match cache {
        KvCache::Float => "",
        KvCache::Int8 => ".kv8",
    };
    let source = references::file(&format!("golden/{model}{weights}{kept}.json"))?;
    serde_json::from_str(source).ok()
}

/// The reference of weights and cache in fp32, for a trial that has either of them quantised.
pub fn unquantized_golden(trial: &Trial) -> Option<Golden> {
    let quantized = trial.precision.quantized_bits().is_some() || trial.kv_cache != KvCache::Float;
    let reference = || golden(&trial.model, trial.seed, Precision::Fp32, KvCache::Float);
    quantized.then(reference).flatten()
}

/// Largest allowed difference, relative to the largest logit.
///
/// Quantised weights are held to a reference of the same weights, so that a wrong layout, which gives other logits altogether,
/// cannot pass as an error of quantisation. What is left is the arithmetic: that of fp16 on a GPU. On the CPU the runtime
/// rounds activations to 8 bits as well, for its integer kernels: 0.05 at most was seen with the test-size models on x86-64.
///
/// A quantised cache is held to a reference that rounds every key and value as the cache does. On the CPU so does the runtime,
/// from the prompt on: 5e-6 at most was seen. What may differ is a value half way between two steps, and one step more or less
/// was seen to move logits by 0.013 at most; what fp16 rounds to another step came to 0.025. The CUDA provider rounds what it
/// keeps of a first prompt, and reads it unrounded while it runs that prompt: references that do so differ by 0.026 at most, and
/// of quantised weights, whose experts are nearer to a tie, by 0.074. A wrong scale, or keys for values, is ten times that.
pub fn tolerance(numerics: Numerics, cache: KvCache) -> f64 {
    match (cache, numerics.quantized_bits(), numerics.compute()) {
        (KvCache::Float, None, Float::Fp32) => 1e-4,
        (KvCache::Int8, None, Float::Fp32) => 2e-2,
        (KvCache::Float, _, Float::Fp16) => 1e-2,
        (KvCache::Int8, None, Float::Fp16) => 6e-2,
        (KvCache::Int8, Some(_), Float::Fp16) => 1.2e-1,
        (_, Some(_), Float::Fp32) => 8e-2,
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
            let all = Precision::ALL.iter().flat_map(|precision| {
                [KvCache::Float, KvCache::Int8].map(|cache| (*precision, cache))
            });
            for (precision, cache) in all {
                let golden = golden(&spec.name, SEED, precision, cache).unwrap();
                let what = format!("{} {precision} {cache}", spec.name);
                assert_eq!(golden.ids.len(), golden.logits.len(), "{what}");
                let width = spec.vocab as usize;
                assert!(golden.logits.iter().all(|row| row.len() == width), "{what}");
                let mut ids = golden.prompt.iter();
                assert!(
                    ids.all(|id| (2..i64::from(spec.vocab)).contains(id)),
                    "{what}"
                );
            }
        }
    }
}
