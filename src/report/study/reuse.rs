//! Whether experts are used again: caches of them, played with the routing trace of a text. Pure.
//!
//! A cache holds experts in the GPU's memory; those that miss cross the link for each use. Which ones it holds is decided three ways,
//! and each is judged on the second half of the text only, with the first half to learn from: the most frequent of the first half and no
//! others, those used last, and those used most so far.
//!
//! No graph here has such a cache. The MoE operator takes all experts of a layer as one tensor with the experts along its first
//! dimension, and a tensor lies in one place: on the GPU or in main memory. Pinning the hottest ones would need tensors of their own for
//! them and an operator that is told two places and which expert is where; or one range of addresses whose pages lie in both memories,
//! which pages of managed memory can do on some GPUs.

use super::super::offload::predicted_step;
use crate::model::Work;
use crate::trial::{DeviceLimits, RoutedLayer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Capacities, as shares of all experts.
const SHARES: [f64; 4] = [0.125, 0.25, 0.5, 0.75];

/// How much more than a cache of random experts one has to hit to be worth a word. What a text of some hundred tokens tells is not known
/// more closely.
const WORTH: f64 = 0.05;

/// How many standard deviations of a share of so many uses it has to hit more, besides: the best of two dozen caches is told.
const BEYOND_CHANCE: f64 = 3.0;

/// Where the entropy of the choices is above this, experts are about equally likely.
const EVEN: f64 = 0.95;

/// Experts that were chosen again, and what caches of them would spare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpertReuse {
    /// Tokens of the prompt in the trace.
    pub prompt_tokens: u64,
    /// Tokens in it that the model generated.
    pub generated_tokens: u64,
    /// Tokens that the hit rates are of: the second half.
    pub judged_tokens: u64,
    /// Routers.
    pub layers: u64,
    /// Experts of each.
    pub experts: u64,
    /// Bytes of one expert.
    pub expert_bytes: u64,
    /// Bytes of experts that a token reads, all of which cross the link where no cache is.
    pub link_bytes_per_token: f64,
    /// Predicted speed without a cache, all experts in main memory.
    pub predicted_decode_tok_s: Option<f64>,
    /// Why no speed is predicted.
    pub not_predicted: Option<String>,
    /// The caches.
    pub caches: Vec<ExpertCache>,
    /// What follows, in a sentence.
    pub verdict: String,
    /// How it was computed.
    pub method: String,
}

/// A cache of experts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpertCache {
    /// How it chooses what to hold.
    pub policy: CachePolicy,
    /// Whether each layer has one of its own, or all share one.
    pub scope: CacheScope,
    /// Share of all experts that it was made for.
    pub share: f64,
    /// Experts that it holds, of all layers.
    pub slots: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Share of the uses that find their expert there.
    pub hit_rate: f64,
    /// The same of a cache that holds random experts: its share of them.
    pub random_hit_rate: f64,
    /// Bytes of experts over the link for each token that remain.
    pub link_bytes_per_token: f64,
    /// Predicted speed with it.
    pub predicted_decode_tok_s: Option<f64>,
}

/// What a cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CachePolicy {
    /// The most frequent ones of the first half, for good.
    Static,
    /// Those used last.
    Lru,
    /// Those used most so far.
    Lfu,
}

/// Whose experts a cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheScope {
    /// Each layer has one of its own.
    Layer,
    /// One for all layers.
    AllLayers,
}

impl CachePolicy {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            CachePolicy::Static => "static",
            CachePolicy::Lru => "lru",
            CachePolicy::Lfu => "lfu",
        }
    }
}

impl CacheScope {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            CacheScope::Layer => "each layer",
            CacheScope::AllLayers => "all layers",
        }
    }
}

/// What is known of a model's experts and of the device.
pub struct Experts<'a> {
    /// Bytes of one.
    pub bytes: u64,
    /// Layers of the model.
    pub layers: u32,
    /// What a step of one sequence reads.
    pub work: &'a Work,
    /// The device's limits, where they were measured.
    pub limits: Option<&'a DeviceLimits>,
}

/// An expert of a layer.
type Expert = (usize, u32);

