//! Raw facts about energy and about the device's state, as they come back from a trial. No arithmetic.

use super::Phase;
use crate::units::Nanos;
use serde::{Deserialize, Serialize};

/// A fact, or one clause that says why it is not known.
type Told<T> = Result<T, String>;

/// What tells the energy of a trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnergySource {
    /// NVML's energy counter of the whole GPU.
    NvmlCounter,
    /// Samples of the whole GPU's power that the driver keeps by itself and hands out through NVML.
    NvmlSamples,
    /// A rail of an INA3221 that feeds the whole board, by its label; its power is sampled.
    BoardRail(String),
    /// Energy counters of so many CPU packages (RAPL).
    Rapl(u32),
}

/// A side of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// Just before it.
    Begin,
    /// Just after it.
    End,
}

/// Power at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerSample {
    /// Time since the worker started.
    pub at: Nanos,
    /// Power.
    pub milliwatts: u64,
}

/// One reading of energy and of what holds the device down.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PowerReading {
    /// The energy counter in microjoules, from a zero of its own; `None` where the source is no counter.
    pub counter_uj: Option<Told<u64>>,
    /// Power sampled since the reading before, where the source is no counter.
    pub samples: Vec<PowerSample>,
    /// What holds the device down now, by name; empty where nothing does or nothing tells.
    pub throttle_reasons: Vec<String>,
}

/// What is read at an edge of a timed phase, outside of what is timed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PowerMark {
    /// Time since the worker started.
    pub at: Nanos,
    /// The phase.
    pub phase: Phase,
    /// Which side of it.
    pub edge: Edge,
    /// What was read.
    #[serde(default)]
    pub reading: PowerReading,
    /// The device's state, at the first mark and the last one.
    #[serde(default)]
    pub state: Option<DeviceState>,
}

/// Clocks, heat and limits of a device at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceState {
    /// Clock of the GPU's multiprocessors.
    pub sm_clock_mhz: Told<u32>,
    /// Clock of the GPU's memory.
    pub memory_clock_mhz: Told<u32>,
    /// Clock of the first CPU.
    pub cpu_clock_mhz: Told<u32>,
    /// Temperature of the device the trial runs on.
    pub temperature_c: Told<f64>,
    /// Power limit in force.
    pub power_limit_mw: Told<u64>,
    /// What holds the clocks down, by name; empty when nothing does.
    pub throttle_reasons: Told<Vec<String>>,
}

impl Default for DeviceState {
    fn default() -> DeviceState {
        DeviceState::unknown("it was not asked for")
    }
}

impl DeviceState {
    /// A device of which nothing is known, for one reason.
    pub fn unknown(reason: &str) -> DeviceState {
        fn not<T>(reason: &str) -> Told<T> {
            Err(reason.to_owned())
        }
        DeviceState {
            sm_clock_mhz: not(reason),
            memory_clock_mhz: not(reason),
            cpu_clock_mhz: not(reason),
            temperature_c: not(reason),
            power_limit_mw: not(reason),
            throttle_reasons: not(reason),
        }
    }
}

/// Everything that was read about energy in a trial.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PowerLog {
    /// What told it, or why nothing could; `None` where the trial did not come so far.
    pub source: Option<Told<EnergySource>>,
    /// The readings, in their order.
    pub marks: Vec<PowerMark>,
}

/// Throttle reasons that cost speed, with words for people; the others only say that nothing was asked for, or that the user
/// chose it.
const SLOWING: [(&str, &str); 7] = [
    ("sw_power_cap", "the power limit"),
    ("hw_slowdown", "the hardware's protection"),
    ("sw_thermal_slowdown", "its temperature"),
    ("hw_thermal_slowdown", "its temperature, by the hardware"),
    ("hw_power_brake_slowdown", "the power supply"),
    ("over_current", "the board's power supply"),
    ("cpu_thermal", "the CPU's temperature"),
];

/// In words, what among these throttle reasons costs speed.
pub fn slowing(reasons: &[String]) -> Vec<&'static str> {
    let held = SLOWING
        .iter()
        .filter(|(name, _)| reasons.iter().any(|reason| reason == name));
    held.map(|(_, words)| *words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_the_wire_and_may_be_short() {
        let short = r#"{"at":5,"phase":"decode","edge":"end"}"#;
        let mark: PowerMark = serde_json::from_str(short).unwrap();
        assert_eq!(
            (&mark.reading, &mark.state),
            (&PowerReading::default(), &None)
        );
        let full = PowerMark {
            reading: PowerReading {
                counter_uj: Some(Err("GPU is lost".into())),
                ..PowerReading::default()
            },
            state: Some(DeviceState {
                temperature_c: Ok(61.5),
                ..DeviceState::default()
            }),
            ..mark
        };
        let line = serde_json::to_string(&full).unwrap();
        assert_eq!(serde_json::from_str::<PowerMark>(&line).unwrap(), full);
    }

    #[test]
    fn idling_and_chosen_clocks_slow_nothing_down() {
        let reasons = ["gpu_idle", "sw_power_cap", "applications_clocks_setting"];
        let reasons = reasons.map(str::to_owned);
        assert_eq!(slowing(&reasons), ["the power limit"]);
        assert!(slowing(&reasons[..1]).is_empty());
    }
}
