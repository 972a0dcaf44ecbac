//! Dense against Mixture of Experts: pairs of rows that are matched in size, what one of them costs of the other, and what follows
//! from it in words. Pure. Every figure is a row's, or a ratio of two of them.

mod judged;
mod pairs;
mod prices;
mod published;
mod reuse;
mod router;
mod turns;
mod words;

pub use pairs::PUBLISHED;
pub use prices::{Formula, Priced};
pub use published::{Beside, PublishedMetric, Reproduced, as_published, reproduced, to_reproduce};

pub use turns::PairCurve;

#[cfg(test)]
pub use reuse::{CachePolicy, CacheScope, ExpertReuse};
pub use reuse::{ExpertCache, Experts};
pub use router::{RouterFacts, RouterLayer, routed, to_route, with_routers};

use super::compare::{Parts, Quantity};
use super::repeat::Repeatability;
use super::schema::{Params, Row};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The pairs of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Study {
    /// Whether it was asked for by `edgebench study`: then its tables are shown, and not its words alone.
    pub asked: bool,
    /// What the intervals are of: `runs`, where the suite ran several times, `repetitions` within one run, or `mixed`, where only some
    /// pairs have several runs of both models: then each ratio says it.
    pub intervals_of: String,
    /// Each pair in each of its settings.
    pub pairs: Vec<StudyPair>,
    /// Each pair over the budgets of the run, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curves: Vec<PairCurve>,
    /// What each model's tokens cost by formulas that are compared with each other; only where the study was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<Priced>,
    /// The models measured by the published study's method, each figure beside the repaired one; only where that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub as_published: Vec<Reproduced>,
    /// Where the routers of each mixture send tokens; only where that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routers: Vec<RouterFacts>,
    /// How the comparison is made.
    pub method: String,
}

/// By what two models belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Their stored parameters.
    Total,
    /// The parameters that take part for one token.
    Active,
    /// One is the other with its FFN behind a router, as the only expert: what router and gather cost by themselves.
    OneExpert,
    /// The published study compared them.
    AsPublished,
}

/// A dense model and a Mixture of Experts, in one setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudyPair {
    /// By what they belong together.
    pub basis: Basis,
    /// Whether they are equal in that, within 2 %, and have one vocabulary.
    pub matched: bool,
    /// What keeps them from being matched; absent where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mismatch: Option<String>,
    /// Parameters of the mixture over those of the dense model: the active ones by that basis, else the stored ones.
    pub size_ratio: f64,
    /// The dense model.
    pub dense: Side,
    /// The Mixture of Experts, or of specialists.
    pub moe: Side,
    /// Device.
    pub device: String,
    /// Graph form.
    pub form: String,
    /// Type of the KV cache.
    pub kv_cache_type: String,
    /// Sequences decoded together.
    pub batch: u32,
    /// Prompt length.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub gen_tokens: u32,
    /// Memory budget of both.
    pub budget_bytes: u64,
    /// Which weights were to stay in main memory; absent where all were to be on the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offload: Option<String>,
    /// Each quantity, the mixture's over the dense model's.
    pub ratios: Vec<Ratio>,
    /// What follows, in words.
    pub verdict: String,
}

/// One of the two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Model name.
    pub model: String,
    /// Its row.
    pub row: String,
    /// Type of its weights.
    pub precision: String,
    /// Parameter counts.
    pub params: Params,
    /// Words it knows; null where the model is not built in.
    pub vocabulary: Option<u32>,
    /// How its trial ended, as its row's.
    pub status: String,
    /// Whether it ran inside the budget; null where its memory was not read.
    pub fits: Option<bool>,
    /// Weights in pinned main memory, which the peak does not count; absent where none were to be there, or it did not come so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_bytes: Option<u64>,
    /// Parts of its peak.
    pub memory: Parts,
}

/// One quantity of a pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// What is compared.
    pub metric: Quantity,
    /// The dense model's figure.
    pub dense: Option<f64>,
    /// The mixture's.
    pub moe: Option<f64>,
    /// Mixture over dense.
    pub ratio: Option<f64>,
    /// 95 % interval of the ratio.
    pub ci95: Option<[f64; 2]>,
    /// What the interval is of: `runs` or `repetitions`, of both models; absent where there is no interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intervals_of: Option<String>,
    /// The mixture is `faster`, `slower`, `less`, `more`, `cheaper`, `dearer`; `no_difference` where the interval holds 1 or the
    /// ratio is within 1 % of it; `not_comparable`.
    pub verdict: String,
    /// Reason for every `null` above, by field name.
    #[serde(default)]
    pub not_measured: BTreeMap<String, String>,
}

impl StudyPair {
    /// One of its quantities.
    pub fn ratio(&self, metric: Quantity) -> Option<&Ratio> {
        self.ratios.iter().find(|ratio| ratio.metric == metric)
    }
}

/// The pairs among these rows; `None` where there is none that has ended. `formulas` are those that `edgebench study` shows.
pub fn study(
    rows: &[Row],
    repeated: Option<&Repeatability>,
    formulas: Option<&[Formula]>,
) -> Option<Study> {
    let runs = repeated.filter(|repeated| repeated.has_several());
    let pairs: Vec<StudyPair> = pairs::find(rows)
        .into_iter()
        .map(|found| judged::pair(&found, runs))
        .collect();
    if pairs.is_empty() {
        return None;
    }
    Some(Study {
        asked: formulas.is_some(),
        intervals_of: judged::intervals_of(&pairs, runs).to_owned(),
        prices: prices::of(rows, &pairs, formulas.unwrap_or_default()),
        curves: turns::of(&pairs, rows),
        pairs,
        as_published: Vec::new(),
        routers: Vec::new(),
        method: judged::method(runs),
    })
}

/// The verdicts on the pairs of a budget, each as a sentence with a label where the pairs are of several settings.
pub fn sentences(study: &Study, budget: u64) -> Vec<String> {
    words::sentences(study, budget)
}

#[cfg(test)]
mod tests;
