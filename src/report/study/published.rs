//! The published study's method beside ours: for a model what it published, what its way of measuring gives here, and what measuring
//! properly gives, with the effect of each flaw in words. Pure.

use super::{Formula, Study, judged};
use crate::model;
use crate::report::compare::{Case, Quantity, Run};
use crate::report::metrics;
use crate::report::schema::{Metric, Row};
use crate::trial::{Device, TrialResult};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Tokens that the study generates, and whose time it calls that of the first.
const TOKENS: u32 = 10;
const MIB: f64 = 1_048_576.0;

/// A quantity by the names of the study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublishedMetric {
    /// Tokens per second of generation.
    DecodeTokS,
    /// Milliseconds to the first token.
    FirstTokenMs,
    /// Memory.
    MemoryBytes,
    /// Parameters that take part for one token.
    ActiveParams,
    /// Cost of a million tokens by the formula of the study's result files.
    CostStudyJson,
    /// The same by its formula of a flat hour.
    CostStudyHourly,
}

impl PublishedMetric {
    /// All of them, in the order they are shown.
    const ALL: [PublishedMetric; 6] = [
        PublishedMetric::DecodeTokS,
        PublishedMetric::FirstTokenMs,
        PublishedMetric::MemoryBytes,
        PublishedMetric::ActiveParams,
        PublishedMetric::CostStudyJson,
        PublishedMetric::CostStudyHourly,
    ];
}

/// One quantity, three times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    /// What it is.
    pub metric: PublishedMetric,
    /// As published, on the study's machine.
    pub published: Option<f64>,
    /// Measured here, its way.
    pub reproduced: Option<f64>,
    /// Measured here, properly.
    pub measured: Option<f64>,
    /// Its way over the proper one.
    pub ratio: Option<f64>,
    /// What the flaw of the method does to the figure; null where one of the two is missing.
    pub effect: Option<String>,
    /// Reason for every `null` above, by field name.
    #[serde(default)]
    pub not_measured: BTreeMap<String, String>,
}

/// A model, measured the study's way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reproduced {
    /// Model name.
    pub model: String,
    /// Its row: the same model, form, precision and prompt measured properly.
    pub row: String,
    /// The published row it stands beside; null where the study has none of this model.
    pub published_row: Option<String>,
    /// How the trial ended, as a row's; `pending` before it ran.
    pub status: String,
    /// Why it is not `ok`.
    pub reason: Option<String>,
    /// Prompt length.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub gen_tokens: u32,
    /// Milliseconds for all generated tokens, which the study calls its first token's.
    pub all_tokens_ms: Option<Metric>,
    /// Tokens per second of all sequences over that time.
    pub tok_s: Option<Metric>,
    /// Each quantity.
    pub figures: Vec<Beside>,
    /// How it was measured.
    pub method: String,
}

/// What is to be measured for a row: the prompt of the row and as many tokens as the study generates, where the model has positions
/// for them. Nothing of it has run.
pub fn to_reproduce(row: &Row) -> Reproduced {
    let positions = model::find(&row.model).map_or(u32::MAX, |spec| spec.max_positions);
    Reproduced {
        model: row.model.clone(),
        row: row.id.clone(),
        published_row: None,
        status: "pending".to_owned(),
        reason: None,
        prompt_tokens: row.prompt_tokens,
        gen_tokens: TOKENS
            .min(positions.saturating_sub(row.prompt_tokens))
            .max(1),
        all_tokens_ms: None,
        tok_s: None,
        figures: Vec::new(),
        method: String::new(),
    }
}

/// The study with what was measured its way; a study of no pairs where there is none.
pub fn as_published(study: Option<Study>, models: &[Reproduced]) -> Option<Study> {
    if models.is_empty() {
        return study;
    }
    let mut study = study.unwrap_or_else(of_no_pairs);
    study.as_published = models.to_vec();
    Some(study)
}

/// A study that was asked for and has no pairs.
pub(super) fn of_no_pairs() -> Study {
    Study {
        asked: true,
        intervals_of: "repetitions".to_owned(),
        pairs: Vec::new(),
        curves: Vec::new(),
        prices: Vec::new(),
        as_published: Vec::new(),
        routers: Vec::new(),
        method: judged::method(None),
    }
}