/// The caches of a trace, or why there are none.
pub fn reuse(trace: &[RoutedLayer], model: &Experts<'_>) -> Result<ExpertReuse, String> {
    let tokens = trace.first().map_or(0, |layer| layer.trace.len());
    if trace.iter().any(|layer| layer.trace.len() != tokens) {
        return Err("the runtime did not tell of every token in every layer".to_owned());
    }
    if tokens < 4 {
        return Err("the trace has too few tokens to be cut in half".to_owned());
    }
    let experts = trace.first().map_or(0, |layer| layer.chosen.len());
    if experts < 2 || trace.iter().any(|layer| layer.chosen.len() != experts) {
        return Err("there are not several experts, as many in every layer".to_owned());
    }
    let (half, judged) = (tokens / 2, tokens - tokens / 2);
    let chosen = |layer: &RoutedLayer| layer.trace[half..].iter().map(Vec::len).sum::<usize>();
    let uses: usize = trace.iter().map(chosen).sum();
    let per_token = (uses as u64 * model.bytes) as f64 / judged as f64;
    let all = (trace.len() * experts) as u64;
    let speed = |link: f64, slots: u64| predicted(model, link, (all - slots) * model.bytes);
    let mut caches = Vec::new();
    for share in SHARES {
        for scope in [CacheScope::Layer, CacheScope::AllLayers] {
            let each = slots(share, experts, trace.len(), scope);
            let total = each as u64
                * if scope == CacheScope::Layer {
                    trace.len() as u64
                } else {
                    1
                };
            for policy in [CachePolicy::Static, CachePolicy::Lru, CachePolicy::Lfu] {
                // Less than one expert is no cache.
                if each == 0 {
                    continue;
                }
                let hits: usize = streams(trace, scope)
                    .iter()
                    .map(|(stream, from)| hits(stream, *from, policy, each))
                    .sum();
                let hit_rate = hits as f64 / uses.max(1) as f64;
                let link = per_token * (1.0 - hit_rate);
                caches.push(ExpertCache {
                    policy,
                    scope,
                    share,
                    slots: total,
                    bytes: total * model.bytes,
                    hit_rate,
                    random_hit_rate: total as f64 / all as f64,
                    link_bytes_per_token: link,
                    predicted_decode_tok_s: speed(link, total).ok(),
                });
            }
        }
    }
    let without = speed(per_token, 0);
    let prompt = trace
        .first()
        .map_or(0, |layer| layer.tokens)
        .min(tokens as u64);
    let generated = tokens as u64 - prompt;
    Ok(ExpertReuse {
        prompt_tokens: prompt,
        generated_tokens: generated,
        judged_tokens: judged as u64,
        layers: trace.len() as u64,
        experts: experts as u64,
        expert_bytes: model.bytes,
        link_bytes_per_token: per_token,
        not_predicted: without.clone().err(),
        predicted_decode_tok_s: without.ok(),
        verdict: verdict(&caches, entropy(trace), uses),
        caches,
        method: method(prompt, generated),
    })
}

fn method(prompt: u64, generated: u64) -> String {
    format!(
        "one sequence, {prompt} tokens of a prompt and {generated} that the model generated after it, token by token; caches are filled by the first half of the trace and judged on the second; static: the most frequent experts of the first half and no others; lru: those used last; lfu: those used most so far; random: a cache of that size whatever it holds; a text that repeats itself, as models with random weights write it, uses the same experts again. Nothing was run with such a cache: the MoE operator takes the experts of a layer as one tensor, which lies in one memory as a whole, so that pinning its hottest experts on the GPU would need tensors of their own for them, and an operator that takes both"
    )
}

/// Slots of one cache.
fn slots(share: f64, experts: usize, layers: usize, scope: CacheScope) -> usize {
    let all = match scope {
        CacheScope::Layer => experts,
        CacheScope::AllLayers => experts * layers,
    };
    (share * all as f64) as usize
}

/// The uses that each cache sees, in order, and the first of them that is judged.
fn streams(trace: &[RoutedLayer], scope: CacheScope) -> Vec<(Vec<Expert>, usize)> {
    let tokens = trace.first().map_or(0, |layer| layer.trace.len());
    let stream = |layers: &[(usize, &RoutedLayer)]| {
        let (mut uses, mut from) = (Vec::new(), 0);
        for token in 0..tokens {
            if token == tokens / 2 {
                from = uses.len();
            }
            for (place, layer) in layers {
                uses.extend(layer.trace[token].iter().map(|expert| (*place, *expert)));
            }
        }
        (uses, from)
    };
    let layers: Vec<(usize, &RoutedLayer)> = trace.iter().enumerate().collect();
    match scope {
        CacheScope::Layer => layers.chunks(1).map(stream).collect(),
        CacheScope::AllLayers => vec![stream(&layers)],
    }
}

