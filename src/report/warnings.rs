//! What a reader of a row must know before believing it, each with what to do about it.

use super::{metrics, state};
use crate::stats;
use crate::trial::{Outcome, TrialResult, slowing};

/// A first run this many times slower than the timed ones is worth a word.
const SLOW_FIRST_RUN: f64 = 2.0;
/// Standard deviation over mean of the decode speed above which a result is called unsteady.
const UNSTEADY: f64 = 0.05;

/// The warnings of one trial.
pub fn warnings(result: &TrialResult) -> Vec<String> {
    [
        unfinished(result),
        failed_check(result),
        outliers(result),
        slow_first_run(result),
        unsteady(result),
        throttled(result),
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

    #[test]
    fn a_steady_trial_has_no_warnings() {
        assert_eq!(warnings(&fixture::result("m", 8)), Vec::<String>::new());
    }

    #[test]
    fn a_slow_first_run_is_told_apart_from_the_timed_ones() {
        let mut result = fixture::result("m", 8);
        let typical = result.repetitions[0].ttft;
        if let Some(first) = &mut result.first_run {
            first.ttft = Nanos(typical.0 * 3);
        }
        assert!(warnings(&result)[0].starts_with("the first, untimed run took"));
    }

    #[test]
    fn an_outlier_is_counted_and_shown() {
        let mut result = fixture::result("m", 40);
        result.repetitions[1].itl[3] = Nanos(70_000_000);
        let found = warnings(&result);
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
            warnings(&result)
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
        assert!(warnings(&result)[0].starts_with("only 3 of 5 timed repetitions"));
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
        assert_eq!(warnings(&result), Vec::<String>::new());
        result.power.marks.push(idle(&["sw_thermal_slowdown"]));
        assert!(warnings(&result)[0].starts_with(
            "the device was throttled around the timed phases, by its temperature (gpu_idle, sw_thermal_slowdown)"
        ));
    }
}
