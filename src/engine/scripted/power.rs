//! Energy and state of a device as a script plays them.

use crate::protocol::Told;
use crate::trial::{DeviceState, EnergySource, PowerReading, PowerSample};
use crate::units::Nanos;
use serde::Deserialize;

/// The script's entry, and how far it was read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptedPower {
    source: Option<Told<EnergySource>>,
    milliwatts: Option<u64>,
    counter_uj: Vec<Told<u64>>,
    throttle_reasons: Vec<Vec<String>>,
    states: Vec<DeviceState>,
    #[serde(skip)]
    readings: usize,
    #[serde(skip)]
    states_read: usize,
}

impl ScriptedPower {
    /// What tells the energy.
    pub fn source(&self) -> Told<EnergySource> {
        let none = || Err("the script tells no power".into());
        self.source.clone().unwrap_or_else(none)
    }

    /// The next reading, `at` since the worker started.
    pub fn read(&mut self, at: Nanos) -> PowerReading {
        let turn = self.readings;
        self.readings += 1;
        let counts = matches!(
            self.source,
            Some(Ok(EnergySource::NvmlCounter | EnergySource::Rapl(_)))
        );
        let listed = self.counter_uj.get(turn).or(self.counter_uj.last());
        // Milliwatts for nanoseconds are picojoules.
        let steady = |milliwatts: u64| {
            let picojoules = u128::from(milliwatts) * u128::from(at.0);
            u64::try_from(picojoules / 1_000_000).map_err(|_| "too long".to_owned())
        };
        let counter = listed.cloned().or_else(|| self.milliwatts.map(steady));
        let sample = self
            .milliwatts
            .map(|milliwatts| PowerSample { at, milliwatts });
        let reasons = &self.throttle_reasons;
        PowerReading {
            counter_uj: counter.filter(|_| counts),
            samples: sample.into_iter().filter(|_| !counts).collect(),
            throttle_reasons: reasons.get(turn).cloned().unwrap_or_default(),
        }
    }

    /// The next state; the last one stays.
    pub fn state(&mut self) -> DeviceState {
        let turn = self.states_read;
        self.states_read += 1;
        let state = self.states.get(turn).or(self.states.last());
        let none = || DeviceState::unknown("the script tells no state");
        state.cloned().unwrap_or_else(none)
    }
}