/// Uses from `from` on that find their expert in a cache of so many.
fn hits(uses: &[Expert], from: usize, policy: CachePolicy, slots: usize) -> usize {
    let from = from.min(uses.len());
    if policy == CachePolicy::Static {
        let mut counts: BTreeMap<Expert, usize> = BTreeMap::new();
        for expert in &uses[..from] {
            *counts.entry(*expert).or_default() += 1;
        }
        let mut hottest: Vec<(Expert, usize)> = counts.into_iter().collect();
        // A stable sort: those that are equal stay in the order of their places.
        hottest.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        hottest.truncate(slots);
        let held = |expert: &&Expert| hottest.iter().any(|(hot, _)| hot == *expert);
        return uses[from..].iter().filter(held).count();
    }
    let mut found = 0;
    // Uses so far and the last of them, of every expert, and who is held.
    let mut known: BTreeMap<Expert, (usize, usize)> = BTreeMap::new();
    let mut held: Vec<Expert> = Vec::new();
    for (at, expert) in uses.iter().enumerate() {
        let (count, last) = known.entry(*expert).or_default();
        (*count, *last) = (*count + 1, at);
        if held.contains(expert) {
            found += usize::from(at >= from);
            continue;
        }
        if held.len() == slots {
            let value = |expert: &Expert| {
                let (count, last) = known[expert];
                match policy {
                    CachePolicy::Lfu => (count, last),
                    CachePolicy::Lru | CachePolicy::Static => (0, last),
                }
            };
            let least = (0..held.len()).min_by_key(|place| value(&held[*place]));
            least.map(|place| held.swap_remove(place));
        }
        if slots > 0 {
            held.push(*expert);
        }
    }
    found
}

/// Predicted tokens of one sequence in a second, or why there are none.
fn predicted(model: &Experts<'_>, link: f64, mapped: u64) -> Result<f64, String> {
    let limits = model
        .limits
        .ok_or("the device's limits were not measured (--limits)")?;
    if let Err(reason) = &limits.to_device_bytes_s {
        return Err(format!("the rate of the link is not known: {reason}"));
    }
    let step = predicted_step((link as u64, mapped), model.layers, model.work, limits);
    step.filter(|step| *step > 0.0)
        .map(|step| 1.0 / step)
        .ok_or_else(|| "the rate of the device's memory or of its launches is not known".to_owned())
}

/// Mean over the layers of the entropy of the choices over the largest there can be.
fn entropy(trace: &[RoutedLayer]) -> f64 {
    let of = |layer: &RoutedLayer| {
        let mut counts = vec![0.0; layer.chosen.len()];
        for expert in layer.trace.iter().flatten() {
            if let Some(count) = counts.get_mut(*expert as usize) {
                *count += 1.0;
            }
        }
        let all: f64 = counts.iter().sum();
        let shares = counts.iter().map(|count| count / all);
        let nats = shares
            .filter(|share| *share > 0.0)
            .map(|share| -share * share.ln());
        nats.sum::<f64>() / (counts.len() as f64).ln()
    };
    trace.iter().map(of).sum::<f64>() / trace.len().max(1) as f64
}

fn verdict(caches: &[ExpertCache], entropy: f64, uses: usize) -> String {
    let gain = |cache: &ExpertCache| cache.hit_rate - cache.random_hit_rate;
    let chance = |cache: &ExpertCache| {
        let random = cache.random_hit_rate;
        BEYOND_CHANCE * (random * (1.0 - random) / uses.max(1) as f64).sqrt()
    };
    let pays = |cache: &&ExpertCache| gain(cache) >= WORTH && gain(cache) >= chance(cache);
    let most = |a: &&ExpertCache, b: &&ExpertCache| gain(a).total_cmp(&gain(b));
    let paying = caches.iter().filter(pays).max_by(most);
    let Some(best) = paying.or_else(|| caches.iter().max_by(most)) else {
        return "there are too few experts for a cache of these sizes".to_owned();
    };
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let found = format!(
        "{} over {} with {} of the experts, hits {} where random experts would hit {}",
        best.policy.name(),
        best.scope.name(),
        percent(best.share),
        percent(best.hit_rate),
        percent(best.random_hit_rate)
    );
    if paying.is_some() {
        return format!("a cache pays: the one that gains most, {found}");
    }
    let why = match (gain(best) >= WORTH, entropy >= EVEN) {
        (true, _) => format!("in {uses} uses that much is chance"),
        (_, true) => {
            let entropy = percent(entropy);
            format!("every expert is about equally likely (entropy {entropy})")
        }
        _ => "what is used often in one half of the text is not in the other".to_owned(),
    };
    format!("a cache does not pay for more than its size: the one that gains most, {found}; {why}")
}

#[cfg(test)]
mod tests;
