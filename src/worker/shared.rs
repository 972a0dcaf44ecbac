//! The memory that CPU and GPU share: as the machine's files tell of it, or as a script plays it.

use crate::device::Pool;
use crate::engine::{self, EngineError};
use crate::protocol::{EngineKind, TrialRequest};
use crate::trial::PoolReading;
use crate::units::Bytes;
use std::path::Path;

/// Who tells of it.
pub enum Shared {
    /// The machine.
    Machine(Pool),
    /// A script whose device tells its use: the list of clients has what that is above `before`.
    Scripted {
        /// What the device told before the trial.
        before: Bytes,
    },
}

impl Shared {
    /// Whoever tells of the memory that this trial takes from; `None` where CPU and GPU do not share one.
    pub fn of(request: &TrialRequest) -> Result<Option<Shared>, EngineError> {
        if !request.unified_memory {
            return Ok(None);
        }
        let played = match &request.engine {
            EngineKind::Onnx { .. } => None,
            EngineKind::Scripted { script } => {
                engine::scripted_device_used(script, &request.trial.model)?
            }
        };
        Ok(Some(match played {
            Some(before) => Shared::Scripted { before },
            None => Shared::Machine(Pool::open(Path::new("/"))),
        }))
    }

    /// What can be looked at between the phases, on another thread.
    pub fn machine(&self) -> Option<&Pool> {
        match self {
            Shared::Machine(pool) => Some(pool),
            Shared::Scripted { .. } => None,
        }
    }

    /// One look, at a moment when the engine's device tells `used`.
    pub fn read(&self, used: Option<Bytes>) -> PoolReading {
        let untold = || Err("the script tells only what the process takes".to_owned());
        match self {
            Shared::Machine(pool) => pool.read(),
            Shared::Scripted { before } => PoolReading {
                process: Ok(used.unwrap_or(*before).saturating_sub(*before)),
                gpu: untold(),
                available: untold(),
            },
        }
    }
}
