//! Where routers send tokens: the first prompt is read token by token, so that what is told of each run is of one token.

use crate::engine::{Engine, EngineError};
use crate::trial::RoutedLayer;

/// Each router's counts over the first prompt.
pub fn trace(
    engine: &mut dyn Engine,
    prompts: &[Vec<i64>],
) -> Result<Vec<RoutedLayer>, EngineError> {
    let mut layers = Vec::new();
    engine.reset()?;
    // What loading and priming have told is of no text.
    engine.choices()?;
    for id in prompts.first().into_iter().flatten() {
        engine.append(&[vec![*id]])?;
        for choice in engine.choices()? {
            RoutedLayer::count(&mut layers, &choice);
        }
    }
    Ok(layers)
}
