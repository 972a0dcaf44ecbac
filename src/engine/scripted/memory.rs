//! The memory that a script plays: a base and so many bytes for each position of each sequence.

use crate::trial::Trial;
use serde::Deserialize;

/// What a trial takes, and where it is no longer the device's own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptedMemory {
    base_mib: u64,
    bytes_per_token: u64,
    touch: bool,
    spills_above_mib: Option<u64>,
}

/// How much slower a spilled trial runs: the host's memory over a bus.
const SPILLED: f64 = 20.0;

impl ScriptedMemory {
    /// Bytes that a trial takes, all of them from its load on.
    pub fn taken(&self, trial: &Trial) -> u64 {
        let positions = u64::from(trial.batch) * u64::from(trial.context());
        (self.base_mib << 20) + self.bytes_per_token * positions
    }

    /// Takes so many MiB more.
    pub fn add_mib(&mut self, mib: u64) {
        self.base_mib += mib;
    }

    /// Bytes to take for real, for a trial whose resident memory counts.
    pub fn touched(&self, trial: &Trial) -> usize {
        if self.touch {
            self.taken(trial) as usize
        } else {
            0
        }
    }

    /// What to multiply times with.
    pub fn slower(&self, trial: &Trial) -> f64 {
        let spills = self
            .spills_above_mib
            .is_some_and(|mib| self.taken(trial) > mib << 20);
        if spills { SPILLED } else { 1.0 }
    }
}
