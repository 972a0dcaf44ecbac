//! What the driver's management library (NVML) says about its GPUs: every query with its answer or the reason there is none.

use crate::trial::GpuProcess;
use crate::units::Bytes;
use serde::{Deserialize, Serialize};

/// A fact, or one clause that says why it is not known.
pub type Told<T> = Result<T, String>;

/// The driver and its GPUs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DriverFacts {
    /// Version of the driver.
    pub driver_version: Told<String>,
    /// Version of NVML itself.
    pub nvml_version: Told<String>,
    /// Newest CUDA that this driver can serve, for example `13.0`.
    pub cuda_version: Told<String>,
    /// Its GPUs, by index.
    pub gpus: Vec<DriverGpu>,
}

/// One GPU: each field is one query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DriverGpu {
    /// NVML's index.
    pub index: u32,
    /// Marketing name.
    pub name: Told<String>,
    /// Compute capability, for example `9.0`.
    pub compute_capability: Told<String>,
    /// Total and free memory.
    pub memory: Told<DeviceMemory>,
    /// Temperature of the GPU.
    pub temperature_c: Told<u32>,
    /// Temperature at which the clocks are cut.
    pub slowdown_temperature_c: Told<u32>,
    /// Power drawn now.
    pub power_mw: Told<u64>,
    /// Power limit in force.
    pub power_limit_mw: Told<u64>,
    /// Power limit as delivered.
    pub default_power_limit_mw: Told<u64>,
    /// Energy since the driver was loaded.
    pub energy_mj: Told<u64>,
    /// Clock of the multiprocessors.
    pub sm_clock_mhz: Told<u32>,
    /// Their highest clock.
    pub max_sm_clock_mhz: Told<u32>,
    /// Clock of the memory.
    pub memory_clock_mhz: Told<u32>,
    /// Its highest clock.
    pub max_memory_clock_mhz: Told<u32>,
    /// Why the clocks are held down, in NVML's words; empty when nothing does.
    pub throttle_reasons: Told<Vec<String>>,
    /// Performance state, 0 is the fastest.
    pub performance_state: Told<u32>,
    /// Load in percent.
    pub utilization_percent: Told<u32>,
    /// Whether the GPU is cut into instances.
    pub mig: Told<bool>,
    /// Whether a display is drawn by it.
    pub display_active: Told<bool>,
    /// Whether the driver stays loaded without users.
    pub persistence: Told<bool>,
    /// Other processes that hold memory on it.
    pub processes: Told<Vec<GpuProcess>>,
}

/// Memory of a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMemory {
    /// All of it.
    pub total: Bytes,
    /// What nobody uses.
    pub free: Bytes,
}

/// Stands for a query that was not made.
const NOT_ASKED: &str = "it was not asked for";

impl Default for DriverFacts {
    fn default() -> DriverFacts {
        DriverFacts {
            driver_version: Err(NOT_ASKED.into()),
            nvml_version: Err(NOT_ASKED.into()),
            cuda_version: Err(NOT_ASKED.into()),
            gpus: Vec::new(),
        }
    }
}

impl Default for DriverGpu {
    fn default() -> DriverGpu {
        DriverGpu::unknown(0, NOT_ASKED)
    }
}

impl DriverGpu {
    /// A GPU of which nothing is known, for one reason.
    pub fn unknown(index: u32, reason: &str) -> DriverGpu {
        fn not<T>(reason: &str) -> Told<T> {
            Err(reason.to_owned())
        }
        DriverGpu {
            index,
            name: not(reason),
            compute_capability: not(reason),
            memory: not(reason),
            temperature_c: not(reason),
            slowdown_temperature_c: not(reason),
            power_mw: not(reason),
            power_limit_mw: not(reason),
            default_power_limit_mw: not(reason),
            energy_mj: not(reason),
            sm_clock_mhz: not(reason),
            max_sm_clock_mhz: not(reason),
            memory_clock_mhz: not(reason),
            max_memory_clock_mhz: not(reason),
            throttle_reasons: not(reason),
            performance_state: not(reason),
            utilization_percent: not(reason),
            mig: not(reason),
            display_active: not(reason),
            persistence: not(reason),
            processes: not(reason),
        }
    }

    /// Every query by name, with the reason where it has no answer.
    pub fn queries(&self) -> Vec<(&'static str, Told<()>)> {
        fn seen<T>(answer: &Told<T>) -> Told<()> {
            answer.as_ref().map(drop).map_err(Clone::clone)
        }
        vec![
            ("name", seen(&self.name)),
            ("compute_capability", seen(&self.compute_capability)),
            ("memory", seen(&self.memory)),
            ("temperature", seen(&self.temperature_c)),
            ("slowdown_temperature", seen(&self.slowdown_temperature_c)),
            ("power", seen(&self.power_mw)),
            ("power_limit", seen(&self.power_limit_mw)),
            ("default_power_limit", seen(&self.default_power_limit_mw)),
            ("energy_counter", seen(&self.energy_mj)),
            ("sm_clock", seen(&self.sm_clock_mhz)),
            ("max_sm_clock", seen(&self.max_sm_clock_mhz)),
            ("memory_clock", seen(&self.memory_clock_mhz)),
            ("max_memory_clock", seen(&self.max_memory_clock_mhz)),
            ("throttle_reasons", seen(&self.throttle_reasons)),
            ("performance_state", seen(&self.performance_state)),
            ("utilization", seen(&self.utilization_percent)),
            ("mig_mode", seen(&self.mig)),
            ("display_active", seen(&self.display_active)),
            ("persistence_mode", seen(&self.persistence)),
            ("processes", seen(&self.processes)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_reasons_survive_the_wire() {
        let facts = DriverFacts {
            driver_version: Ok("580.1".into()),
            gpus: vec![DriverGpu {
                temperature_c: Ok(40),
                ..DriverGpu::unknown(1, "not supported")
            }],
            ..DriverFacts::default()
        };
        let line = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<DriverFacts>(&line).unwrap(), facts);
        assert!(serde_json::from_str::<DriverFacts>(r#"{"gpu":1}"#).is_err());
    }

    #[test]
    fn every_field_but_the_index_is_a_query() {
        let gpu = DriverGpu {
            memory: Ok(DeviceMemory {
                total: Bytes(2),
                free: Bytes(1),
            }),
            ..DriverGpu::unknown(0, "no")
        };
        let fields = serde_json::to_value(&gpu).unwrap();
        let queries = gpu.queries();
        assert_eq!(queries.len() + 1, fields.as_object().unwrap().len());
        for (name, answer) in queries {
            assert_eq!(answer.is_ok(), name == "memory", "{name}");
        }
    }
}
