//! Runs of the whole suite, one after the other: what each of them measured of each trial, under which conditions, and how far they
//! are apart. Pure.

use super::compare::Quantity;
use super::schema::{DeviceConditions, Row, Steady};
use crate::stats;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is promised: no run is farther than this from the median of all.
const PROMISE: f64 = 0.02;

/// What is held to the promise.
const HELD: [Quantity; 3] = [Quantity::DecodeTokS, Quantity::TtftMs, Quantity::PeakBytes];

/// Several runs of a suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repeatability {
    /// Runs that were asked for.
    pub runs: u32,
    /// In which order the trials ran.
    pub order: String,
    /// Largest deviation from the median that is promised.
    pub promise: f64,
    /// Each trial, in the order of the plan.
    pub trials: Vec<RepeatedTrial>,
    /// Whether all that could be judged is within the promise; null while nothing can be judged.
    pub within: Option<bool>,
    /// The same in words.
    pub verdict: String,
}

/// A trial and its runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RepeatedTrial {
    /// Its row, which has the first run whole.
    pub row: String,
    /// Model name.
    pub model: String,
    /// The runs that have ended, in order.
    pub runs: Vec<RunFigures>,
    /// The spread of each quantity over the runs that are `ok`.
    pub spread: Vec<Spread>,
    /// Why a quantity has no spread, by name.
    #[serde(default)]
    pub not_measured: BTreeMap<String, String>,
}

/// What one run measured of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFigures {
    /// Which run, from 1.
    pub run: u32,
    /// Start of the trial, RFC 3339 in UTC.
    pub started_utc: Option<String>,
    /// How it ended, as a row's.
    pub status: String,
    /// Why it is not `ok`.
    pub reason: Option<String>,
    /// Mean decode speed.
    pub decode_tok_s: Option<f64>,
    /// Mean time to first token.
    pub ttft_ms: Option<f64>,
    /// Peak memory.
    pub peak_bytes: Option<u64>,
    /// Energy for each generated token.
    pub energy_per_token_j: Option<f64>,
    /// Cost of 1,000,000 generated tokens.
    pub cost_per_million_tokens: Option<f64>,
    /// Clocks, temperature and throttling.
    pub device_state: Option<DeviceConditions>,
    /// How the warm-up ended; absent where its length was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steady: Option<Steady>,
    /// Reason for every `null` figure above, by field name.
    #[serde(default)]
    pub not_measured: BTreeMap<String, String>,
}

/// How far runs are apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// What of.
    pub metric: Quantity,
    /// Runs that have it, two at least.
    pub runs: u64,
    /// Their median.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// (max - min) / median.
    pub range_share: f64,
    /// Standard deviation (n - 1) over mean.
    pub variation: f64,
    /// Largest distance from the median, over the median.
    pub worst_deviation: f64,
    /// Whether that is within the promise.
    pub within: bool,
}

impl Repeatability {
    /// Before the first run.
    pub fn new(runs: u32, rows: &[Row]) -> Repeatability {
        let trial = |row: &Row| RepeatedTrial {
            row: row.id.clone(),
            model: row.model.clone(),
            runs: Vec::new(),
            spread: Vec::new(),
            not_measured: BTreeMap::new(),
        };
        let mut repeated = Repeatability {
            runs,
            order: "interleaved: each trial of the plan once, in processes of its own, then all of them again".to_owned(),
            promise: PROMISE,
            trials: rows.iter().map(trial).collect(),
            within: None,
            verdict: String::new(),
        };
        repeated.judge();
        repeated
    }

    /// Adds what a run measured of the trial at this place of the plan.
    pub fn record(&mut self, place: usize, run: u32, row: &Row) {
        if let Some(trial) = self.trials.get_mut(place) {
            trial.runs.retain(|known| known.run != run);
            trial.runs.push(figures(run, row));
            trial.runs.sort_by_key(|known| known.run);
            trial.spread();
            self.judge();
        }
    }

    /// Whether that run of that trial has ended.
    pub fn has(&self, place: usize, run: u32) -> bool {
        let trial = self.trials.get(place);
        trial.is_some_and(|trial| trial.runs.iter().any(|known| known.run == run))
    }

    /// How that run of that trial ended, where it has.
    pub fn status(&self, place: usize, run: u32) -> Option<&str> {
        let runs = self.trials.get(place)?.runs.iter();
        let mut runs = runs.filter(|known| known.run == run);
        runs.next().map(|known| known.status.as_str())
    }

    /// Whether every run of every trial has ended.
    pub fn is_complete(&self) -> bool {
        let all = |place| (1..=self.runs).all(|run| self.has(place, run));
        (0..self.trials.len()).all(all)
    }

    /// Whether some trial has several runs to take an interval from.
    pub fn has_several(&self) -> bool {
        self.trials.iter().any(|trial| trial.ok().count() > 1)
    }

