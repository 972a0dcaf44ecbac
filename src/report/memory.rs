//! Memory readings to the memory figures of a row. Every figure says in `method` where it comes from; one that cannot be
//! had is `None` with its reason.

mod breakdown;
mod missing;
mod unified;

pub use missing::missing;

use super::schema::MemoryRow;
use crate::trial::{Device, Enforce, LoadFacts, MemoryReading, Phase, PoolSource, TrialResult};
use crate::units::Bytes;

/// How memory in use is read off a reading.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Gauge {
    /// Resident memory above the empty worker's.
    Resident,
    /// Device memory of the process, as NVML tells it.
    DeviceProcess,
    /// Device memory of everybody above what it was at the start.
    DeviceUsed,
    /// What the process takes of a memory that CPU and GPU share; `None` where nothing tells it.
    Unified(Option<PoolSource>),
}

impl Gauge {
    /// The gauge for a trial: what its device has.
    fn of(device: Device, readings: &[MemoryReading]) -> Gauge {
        match device {
            Device::Cpu => Gauge::Resident,
            Device::Cuda(_) if unified::is_shared(readings) => {
                Gauge::Unified(PoolSource::best(readings))
            }
            Device::Cuda(_) if readings.iter().any(|look| look.device_process.is_some()) => {
                Gauge::DeviceProcess
            }
            Device::Cuda(_) => Gauge::DeviceUsed,
        }
    }

    /// What the gauge shows, before the base is taken off.
    fn raw(self, reading: &MemoryReading) -> Option<Bytes> {
        match self {
            Gauge::Resident => reading.rss(),
            Gauge::DeviceProcess => reading.device_process,
            Gauge::DeviceUsed => reading.device_used,
            Gauge::Unified(source) => unified::raw(source, reading),
        }
    }

    /// What is not the trial's: the empty worker, or what others had on the device.
    fn base(self, readings: &[MemoryReading]) -> Option<Bytes> {
        match self {
            Gauge::Resident => first_of_start(readings).and_then(|first| self.raw(first)),
            Gauge::DeviceProcess => Some(Bytes(0)),
            // The first figure there is: the engine can only ask once it has made its context.
            Gauge::DeviceUsed => readings.iter().find_map(|look| self.raw(look)),
            Gauge::Unified(source) => unified::base(source, readings),
        }
    }

    /// Why there is no base.
    fn no_base(self) -> &'static str {
        match self {
            Gauge::Resident => {
                "no memory reading of the empty worker: this system does not tell resident memory, or the worker did not start"
            }
            Gauge::DeviceProcess | Gauge::DeviceUsed => {
                "no reading of the device's memory at the start: the driver told none, or the worker did not start"
            }
            Gauge::Unified(_) => unified::NO_BASE,
        }
    }

    /// Where the figures come from.
    fn method(self) -> &'static str {
        match self {
            Gauge::Resident => {
                "peak: highest resident memory (RssAnon + RssShmem + RssFile) above the empty worker's; runtime: resident after loading the library, above the empty worker's; activations: highest anonymous memory while running less that at the end of the load (file-backed growth there is weights being read for the first time)"
            }
            Gauge::DeviceProcess => {
                "peak: highest device memory of the process (NVML); runtime: the same after making the context; activations: highest while running less that at the end of the load"
            }
            Gauge::DeviceUsed => {
                "peak: highest use of the device by everybody (cudaMemGetInfo) above its first reading, so other programs count and the CUDA context, made before it, does not; activations: highest while running less that at the end of the load"
            }
            Gauge::Unified(source) => unified::method(source),
        }
    }
}

/// What the other methods share.
const SIZES: &str = "weights and kv are sizes of buffers, not readings, and mapped weights need not all be resident";

/// What all methods share.
const REST: &str =
    "unaccounted = loaded peak - (weights + kv + activations + runtime) and may be negative";

/// The reading of the empty worker.
fn first_of_start(readings: &[MemoryReading]) -> Option<&MemoryReading> {
    readings.iter().find(|look| look.phase == Phase::Start)
}

/// Highest value over the readings in these phases, above the base.
fn highest(result: &TrialResult, gauge: Gauge, phases: &[Phase]) -> Option<Bytes> {
    let base = gauge.base(&result.memory)?;
    result
        .memory
        .iter()
        .filter(|look| phases.contains(&look.phase))
        .filter_map(|look| gauge.raw(look))
        .max()
        .map(|value| value.saturating_sub(base))
}

