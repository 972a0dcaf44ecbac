//! What weights in main memory cost: what the link must carry, what that was predicted to allow, and the link's share of the time.

use super::elsewhere;
use super::schema::{OffloadRow, Row};
use crate::model::Work;
use crate::trial::{DeviceLimits, OffloadFacts, TrialResult};

/// Share of a pinned copy's rate that kernels reach which read main memory in place: 44.7 of 52.7 GB/s with experts in fp16, 45.1
/// with dense layers in fp16, 46.4 in int4, on an H100 with ONNX Runtime 1.31.1.
const IN_PLACE: f64 = 0.85;

/// Share of that rate that copies of single weights reach.
const COPIED: f64 = 0.98;

/// From this share on weights are read as a whole, and copies are quicker than reading in place.
const WHOLE: f64 = 0.9;

/// Share of the memory's bandwidth that cuBLAS reaches in a decode step, on an H100 (benchmarks/results/h100-kernels.txt).
const MATRICES: f64 = 0.78;

/// Kernels of a layer and of everything around the layers, counted there (152 to 320 of models with 12 to 24 layers).
const KERNELS: (f64, f64) = (13.5, 8.0);

/// A kernel that does little takes about so many times the launch of an empty one, both in a CUDA graph.
const SMALL_KERNEL: f64 = 2.0;

/// What a prediction rests on. The constants above are an H100's, wherever it is made.
const BASIS: &str = "bytes by shape over rates measured here: weights over the link at 85 % of a pinned copy's rate where experts are chosen and 98 % where all is read, the rest at 78 % of the memory's, 13.5 kernels for each layer and 8 more of two launches each; these shares and counts are constants of an H100 with ONNX Runtime 1.31.1";

/// The row's part for weights in main memory, before anything is known of the device.
fn row(facts: &OffloadFacts) -> OffloadRow {
    OffloadRow {
        asked: facts.asked.to_string(),
        resident_bytes: facts.resident.0,
        mapped_bytes: facts.mapped.0,
        mapped_tensors: facts.mapped_tensors,
        tensors: facts.tensors,
        link_bytes_per_step: facts.link_step.0,
        link_bytes_per_prompt: facts.link_prompt.0,
        predicted_decode_tok_s: None,
        step_link_share: None,
        prompt_link_share: None,
        ways: None,
        unified_memory: facts.unified,
        prediction_basis: None,
        elsewhere: Vec::new(),
        refused: facts.refused.clone(),
    }
}

/// Seconds of a decode step with so many bytes over the link, by the device's measured limits; `None` where these are not known.
///
/// What is read on the GPU takes its bytes at the bandwidth that matrix products reach, small kernels a multiple of their launch, and
/// what is read over the link its bytes at the rate that kernels reach in place, or copies where weights are read as a whole.
pub fn predicted_step(
    (link_bytes, mapped_bytes): (u64, u64),
    layers: u32,
    work: &Work,
    limits: &DeviceLimits,
) -> Option<f64> {
    let read = super::limit::moved(limits).ok()?;
    let launch = limits.graph_launch_s.clone().ok()?;
    let link = limits.to_device_bytes_s.clone().ok()?;
    let all = work.step.weights.0 + work.step.kv_cache.0;
    let on_device = all.saturating_sub(link_bytes) as f64 / (MATRICES * read);
    let kernels = (KERNELS.0 * f64::from(layers) + KERNELS.1) * SMALL_KERNEL * launch;
    let reached = match link_bytes as f64 >= WHOLE * mapped_bytes as f64 {
        true => COPIED,
        false => IN_PLACE,
    };
    Some(on_device + kernels + link_bytes as f64 / (reached * link))
}

/// The same for a trial's row, with how the weights were read.
pub fn of(result: &TrialResult) -> Option<OffloadRow> {
    let facts = result.offload.as_ref()?;
    Some(OffloadRow {
        ways: result.load.as_ref().and_then(|load| load.link_ways.clone()),
        ..row(facts)
    })
}

/// The row with its prediction and the link's shares, where it has weights in main memory.
pub fn with_link(mut row: Row, layers: u32, work: &Work, limits: &DeviceLimits) -> Row {
    let (itl, ttft) = (median(&row.itl_ms), median(&row.ttft_ms));
    let Some(offload) = &mut row.offload else {
        return row;
    };
    if offload.mapped_bytes == 0 {
        // With all on the GPU kernels and not bytes decide.
        return row;
    }
    let over_link = !offload.unified_memory;
    let bytes = match over_link {
        true => (offload.link_bytes_per_step, offload.mapped_bytes),
        // Where there is one memory no link carries anything.
        false => (0, 0),
    };
    let step = predicted_step(bytes, layers, work, limits);
    offload.predicted_decode_tok_s = step.map(|step| f64::from(row.batch) / step);
    offload.prediction_basis = step.map(|_| BASIS.to_owned());
    if over_link {
        offload.elsewhere = elsewhere::predicted(bytes, layers, work, limits, row.batch);
    }
    if let (Ok(link), true) = (&limits.to_device_bytes_s, over_link) {
        let share = |bytes: u64, ms: Option<f64>| {
            ms.filter(|_| bytes > 0)
                .map(|ms| bytes as f64 / *link / (ms / 1e3))
        };
        offload.step_link_share = share(offload.link_bytes_per_step, itl);
        offload.prompt_link_share = share(offload.link_bytes_per_prompt, ttft);
    }
    row
}

fn median(metric: &Option<super::Metric>) -> Option<f64> {
    metric.as_ref().map(|metric| metric.median)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{find, work};
    use crate::trial::{Device, Precision, Trial};

    /// The H100's limits (benchmarks/results/h100-core-tuned.json).
    fn h100() -> DeviceLimits {
        DeviceLimits {
            read_bytes_s: Ok(2.28e12),
            copy_bytes_s: Ok(3.0e12),
            to_device_bytes_s: Ok(52.7e9),
            graph_launch_s: Ok(1.28e-6),
            ..DeviceLimits::default()
        }
    }

    fn speed(name: &str, link: u64, mapped: u64) -> f64 {
        let spec = find(name).unwrap();
        let trial = Trial {
            device: Device::Cuda(0),
            precision: Precision::Fp16,
            prompt_tokens: 256,
            gen_tokens: 128,
            ..Trial::example()
        };
        1.0 / predicted_step((link, mapped), spec.n_layers, &work(spec, &trial), &h100()).unwrap()
    }

    #[test]
    fn predictions_are_near_what_was_measured() {
        // On the GPU: 699 and 634 tok/s (h100-speed.txt); over the link, in an experiment before this: 23 and 74.
        let cases = [
            ("llama-1b", 0, 0, 699.0, 0.15),
            ("granite-1b-a400m", 0, 0, 634.0, 0.30),
            ("granite-1b-a400m", 604_000_000, 2_416_000_000, 74.0, 0.1),
        ];
        for (name, link, mapped, measured, allowed) in cases {
            let predicted = speed(name, link, mapped);
            assert!(
                (predicted / measured - 1.0).abs() < allowed,
                "{name} {link}: {predicted}"
            );
        }
    }

    #[test]
    fn nothing_is_predicted_without_a_link() {
        let limits = DeviceLimits {
            to_device_bytes_s: Err("no GPU".into()),
            ..h100()
        };
        let spec = find("llama-1b").unwrap();
        let trial = Trial {
            precision: Precision::Fp16,
            ..Trial::example()
        };
        let work = work(spec, &trial);
        assert_eq!(predicted_step((1, 1), 16, &work, &limits), None);
    }
}
