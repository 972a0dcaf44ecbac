//! ONNX Runtime's place. This build has none linked in.

use super::{Engine, EngineError};
use crate::protocol::{EngineKind, ProbeFacts, TrialRequest};
use crate::trial::DeviceChoice;

fn not_linked() -> EngineError {
    EngineError::Runtime("the ONNX engine is not linked into this build".into())
}

/// Loads the library; no session yet.
pub fn open(_request: &TrialRequest) -> Result<Box<dyn Engine>, EngineError> {
    Err(not_linked())
}

/// What the library can run on.
pub fn probe(_engine: &EngineKind, _device: DeviceChoice) -> Result<ProbeFacts, EngineError> {
    Err(not_linked())
}