/// Value at the last reading of a phase, above the base.
fn last(result: &TrialResult, gauge: Gauge, phase: Phase) -> Option<Bytes> {
    let base = gauge.base(&result.memory)?;
    result
        .memory
        .iter()
        .rev()
        .find(|look| look.phase == phase && gauge.raw(look).is_some())
        .and_then(|look| gauge.raw(look))
        .map(|value| value.saturating_sub(base))
}

/// Largest use over the whole trial.
fn peak(result: &TrialResult, gauge: Gauge) -> Option<Bytes> {
    use Phase::{Check, Decode, Load, Prefill, Runtime, Start, Warmup};
    highest(
        result,
        gauge,
        &[Start, Runtime, Load, Check, Warmup, Prefill, Decode],
    )
}

/// The runtime itself. Use by everybody has its first reading after the context is made: it cannot tell.
fn runtime(result: &TrialResult, gauge: Gauge) -> Option<Bytes> {
    match gauge {
        Gauge::Resident | Gauge::DeviceProcess | Gauge::Unified(_) => {
            last(result, gauge, Phase::Runtime)
        }
        Gauge::DeviceUsed => None,
    }
}

/// What running took on top of the loaded model. On the host only anonymous memory counts: what grows in the mapped weight
/// file are weights that are read for the first time.
fn activations(result: &TrialResult, gauge: Gauge) -> Option<Bytes> {
    let part = |look: &MemoryReading| match gauge {
        Gauge::Resident => look.rss_anon,
        Gauge::DeviceProcess | Gauge::DeviceUsed | Gauge::Unified(_) => gauge.raw(look),
    };
    let readings = &result.memory;
    let running = [Phase::Warmup, Phase::Prefill, Phase::Decode];
    let highest = readings
        .iter()
        .filter(|look| running.contains(&look.phase))
        .filter_map(part)
        .max()?;
    let loaded = readings
        .iter()
        .filter(|look| look.phase == Phase::Load)
        .filter_map(part)
        .next_back()?;
    Some(highest.saturating_sub(loaded))
}

/// Peak of one part of the host's memory while loading, above the empty worker's.
fn load_peak(result: &TrialResult, part: fn(&MemoryReading) -> Option<Bytes>) -> Option<Bytes> {
    let base = part(first_of_start(&result.memory)?)?;
    result
        .memory
        .iter()
        .filter(|look| look.phase == Phase::Load)
        .filter_map(part)
        .max()
        .map(|value| value.saturating_sub(base))
}

/// What is left of the peak when the parts are taken off it; `None` unless all are known.
fn unaccounted(row: &MemoryRow) -> Option<i64> {
    let parts = [
        row.weights_bytes?,
        row.kv_bytes?,
        row.activations_bytes?,
        row.runtime_bytes?,
    ];
    let sum: i128 = parts.iter().map(|part| i128::from(*part)).sum();
    i64::try_from(i128::from(row.loaded_peak_bytes?) - sum).ok()
}

/// Phases with a model in memory.
const LOADED: [Phase; 5] = [
    Phase::Load,
    Phase::Check,
    Phase::Warmup,
    Phase::Prefill,
    Phase::Decode,
];

/// The phase of the largest use.
fn peak_phase(result: &TrialResult, gauge: Gauge) -> Option<Phase> {
    let told = result.memory.iter();
    let told = told.filter_map(|look| Some((gauge.raw(look)?, look.phase)));
    // Of equals the first: that is when it was reached.
    let most = told.reduce(|most, look| if look.0 > most.0 { look } else { most });
    most.map(|(_, phase)| phase)
}

/// Use at the last reading.
fn steady(result: &TrialResult, gauge: Gauge) -> Option<Bytes> {
    let base = gauge.base(&result.memory)?;
    let last = result
        .memory
        .iter()
        .rev()
        .find_map(|look| gauge.raw(look))?;
    Some(last.saturating_sub(base))
}

/// The largest fall of the device's free memory below that of the first reading.
fn free_memory_drop(result: &TrialResult) -> Option<Bytes> {
    let told = || result.memory.iter().filter_map(|look| look.device_used);
    Some(told().max()?.saturating_sub(told().next()?))
}

/// The memory of a trial that has not run: the budget, and the prediction.
pub fn planned(budget: Bytes, predicted_peak: Option<Bytes>) -> MemoryRow {
    MemoryRow {
        budget_bytes: budget.0,
        predicted_peak_bytes: predicted_peak.map(|bytes| bytes.0),
        method: "not measured".to_owned(),
        ..MemoryRow::default()
    }
}

