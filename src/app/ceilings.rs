//! After the trials: searches for the largest sizes that fit, one after the other, and keeps what they found. The searches are
//! values of the ceiling room; this turns their crank. Their trials run untuned: a tuning would be tried anew at every size, and
//! most of them take memory, which is what is searched for.

mod largest;
mod task;

pub use task::{Task, tasks};

use super::print;
use super::run::{self, Bench, Rows, Words};
use crate::ceiling::{Failure, Kind, Limit, MARGIN_PERCENT, Pass, Search, Verdict};
use crate::cli::{OutputFormat, RunCommand};
use crate::error::{Error, Result, exit};
use crate::export;
use crate::failures::{Failures, Key, Remembered};
use crate::model::{self, Store};
use crate::payload;
use crate::plan::{self, PlannedTrial};
use crate::progress::{Event, Progress};
use crate::report::{self, Ceiling, Row, ceilings as entries};
use crate::text;
use crate::trial::{Device, GpuProcess, Outcome, TUNINGS, Trial, TrialResult};
use crate::units::{Bytes, Nanos};
use std::path::Path;
use std::time::SystemTime;

/// Everything a search needs besides what it searches for.
pub struct Crank<'a> {
    /// What was asked for.
    pub command: &'a RunCommand,
    /// The device, the runtime and the plan.
    pub bench: &'a Bench,
    /// Tokenizer and prompts.
    pub words: &'a Words,
    /// Prices, for the rows that trials are read from.
    pub cost: &'a report::CostInputs,
    /// Who waits.
    pub progress: &'a Progress,
    /// The cache folder.
    pub cache: &'a Path,
}

