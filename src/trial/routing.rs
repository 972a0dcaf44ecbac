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
    /// Tokens it saw.
    pub tokens: u64,
    /// How many of them went to each expert: a token goes to several.
    pub chosen: Vec<u64>,
}

impl RoutedLayer {
    /// Counts a choice among those so far, in the order in which routers are met.
    pub fn count(layers: &mut Vec<RoutedLayer>, choice: &Choice) {
        let place = layers.iter().position(|known| known.layer == choice.layer);
        let place = place.unwrap_or_else(|| {
            layers.push(RoutedLayer {
                layer: choice.layer.clone(),
                tokens: 0,
                chosen: vec![0; choice.experts],
            });
            layers.len() - 1
        });
        let layer = &mut layers[place];
        layer.tokens += 1;
        for expert in &choice.chosen {
            if let Some(count) = layer.chosen.get_mut(*expert) {
                *count += 1;
            }
        }
    }
}
