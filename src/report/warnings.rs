//! What a reader of a row must know before believing it, each with what to do about it.

use super::schema::MemoryRow;
use super::{metrics, paging, state};
use crate::stats;
use crate::trial::{Outcome, TrialResult, slowing};

/// A first run this many times slower than the timed ones is worth a word.
const SLOW_FIRST_RUN: f64 = 2.0;
/// Standard deviation over mean of the decode speed above which a result is called unsteady.
const UNSTEADY: f64 = 0.05;

/// The warnings of one trial.
pub fn warnings(result: &TrialResult, memory: &MemoryRow) -> Vec<String> {
    [
        unfinished(result),
        unaccounted(memory),
        disagreeing(memory),
        not_alone(memory),
        failed_check(result),
        outliers(result),
        slow_first_run(result),
        unsteady(result),
        throttled(result),
        paging::swapped(result),
        paging::faulted(result),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Fewer repetitions than asked for.
fn unfinished(result: &TrialResult) -> Option<String> {
    let (done, wanted) = (result.repetitions.len(), result.trial.repetitions as usize);
    let early = result.outcome != Outcome::Ok && done > 0 && done < wanted;
    early.then(|| {
        format!("only {done} of {wanted} timed repetitions were finished; the figures are of those")
    })
}

/// Memory that is nobody's, above which a breakdown is not to be trusted: this part of the peak, or so much.
const REST_SHARE: f64 = 0.03;
const REST_BYTES: u64 = 32 << 20;

/// What may be off in a breakdown of this peak.
fn slack(peak: u64) -> u64 {
    ((peak as f64 * REST_SHARE) as u64).max(REST_BYTES)
}

/// Parts that do not add up. On the CPU they are sizes of buffers, of which the runtime packs copies: there it says nothing.
fn unaccounted(memory: &MemoryRow) -> Option<String> {
    memory.runtime_context_bytes?;
    let (rest, peak) = (memory.unaccounted_bytes?, memory.loaded_peak_bytes?);
    (rest.unsigned_abs() > slack(peak)).then(|| {
        format!(
            "{} MiB of the peak are in none of its parts (more than 3 % of it and 32 MiB): do not rely on the breakdown",
            rest >> 20
        )
    })
}

/// The driver's count of the process against what became of the free memory.
fn disagreeing(memory: &MemoryRow) -> Option<String> {
    memory.runtime_context_bytes?;
    let (peak, drop) = (memory.peak_bytes?, memory.free_memory_drop_bytes?);
    (peak.abs_diff(drop) > slack(peak)).then(|| {
        format!(
            "the driver counts {} MiB for the process at its peak, but the GPU's free memory fell by {} MiB: another program may have taken or freed memory meanwhile; close it and run again",
            peak >> 20,
            drop >> 20
        )
    })
}

/// Others on the GPU.
fn not_alone(memory: &MemoryRow) -> Option<String> {
    let others = memory.other_processes.as_ref()?;
    let names: Vec<String> = others
        .iter()
        .map(|process| {
            let name = process.name.as_deref().unwrap_or("name not known");
            match process.bytes {
                Some(bytes) => format!("{} ({name}, {} MiB)", process.pid, bytes.0 >> 20),
                None => format!("{} ({name})", process.pid),
            }
        })
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "other processes used the GPU during the trial: {}; their memory is not counted, but speed and energy are shared: close them, or refuse them with --exclusive",
            names.join(", ")
        )
    })
}

/// Wrong logits make every other figure worthless.
fn failed_check(result: &TrialResult) -> Option<String> {
    let failed = result.check.as_ref().is_some_and(|check| !check.passed());
    failed.then(|| {
        "the logits differ from the committed reference by more than the tolerance: do not use these figures".to_owned()
    })
}

/// Latencies far away from the rest.
fn outliers(result: &TrialResult) -> Option<String> {
    let steps = metrics::step_millis(&result.repetitions);
    let found = stats::outliers(&steps)?;
    let typical = stats::median(&steps)?;
    Some(format!(
        "{} of {} inter-token latencies are outliers, the worst {:.2} ms against a median of {typical:.2} ms; another program may have interfered: close it and run again",
        found.count,
        steps.len(),
        found.worst,
    ))
}

/// A first run that does not show what later ones do.
fn slow_first_run(result: &TrialResult) -> Option<String> {
    let first = result.first_run.as_ref()?.ttft.as_millis_f64();
    let timed: Vec<f64> = result
        .repetitions
        .iter()
        .map(|timing| timing.ttft.as_millis_f64())
        .collect();
    let typical = stats::median(&timed)?;
    (first > SLOW_FIRST_RUN * typical).then(|| {
        format!(
            "the first, untimed run took {first:.1} ms to its first token against a median of {typical:.1} ms afterwards (cold caches, lazy initialisation); the figures are of a warm model: for a single cold request add the load time and expect this run"
        )
    })
}

