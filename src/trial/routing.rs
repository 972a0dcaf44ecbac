//! Where a router sent tokens.

use serde::{Deserialize, Serialize};

/// What a router decided for one token.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The router's place in the graph.
    pub layer: String,
    /// Experts there are.
    pub experts: usize,
    /// Those that were chosen.
    pub chosen: Vec<usize>,
}

/// What one router decided for a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutedLayer {
    /// Its place in the graph.
    pub layer: String,
    /// Tokens of the prompt that it saw.
    pub tokens: u64,
    /// How many of them went to each expert: a token goes to several.
    pub chosen: Vec<u64>,
    /// The experts of each token, of the prompt and then of those that were generated.
    #[serde(default)]
    pub trace: Vec<Vec<u32>>,
}

impl RoutedLayer {
    /// Counts a choice for a token of the prompt among those so far, in the order in which routers are met.
    pub fn count(layers: &mut Vec<RoutedLayer>, choice: &Choice) {
        let layer = RoutedLayer::follow(layers, choice);
        layer.tokens += 1;
        for expert in &choice.chosen {
            if let Some(count) = layer.chosen.get_mut(*expert) {
                *count += 1;
            }
        }
    }

    /// Keeps a choice without counting it.
    pub fn follow<'a>(layers: &'a mut Vec<RoutedLayer>, choice: &Choice) -> &'a mut RoutedLayer {
        let place = layers.iter().position(|known| known.layer == choice.layer);
        let place = place.unwrap_or_else(|| {
            layers.push(RoutedLayer {
                layer: choice.layer.clone(),
                tokens: 0,
                chosen: vec![0; choice.experts],
                trace: Vec::new(),
            });
            layers.len() - 1
        });
        let layer = &mut layers[place];
        let chosen = choice.chosen.iter().map(|expert| *expert as u32);
        layer.trace.push(chosen.collect());
        layer
    }
}

/// Where the weights that a router gives experts are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterRead {
    /// In the tensors of a graph of standard operators.
    Outputs,
    /// In the results of the operator, of experts that each write to a place of their own: it tells no weights itself.
    Operator,
    /// In the cache of a mixture of specialists.
    Cache,
}

/// What a router's weights are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RouterFacts {
    /// Where they were read.
    pub read: RouterRead,
    /// Tokens that were looked at.
    pub tokens: u32,
    /// Experts that the token with fewest went to.
    pub fewest: u32,
    /// Experts that the token with most went to.
    pub most: u32,
    /// Experts a token went to, on average.
    pub experts_per_token: f64,
    /// How many it has to be; `None` where that is free.
    pub per_token: Option<u32>,
    /// Smallest weight of any expert.
    pub least_weight: f64,
    /// Whether the chosen experts were those that the router likes most.
    pub largest_chosen: bool,
    /// Largest difference of a token's sum of weights from what it has to be.
    pub weight_sum_error: f64,
    /// Largest that is allowed.
    pub tolerance: f64,
}

impl RouterFacts {
    /// Whether the weights are what a router's have to be. Written so that NaN is not.
    pub fn passed(&self) -> bool {
        let count = match self.per_token {
            Some(count) => (self.fewest, self.most) == (count, count),
            None => self.fewest > 0,
        };
        count
            && self.tokens > 0
            && self.least_weight >= 0.0
            && self.largest_chosen
            && self.weight_sum_error <= self.tolerance
    }
}