/// What was measured the study's way, `own` being the row of that trial, beside `proper` and the study's published figures.
pub fn reproduced(
    result: &TrialResult,
    own: &Row,
    proper: &Row,
    published: Option<&Run>,
) -> Reproduced {
    let case = published.and_then(|run| published_case(run, &proper.model));
    let timed = result.repetitions.as_slice();
    let tok_s = metrics::all_tokens_tok_s(&result.trial, timed);
    let all_tokens_ms = metrics::all_tokens_ms(timed);
    let sides = Sides {
        case,
        tok_s: tok_s.as_ref().map(|speed| speed.mean),
        ms: all_tokens_ms.as_ref().map(|time| time.mean),
        live: live_bytes(result.trial.device, own),
        tokens: result.trial.gen_tokens,
        own,
        proper,
    };
    let figures = PublishedMetric::ALL.map(|metric| sides.beside(metric));
    Reproduced {
        published_row: case.map(|case| case.id.clone()),
        status: own.status.clone(),
        reason: own.reason.clone(),
        gen_tokens: result.trial.gen_tokens,
        figures: figures.to_vec(),
        method: format!(
            "no KV cache is used: the whole sequence of {} tokens and what was generated so far is run again for each of {} tokens, all of whose time is called the first token's; memory is that of live tensors: weights, the buffers of the cache, which is there and not used, and the most of the runtime's arena that was in use at once",
            result.trial.prompt_tokens, result.trial.gen_tokens
        ),
        all_tokens_ms,
        tok_s,
        ..to_reproduce(proper)
    }
}

/// The study's row of a model that generated tokens: the last, which is that of its raw result file.
fn published_case<'a>(run: &'a Run, model: &str) -> Option<&'a Case> {
    let mut cases = run.cases.iter().rev();
    cases.find(|case| case.key.model == model && case.key.gen_tokens == TOKENS)
}

/// What a framework that counts its own tensors would have said, or why nobody knows.
fn live_bytes(device: Device, row: &Row) -> Result<f64, String> {
    if device == Device::Cpu {
        return Err("on the CPU the runtime's allocator keeps no count of what is in use".into());
    }
    if model_is_packed(row) {
        return Err("quantised weights are packed anew into the runtime's arena, so weights and arena cannot be added".into());
    }
    let memory = &row.memory;
    let parts = [
        memory.weights_bytes,
        memory.kv_bytes,
        memory.arena_live_peak_bytes,
    ];
    match parts.into_iter().sum::<Option<u64>>() {
        Some(bytes) => Ok(bytes as f64),
        None => Err("the runtime did not tell what of its arena was in use".into()),
    }
}

fn model_is_packed(row: &Row) -> bool {
    !["fp32", "fp16"].contains(&row.precision.as_str())
}

/// What the three figures of a model are taken from.
struct Sides<'a> {
    case: Option<&'a Case>,
    tok_s: Option<f64>,
    ms: Option<f64>,
    live: Result<f64, String>,
    tokens: u32,
    own: &'a Row,
    proper: &'a Row,
}