impl Crank<'_> {
    /// Searches for each of the ceilings. The result file is written anew after every one.
    pub fn search(&self, tasks: &[Task], store: &mut Store, rows: &mut Rows) -> Result<u8> {
        let mut code = exit::OK;
        if self.command.ceilings.is_none() && tasks.is_empty() {
            self.progress.event(&Event::Note(
                "no ceiling was searched for: on the CPU that is done when asked for, with --ceiling context,batch".into(),
            ));
        }
        for (index, task) in tasks.iter().enumerate() {
            // Of a run that goes on, some have been found.
            if rows.ceilings[index].status != "pending" {
                self.tell(&rows.ceilings[index])?;
                continue;
            }
            let (ceiling, error) = match task.kind {
                Kind::Model => self.largest(task, store, rows),
                Kind::Context | Kind::Batch => self.size(task, store, rows),
            };
            // Weights or graphs that cannot be written cost this ceiling; the others may not need them.
            code = code.max(error.map_or(exit::OK, |error| error.exit_code()));
            self.progress.event(&Event::CeilingFinished {
                line: export::ceiling_summary(&ceiling),
            });
            rows.ceilings[index] = ceiling;
            rows.save()?;
            self.tell(&rows.ceilings[index])?;
        }
        Ok(code)
    }

    /// A line on standard output, where that carries a stream.
    fn tell(&self, ceiling: &Ceiling) -> Result<()> {
        if self.command.format == OutputFormat::Jsonl {
            print(&export::json_ceiling_line(ceiling)?)?;
        }
        Ok(())
    }

    /// The longest context or the largest batch of a model, and what ended the search before its time.
    fn size(&self, task: &Task, store: &mut Store, rows: &Rows) -> (Ceiling, Option<Error>) {
        let ran = task.ran(&self.bench.plan, &rows.rows);
        let Some((model, row)) = ran.last().copied() else {
            let reason = task.no_row(&rows.rows);
            return (entries::not_searched(task.pending.clone(), reason), None);
        };
        let margin = self.margin(model.trial.budget, rows);
        let predict = |size: u32| self.planned(model, task.trial(model, size)).1;
        let key = self.key(task, model, rows);
        let failures = Failures::new(self.cache);
        let fit = task.fit(&ran);
        let remembered = self.told(failures.recall(&key)).flatten().map(failure);
        let failed = task.failed(&self.bench.plan, &rows.rows);
        let known = smallest(remembered, failed, task.largest(&ran));
        let start = self.start(task, model, row, margin.unwrap_or(model.trial.budget));
        let mut search = Search::new(
            task.kind,
            task.sizes(model),
            start,
            model.trial.budget,
            &predict,
        )
        .with_margin(margin)
        .with_failure(known)
        .with_base(task.base(&ran))
        .with_fit(fit.as_ref().map(|(fit, _)| *fit));
        let mut ceiling = task.pending.clone();
        let (mut error, mut unread) = (None, None);
        while let Some(size) = search.next() {
            let (planned, _) = self.planned(model, task.trial(model, size));
            let (result, row) = match self.pass(&planned, store) {
                Ok(ran) => ran,
                Err(cause) => {
                    error = Some(cause);
                    break;
                }
            };
            ceiling.trials.push(entries::trial(Some(size), &row));
            unread = task::unread(&row);
            if unread.is_some() {
                break;
            }
            let verdict = verdict(&result, &row);
            if let Some(fails) = worth_remembering(size, &result.outcome, &verdict) {
                let alone = is_alone(planned.trial.device, result.others.as_ref());
                self.told(failures.remember(&key, fails, alone));
            }
            search.tell(size, verdict);
        }
        let found = search.found();
        let best = found.fits.map(|fit| fit.size);
        let earlier = fit.map(|(_, trial)| trial);
        let at = ceiling.trials.iter().cloned().chain(earlier);
        let at = at.into_iter().find(|trial| trial.size == best);
        let ceiling = entries::searched(ceiling, &found, margin, at.as_ref());
        (broken_off(ceiling, error.as_ref(), unread), error)
    }

    /// The value, or a warning.
    fn told<T>(&self, result: std::result::Result<T, String>) -> Option<T> {
        result
            .map_err(|sentence| self.progress.event(&Event::Warning(sentence)))
            .ok()
    }

    /// A trial of a model's, with its prediction.
    fn planned(&self, model: &PlannedTrial, trial: Trial) -> (PlannedTrial, Bytes) {
        let predicted = self.predict(model.spec, &trial);
        let planned = PlannedTrial {
            predicted_peak: Some(predicted.total()),
            predicted: Some(predicted),
            does_not_fit: None,
            trial,
            ..model.clone()
        };
        (planned, predicted.total())
    }

    fn predict(&self, spec: &model::ModelSpec, trial: &Trial) -> model::Footprint {
        let gpu = self.bench.probe.gpu.as_ref();
        model::footprint_on(spec, trial, super::plan::gpu_memory(gpu))
    }

    /// Runs one trial of a search in a worker of its own.
    fn pass(&self, planned: &PlannedTrial, store: &mut Store) -> Result<(TrialResult, Row)> {
        let trial = &planned.trial;
        self.progress.event(&Event::Searching {
            id: trial.id.clone(),
        });
        let prompts = text::rows_repeated(
            self.words.tokenizer(&planned.trial.model),
            &self.words.prompts,
            trial.batch,
            trial.prompt_tokens,
            planned.spec.vocab,
        )?;
        let began = run::utc(SystemTime::now());
        let result = run::trial(
            self.command,
            self.bench,
            planned,
            prompts,
            run::Purpose::Ceiling,
            store,
            self.progress,
        )?;
        let row = report::row(
            &result,
            run::params(planned),
            run::weight_bytes(planned),
            planned.predicted_peak,
            self.cost,
            Some(began),
        );
        Ok((result, row))
    }

    /// Where to begin: the largest size that is predicted to fit, the prediction shifted by what it missed in a row.
    fn start(&self, task: &Task, model: &PlannedTrial, row: &Row, target: Bytes) -> u32 {
        let predicted = row.memory.predicted_peak_bytes;
        let (over, under) = match row.memory.peak_bytes.zip(predicted) {
            Some((peak, predicted)) => (
                peak.saturating_sub(predicted),
                predicted.saturating_sub(peak),
            ),
            None => (0, 0),
        };
        let trial = Trial {
            budget: Bytes(target.0.saturating_add(under).saturating_sub(over)),
            ..model.trial.clone()
        };
        let bounds = plan::bounds_of(model.spec, &trial, &|spec, trial| self.predict(spec, trial));
        let bound = match task.kind {
            Kind::Context => bounds.context_at_batch_1,
            Kind::Batch | Kind::Model => bounds.batch,
        };
        bound.size.unwrap_or(1)
    }

    /// What a search stays under where running out of memory takes the machine down: on the CPU, and where CPU and GPU share
    /// one memory.
    fn margin(&self, budget: Bytes, rows: &Rows) -> Option<Bytes> {
        let gpu = self.bench.probe.gpu.as_ref();
        let shared = match self.bench.plan.device {
            Device::Cpu => true,
            Device::Cuda(_) => gpu.is_some_and(|gpu| gpu.unified_memory),
        };
        let available = rows.head.environment.memory_available_bytes;
        let least = available.map_or(budget.0, |available| available.min(budget.0));
        shared.then_some(Bytes(least / 100 * MARGIN_PERCENT))
    }

    /// What a failure of this search is remembered under.
    fn key(&self, task: &Task, model: &PlannedTrial, rows: &Rows) -> Key {
        let (trial, environment) = (&model.trial, &rows.head.environment);
        let gpu = self.bench.probe.gpu.as_ref();
        let on_gpu = matches!(trial.device, Device::Cuda(_));
        let gpu = gpu.filter(|_| on_gpu);
        let version = env!("CARGO_PKG_VERSION");
        let set = |name: &str| {
            let value = std::env::var_os(name)?;
            Some(value.to_string_lossy().into_owned())
        };
        Key {
            device_name: gpu.map_or_else(
                || environment.cpu_info.clone(),
                |gpu| Some(gpu.name.clone()),
            ),
            device: trial.device,
            memory_total: gpu.map_or_else(
                || environment.memory_total_bytes.map(Bytes),
                |gpu| Some(gpu.memory_total),
            ),
            driver: gpu.and_then(|gpu| gpu.driver_version.clone()),
            runtime: self.bench.probe.runtime_version.clone(),
            runtime_build: self.bench.probe.runtime_build.clone(),
            enforce: self.bench.firmness.mode,
            moe_kernels: set("ORT_FORCE_DETERMINISTIC_MOE"),
            tunings: set_tunings(set),
            kv_room: trial.kv_room.filter(|_| task.kind != Kind::Context),
            cublas_workspace: set("CUBLAS_WORKSPACE_CONFIG"),
            edgebench: payload::COMMIT.map_or_else(
                || version.to_owned(),
                |commit| format!("{version} {commit}"),
            ),
            model: named(model),
            form: trial.form,
            precision: trial.precision,
            kv_cache: trial.kv_cache,
            offload: trial.offload,
            kind: task.kind.name().to_owned(),
            prompt_tokens: task.pending.prompt_tokens.unwrap_or(0),
            gen_tokens: task.pending.gen_tokens.unwrap_or(0),
            threads: trial.threads,
            cuda_graph: trial.cuda_graph,
            budget: trial.budget,
        }
    }
}

