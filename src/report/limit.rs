//! How far a row is from what its device can do at most, and what holds it back. The work is counted by shape, the limits were
//! measured in the same run.

use super::schema::{Environment, PhaseLimit, Row, RowLimits};
use crate::model::Work;
use crate::trial::DeviceLimits;

/// From this share of a limit on it is the limit that holds a phase back.
const HELD: f64 = 0.5;

/// Reading cannot take more than all of the time, give or take the spread of both (on a shared machine a quarter): it was not memory
/// that was read.
const CACHED: f64 = 1.25;

/// What may hold a phase back, with the share of its time that it explains.
struct Shares {
    /// Reading what must be read.
    reading: Option<f64>,
    /// Launching kernels.
    launching: Option<f64>,
    /// Computing; of prompts only.
    computing: Option<f64>,
    /// Carrying weights over the link.
    carrying: Option<f64>,
}

/// The row with its limits, or the reason for having none.
pub fn with_limits(mut row: Row, work: &Work, limits: &DeviceLimits) -> Row {
    match of(&row, work, limits) {
        Ok(found) => {
            row.not_measured.remove("limits");
            row.limits = Some(found);
        }
        Err(reason) => {
            row.not_measured.insert("limits".to_owned(), reason);
        }
    }
    row
}

/// The row without limits, and why.
pub fn without_limits(mut row: Row, reason: String) -> Row {
    row.not_measured.insert("limits".to_owned(), reason);
    row
}

/// The limits that a result tells of its device, as they were measured; `None` where they were not.
pub fn device_limits(environment: &Environment) -> Option<DeviceLimits> {
    let limits = environment.limits.as_ref()?;
    let told = |name: &str, value: Option<f64>| {
        let reason = environment.not_measured.get(&format!("limits.{name}"));
        let reason = || reason.map_or_else(|| "it was not measured".to_owned(), String::clone);
        value.ok_or_else(reason)
    };
    Some(DeviceLimits {
        read_bytes_s: told("read_bytes_s", limits.read_bytes_s),
        copy_bytes_s: told("copy_bytes_s", limits.copy_bytes_s),
        to_device_bytes_s: told("to_device_bytes_s", limits.to_device_bytes_s),
        from_device_bytes_s: told("from_device_bytes_s", limits.from_device_bytes_s),
        launch_s: told("launch_s", limits.launch_s),
        graph_launch_s: told("graph_launch_s", limits.graph_launch_s),
        flop_s: told("flop_s", limits.flop_s),
        method: limits.method.clone(),
    })
}

fn of(row: &Row, work: &Work, limits: &DeviceLimits) -> Result<RowLimits, String> {
    let read = moved(limits)?;
    let (Some(itl), Some(ttft)) = (&row.itl_ms, &row.ttft_ms) else {
        return Err("no decode step and prompt were timed".to_owned());
    };
    let captured = row.cuda_graph == Some(true);
    let launching = launching_s(
        row,
        if captured {
            &limits.graph_launch_s
        } else {
            &limits.launch_s
        },
    );
    // Prompts never run captured.
    let prompt_launching = launching_s(row, &limits.launch_s);
    let (weights, kv) = (work.step.weights.0, work.step.kv_cache.0);
    let step_s = itl.median / 1e3;
    let over_link = row
        .offload
        .as_ref()
        .filter(|offload| !offload.unified_memory);
    let (step_link, prompt_link) = over_link.map_or((0, 0), |offload| {
        (offload.link_bytes_per_step, offload.link_bytes_per_prompt)
    });
    let link = limits.to_device_bytes_s.clone().ok();
    let carried = |bytes: u64| link.filter(|_| bytes > 0).map(|rate| bytes as f64 / rate);
    let on_device = (weights + kv).saturating_sub(step_link);
    let reading_step_s = on_device as f64 / read;
    // Both can go on at once.
    let decode_floor = reading_step_s.max(carried(step_link).unwrap_or(0.0));
    let decode = Shares {
        reading: Some(reading_step_s / step_s),
        launching: launching.map(|seconds| seconds / step_s),
        computing: None,
        carrying: carried(step_link).map(|seconds| seconds / step_s),
    };
    let prompt_s = ttft.median / 1e3;
    let reading_s = work.prompt_weights.0.saturating_sub(prompt_link) as f64 / read;
    let carrying_s = carried(prompt_link);
    // A GPU's product was of fp16.
    let other_type = row.device != "cpu" && row.precision == "fp32";
    let rate = limits.flop_s.clone().ok().filter(|_| !other_type);
    let computing_s = rate.map(|rate| work.prompt_flop / rate);
    let prefill = Shares {
        reading: Some(reading_s / prompt_s),
        launching: prompt_launching.map(|seconds| seconds / prompt_s),
        computing: computing_s.map(|seconds| seconds / prompt_s),
        carrying: carrying_s.map(|seconds| seconds / prompt_s),
    };
    let prefill_floor = [computing_s, carrying_s].into_iter().flatten();
    let prefill_floor = prefill_floor.fold(reading_s, f64::max);
    Ok(RowLimits {
        step_weight_bytes: weights,
        step_kv_bytes: kv,
        decode: phase(row, decode_floor, &decode),
        prefill_flop: work.prompt_flop,
        prefill: phase(row, prefill_floor, &prefill),
    })
}

/// Bytes per second that memory is known to give: a sum that only reads may be slower than a copy, by its additions.
pub(super) fn moved(limits: &DeviceLimits) -> Result<f64, String> {
    let read = limits.read_bytes_s.clone();
    match (read, &limits.copy_bytes_s) {
        (Ok(read), Ok(copy)) => Ok(read.max(*copy)),
        (Err(_), Ok(copy)) => Ok(*copy),
        (read, Err(_)) => read,
    }
}