/// The memory of a trial that has ended.
pub fn measured(result: &TrialResult, predicted_peak: Option<Bytes>) -> MemoryRow {
    let gauge = Gauge::of(result.trial.device, &result.memory);
    let load = result.load.as_ref();
    let of_load = |part: fn(&LoadFacts) -> Bytes| load.map(|facts| part(facts).0);
    let most = |phases: &[Phase]| highest(result, gauge, phases).map(|bytes| bytes.0);
    let arena = breakdown::arena(result);
    let enforcement = result.enforcement.as_ref();
    let mut row = MemoryRow {
        peak_bytes: peak(result, gauge).map(|bytes| bytes.0),
        peak_phase: peak_phase(result, gauge).map(|phase| phase.to_string()),
        loaded_peak_bytes: most(&LOADED),
        prefill_peak_bytes: most(&[Phase::Prefill]),
        decode_peak_bytes: most(&[Phase::Decode]),
        steady_bytes: steady(result, gauge).map(|bytes| bytes.0),
        weights_bytes: of_load(|facts| facts.weights),
        kv_bytes: of_load(|facts| facts.kv_cache),
        activations_bytes: activations(result, gauge).map(|bytes| bytes.0),
        runtime_bytes: runtime(result, gauge).map(|bytes| bytes.0),
        arena_reserved_bytes: arena.map(|facts| facts.reserved),
        arena_live_peak_bytes: arena.map(|facts| facts.live_peak),
        arena_decode_live_peak_bytes: arena.and_then(|facts| facts.decode_live_peak),
        arena_limit_bytes: load.and_then(|facts| Some(facts.arena_limit?.0)),
        free_memory_drop_bytes: free_memory_drop(result).map(|bytes| bytes.0),
        enforced: enforcement.map(|held| enforced(held.mode).to_owned()),
        enforced_how: enforcement.map(|held| held.how.clone()),
        left_free_bytes: enforcement.and_then(|held| Some(held.left_free?.0)),
        other_processes: result.others.clone().and_then(Result::ok),
        load_peak_anon_bytes: load_peak(result, |look| look.rss_anon).map(|bytes| bytes.0),
        load_peak_file_bytes: load_peak(result, |look| look.rss_file).map(|bytes| bytes.0),
        largest_tensor_bytes: of_load(|facts| facts.largest_tensor),
        readings: result.memory.clone(),
        ..planned(result.trial.budget, predicted_peak)
    };
    let parts = breakdown::parts(result, gauge);
    if let Some(parts) = parts {
        row.weights_bytes = Some(parts.weights);
        row.kv_bytes = Some(parts.kv);
        row.activations_bytes = Some(parts.activations);
        row.runtime_bytes = Some(parts.runtime);
        row.runtime_context_bytes = Some(parts.context);
        row.runtime_libraries_bytes = Some(parts.libraries);
    }
    row.unaccounted_bytes = unaccounted(&row);
    if !result.memory.is_empty() {
        row.method = match parts {
            Some(_) => format!("{}; {REST}", breakdown::METHOD),
            None => format!("{}; {SIZES}; {REST}", gauge.method()),
        };
    }
    row
}

