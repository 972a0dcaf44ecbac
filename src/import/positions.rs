//! What config.json says of positions: how long sequences may be, and how they are rotated.

use super::config::MOST_TOKENS;
use super::options::Options;
use crate::error::Result;
use crate::model::{Position, RopeScaling};
use serde_json::{Value, json};

/// The longest sequence: where attention looks back over a window only, that window, within which it is the same as without.
pub fn positions(options: &mut Options, notes: &mut Vec<String>) -> Result<u32> {
    let positions = options.count("max_position_embeddings", MOST_TOKENS)?;
    let window = options.count_if_set("sliding_window", MOST_TOKENS)?;
    let in_use = options.flag("use_sliding_window", true)?;
    let types = options.value("layer_types").cloned();
    let layers = match types.as_ref().map(Value::as_array) {
        None => None,
        Some(Some(layers)) => Some(layers.as_slice()),
        Some(None) => return Err(options.wrong("layer_types is no list")),
    };
    for layer in layers.unwrap_or_default() {
        if !["full_attention", "sliding_attention"].contains(&layer.as_str().unwrap_or_default()) {
            return Err(options.wrong(format!("layer_types has {layer}, which is not known")));
        }
    }
    let slides = match layers {
        Some(layers) => layers.contains(&json!("sliding_attention")),
        None => in_use,
    };
    match window.filter(|window| slides && *window < positions) {
        None => Ok(positions),
        Some(window) => {
            notes.push(format!(
                "its attention looks back {window} tokens, so sequences are limited to {window} of its {positions} positions: up to there it is the same as attention to all tokens"
            ));
            Ok(window)
        }
    }
}

/// Rotary positions, in the options of either generation of transformers.
pub fn rope(options: &mut Options, default: Option<f64>) -> Result<Position> {
    options.only("partial_rotary_factor", &[json!(1.0), json!(1)]);
    let outer = options.number("rope_theta", default.or(Some(0.0)))?;
    let (newer, older) = (
        options.group("rope_parameters")?,
        options.group("rope_scaling")?,
    );
    let mut group = match (newer, older) {
        (Some(_), Some(_)) => {
            return Err(options.wrong("it has both rope_parameters and rope_scaling"));
        }
        (Some(group), None) | (None, Some(group)) => group,
        (None, None) if outer > 0.0 => {
            return Ok(Position::Rotary {
                theta: outer,
                scaling: None,
            });
        }
        (None, None) => return Err(options.wrong("it has no number rope_theta")),
    };
    let theta = group.number("rope_theta", Some(outer).filter(|theta| *theta > 0.0))?;
    group.only("partial_rotary_factor", &[json!(1.0), json!(1)]);
    let (kind, legacy) = (
        group.value("rope_type").cloned(),
        group.value("type").cloned(),
    );
    let kind = kind.or(legacy).unwrap_or_else(|| json!("default"));
    let scaling = match kind.as_str() {
        Some("default") => None,
        Some("llama3") => {
            let first = options.count_if_set("original_max_position_embeddings", MOST_TOKENS)?;
            let inner = group.count_if_set("original_max_position_embeddings", MOST_TOKENS)?;
            let scaling = RopeScaling {
                factor: group.number("factor", None)?,
                low_freq_factor: group.number("low_freq_factor", None)?,
                high_freq_factor: group.number("high_freq_factor", None)?,
                original_positions: inner
                    .or(first)
                    .ok_or_else(|| group.wrong("it has no original_max_position_embeddings"))?,
            };
            if scaling.low_freq_factor >= scaling.high_freq_factor {
                group.refuse("low_freq_factor is not below high_freq_factor".into());
            }
            Some(scaling)
        }
        _ => {
            group.refuse(format!(
                "rope_type is {kind}, and only \"default\" or \"llama3\" is known"
            ));
            None
        }
    };
    group.close()?;
    Ok(Position::Rotary { theta, scaling })
}