/// A model's name, and of a file that another program wrote which file: others may be called the same.
fn named(planned: &PlannedTrial) -> String {
    let name = &planned.trial.model;
    planned.spec.foreign.map_or_else(
        || name.clone(),
        |foreign| {
            let path = foreign.graph.display();
            format!("{name} ({path}, {} bytes of weights)", foreign.bytes.0)
        },
    )
}

/// The variables of tunings that the user has set, as `NAME=value`.
fn set_tunings(set: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let names = TUNINGS.iter().flat_map(|tuning| tuning.environment);
    names
        .filter_map(|(name, _)| Some(format!("{name}={}", set(name)?)))
        .collect()
}

/// How a trial went, for the search.
fn verdict(result: &TrialResult, row: &Row) -> Verdict {
    let budget = row.memory.budget_bytes;
    let over = row.memory.peak_bytes.filter(|peak| *peak > budget);
    let (limit, phase) = match (&result.outcome, over) {
        (Outcome::Ok, None) => return Verdict::Fits(pass_of(row)),
        (Outcome::Ok, Some(_)) | (Outcome::DoesNotFit { .. }, _) => (Limit::Memory, None),
        (Outcome::OutOfMemory { phase, .. }, _) => (Limit::Memory, Some(*phase)),
        (
            Outcome::TimedOut { phase, .. }
            | Outcome::Crashed { phase, .. }
            | Outcome::Failed { phase, .. },
            _,
        ) => (Limit::Failure, Some(*phase)),
    };
    let reason = result.outcome.reason().map_or_else(
        || {
            format!(
                "it ran, with a peak of {} bytes and a budget of {budget}",
                over.unwrap_or_default()
            )
        },
        str::to_owned,
    );
    Verdict::Fails {
        limit,
        phase,
        reason,
    }
}

