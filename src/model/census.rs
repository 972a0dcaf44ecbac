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
    if let Some(foreign) = spec.foreign {
        // What is not told of them is told apart where it matters: see `Foreign::active`.
        let (active, active_read) = foreign.active();
        return Census {
            total: foreign.params,
            active: active.unwrap_or(foreign.params),
            active_read: active_read.unwrap_or(foreign.params),
            unused: foreign.file.counts.unused,
        };
    }
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
    use super::super::emit::check_device;
    use super::super::spec::find;
    use super::*;
    use crate::trial::{Device, Precision};

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
        assert_eq!(
            counts("olmoe-1b-7b"),
            (6_919_161_856, 1_282_017_280, 1_178_994_688)
        );
        assert_eq!(
            counts("qwen3-30b-a3b"),
            (30_532_122_624, 3_353_032_704, 3_041_867_776)
        );
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

    /// Each dense model, its partner at equal total and its partner at equal active parameters, and how far off these may be.
    const PARTNERS: [(&str, &str, &str, f64); 4] = [
        ("dense-16m", "moe-16m-a10m", "moe-41m-a16m", 0.001),
        ("dense-120m", "moe-120m-a82m", "moe-295m-a120m", 0.001),
        ("dense-350m", "moe-350m-a210m", "moe-946m-a350m", 0.009),
        ("llama-1b", "moe-1b-a632m", "moe-2.8b-a1b", 0.001),
    ];

    #[test]
    fn the_studys_own_models_have_the_counts_of_their_dimensions() {
        assert_eq!(counts("dense-16m").0, 15_960_960);
        assert_eq!(counts("moe-16m-a10m").0, 15_969_024);
        assert_eq!(counts("moe-41m-a16m").0, 40_741_632);
        assert_eq!(counts("moe-350m-a210m").0, 351_726_592);
        assert_eq!(counts("moe-946m-a350m").0, 946_293_760);
        assert_eq!(counts("moe-1b-a632m").0, 1_236_076_544);
        assert_eq!(counts("moe-2.8b-a1b").0, 2_846_623_744);
    }

    #[test]
    fn matched_pairs_match() {
        let off = |a: u64, b: u64| (a as f64 / b as f64 - 1.0).abs();
        for (dense, total, active, most) in PARTNERS {
            assert!(off(counts(total).0, counts(dense).0) < most, "{total}");
            assert!(off(counts(active).1, counts(dense).1) < most, "{active}");
            assert!(counts(total).1 * 4 < counts(dense).1 * 3, "{total}");
        }
    }

    /// What is compared is the FFN: words, positions, depth, width and attention are the same.
    #[test]
    fn partners_differ_in_their_ffn_alone_and_run_quantised_on_cuda() {
        for (dense, total, active, _) in PARTNERS {
            for partner in [total, active] {
                let (dense, partner) = (find(dense).unwrap(), find(partner).unwrap());
                let trunk = ModelSpec {
                    name: partner.name.clone(),
                    summary: partner.summary.clone(),
                    source: partner.source.clone(),
                    suites: partner.suites.clone(),
                    ffn: partner.ffn,
                    ..dense.clone()
                };
                assert_eq!(&trunk, partner);
                for precision in Precision::ALL {
                    let gpu = check_device(partner, precision, Device::Cuda(0));
                    assert!(gpu.is_ok(), "{}: {gpu:?}", partner.name);
                }
            }
        }
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