fn enforced(mode: Enforce) -> &'static str {
    match mode {
        Enforce::Hard => "hard",
        Enforce::Soft => "soft",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    /// A reading with resident memory in MiB.
    fn resident(phase: Phase, anon: u64, file: u64) -> MemoryReading {
        fixture::reading(phase, anon, file)
    }

    #[test]
    fn the_empty_worker_is_taken_off_and_the_parts_add_up_to_the_peak() {
        let mut result = fixture::result("m", 8);
        result.memory = vec![
            resident(Phase::Start, 10, 5),
            resident(Phase::Runtime, 12, 25),
            resident(Phase::Load, 40, 25),
            resident(Phase::Load, 30, 500),
            resident(Phase::Prefill, 100, 500),
            resident(Phase::Decode, 90, 500),
        ];
        let row = measured(&result, None);
        let mib = |n: u64| Some(n << 20);
        assert_eq!(row.peak_bytes, mib(585));
        assert_eq!(row.runtime_bytes, mib(22));
        assert_eq!(row.activations_bytes, mib(70));
        assert_eq!(row.load_peak_anon_bytes, mib(30));
        assert_eq!(row.load_peak_file_bytes, mib(495));
        let parts = [
            row.weights_bytes,
            row.kv_bytes,
            row.activations_bytes,
            row.runtime_bytes,
        ];
        let sum: u64 = parts.into_iter().flatten().sum();
        let rest = row.unaccounted_bytes.unwrap();
        assert_eq!(sum as i64 + rest, row.peak_bytes.unwrap() as i64);
        let told: Vec<_> = missing(&result, &row)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert!(!told.contains(&"memory.steady_bytes"), "{told:?}");
        assert!(told.contains(&"memory.left_free_bytes"), "{told:?}");
    }

    #[test]
    fn weights_that_are_not_resident_make_the_rest_negative() {
        let mut result = fixture::result("m", 8);
        result.memory = vec![
            resident(Phase::Start, 1, 1),
            resident(Phase::Runtime, 1, 1),
            resident(Phase::Load, 2, 1),
            resident(Phase::Decode, 3, 1),
        ];
        assert!(measured(&result, None).unaccounted_bytes.unwrap() < 0);
    }

    #[test]
    fn without_readings_every_figure_is_missing_with_a_reason() {
        let mut result = fixture::result("m", 8);
        result.memory.clear();
        result.load = None;
        let row = measured(&result, None);
        assert_eq!((row.peak_bytes, row.unaccounted_bytes), (None, None));
        assert_eq!(missing(&result, &row).len(), 26);
        assert_eq!(row.method, "not measured");
    }

    /// A reading of a device in MiB.
    fn device(phase: Phase, process: Option<u64>, used: u64) -> MemoryReading {
        MemoryReading {
            device_process: process.map(|mib| Bytes(mib << 20)),
            device_used: Some(Bytes(used << 20)),
            ..resident(phase, 1, 1)
        }
    }

    #[test]
    fn on_a_shared_memory_the_best_source_is_taken_and_named() {
        use crate::trial::PoolReading;
        let told = |mib: Option<u64>| {
            mib.map(|mib| Bytes(mib << 20))
                .ok_or_else(|| "no".to_owned())
        };
        let look = |phase, anon, [process, gpu, available]: [Option<u64>; 3]| MemoryReading {
            pool: Some(PoolReading {
                process: told(process),
                gpu: told(gpu),
                available: told(available),
            }),
            ..resident(phase, anon, 20)
        };
        let mut result = fixture::result("m", 8);
        result.trial.device = Device::Cuda(0);
        // Three programs' GPU memory is 900 at first; 300 of context, 400 of weights, 100 of activations; 50 of host memory.
        let all = [
            look(Phase::Start, 10, [None, Some(900), Some(6000)]),
            look(Phase::Runtime, 60, [Some(300), Some(1200), Some(5650)]),
            look(Phase::Load, 60, [Some(700), Some(1600), Some(5250)]),
            look(Phase::Decode, 60, [Some(800), Some(1700), Some(5150)]),
        ];
        let without = |parts: fn(&mut PoolReading)| {
            let mut readings = all.to_vec();
            let pools = readings.iter_mut().filter_map(|look| look.pool.as_mut());
            pools.for_each(parts);
            readings
        };
        let table = [
            (without(|_| ()), "nvmap's list of clients"),
            (
                without(|pool| pool.process = Err("gone".into())),
                "NvMapMemUsed",
            ),
            (
                without(|pool| {
                    pool.process = Err("gone".into());
                    pool.gpu = Err("gone".into());
                }),
                "MemAvailable",
            ),
        ];
        for (readings, name) in table {
            result.memory = readings;
            let row = measured(&result, None);
            assert_eq!(row.peak_bytes, Some(850 << 20), "{name}");
            assert_eq!(row.runtime_bytes, Some(350 << 20), "{name}");
            assert_eq!(row.activations_bytes, Some(100 << 20), "{name}");
            assert!(row.method.contains(name), "{}", row.method);
        }
        result.memory = without(|pool| {
            for told in [&mut pool.process, &mut pool.gpu, &mut pool.available] {
                *told = Err("gone".into());
            }
        });
        let row = measured(&result, None);
        assert_eq!(row.peak_bytes, None);
        let reasons = missing(&result, &row);
        assert!(
            reasons
                .iter()
                .any(|(name, reason)| *name == "memory.peak_bytes" && reason.contains("share"))
        );
    }

    #[test]
    fn on_a_gpu_the_process_is_read_where_the_driver_tells_it() {
        let mut result = fixture::result("m", 8);
        result.trial.device = Device::Cuda(0);
        result.memory = vec![
            device(Phase::Start, None, 1000),
            device(Phase::Runtime, Some(300), 1310),
            device(Phase::Load, Some(800), 1810),
            device(Phase::Decode, Some(900), 1910),
        ];
        let row = measured(&result, None);
        assert_eq!(row.peak_bytes, Some(900 << 20));
        assert_eq!(row.runtime_bytes, Some(300 << 20));
        assert!(row.method.contains("NVML"));

        for look in &mut result.memory {
            look.device_process = None;
        }
        let row = measured(&result, None);
        assert_eq!(row.peak_bytes, Some(910 << 20));
        assert_eq!(row.activations_bytes, Some(100 << 20));
        assert!(row.method.contains("cudaMemGetInfo"));
    }
}