/// What a trial that ran took.
fn pass_of(row: &Row) -> Pass {
    let nanos = |ms: f64| Nanos((ms * 1e6) as u64);
    Pass {
        peak: row.memory.peak_bytes.map(Bytes),
        prefill: row.ttft_ms.as_ref().map(|ttft| nanos(ttft.median)),
        step: row.itl_ms.as_ref().map(|step| nanos(step.median)),
    }
}

/// Signals that a program brings upon itself. The others come from outside: from somebody who stops it, or from a system that
/// is out of memory for whatever reason.
const OWN_SIGNALS: [&str; 3] = ["SIGABRT", "SIGSEGV", "SIGBUS"];

/// A failure that another run is to know: one of memory, or a worker that died by its own doing. A deadline is the user's, and
/// a refusal of another kind may be gone by then.
fn worth_remembering(size: u32, outcome: &Outcome, verdict: &Verdict) -> Option<Remembered> {
    let Verdict::Fails { phase, reason, .. } = verdict else {
        return None;
    };
    let lasting = match outcome {
        // It ran and took more than the budget, or was not given more.
        Outcome::Ok | Outcome::OutOfMemory { .. } => true,
        Outcome::Crashed { reason, .. } => OWN_SIGNALS
            .iter()
            .any(|signal| reason.contains(&format!("killed by {signal} "))),
        Outcome::DoesNotFit { .. } | Outcome::TimedOut { .. } | Outcome::Failed { .. } => false,
    };
    if !lasting {
        return None;
    }
    Some(Remembered {
        size,
        status: outcome.status().to_owned(),
        phase: *phase,
        reason: reason.clone(),
        date: run::utc(SystemTime::now()),
    })
}

/// Whether nobody else can have caused a failure. On a GPU that must be known: in a container, or of a worker that died early,
/// nobody tells who else was there.
fn is_alone(device: Device, others: Option<&std::result::Result<Vec<GpuProcess>, String>>) -> bool {
    match (device, others) {
        (_, Some(Ok(others))) => others.is_empty(),
        (Device::Cpu, Some(Err(_)) | None) => true,
        (Device::Cuda(_), Some(Err(_)) | None) => false,
    }
}

/// The ceiling, of a search that ended before its time where something kept it from going on.
fn broken_off(ceiling: Ceiling, error: Option<&Error>, unread: Option<String>) -> Ceiling {
    match error.map(Error::to_string).or(unread) {
        Some(reason) => entries::broken_off(ceiling, reason),
        None => ceiling,
    }
}

/// The smaller of two failures, of those that no row refutes: one that ran at that size or above.
fn smallest(
    remembered: Option<Failure>,
    failed: Option<Failure>,
    ran: Option<u32>,
) -> Option<Failure> {
    // The row's of this run first: of equals it is the newer.
    let known = failed.into_iter().chain(remembered);
    known
        .filter(|fails| ran.is_none_or(|size| size < fails.size))
        .min_by_key(|fails| fails.size)
}

/// A remembered failure, for the search.
fn failure(remembered: Remembered) -> Failure {
    Failure {
        size: remembered.size,
        limit: if remembered.status == "crashed" {
            Limit::Failure
        } else {
            Limit::Memory
        },
        phase: remembered.phase,
        reason: remembered.reason,
        remembered_from: Some(remembered.date),
    }
}

#[cfg(test)]
mod tests;
