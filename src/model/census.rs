//! Parameter counts of a spec, from its dimensions; pure.

use super::spec::{Ffn, ModelSpec, NormKind, NormSpan, Position};
use crate::trial::{Float, KvCache};
use crate::units::Bytes;

/// Parameter counts.
///
/// `active` counts what takes part for one token: the chosen experts instead of all, every stored table in full.
/// `active_read` counts what a decoded token reads: lookup tables (learned positions, an embedding that is not also the
/// head) give one row each and are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// Every stored parameter, a tied embedding once.
    pub total: u64,
    /// Parameters that take part for one token.
    pub active: u64,
    /// Parameters read per decoded token.
    pub active_read: u64,
    /// Stored parameters that no computation uses (part of `total` only).
    pub unused: u64,
}

/// Counts the parameters of `spec`.
pub fn census(spec: &ModelSpec) -> Census {
    let d = u64::from(spec.d_model);
    let embedding = u64::from(spec.vocab) * d;
    let positions = match spec.position {
        Position::Learned => u64::from(spec.max_positions) * d,
        Position::Rotary { .. } => 0,
    };
    let norm = match spec.norm.kind {
        NormKind::LayerNorm => 2 * d,
        NormKind::RmsNorm => d,
    };
    let (ffn_total, ffn_active) = ffn(spec);
    let layer = attention(spec) + 2 * norm;
    let layers = u64::from(spec.n_layers);
    let trunk = layers * layer + norm;
    let head = if spec.tied_head { 0 } else { embedding };
    let bodies = u64::from(spec.bodies());

    let body_total = embedding + positions + trunk + layers * ffn_total + head;
    let body_active = embedding + positions + trunk + layers * ffn_active + head;
    // The head is read in full: the embedding itself where it is tied.
    let body_read = embedding + trunk + layers * ffn_active;
    let (router, unused) = router(spec);
    Census {
        total: bodies * body_total + router + unused,
        active: bodies * body_active + router,
        active_read: bodies * body_read + router,
        unused,
    }
}

fn attention(spec: &ModelSpec) -> u64 {
    let d = u64::from(spec.d_model);
    let (qkv, q) = (u64::from(spec.qkv_width()), u64::from(spec.q_width()));
    let bias = if spec.bias { qkv + d } else { 0 };
    let qk_norm = match spec.qk_norm_over {
        _ if !spec.qk_norm => 0,
        NormSpan::Head => 2 * u64::from(spec.head_dim),
        NormSpan::AllHeads => u64::from(spec.q_width() + spec.kv_width()),
    };
    d * qkv + q * d + bias + qk_norm
}

/// FFN parameters of one layer: stored, and taking part for one token.
fn ffn(spec: &ModelSpec) -> (u64, u64) {
    let d = u64::from(spec.d_model);
    match spec.ffn {
        Ffn::Gelu { d_ff } => {
            let bias = if spec.bias { u64::from(d_ff) + d } else { 0 };
            let all = 2 * d * u64::from(d_ff) + bias;
            (all, all)
        }
        Ffn::Swiglu { d_ff } => {
            let all = 3 * d * u64::from(d_ff);
            (all, all)
        }
        Ffn::Moe {
            d_ff,
            experts,
            top_k,
            ..
        } => {
            let (expert, router) = (3 * d * u64::from(d_ff), d * u64::from(experts));
            (
                router + u64::from(experts) * expert,
                router + u64::from(top_k) * expert,
            )
        }
    }
}

/// Router of a mixture of specialists, and the heads it stores without using them.
fn router(spec: &ModelSpec) -> (u64, u64) {
    let Some(specialists) = spec.specialists else {
        return (0, 0);
    };
    let (d, hidden, count) = (
        u64::from(spec.d_model),
        u64::from(specialists.router_hidden),
        u64::from(specialists.count),
    );
    (
        d * hidden + hidden + hidden * count + count,
        u64::from(specialists.unused_heads) * (d + 1),
    )
}

/// Bytes of keys and values that one token adds to a cache of this type, where activations are of type `float`.
pub fn kv_bytes_per_token(spec: &ModelSpec, cache: KvCache, float: Float) -> Bytes {
    let elements = 2
        * u64::from(spec.bodies() * spec.n_layers)
        * u64::from(spec.n_kv_heads)
        * u64::from(spec.head_dim);
    Bytes(elements * cache.bytes(float))
}

#[cfg(test)]
mod tests {
    use super::super::spec::find;
    use super::*;

    fn counts(name: &str) -> (u64, u64, u64) {
        let census = census(find(name).unwrap());
        (census.total, census.active, census.active_read)
    }

    /// Published totals, and counts computed independently from the same dimensions.
    #[test]
    fn counts_are_the_published_ones() {
        assert_eq!(
            counts("dense-120m"),
            (124_439_808, 124_439_808, 123_653_376)
        );
        assert_eq!(
            counts("dense-350m"),
            (354_823_168, 354_823_168, 353_774_592)
        );
        assert_eq!(counts("llama-1b").0, 1_235_814_400);
        assert_eq!(counts("qwen3-0.6b").0, 596_049_920);
        assert_eq!(counts("granite-1b-a400m").0, 1_334_628_352);
    }

    #[test]
    fn the_published_mixture_counts_its_unused_heads() {
        let census = census(find("alchemist-16m").unwrap());
        assert_eq!(census.total, 16_069_382);
        assert_eq!(census.unused, 771);
        assert_eq!(census.active, 16_069_382 - 771);
        // Embeddings (650 x 256) and positions (1024 x 256) of three specialists are lookups; the heads are read.
        assert_eq!(census.active_read, census.active - 3 * (650 + 1024) * 256);
    }

    #[test]
    fn matched_pairs_match() {
        let dense = counts("dense-120m");
        let off = |a: u64, b: u64| (a as f64 / b as f64 - 1.0).abs();
        assert!(off(counts("moe-120m-a82m").0, dense.0) < 0.001);
        assert!(off(counts("moe-295m-a120m").1, dense.1) < 0.001);
    }

    #[test]
    fn kv_bytes_follow_the_heads() {
        assert_eq!(
            kv_bytes_per_token(find("dense-120m").unwrap(), KvCache::Float, Float::Fp16),
            Bytes(36_864)
        );
        assert_eq!(
            kv_bytes_per_token(
                find("granite-1b-a400m").unwrap(),
                KvCache::Float,
                Float::Fp16
            ),
            Bytes(48 * 1024)
        );
        for float in [Float::Fp16, Float::Fp32] {
            let bytes = kv_bytes_per_token(find("dense-120m").unwrap(), KvCache::Int8, float);
            assert_eq!(bytes, Bytes(18_432));
        }
    }
}
