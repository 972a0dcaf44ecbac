//! What a decode step has to read: the weights that take part, and the KV cache so far. By shape; pure.

use super::census::{census, kv_bytes_per_token};
use super::part::{Part, parts};
use super::spec::{Ffn, ModelSpec};
use crate::protocol::Told;
use crate::trial::Trial;
use crate::units::Bytes;

/// Bytes that one step reads at least, whatever the kernels do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Weights.
    pub weights: Bytes,
    /// KV cache of all sequences.
    pub kv_cache: Bytes,
}

/// What a trial asks of a device at least.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// A decode step.
    pub step: Traffic,
    /// Weights that the prompt reads.
    pub prompt_weights: Bytes,
    /// Floating point operations of the prompt.
    pub prompt_flop: f64,
}

/// The work of a trial.
pub fn work(spec: &ModelSpec, trial: &Trial) -> Work {
    let tokens = u64::from(trial.batch) * u64::from(trial.prompt_tokens);
    Work {
        step: step_traffic(spec, trial),
        prompt_weights: weights_read(spec, trial, tokens),
        prompt_flop: prompt_flop(spec, trial),
    }
}

/// The work of a trial, or why that is not known of a model that another program wrote.
pub fn known_work(spec: &ModelSpec, trial: &Trial) -> Told<Work> {
    let Some(foreign) = spec.foreign else {
        return Ok(work(spec, trial));
    };
    if foreign.is_whole() {
        return Err("it has no KV cache: each token reads the whole sequence again, which has no step to compare".into());
    }
    foreign.work(spec, trial)
}

/// A multiplication and an addition for each parameter that takes part and each token, the head for the last token only, and
/// attention's two products over the tokens before (half of the square).
fn prompt_flop(spec: &ModelSpec, trial: &Trial) -> f64 {
    let wide = f64::from;
    let (batch, prompt) = (wide(trial.batch), wide(trial.prompt_tokens));
    let head = wide(spec.vocab) * wide(spec.d_model) * f64::from(spec.bodies());
    let layers = (census(spec).active_read as f64 - head).max(0.0);
    let attention = wide(spec.n_layers) * wide(spec.bodies()) * wide(spec.q_width()) * prompt;
    2.0 * batch * (prompt * (layers + attention) + head)
}

/// A decode step of `trial` at its mean depth: the prompt and half of what is generated.
pub fn step_traffic(spec: &ModelSpec, trial: &Trial) -> Traffic {
    let depth = u64::from(trial.prompt_tokens) + u64::from(trial.gen_tokens) / 2;
    let kv = kv_bytes_per_token(spec, trial.kv_cache, trial.numerics().compute());
    Traffic {
        weights: weights_read(spec, trial, u64::from(trial.batch)),
        kv_cache: Bytes(kv.0 * depth * u64::from(trial.batch)),
    }
}

/// Weights that a run over so many tokens reads at least once. Of an untied embedding and of learned positions it reads single rows,
/// which are left out; of experts those that a router without preferences would choose for so many tokens.
pub fn weights_read(spec: &ModelSpec, trial: &Trial, tokens: u64) -> Bytes {
    let share = match spec.ffn {
        Ffn::Moe { experts, top_k, .. } => experts_used(experts, top_k, tokens),
        Ffn::Gelu { .. } | Ffn::Swiglu { .. } => 1.0,
    };
    let read = |(part, bytes): (Part, u64)| match part {
        Part::Embedding if !spec.tied_head => 0,
        Part::Positions | Part::Tables | Part::Unused => 0,
        Part::Experts => (bytes as f64 * share) as u64,
        _ => bytes,
    };
    let parts = parts(spec, trial.numerics());
    let bytes = parts
        .into_iter()
        .map(|(part, amount)| (part, amount.bytes.0));
    Bytes(bytes.map(read).sum())
}

/// Expected share of the experts of a layer that `tokens` tokens use, each `top_k` of them at random: `1 - (1 - k/E)^tokens`.
pub(super) fn experts_used(experts: u32, top_k: u32, tokens: u64) -> f64 {
    let idle = 1.0 - f64::from(top_k) / f64::from(experts);
    1.0 - idle.powf(tokens as f64)
}

#[cfg(test)]
mod tests {
    use super::super::{census, find};
    use super::*;
    use crate::trial::{Device, KvCache, Precision};

    fn trial(batch: u32) -> Trial {
        Trial {
            precision: Precision::Fp16,
            device: Device::Cuda(0),
            batch,
            prompt_tokens: 256,
            gen_tokens: 128,
            cuda_graph: true,
            ..Trial::example()
        }
    }

    #[test]
    fn one_sequence_reads_the_active_read_parameters() {
        for name in [
            "dense-120m",
            "llama-1b",
            "granite-1b-a400m",
            "moe-120m-a82m",
        ] {
            let spec = find(name).unwrap();
            let read = step_traffic(spec, &trial(1)).weights.0 as f64;
            let expected = 2.0 * census(spec).active_read as f64;
            assert!(
                (read / expected - 1.0).abs() < 1e-3,
                "{name}: {read} {expected}"
            );
        }
    }

    #[test]
    fn a_batch_reads_more_experts_and_never_more_than_all() {
        let spec = find("granite-1b-a400m").unwrap();
        let read = |batch| step_traffic(spec, &trial(batch)).weights.0;
        assert!(read(1) < read(2) && read(2) < read(64));
        let all: u64 = parts(spec, trial(1).numerics())
            .values()
            .map(|amount| amount.bytes.0)
            .sum();
        assert!(read(65_536) <= all);
        assert!((experts_used(32, 8, 1) - 0.25).abs() < 1e-12);
    }

    #[test]
    fn the_prompt_takes_two_operations_for_each_parameter_and_token() {
        let spec = find("llama-1b").unwrap();
        let work = work(spec, &trial(1));
        let layers = (census(spec).active_read - 128_256 * 2048) as f64;
        let expected = 2.0 * (256.0 * (layers + 16.0 * 2048.0 * 256.0) + 128_256.0 * 2048.0);
        assert!((work.prompt_flop / expected - 1.0).abs() < 1e-9);
        assert_eq!(work.prompt_weights, work.step.weights);
    }

    #[test]
    fn the_cache_is_read_to_the_mean_depth() {
        let spec = find("llama-1b").unwrap();
        // 32 KiB for each token in fp16.
        assert_eq!(
            step_traffic(spec, &trial(2)).kv_cache.0,
            2 * 320 * 32 * 1024
        );
        let int8 = Trial {
            kv_cache: KvCache::Int8,
            ..trial(2)
        };
        assert_eq!(step_traffic(spec, &int8).kv_cache.0, 2 * 320 * 16 * 1024);
    }
}
