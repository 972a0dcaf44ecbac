//! What routers decide: the runtime logs it for its MoE operators, and a mixture of specialists keeps it in a cache.

use super::{OnnxEngine, library, not_loaded};
use crate::engine::EngineError;
use crate::trial::{Choice, Float};
use ort::logging::LogLevel;
use ort::session::builder::SessionBuilder;
use serde::Deserialize;
use std::sync::{Arc, Mutex, PoisonError};

/// Has the runtime log the experts of each run, at the level of information.
const STATISTICS: &str = "session.enable_moe_expert_statistics";
/// What such a line begins with.
const RECORD: &str = "moe_expert_counters ";
/// Name of the router of specialists.
const SPECIALISTS: &str = "router";

/// The lines that were logged and not read yet.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

/// A line. The experts are those that any token of the run chose.
#[derive(Deserialize)]
struct Record {
    node_name: String,
    selected_experts: Vec<usize>,
    /// One for each expert.
    counters: Vec<f64>,
}

impl Log {
    /// Has a session write here.
    pub fn listen(&self, builder: SessionBuilder) -> Result<SessionBuilder, EngineError> {
        let lines = self.clone();
        let keep = move |_: LogLevel, _: &str, _: &str, _: &str, message: &str| {
            if let Some(record) = message.trim_start().strip_prefix(RECORD) {
                let mut lines = lines.0.lock().unwrap_or_else(PoisonError::into_inner);
                lines.push(record.to_owned());
            }
        };
        builder
            .with_config_entry(STATISTICS, "1")
            .map_err(|error| library::refused(&error.into()))?
            .with_log_level(LogLevel::Info)
            .map_err(|error| library::refused(&error.into()))?
            .with_logger(Arc::new(keep))
            .map_err(|error| library::refused(&error.into()))
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The choice in a line.
fn parse(line: &str) -> Result<Choice, EngineError> {
    let record: Record = serde_json::from_str(line).map_err(|error| {
        EngineError::Other(format!(
            "could not read what the runtime logs of its experts: {error}"
        ))
    })?;
    Ok(Choice {
        layer: record.node_name,
        experts: record.counters.len(),
        chosen: record.selected_experts,
    })
}

impl OnnxEngine {
    /// What was decided since this was last asked; of specialists, for the last token.
    pub(super) fn decided(&mut self) -> Result<Vec<Choice>, EngineError> {
        let lines = self.log.take();
        let mut choices: Vec<Choice> = lines
            .iter()
            .map(|line| parse(line))
            .collect::<Result<_, _>>()?;
        let (Some(width), Some(rows)) = (self.request.io.router_width, self.router_cache()?) else {
            return Ok(choices);
        };
        let width = width as usize;
        let Some(last) = rows.len().checked_sub(width) else {
            return Ok(choices);
        };
        let weights = &rows[last..];
        choices.push(Choice {
            layer: SPECIALISTS.to_owned(),
            experts: width,
            chosen: (0..width).filter(|index| weights[*index] > 0.0).collect(),
        });
        Ok(choices)
    }

    /// Router weights of the first sequence of a mixture of specialists, a row for each token that was read.
    pub(super) fn router_cache(&self) -> Result<Option<Vec<f32>>, EngineError> {
        let Some(width) = self.request.io.router_width else {
            return Ok(None);
        };
        let loaded = self.loaded.as_ref().ok_or_else(not_loaded)?;
        let count = loaded.length * width as usize;
        let Some(buffer) = loaded.io.router_rows(loaded.swapped) else {
            return Ok(None);
        };
        match self.request.trial.numerics().compute() {
            Float::Fp32 => {
                let mut values = vec![0.0; count];
                buffer.read(&mut values)?;
                Ok(Some(values))
            }
            Float::Fp16 => {
                let mut values = vec![half::f16::ZERO; count];
                buffer.read(&mut values)?;
                Ok(Some(values.into_iter().map(half::f16::to_f32).collect()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_the_layer_and_the_experts() {
        let line = r#"{"request_id":"","graph_scope":"main","node_name":"/l0.ffn/MoE_8","node_index":8,"node_type":"MoE","selected_experts":[5,0],"counters":[0.1,0,0,0,0,0.1,0,0]}"#;
        let choice = parse(line).unwrap();
        assert_eq!(
            (choice.layer.as_str(), choice.experts),
            ("/l0.ffn/MoE_8", 8)
        );
        assert_eq!(choice.chosen, [5, 0]);
        assert!(parse("{}").is_err());
    }
}