impl Sides<'_> {
    fn beside(&self, metric: PublishedMetric) -> Beside {
        let mut not_measured = BTreeMap::new();
        let mut told = |name: &str, figure: Result<f64, String>| match figure {
            Ok(value) if value.is_finite() => Some(value),
            Ok(_) => {
                not_measured.insert(name.to_owned(), "it took no time".to_owned());
                None
            }
            Err(reason) => {
                not_measured.insert(name.to_owned(), reason);
                None
            }
        };
        let published = told("published", self.published(metric));
        let reproduced = told("reproduced", self.reproduced(metric));
        let measured = told("measured", self.measured(metric));
        let both = reproduced.zip(measured);
        let ratio = both
            .map(|(its, ours)| its / ours)
            .filter(|ratio| ratio.is_finite());
        let effect = both
            .zip(ratio)
            .map(|(both, ratio)| self.effect(metric, both, ratio));
        for (name, missing) in [("ratio", ratio.is_none()), ("effect", effect.is_none())] {
            if missing {
                let reason = "it needs both figures of this machine".to_owned();
                not_measured.insert(name.to_owned(), reason);
            }
        }
        Beside {
            metric,
            published,
            reproduced,
            measured,
            ratio,
            effect,
            not_measured,
        }
    }

    fn published(&self, metric: PublishedMetric) -> Result<f64, String> {
        let case = self
            .case
            .ok_or("the study published nothing of this model")?;
        let of = |quantity| {
            let figure = case.figure(quantity).and_then(|figure| figure.value());
            figure.ok_or_else(|| "it is not among the published figures".to_owned())
        };
        match metric {
            PublishedMetric::DecodeTokS => of(Quantity::DecodeTokS),
            PublishedMetric::FirstTokenMs => of(Quantity::TtftMs),
            PublishedMetric::MemoryBytes => of(Quantity::PeakBytes),
            PublishedMetric::ActiveParams => Ok(case.params as f64),
            PublishedMetric::CostStudyJson => of(Quantity::CostPerMillionTokens),
            PublishedMetric::CostStudyHourly => {
                Err("the study prices this row by its other formula".into())
            }
        }
    }

    fn reproduced(&self, metric: PublishedMetric) -> Result<f64, String> {
        let ended = || self.own.reason.clone();
        let missing = || ended().unwrap_or_else(|| "no repetition was finished".to_owned());
        let speed = || self.tok_s.ok_or_else(missing);
        match metric {
            PublishedMetric::DecodeTokS => speed(),
            PublishedMetric::FirstTokenMs => self.ms.ok_or_else(missing),
            PublishedMetric::MemoryBytes => self.live.clone(),
            PublishedMetric::ActiveParams => Ok(self.own.params.total as f64),
            PublishedMetric::CostStudyJson => price(Formula::StudyJson, speed()?),
            PublishedMetric::CostStudyHourly => price(Formula::StudyHourly, speed()?),
        }
    }

    fn measured(&self, metric: PublishedMetric) -> Result<f64, String> {
        let row = self.proper;
        let reason = |field: &str| {
            let known = row.not_measured.get(field).or(row.reason.as_ref());
            known.map_or_else(|| "its row does not tell".to_owned(), Clone::clone)
        };
        let speed = || {
            let speed = row.decode_tok_s.as_ref().map(|speed| speed.mean);
            speed.ok_or_else(|| reason("decode_tok_s"))
        };
        match metric {
            PublishedMetric::DecodeTokS => speed(),
            PublishedMetric::FirstTokenMs => {
                let time = row.ttft_ms.as_ref().map(|time| time.mean);
                time.ok_or_else(|| reason("ttft_ms"))
            }
            PublishedMetric::MemoryBytes => {
                let peak = row.memory.peak_bytes.map(|bytes| bytes as f64);
                peak.ok_or_else(|| reason("memory.peak_bytes"))
            }
            PublishedMetric::ActiveParams => {
                let active = row.params.active.map(|count| count as f64);
                active.ok_or_else(|| reason("params.active"))
            }
            PublishedMetric::CostStudyJson => price(Formula::StudyJson, speed()?),
            PublishedMetric::CostStudyHourly => price(Formula::StudyHourly, speed()?),
        }
    }

    /// What the flaw does, computed from the two figures of this machine.
    fn effect(&self, metric: PublishedMetric, (its, ours): (f64, f64), ratio: f64) -> String {
        match metric {
            PublishedMetric::DecodeTokS => format!(
                "the whole sequence is run again for each token: {} as fast as with a KV cache",
                times(ratio)
            ),
            PublishedMetric::FirstTokenMs => format!(
                "it is the time of {} tokens: {} that of the first",
                self.tokens,
                times(ratio)
            ),
            PublishedMetric::MemoryBytes => format!(
                "live tensors only: {:.0} MiB of what the process takes are left out",
                (ours - its) / MIB
            ),
            PublishedMetric::ActiveParams => self.sparsity(),
            PublishedMetric::CostStudyJson => format!(
                "the formula rises with speed: measured properly, the same model is called {} as dear",
                times(1.0 / ratio)
            ),
            PublishedMetric::CostStudyHourly => format!(
                "the formula falls with speed, as it should: at the speed of the other method the model is {} as dear",
                times(ratio)
            ),
        }
    }

    /// Whether there is anything that does not take part for a token.
    fn sparsity(&self) -> String {
        let params = &self.proper.params;
        let Some(active) = params.active else {
            return "how many parameters take part for a token is not known".to_owned();
        };
        let share = active as f64 / params.total.max(1) as f64 * 100.0;
        let specialists =
            model::find(&self.proper.model).is_some_and(|spec| spec.specialists.is_some());
        if specialists {
            format!(
                "every specialist runs for each token, so nothing is sparse: {share:.1} % of the parameters take part"
            )
        } else if active == params.total {
            "all parameters take part: total and active are the same".to_owned()
        } else {
            format!("the total is counted: {share:.1} % of it takes part for one token")
        }
    }
}

fn price(formula: Formula, tok_s: f64) -> Result<f64, String> {
    formula
        .of_speed(tok_s)
        .ok_or_else(|| "it is not a formula of the study".to_owned())
}

/// A ratio in words.
fn times(ratio: f64) -> String {
    let digits = match ratio {
        ratio if ratio >= 100.0 => 0,
        ratio if ratio >= 10.0 => 1,
        ratio if ratio >= 0.1 => 2,
        _ => 4,
    };
    format!("{ratio:.digits$} times")
}

#[cfg(test)]
mod tests;
