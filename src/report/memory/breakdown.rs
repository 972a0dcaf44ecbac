//! The parts that a trial's memory on a GPU is made of, each read off a moment when only it had changed.
//!
//! `loaded peak = weights + KV cache + activations and workspace + runtime + unaccounted`, where the runtime is what the process
//! held once its context was made, and what loading and the first runs took besides weights, buffers and arena.

use super::Gauge;
use crate::trial::{Arena, LoadFacts, MemoryReading, Phase, TrialResult};
use crate::units::Bytes;

/// Where the figures come from.
pub const METHOD: &str = "peak: highest device memory of the process (NVML); weights: what the process gained while their block was allocated, and what the arena held before anything ran (weights that the runtime packed anew); kv: its buffers in a second block; activations: what else the runtime's arena holds (its own count) and the rest of that block; runtime: the process once its context was made, and the rest of what it gained until the end of the warm-up (of the trial, without one), which are kernels, libraries and captured graphs; so unaccounted is what came later or for a moment only";

/// The measured parts, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// What the device gave for the weights.
    pub weights: u64,
    /// The buffers of the KV cache.
    pub kv: u64,
    /// The arena, and the buffers that are not the cache.
    pub activations: u64,
    /// Context, modules, libraries.
    pub runtime: u64,
    /// Of these: the context alone.
    pub context: u64,
    /// Of these: what loading and the first runs added (kernels' modules, cuBLAS, captured graphs).
    pub libraries: u64,
}

/// The parts, where the driver and the runtime tell enough.
pub fn parts(result: &TrialResult, gauge: Gauge) -> Option<Parts> {
    if gauge != Gauge::DeviceProcess {
        return None;
    }
    let load = result.load.as_ref()?;
    let readings = &result.memory;
    let context = last(readings, Phase::Runtime)?.0;
    let (settled, arena) = settled(readings)?;
    let (weights, buffers) = (load.weights_taken?, load.buffers_taken?);
    let loaded = context + weights + buffers + arena.reserved;
    let libraries = settled.saturating_sub(loaded);
    let most = readings.iter().filter_map(|look| look.arena);
    let reserved = most.map(|arena| arena.reserved).max()?;
    // The runtime keeps what it packs of the weights in its arena.
    let packed = load.packed.unwrap_or_default();
    Some(Parts {
        weights: (weights + packed).0,
        kv: load.kv_cache.0,
        activations: reserved.saturating_sub(packed).0 + other_buffers(load, buffers),
        runtime: (context + libraries).0,
        context: context.0,
        libraries: libraries.0,
    })
}

/// The buffers besides the cache, and what the device rounds both up by.
fn other_buffers(load: &LoadFacts, buffers: Bytes) -> u64 {
    buffers.saturating_sub(load.kv_cache).0
}

/// Process and arena once everything had run for the first time: at the end of the warm-up, or of what came last without one.
fn settled(readings: &[MemoryReading]) -> Option<(Bytes, Arena)> {
    let warm = last(readings, Phase::Warmup);
    warm.or_else(|| last_of(readings, |_| true))
        .and_then(|(own, arena)| Some((own, arena?)))
}

/// Process and arena at the last reading of a phase.
fn last(readings: &[MemoryReading], phase: Phase) -> Option<(Bytes, Option<Arena>)> {
    match phase {
        // There is no session to ask yet.
        Phase::Start | Phase::Runtime => readings
            .iter()
            .rev()
            .find(|look| look.phase == phase && look.device_process.is_some())
            .and_then(|look| Some((look.device_process?, look.arena))),
        _ => last_of(readings, |look| look.phase == phase),
    }
}

fn last_of(
    readings: &[MemoryReading],
    wanted: impl Fn(&MemoryReading) -> bool,
) -> Option<(Bytes, Option<Arena>)> {
    readings
        .iter()
        .rev()
        .find(|look| wanted(look) && look.device_process.is_some() && look.arena.is_some())
        .and_then(|look| Some((look.device_process?, look.arena)))
}