    /// A quantity of a row in each run that is `ok` and has it.
    pub fn values(&self, row: &Row, metric: Quantity) -> Option<Vec<f64>> {
        let trial = self.trials.iter().find(|trial| trial.row == row.id)?;
        Some(trial.values(metric))
    }

    fn judge(&mut self) {
        let spreads: Vec<(&RepeatedTrial, &Spread)> = self
            .trials
            .iter()
            .flat_map(|trial| trial.spread.iter().map(move |spread| (trial, spread)))
            .collect();
        self.within = match spreads.as_slice() {
            [] => None,
            all => Some(all.iter().all(|(_, spread)| spread.within)),
        };
        self.verdict = self.words(&spreads);
    }

    /// What the spreads show.
    fn words(&self, spreads: &[(&RepeatedTrial, &Spread)]) -> String {
        if spreads.is_empty() {
            return "Run to run: nothing ran to the end twice yet, so nothing is said of its spread."
                .to_owned();
        }
        let of = |metric: Quantity| {
            let mut all = spreads.iter().filter(|(_, spread)| spread.metric == metric);
            let first = all.next()?;
            let worst = all.fold(first, |worst, one| {
                if one.1.worst_deviation > worst.1.worst_deviation {
                    one
                } else {
                    worst
                }
            });
            Some(format!(
                "{} {:.1} % ({})",
                title(metric),
                worst.1.worst_deviation * 100.0,
                worst.0.model
            ))
        };
        let worst: Vec<String> = HELD.into_iter().filter_map(of).collect();
        let outside = spreads.iter().filter(|(_, spread)| !spread.within).count();
        let kept = match outside {
            0 => format!("all {} are", spreads.len()),
            _ => format!("{outside} of {} are not", spreads.len()),
        };
        let most = spreads.iter().map(|(_, spread)| spread.runs).max();
        format!(
            "Run to run, over up to {} runs: the largest deviations from the median are {}; {kept} within {:.0} %.",
            most.unwrap_or_default(),
            worst.join(", "),
            self.promise * 100.0
        )
    }
}

impl RepeatedTrial {
    fn ok(&self) -> impl Iterator<Item = &RunFigures> {
        self.runs.iter().filter(|run| run.status == "ok")
    }

    fn values(&self, metric: Quantity) -> Vec<f64> {
        self.ok().filter_map(|run| run.value(metric)).collect()
    }

    /// Computes the spread of each quantity anew.
    fn spread(&mut self) {
        self.spread.clear();
        self.not_measured.clear();
        for metric in HELD {
            match spread(metric, &self.values(metric)) {
                Some(spread) => self.spread.push(spread),
                None => {
                    let reason = "fewer than two runs have it".to_owned();
                    self.not_measured.insert(metric.name().to_owned(), reason);
                }
            }
        }
    }
}

impl RunFigures {
    fn value(&self, metric: Quantity) -> Option<f64> {
        match metric {
            Quantity::DecodeTokS => self.decode_tok_s,
            Quantity::TtftMs => self.ttft_ms,
            Quantity::PeakBytes => self.peak_bytes.map(|bytes| bytes as f64),
            Quantity::EnergyPerTokenJ => self.energy_per_token_j,
            Quantity::CostPerMillionTokens => self.cost_per_million_tokens,
            Quantity::PrefillTokS | Quantity::ItlMsP50 | Quantity::ItlMsP90 => None,
        }
    }
}

/// A quantity's name for people.
fn title(metric: Quantity) -> &'static str {
    match metric {
        Quantity::DecodeTokS => "decode speed",
        Quantity::TtftMs => "time to first token",
        Quantity::PeakBytes => "peak memory",
        other => other.name(),
    }
}

/// The spread of two runs or more; `None` where it is no number.
fn spread(metric: Quantity, values: &[f64]) -> Option<Spread> {
    let (median, mean) = (stats::median(values)?, stats::mean(values)?);
    let variation = stats::sample_sd(values)? / mean;
    let min = values.iter().copied().reduce(f64::min)?;
    let max = values.iter().copied().reduce(f64::max)?;
    let worst_deviation = (max - median).max(median - min) / median;
    let range_share = (max - min) / median;
    let all = [variation, worst_deviation, range_share];
    all.iter().all(|share| share.is_finite()).then_some(Spread {
        metric,
        runs: values.len() as u64,
        median,
        min,
        max,
        range_share,
        variation,
        worst_deviation,
        within: worst_deviation <= PROMISE,
    })
}

