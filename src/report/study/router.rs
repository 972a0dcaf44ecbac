//! What routers do with a text: tokens per expert, how evenly they are spread, and how far the fullest expert is from an even share. Pure.

use super::reuse::{ExpertReuse, Experts, reuse};
use super::{Study, published};
use crate::report::schema::Row;
use crate::trial::{RoutedLayer, TrialResult};
use serde::{Deserialize, Serialize};

/// How it is told.
const METHOD: &str = "a prompt is read token by token, untimed, and each router tells whom it chose; entropy is that of the choices over the largest there can be (an even spread is 1, or 100 %), imbalance the choices of the fullest expert over an even share (likewise)";

/// Whose weights they are.
const RANDOM: &str = "The weights are random: a trained router spreads otherwise";
const TRAINED: &str = "The weights are those of a checkpoint";

/// A model's routers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouterFacts {
    /// Model name.
    pub model: String,
    /// Its row.
    pub row: String,
    /// How the trial ended, as a row's; `pending` before it ran.
    pub status: String,
    /// Why there are no layers.
    pub reason: Option<String>,
    /// Each router, in the order of the graph.
    pub layers: Vec<RouterLayer>,
    /// Experts that are chosen again, and what caches of them would spare; absent where nobody can tell, and in results of before the
    /// field was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuse: Option<ExpertReuse>,
    /// Why nobody can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_reuse: Option<String>,
    /// How it was told.
    pub method: String,
}

/// One router.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouterLayer {
    /// Its place in the graph.
    pub layer: String,
    /// Tokens it saw.
    pub tokens: u64,
    /// How many of them went to each expert.
    pub chosen: Vec<u64>,
    /// Experts a token went to, on average.
    pub experts_per_token: f64,
    /// Smallest share of the choices.
    pub least_share: f64,
    /// Largest share of the choices.
    pub most_share: f64,
    /// Entropy of the choices over the largest there can be, 0 to 1; null of one expert.
    pub entropy: Option<f64>,
    /// Choices of the fullest expert over an even share, 1 at least.
    pub imbalance: f64,
}

/// Before it ran.
pub fn to_route(row: &Row) -> RouterFacts {
    RouterFacts {
        model: row.model.clone(),
        row: row.id.clone(),
        status: "pending".to_owned(),
        reason: None,
        layers: Vec::new(),
        reuse: None,
        no_reuse: None,
        method: format!("{METHOD}. {RANDOM}"),
    }
}

/// What a trial told. `experts` are those of a mixture that runs some of them for a token; `is_trained` where its weights come from a
/// checkpoint.
pub fn routed(
    result: &TrialResult,
    row: &Row,
    experts: Option<&Experts<'_>>,
    is_trained: bool,
) -> RouterFacts {
    let layers: Vec<RouterLayer> = result.routing.iter().filter_map(layer).collect();
    let silent = || {
        "the runtime told of no choice: it may be too old to, or not do it on this device"
            .to_owned()
    };
    let failed = result.outcome.reason().map(str::to_owned);
    let reused = match experts {
        _ if layers.is_empty() => Ok(None),
        Some(experts) => reuse(&result.routing, experts).map(Some),
        None => Err("all specialists run for every token".to_owned()),
    };
    let whose = if is_trained { TRAINED } else { RANDOM };
    RouterFacts {
        status: result.outcome.status().to_owned(),
        reason: failed.or_else(|| layers.is_empty().then(silent)),
        layers,
        no_reuse: reused.as_ref().err().cloned(),
        reuse: reused.ok().flatten(),
        method: format!("{METHOD}. {whose}"),
        ..to_route(row)
    }
}

fn layer(found: &RoutedLayer) -> Option<RouterLayer> {
    let all: u64 = found.chosen.iter().sum();
    if all == 0 || found.tokens == 0 {
        return None;
    }
    let shares: Vec<f64> = found
        .chosen
        .iter()
        .map(|count| *count as f64 / all as f64)
        .collect();
    let experts = shares.len() as f64;
    let most = shares.iter().copied().fold(0.0, f64::max);
    let nats: f64 = shares
        .iter()
        .filter(|share| **share > 0.0)
        .map(|share| -share * share.ln())
        .sum();
    Some(RouterLayer {
        layer: found.layer.clone(),
        tokens: found.tokens,
        chosen: found.chosen.clone(),
        experts_per_token: all as f64 / found.tokens as f64,
        least_share: shares.iter().copied().fold(1.0, f64::min),
        most_share: most,
        entropy: (shares.len() > 1).then(|| nats / experts.ln()),
        imbalance: most * experts,
    })
}

/// The study with its routers; a study of no pairs where there is none.
pub fn with_routers(study: Option<Study>, routers: &[RouterFacts]) -> Option<Study> {
    if routers.is_empty() {
        return study;
    }
    let mut study = study.unwrap_or_else(published::of_no_pairs);
    study.routers = routers.to_vec();
    Some(study)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(chosen: &[u64], tokens: u64) -> Option<RouterLayer> {
        layer(&RoutedLayer {
            layer: "l0".into(),
            tokens,
            chosen: chosen.to_vec(),
            trace: Vec::new(),
        })
    }

    #[test]
    fn an_even_spread_has_entropy_one_and_a_single_expert_takes_all() {
        let even = of(&[4, 4, 4, 4], 8).unwrap();
        assert!(
            (even.entropy.unwrap() - 1.0).abs() < 1e-12 && (even.imbalance - 1.0).abs() < 1e-12
        );
        assert_eq!((even.experts_per_token, even.least_share), (2.0, 0.25));
        let one = of(&[8, 0, 0, 0], 8).unwrap();
        assert_eq!(
            (one.entropy, one.imbalance, one.least_share),
            (Some(0.0), 4.0, 0.0)
        );
        assert_eq!(of(&[5], 5).unwrap().entropy, None);
        assert_eq!(of(&[0, 0], 0), None);
    }
}