/// The arena's own figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArenaFacts {
    /// The most it held of the device.
    pub reserved: u64,
    /// The most of it that was in use at once.
    pub live_peak: u64,
    /// The same before the first prompt, with decode steps only; `None` where none ran before it.
    pub decode_live_peak: Option<u64>,
}

/// What the arena said.
pub fn arena(result: &TrialResult) -> Option<ArenaFacts> {
    let told = || result.memory.iter().filter_map(|look| look.arena);
    // With CUDA graphs a few decode steps run at the end of the load, before any prompt: the mark cannot be reset, but read.
    let not_captured = result
        .load
        .as_ref()
        .and_then(|load| load.not_captured.as_ref());
    let primed = result.trial.cuda_graph && not_captured.is_none();
    let loaded = result
        .memory
        .iter()
        .rev()
        .find(|look| look.phase == Phase::Load && look.arena.is_some())
        .and_then(|look| look.arena);
    Some(ArenaFacts {
        reserved: told().map(|arena| arena.reserved.0).max()?,
        live_peak: told().map(|arena| arena.live_peak.0).max()?,
        decode_live_peak: loaded.filter(|_| primed).map(|arena| arena.live_peak.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::trial::Device;

    fn look(phase: Phase, own: u64, arena: Option<(u64, u64)>) -> MemoryReading {
        MemoryReading {
            device_process: Some(Bytes(own)),
            arena: arena.map(|(reserved, live_peak)| Arena {
                reserved: Bytes(reserved),
                live: Bytes(1),
                live_peak: Bytes(live_peak),
            }),
            ..fixture::reading(phase, 1, 1)
        }
    }

    fn result() -> TrialResult {
        let mut result = fixture::result("m", 8);
        result.trial.device = Device::Cuda(0);
        result.trial.cuda_graph = true;
        if let Some(load) = &mut result.load {
            load.weights_taken = Some(Bytes(1000));
            load.buffers_taken = Some(Bytes(120));
            load.kv_cache = Bytes(100);
            load.packed = Some(Bytes(4));
        }
        result.memory = vec![
            look(Phase::Start, 0, None),
            look(Phase::Runtime, 518, None),
            look(Phase::Runtime, 320, None),
            look(Phase::Load, 1500, Some((40, 30))),
            look(Phase::Warmup, 1560, Some((60, 50))),
            // A sample between two phases knows of no arena.
            look(Phase::Warmup, 9999, None),
            look(Phase::Decode, 1570, Some((64, 55))),
        ];
        result
    }

    #[test]
    fn each_part_is_what_its_moment_added() {
        let parts = parts(&result(), Gauge::DeviceProcess).unwrap();
        assert_eq!((parts.weights, parts.kv), (1004, 100));
        // The arena at its largest without the packed weights, and 20 for the buffers that are not the cache.
        assert_eq!(parts.activations, 60 + 20);
        assert_eq!((parts.context, parts.libraries), (320, 60));
        assert_eq!(parts.runtime, 380);
    }

    #[test]
    fn without_a_warm_up_the_end_counts_and_without_an_arena_nothing_is_told() {
        let mut result = result();
        result.memory.retain(|look| look.phase != Phase::Warmup);
        let told = parts(&result, Gauge::DeviceProcess).unwrap();
        assert_eq!(told.libraries, 1570 - 320 - 1120 - 64);
        for look in &mut result.memory {
            look.arena = None;
        }
        assert_eq!(parts(&result, Gauge::DeviceProcess), None);
        assert_eq!(arena(&result), None);
        assert_eq!(parts(&result, Gauge::DeviceUsed), None);
    }

    #[test]
    fn what_decoding_alone_needs_is_known_where_it_ran_first() {
        let mut result = result();
        let told = arena(&result).unwrap();
        assert_eq!((told.reserved, told.live_peak), (64, 55));
        assert_eq!(told.decode_live_peak, Some(30));
        result.trial.cuda_graph = false;
        assert_eq!(arena(&result).unwrap().decode_live_peak, None);
    }
}
