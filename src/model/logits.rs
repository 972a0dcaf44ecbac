//! Logits of fixed texts in fp32, computed by `scripts/reference.py` with PyTorch and transformers: what roundings are told against.

use super::golden::{SEED, golden};
use super::references;
use crate::protocol::TextLogits;
use crate::trial::{KvCache, Precision};

/// The committed fp32 logits of this model, if it has any for this seed: sampled over the vocabulary, or for the test-size models,
/// whose references are whole, all of them.
pub fn text_logits(model: &str, seed: u64) -> Option<TextLogits> {
    if seed != SEED {
        return None;
    }
    // Of the largest two models, the weights in fp32 are more than is computed with at a desk: they have none.
    match references::file(&format!("logits/{model}.json")) {
        Some(source) => serde_json::from_str(source).ok(),
        None => whole(model),
    }
}

/// A test-size model's reference in fp32 along its own greedy text.
fn whole(model: &str) -> Option<TextLogits> {
    let golden = golden(model, SEED, Precision::Fp32, KvCache::Float)?;
    let vocabulary = u32::try_from(golden.logits.first()?.len()).ok()?;
    let (_, read) = golden.ids.split_last()?;
    Some(TextLogits {
        text: golden.prompt.iter().chain(read).copied().collect(),
        sampled: (0..vocabulary).collect(),
        top: golden.ids,
        logits: golden.logits,
    })
}

#[cfg(test)]
mod tests {
    use super::super::builtin;
    use super::*;

    #[test]
    fn every_built_in_model_but_the_largest_has_logits_of_a_text() {
        for spec in builtin() {
            let name = &spec.name;
            let Some(found) = text_logits(name, SEED) else {
                assert!(
                    ["qwen3-4b", "moe-2.8b-a1b", "olmoe-1b-7b", "qwen3-30b-a3b"]
                        .contains(&name.as_str()),
                    "{name}"
                );
                continue;
            };
            let ids = found.text.iter().chain(&found.top);
            assert!(
                ids.into_iter()
                    .all(|id| (0..i64::from(spec.vocab)).contains(id))
            );
            assert!(found.sampled.is_sorted_by(|one, next| one < next), "{name}");
            assert!(found.sampled.iter().all(|id| *id < spec.vocab), "{name}");
            assert!(found.top.len() >= 8 && found.text.len() > found.top.len());
            assert_eq!(found.logits.len(), found.top.len(), "{name}");
            let width = found.sampled.len();
            assert!(width >= 64 && found.logits.iter().all(|row| row.len() == width));
            assert_eq!(text_logits(name, SEED + 1), None);
        }
    }

    #[test]
    fn what_is_sampled_agrees_with_what_is_most_likely() {
        for spec in builtin() {
            let Some(found) = text_logits(&spec.name, SEED) else {
                continue;
            };
            let mut told = 0;
            for (top, row) in found.top.iter().zip(&found.logits) {
                let largest = row.iter().copied().fold(f32::MIN, f32::max);
                if let Some(place) = found.sampled.iter().position(|id| i64::from(*id) == *top) {
                    assert_eq!(row[place], largest, "{}", spec.name);
                    told += 1;
                }
            }
            let whole = found.sampled.len() == spec.vocab as usize;
            assert!(!whole || told == found.top.len(), "{}", spec.name);
        }
    }
}