/// What launching the row's kernels takes, one after the other.
fn launching_s(row: &Row, each: &Result<f64, String>) -> Option<f64> {
    let kernels = row.placement.as_ref()?.nodes.get("CUDAExecutionProvider")?;
    Some(*kernels as f64 * each.clone().ok()?)
}

fn phase(row: &Row, floor_s: f64, shares: &Shares) -> PhaseLimit {
    let (bound, remedy) = diagnosis(row, shares);
    PhaseLimit {
        floor_ms: floor_s * 1e3,
        share: shares
            .reading
            .into_iter()
            .chain(shares.computing)
            .chain(shares.carrying)
            .fold(0.0, f64::max),
        launch_share: shares.launching,
        bound: bound.to_owned(),
        remedy: remedy.to_owned(),
    }
}

/// The limit that explains most of the time, if one explains half of it, and what would help.
fn diagnosis(row: &Row, shares: &Shares) -> (&'static str, &'static str) {
    let in_place = row.kv_mode.as_deref() == Some("in place");
    let launch_remedy = match row.cuda_graph {
        Some(true) => "fewer and larger kernels, or a larger batch, which costs little more time",
        _ if in_place => "capture the steps into a CUDA graph, or take a larger batch",
        // Steps whose shapes change cannot be captured.
        _ => "the fused form with its KV cache in place, which a CUDA graph can capture",
    };
    let named = [
        (
            shares.reading,
            "bandwidth",
            "fewer bytes: int8 or int4 weights, a shorter context; a larger batch reads the weights once for all",
        ),
        (
            shares.computing,
            "compute",
            "fewer operations: a model with fewer active parameters, a shorter prompt",
        ),
        (shares.launching, "launch", launch_remedy),
        (
            shares.carrying,
            "transfer",
            "fewer bytes over the link: a larger budget, int8 or int4 weights, a Mixture of Experts, of which a token reads few experts",
        ),
    ];
    if shares.reading.is_some_and(|share| share > CACHED) {
        return (
            "cache",
            "it reads faster than memory was seen to give: the data fit the processor's caches, or something slowed the measurement of the memory",
        );
    }
    let most = named
        .into_iter()
        .filter_map(|(share, bound, remedy)| Some((share?, bound, remedy)))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match most {
        Some((share, bound, remedy)) if share >= HELD => (bound, remedy),
        _ => (
            "kernels",
            "the runtime's kernels reach no limit of the device: other kernels, another form or precision, or a larger batch",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Traffic;
    use crate::report::fixture::fixture;
    use crate::trial::Placement;
    use crate::units::Bytes;

    fn limits() -> DeviceLimits {
        DeviceLimits {
            read_bytes_s: Ok(1e10),
            copy_bytes_s: Ok(1e11),
            flop_s: Ok(1e13),
            launch_s: Ok(5e-6),
            graph_launch_s: Ok(1e-6),
            ..DeviceLimits::default()
        }
    }

    fn work(weights: u64, flop: f64) -> Work {
        Work {
            step: Traffic {
                weights: Bytes(weights),
                kv_cache: Bytes(0),
            },
            prompt_weights: Bytes(weights),
            prompt_flop: flop,
        }
    }

    /// A row with steps of 24.39 ms and prompts of 294.5 ms, of so many kernels.
    fn row(kernels: u64, graph: bool) -> Row {
        let mut row = fixture().trials.swap_remove(0);
        row.cuda_graph = Some(graph);
        row.placement = Some(Placement {
            nodes: [("CUDAExecutionProvider".to_owned(), kernels)].into(),
            ..Placement::default()
        });
        row
    }

    fn bound(row: Row, work: Work) -> (String, String) {
        let limits = with_limits(row, &work, &limits()).limits.unwrap();
        (limits.decode.bound, limits.prefill.bound)
    }

    #[test]
    fn the_limit_that_explains_half_of_the_time_is_named() {
        // 2 GB at 100 GB/s take 20 of 24 ms; 2e12 operations 200 of 294 ms.
        assert_eq!(
            bound(row(100, true), work(2_000_000_000, 2e12)),
            ("bandwidth".into(), "compute".into())
        );
        // Prompts run kernel by kernel even so: 60,000 take 300 ms.
        assert_eq!(bound(row(60_000, true), work(1000, 1.0)).1, "launch");
        // 4,000 kernels: 20 ms one by one, 4 ms in a graph.
        assert_eq!(bound(row(4000, false), work(1000, 1.0)).0, "launch");
        assert_eq!(bound(row(4000, true), work(1000, 1.0)).0, "kernels");
        assert_eq!(bound(row(1, true), work(4_000_000_000, 1.0)).0, "cache");
    }

    #[test]
    fn shares_are_of_the_median_and_a_missing_limit_is_a_reason() {
        let found = with_limits(row(1, true), &work(1_000_000_000, 1e12), &limits());
        let found = found.limits.unwrap();
        assert!((found.decode.floor_ms - 10.0).abs() < 1e-9);
        assert!((found.decode.share - 10.0 / 24.39).abs() < 1e-6);
        assert!((found.prefill.floor_ms - 100.0).abs() < 1e-6);
        let none = with_limits(
            row(1, true),
            &work(1, 1.0),
            &DeviceLimits::unknown("no GPU"),
        );
        assert_eq!(
            (none.limits, none.not_measured["limits"].as_str()),
            (None, "no GPU")
        );
    }
}
