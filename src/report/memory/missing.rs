//! Why a figure of a row's memory is null.

use super::super::schema::MemoryRow;
use super::Gauge;
use crate::trial::{Device, TrialResult};

/// What is null in the memory of an ended trial, with the reason.
pub fn missing(result: &TrialResult, row: &MemoryRow) -> Vec<(&'static str, String)> {
    let gauge = Gauge::of(result.trial.device, &result.memory);
    let based = gauge.base(&result.memory).is_some();
    let reading = |what: &str| {
        if based {
            format!("no reading in the {what}")
        } else {
            gauge.no_base().to_owned()
        }
    };
    let not_loaded = || "the model was not loaded".to_owned();
    let cpu = result.trial.device == Device::Cpu;
    let gpu_only = |otherwise: &str| match cpu {
        true => "the trial ran on the CPU".to_owned(),
        false => otherwise.to_owned(),
    };
    let no_arena = || {
        "no word of the runtime's arena (ONNX Runtime tells from 1.23 on, once it has a session)"
            .to_owned()
    };
    let parts = || "one of the parts or the peak is not known".to_owned();
    let load = "load phase".to_owned();
    let no_limit =
        "the arena was not limited: the driver does not tell what the process held before";
    let no_force = "no memory was taken away from the GPU";
    let strangers = match &result.others {
        Some(Err(cause)) => cause.as_str(),
        _ => "NVML could not be asked",
    };
    let fields: [(&'static str, bool, String); 26] = [
        (
            "memory.peak_bytes",
            row.peak_bytes.is_none(),
            reading("whole trial"),
        ),
        (
            "memory.peak_phase",
            row.peak_phase.is_none(),
            reading("whole trial"),
        ),
        (
            "memory.loaded_peak_bytes",
            row.loaded_peak_bytes.is_none(),
            reading("load phase or later"),
        ),
        (
            "memory.prefill_peak_bytes",
            row.prefill_peak_bytes.is_none(),
            reading("timed prefill"),
        ),
        (
            "memory.decode_peak_bytes",
            row.decode_peak_bytes.is_none(),
            reading("timed decode"),
        ),
        (
            "memory.steady_bytes",
            row.steady_bytes.is_none(),
            reading("whole trial"),
        ),
        (
            "memory.weights_bytes",
            row.weights_bytes.is_none(),
            not_loaded(),
        ),
        ("memory.kv_bytes", row.kv_bytes.is_none(), not_loaded()),
        (
            "memory.activations_bytes",
            row.activations_bytes.is_none(),
            reading("load phase, or none while running"),
        ),
        (
            "memory.runtime_bytes",
            row.runtime_bytes.is_none(),
            reading("runtime phase"),
        ),
        (
            "memory.runtime_context_bytes",
            row.runtime_context_bytes.is_none(),
            gpu_only("the driver or the runtime does not tell enough to know the parts"),
        ),
        (
            "memory.runtime_libraries_bytes",
            row.runtime_libraries_bytes.is_none(),
            gpu_only("the driver or the runtime does not tell enough to know the parts"),
        ),
        (
            "memory.unaccounted_bytes",
            row.unaccounted_bytes.is_none(),
            parts(),
        ),
        (
            "memory.arena_reserved_bytes",
            row.arena_reserved_bytes.is_none(),
            no_arena(),
        ),
        (
            "memory.arena_live_peak_bytes",
            row.arena_live_peak_bytes.is_none(),
            no_arena(),
        ),
        (
            "memory.arena_decode_live_peak_bytes",
            row.arena_decode_live_peak_bytes.is_none(),
            "no decode step ran before the first prompt: one does where a CUDA graph is captured"
                .to_owned(),
        ),
        (
            "memory.arena_limit_bytes",
            row.arena_limit_bytes.is_none(),
            gpu_only(no_limit),
        ),
        (
            "memory.free_memory_drop_bytes",
            row.free_memory_drop_bytes.is_none(),
            gpu_only("the device does not tell its free memory"),
        ),
        (
            "memory.enforced",
            row.enforced.is_none(),
            "the trial was not started".to_owned(),
        ),
        (
            "memory.enforced_how",
            row.enforced_how.is_none(),
            "the trial was not started".to_owned(),
        ),
        (
            "memory.left_free_bytes",
            row.left_free_bytes.is_none(),
            gpu_only(no_force),
        ),
        (
            "memory.other_processes",
            row.other_processes.is_none(),
            gpu_only(strangers),
        ),
        (
            "memory.load_peak_anon_bytes",
            row.load_peak_anon_bytes.is_none(),
            host(&load),
        ),
        (
            "memory.load_peak_file_bytes",
            row.load_peak_file_bytes.is_none(),
            host(&load),
        ),
        (
            "memory.largest_tensor_bytes",
            row.largest_tensor_bytes.is_none(),
            not_loaded(),
        ),
        (
            "memory.predicted_peak_bytes",
            row.predicted_peak_bytes.is_none(),
            "nothing was predicted for this trial".to_owned(),
        ),
    ];
    fields
        .into_iter()
        .filter(|(_, absent, _)| *absent)
        .map(|(name, _, reason)| (name, reason))
        .collect()
}

/// Why a part of the host's memory is not known.
fn host(phase: &str) -> String {
    format!("no reading of the host's memory for the empty worker or in the {phase}")
}
