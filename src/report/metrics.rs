//! Raw nanoseconds to the timing fields of a row. No warnings, no words but the reason why a figure is missing.

use super::schema::{Metric, Quantiles};
use crate::stats::{self, P90_SAMPLES, P99_SAMPLES};
use crate::trial::{Repetition, Trial};
use crate::units::Nanos;

/// Inter-token latencies are listed one by one up to this many; beyond it the quantiles stand for them.
const LISTED: usize = 16;

/// Which form the distribution of a metric takes in the result.
#[derive(Clone, Copy, PartialEq)]
enum Detail {
    /// Every sample, and quantiles once there are enough for a tail.
    Samples,
    /// Quantiles, and the samples while there are few.
    Quantiles,
}

/// A metric of `samples`, or why there is none.
fn metric(samples: &[f64], detail: Detail) -> Option<Metric> {
    let summary = stats::summarise(samples)?;
    let listed = detail == Detail::Samples || summary.n <= LISTED;
    let quantiles = detail == Detail::Quantiles || summary.n >= P90_SAMPLES;
    Some(Metric {
        median: summary.median,
        mean: summary.mean,
        sd: summary.sd,
        ci95: summary.ci95,
        n: summary.n as u64,
        samples: listed.then(|| samples.to_vec()),
        quantiles: quantiles.then_some(Quantiles {
            p50: summary.median,
            p90: summary.p90,
            p99: summary.p99,
            min: summary.min,
            max: summary.max,
        }),
    })
}

/// Session creation in milliseconds: one sample.
pub fn load_ms(session: Nanos) -> Option<Metric> {
    metric(&[session.as_millis_f64()], Detail::Samples)
}

/// Time to first token in milliseconds, one sample for each repetition.
pub fn ttft_ms(repetitions: &[Repetition]) -> Option<Metric> {
    let samples: Vec<f64> = repetitions
        .iter()
        .map(|timing| timing.ttft.as_millis_f64())
        .collect();
    metric(&samples, Detail::Samples)
}

/// Time of a forward pass in milliseconds, one sample for each repetition.
pub fn latency_ms(repetitions: &[Repetition]) -> Option<Metric> {
    let samples: Vec<f64> = repetitions
        .iter()
        .map(|timing| timing.prefill.as_millis_f64())
        .collect();
    metric(&samples, Detail::Samples)
}

/// Items of a pass per second of it, one sample for each repetition.
pub fn items_s(trial: &Trial, repetitions: &[Repetition]) -> Option<Metric> {
    let samples: Vec<f64> = repetitions
        .iter()
        .map(|timing| f64::from(trial.batch) / timing.prefill.as_secs_f64())
        .collect();
    metric(&samples, Detail::Samples)
}

/// Time of one repetition, the first token's included.
fn all_time(timing: &Repetition) -> Nanos {
    Nanos(timing.ttft.0 + decode_time(timing).0)
}

/// Time of all generated tokens in milliseconds, the first included: one sample for each repetition.
pub fn all_tokens_ms(repetitions: &[Repetition]) -> Option<Metric> {
    let samples: Vec<f64> = repetitions
        .iter()
        .map(|timing| all_time(timing).as_millis_f64())
        .collect();
    metric(&samples, Detail::Samples)
}

/// Tokens of all sequences per second over the same time.
pub fn all_tokens_tok_s(trial: &Trial, repetitions: &[Repetition]) -> Option<Metric> {
    let tokens = f64::from(trial.batch) * f64::from(trial.gen_tokens);
    let samples: Vec<f64> = repetitions
        .iter()
        .map(|timing| tokens / all_time(timing).as_secs_f64())
        .collect();
    metric(&samples, Detail::Samples)
}

/// Prompt tokens of all sequences per second of prefill, one sample for each repetition.
pub fn prefill_tok_s(trial: &Trial, repetitions: &[Repetition]) -> Option<Metric> {
    let tokens = f64::from(trial.batch) * f64::from(trial.prompt_tokens);
    let samples: Vec<f64> = repetitions
        .iter()
        .map(|timing| tokens / timing.prefill.as_secs_f64())
        .collect();
    metric(&samples, Detail::Samples)
}

/// Time of one repetition's decode steps.
pub fn decode_time(timing: &Repetition) -> Nanos {
    Nanos(timing.itl.iter().map(|step| step.0).sum())
}