/// Repetitions that do not agree.
fn unsteady(result: &TrialResult) -> Option<String> {
    let speeds = metrics::decode_speeds(&result.trial, &result.repetitions);
    let spread = stats::sample_sd(&speeds)? / stats::mean(&speeds)?;
    (spread > UNSTEADY).then(|| {
        format!(
            "decode speed varies by {:.1} % between repetitions (standard deviation over mean); close other programs, fix the clocks or power mode, or ask for more repetitions",
            spread * 100.0
        )
    })
}

/// A device that slowed itself down. The comparison looks for the word "throttled".
fn throttled(result: &TrialResult) -> Option<String> {
    let seen = state::throttle_reasons(result);
    let words = slowing(&seen);
    (!words.is_empty()).then(|| {
        format!(
            "the device was throttled around the timed phases, by {} ({}); cool it, or raise its power limit, and run again",
            words.join(" and "),
            seen.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::trial::{Edge, PowerMark, PowerReading};
    use crate::units::Nanos;

    fn told(result: &TrialResult) -> Vec<String> {
        warnings(result, &MemoryRow::default())
    }

    #[test]
    fn a_breakdown_that_does_not_add_up_and_company_are_told() {
        let result = fixture::result("m", 8);
        let sound = MemoryRow {
            peak_bytes: Some(1000 << 20),
            loaded_peak_bytes: Some(1000 << 20),
            runtime_context_bytes: Some(300 << 20),
            unaccounted_bytes: Some(32 << 20),
            free_memory_drop_bytes: Some(1032 << 20),
            other_processes: Some(Vec::new()),
            ..MemoryRow::default()
        };
        assert_eq!(warnings(&result, &sound), Vec::<String>::new());
        let off = MemoryRow {
            unaccounted_bytes: Some(-(33 << 20)),
            free_memory_drop_bytes: Some(1033 << 20),
            other_processes: Some(vec![crate::trial::GpuProcess {
                pid: 9,
                bytes: None,
                name: Some("game".into()),
            }]),
            ..sound
        };
        let told = warnings(&result, &off);
        for (warning, sign) in told.iter().zip(["-33 MiB", "fell by 1033 MiB", "9 (game)"]) {
            assert!(warning.contains(sign), "{warning}");
        }
        assert_eq!(told.len(), 3);
    }

    #[test]
    fn a_steady_trial_has_no_warnings() {
        assert_eq!(told(&fixture::result("m", 8)), Vec::<String>::new());
    }

    #[test]
    fn a_slow_first_run_is_told_apart_from_the_timed_ones() {
        let mut result = fixture::result("m", 8);
        let typical = result.repetitions[0].ttft;
        if let Some(first) = &mut result.first_run {
            first.ttft = Nanos(typical.0 * 3);
        }
        assert!(told(&result)[0].starts_with("the first, untimed run took"));
    }

    #[test]
    fn an_outlier_is_counted_and_shown() {
        let mut result = fixture::result("m", 40);
        result.repetitions[1].itl[3] = Nanos(70_000_000);
        let found = told(&result);
        assert!(
            found[0].starts_with("1 of 195 inter-token latencies are outliers, the worst 70.00 ms"),
            "{found:?}"
        );
    }

    #[test]
    fn disagreeing_repetitions_are_unsteady() {
        let mut result = fixture::result("m", 8);
        result.repetitions[0]
            .itl
            .iter_mut()
            .for_each(|step| step.0 *= 2);
        assert!(
            told(&result)
                .iter()
                .any(|warning| warning.starts_with("decode speed varies by"))
        );
    }

    #[test]
    fn a_trial_cut_short_says_how_many_repetitions_it_has() {
        let mut result = fixture::result("m", 8);
        result.repetitions.truncate(3);
        result.outcome = Outcome::TimedOut {
            phase: crate::trial::Phase::Decode,
            reason: "too slow".to_owned(),
        };
        assert!(told(&result)[0].starts_with("only 3 of 5 timed repetitions"));
    }

    #[test]
    fn a_throttled_trial_says_by_what_and_an_idle_moment_is_none() {
        let mut result = fixture::result("m", 8);
        let idle = |reasons: &[&str]| PowerMark {
            at: Nanos(0),
            phase: crate::trial::Phase::Decode,
            edge: Edge::End,
            reading: PowerReading {
                throttle_reasons: reasons.iter().map(|name| (*name).to_owned()).collect(),
                ..PowerReading::default()
            },
            state: None,
        };
        result.power.marks = vec![idle(&["gpu_idle"])];
        assert_eq!(told(&result), Vec::<String>::new());
        result.power.marks.push(idle(&["sw_thermal_slowdown"]));
        assert!(told(&result)[0].starts_with(
            "the device was throttled around the timed phases, by its temperature (gpu_idle, sw_thermal_slowdown)"
        ));
    }
}
