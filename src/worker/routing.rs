//! Where routers send tokens: the first prompt is read token by token, so that what is told of each run is of one token, and then goes on
//! with what the model generates.

use crate::engine::{Engine, EngineError};
use crate::trial::RoutedLayer;

/// Each router's counts over the first prompt, and its choices for that and for so many tokens that are read after it.
pub fn trace(
    engine: &mut dyn Engine,
    prompts: &[Vec<i64>],
    generated: usize,
) -> Result<Vec<RoutedLayer>, EngineError> {
    let mut layers = Vec::new();
    engine.reset()?;
    // What loading and priming have told is of no text.
    engine.choices()?;
    let prompt = prompts.first().map_or(&[][..], Vec::as_slice);
    for id in prompt {
        engine.append(&[vec![*id]])?;
        for choice in engine.choices()? {
            RoutedLayer::count(&mut layers, &choice);
        }
    }
    if prompt.is_empty() {
        return Ok(layers);
    }
    for _ in 0..generated {
        engine.step()?;
        for choice in engine.choices()? {
            RoutedLayer::follow(&mut layers, &choice);
        }
    }
    Ok(layers)
}