/// Decode speed of each repetition: tokens of all sequences per second over its steps, the first token excluded.
pub fn decode_speeds(trial: &Trial, repetitions: &[Repetition]) -> Vec<f64> {
    repetitions
        .iter()
        .map(|timing| {
            let tokens = f64::from(trial.batch) * timing.itl.len() as f64;
            tokens / decode_time(timing).as_secs_f64()
        })
        .collect()
}

/// Decode speed in tokens per second, one sample for each repetition.
pub fn decode_tok_s(trial: &Trial, repetitions: &[Repetition]) -> Option<Metric> {
    metric(&decode_speeds(trial, repetitions), Detail::Samples)
}

/// Inter-token latencies of all repetitions in milliseconds.
pub fn step_millis(repetitions: &[Repetition]) -> Vec<f64> {
    repetitions
        .iter()
        .flat_map(|timing| timing.itl.iter().map(|step| step.as_millis_f64()))
        .collect()
}

/// Inter-token latency in milliseconds over all steps of all repetitions.
pub fn itl_ms(repetitions: &[Repetition]) -> Option<Metric> {
    metric(&step_millis(repetitions), Detail::Quantiles)
}

/// Share of the decode time spent outside the runtime's run call.
pub fn outside_run_share(repetitions: &[Repetition]) -> Option<f64> {
    let outside: u64 = repetitions.iter().map(|timing| timing.outside_run.0).sum();
    let whole: u64 = repetitions.iter().map(|timing| decode_time(timing).0).sum();
    Some(outside as f64 / whole as f64).filter(|share| share.is_finite())
}

/// What is null inside a metric that was measured, with the reason, keyed below `name`.
pub fn missing_parts(name: &str, metric: &Metric) -> Vec<(String, String)> {
    let mut missing = Vec::new();
    if metric.n == 1 {
        for part in ["sd", "ci95"] {
            missing.push((
                format!("{name}.{part}"),
                "one sample has no spread".to_owned(),
            ));
        }
    }
    if let Some(quantiles) = &metric.quantiles {
        let tails = [
            ("p90", quantiles.p90, P90_SAMPLES),
            ("p99", quantiles.p99, P99_SAMPLES),
        ];
        for (part, value, needed) in tails {
            if value.is_none() {
                missing.push((
                    format!("{name}.quantiles.{part}"),
                    format!("n too small: {} samples, {needed} needed", metric.n),
                ));
            }
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn decode_speed_excludes_the_first_token_and_counts_every_sequence() {
        let mut trial = fixture::trial("m", 3);
        trial.batch = 2;
        let timing = fixture::repetition(100, &[10, 30]);
        let speed = decode_tok_s(&trial, &[timing]).unwrap();
        assert_eq!(speed.mean, 2.0 * 2.0 / 0.040);
        assert_eq!((speed.n, speed.sd), (1, None));
    }

    #[test]
    fn prefill_counts_the_prompt_of_every_sequence() {
        let mut trial = fixture::trial("m", 3);
        trial.batch = 2;
        let timing = fixture::repetition(100, &[10, 30]);
        assert_eq!(
            prefill_tok_s(&trial, &[timing]).unwrap().mean,
            2.0 * 256.0 / 0.1
        );
    }

    #[test]
    fn no_time_at_all_is_no_speed() {
        let trial = fixture::trial("m", 3);
        let timing = fixture::repetition(0, &[0, 0]);
        assert_eq!(prefill_tok_s(&trial, std::slice::from_ref(&timing)), None);
        assert_eq!(decode_tok_s(&trial, std::slice::from_ref(&timing)), None);
        assert_eq!(outside_run_share(&[timing]), None);
    }

    #[test]
    fn one_generated_token_has_no_inter_token_latency() {
        let timing = fixture::repetition(10, &[]);
        assert_eq!(itl_ms(std::slice::from_ref(&timing)), None);
        assert_eq!(decode_tok_s(&fixture::trial("m", 1), &[timing]), None);
    }

    #[test]
    fn many_latencies_are_told_by_quantiles_and_few_are_listed_too() {
        let few = itl_ms(&[fixture::repetition(10, &[1; 16])]).unwrap();
        assert!(few.samples.is_some() && few.quantiles.is_some());
        let many = itl_ms(&[fixture::repetition(10, &[1; 17])]).unwrap();
        assert!(many.samples.is_none() && many.quantiles.is_some());
        let reasons = missing_parts("itl_ms", &many);
        assert_eq!(
            reasons[1],
            (
                "itl_ms.quantiles.p99".to_owned(),
                "n too small: 17 samples, 662 needed".to_owned()
            )
        );
    }
}