/// What of a row is kept of each run.
fn figures(run: u32, row: &Row) -> RunFigures {
    let energy = row.energy.as_ref();
    let paths = [
        ("decode_tok_s", "decode_tok_s", row.decode_tok_s.is_none()),
        ("ttft_ms", "ttft_ms", row.ttft_ms.is_none()),
        (
            "peak_bytes",
            "memory.peak_bytes",
            row.memory.comparable_peak().is_none(),
        ),
        ("energy_per_token_j", "energy", energy.is_none()),
        ("cost_per_million_tokens", "cost", row.cost.is_none()),
        ("device_state", "device_state", row.device_state.is_none()),
        (
            "started_utc",
            "test_time",
            row.llama_bench.test_time.is_none(),
        ),
    ];
    let absent = paths.into_iter().filter(|(.., absent)| *absent);
    let reason = |(name, path, _): (&str, &str, bool)| {
        let whole = path.split('.').next().unwrap_or(path);
        let told = row
            .not_measured
            .get(path)
            .or_else(|| row.not_measured.get(whole));
        let told = told.map_or_else(|| row.status.replace('_', " "), String::clone);
        (name.to_owned(), told)
    };
    RunFigures {
        run,
        started_utc: row.llama_bench.test_time.clone(),
        status: row.status.clone(),
        reason: row.reason.clone(),
        decode_tok_s: row.decode_tok_s.as_ref().map(|speed| speed.mean),
        ttft_ms: row.ttft_ms.as_ref().map(|first| first.mean),
        peak_bytes: row.memory.comparable_peak(),
        energy_per_token_j: energy.map(|energy| energy.per_token_j),
        cost_per_million_tokens: row.cost.as_ref().map(|cost| cost.per_million_tokens),
        device_state: row.device_state.clone(),
        steady: row.steady.clone(),
        not_measured: absent.map(reason).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use proptest::prelude::*;

    /// The fixture's rows, their decode speed times so much.
    fn rows(factor: f64) -> Vec<Row> {
        let mut rows = fixture().trials;
        for row in &mut rows {
            if let Some(speed) = &mut row.decode_tok_s {
                speed.mean *= factor;
            }
        }
        rows
    }

    fn repeated(factors: &[f64]) -> Repeatability {
        let mut repeated = Repeatability::new(factors.len() as u32, &rows(1.0));
        for (run, factor) in (1..).zip(factors) {
            for (place, row) in rows(*factor).iter().enumerate() {
                repeated.record(place, run, row);
            }
        }
        repeated
    }

    #[test]
    fn a_planted_spread_is_told_and_held_to_the_promise() {
        let steady = repeated(&[1.0, 1.01, 0.99]);
        assert_eq!((steady.within, steady.is_complete()), (Some(true), true));
        let speed = &steady.trials[0].spread[0];
        assert!((speed.worst_deviation - 0.01).abs() < 1e-9 && speed.runs == 3);
        assert!((speed.range_share - 0.02).abs() < 1e-9 && speed.within);
        assert!((speed.variation - 0.01).abs() < 1e-3);
        let wild = repeated(&[1.0, 1.0, 1.05]);
        assert_eq!(wild.within, Some(false));
        insta::assert_snapshot!(wild.verdict, @"Run to run, over up to 3 runs: the largest deviations from the median are decode speed 5.0 % (dense-120m), time to first token 0.0 % (dense-120m), peak memory 0.0 % (dense-120m); 2 of 6 are not within 2 %.");
    }

    #[test]
    fn one_run_and_runs_that_broke_have_no_spread_and_say_so() {
        let one = repeated(&[1.0]);
        assert_eq!((one.within, one.has_several()), (None, false));
        assert!(one.verdict.contains("nothing ran to the end twice"));
        let several = repeated(&[1.0, 1.0]);
        // Of the fixture, the third does not fit and the fourth crashed.
        assert!(several.trials[2].spread.is_empty());
        assert_eq!(several.trials[3].not_measured.len(), 3);
        assert_eq!(several.trials[3].runs[1].status, "crashed");
        assert_eq!(several.trials[3].runs[1].decode_tok_s, None);
        let reasons = &several.trials[3].runs[1].not_measured;
        assert!(reasons["decode_tok_s"].contains("crashed"), "{reasons:?}");
    }

    #[test]
    fn a_run_is_recorded_once_and_incomplete_until_all_have_ended() {
        let rows = rows(1.0);
        let mut repeated = Repeatability::new(2, &rows);
        repeated.record(0, 2, &rows[0]);
        repeated.record(0, 1, &rows[0]);
        repeated.record(0, 1, &rows[0]);
        let runs: Vec<u32> = repeated.trials[0].runs.iter().map(|run| run.run).collect();
        assert_eq!(runs, [1, 2]);
        assert!(repeated.has(0, 2) && !repeated.has(1, 1) && !repeated.is_complete());
    }

    proptest! {
        #[test]
        fn a_spread_is_finite_and_the_range_is_at_most_twice_the_deviation(values in prop::collection::vec(1e-3..1e9_f64, 2..9)) {
            let found = spread(Quantity::TtftMs, &values).unwrap();
            prop_assert!(found.min <= found.median && found.median <= found.max);
            prop_assert!(found.worst_deviation >= 0.0 && found.range_share.is_finite());
            prop_assert!(found.range_share <= 2.0 * found.worst_deviation * (1.0 + 1e-9) + 1e-12);
            prop_assert_eq!(found.within, found.worst_deviation <= PROMISE);
        }
    }
}
