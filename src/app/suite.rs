//! The trials of a suite, run after run: each in workers of its own, the result file rewritten after each.

use super::foreign;
use super::offload;
use super::print;
use super::run::{self, Bench, Rows};
use super::tuning::Tuner;
use crate::cli::{OutputFormat, RunCommand};
use crate::error::{Result, exit};
use crate::export;
use crate::model::{self, Store};
use crate::plan::PlannedTrial;
use crate::progress::{Event, Progress};
use crate::report::{self, Row};
use crate::trial::{Outcome, Phase, PowerLog, TrialResult};
use std::time::SystemTime;

/// A suite under way.
pub struct Suite<'a> {
    /// What was asked for.
    pub command: &'a RunCommand,
    /// The device, the runtime and the plan.
    pub bench: &'a Bench,
    /// Prompt ids of every trial.
    pub prompts: Vec<Vec<Vec<i64>>>,
    /// Prices.
    pub cost: &'a report::CostInputs,
    /// Who waits.
    pub progress: &'a Progress,
}

impl Suite<'_> {
    /// Runs what has not run yet, all trials once before any runs again, to the exit code.
    pub fn run(&self, store: &mut Store, rows: &mut Rows) -> Result<u8> {
        let trials = &self.bench.plan.trials;
        let mut tuner = Tuner::new(self.command, self.bench, self.progress);
        tuner.recall(&rows.rows);
        self.progress.event(&Event::PlanReady {
            trials: trials.len() * self.command.repeat as usize
                + rows.as_published.len()
                + rows.routers.len(),
        });
        rows.save()?;
        let (mut code, mut place) = (exit::OK, 0);
        for run in 1..=self.command.repeat {
            for index in 0..trials.len() {
                if rows.has(index, run) {
                    code = code.max(code_of(rows.status(index, run)));
                } else {
                    let at = (run, index, place);
                    code = code.max(self.one(at, &mut tuner, store, rows)?);
                }
                place += 1;
                // The rows are those of the first run.
                if run == 1 && self.command.format == OutputFormat::Jsonl {
                    print(&export::json_line(&rows.rows[index])?)?;
                }
            }
        }
        Ok(code)
    }

    /// One trial of one run, at a place among all of them.
    fn one(
        &self,
        (run, index, place): (u32, usize, usize),
        tuner: &mut Tuner<'_>,
        store: &mut Store,
        rows: &mut Rows,
    ) -> Result<u8> {
        let planned = &self.bench.plan.trials[index];
        let id = match self.command.repeat {
            1 => planned.trial.id.clone(),
            _ => format!("{} (run {run})", planned.trial.id),
        };
        self.progress.event(&Event::TrialStarted {
            index: place,
            id: id.clone(),
        });
        if planned.refusal(self.command.try_all).is_none() {
            offload::announce(planned, rows.limits.as_ref(), self.progress);
        }
        let began = run::utc(SystemTime::now());
        let mut stopped = exit::OK;
        let prompts = self.prompts[index].clone();
        let (result, tuning) = match planned.refusal(self.command.try_all) {
            Some(reason) => {
                let reason = reason.to_owned();
                (not_run(planned, Outcome::DoesNotFit { reason }), None)
            }
            None => tuner.run(planned, prompts, store).unwrap_or_else(|error| {
                // Weights that cannot be written cost this row; smaller models may still have room.
                stopped = error.exit_code();
                let (phase, reason) = (Phase::Start, error.to_string());
                (not_run(planned, Outcome::Failed { phase, reason }), None)
            }),
        };
        let row = report::row(
            &result,
            run::params(planned),
            run::weight_bytes(planned),
            planned.predicted_peak,
            self.cost,
            Some(began),
        );
        let row = report::with_tuning(row, tuning);
        let row = match &rows.limits {
            Some(limits) => match model::known_work(planned.spec, &planned.trial) {
                Ok(work) => {
                    let row = report::with_limits(row, &work, limits);
                    report::with_link(row, planned.spec.n_layers, &work, limits)
                }
                Err(reason) => report::without_limits(row, reason),
            },
            None => row,
        };
        let row = foreign::with_facts(row, planned, self.command, result.load.as_ref());
        let line = export::summary(&row);
        let code = code_of(&row.status).max(stopped);
        rows.keep(index, run, row);
        rows.save()?;
        self.progress.event(&Event::TrialFinished { id, line });
        Ok(code)
    }
}

/// The exit code that a row asks for.
pub(super) fn code_of(status: &str) -> u8 {
    match status {
        "ok" | "does_not_fit" => exit::OK,
        _ => exit::TRIALS,
    }
}

impl Rows {
    /// Whether that run of that trial has ended.
    fn has(&self, index: usize, run: u32) -> bool {
        match &self.repeated {
            Some(repeated) => repeated.has(index, run),
            None => self.rows[index].status != "pending",
        }
    }

    /// How that run of that trial ended.
    fn status(&self, index: usize, run: u32) -> &str {
        let repeated = self.repeated.as_ref();
        let told = repeated.and_then(|repeated| repeated.status(index, run));
        told.unwrap_or(&self.rows[index].status)
    }

    /// Keeps what a run measured of a trial. The rows are those of the first.
    fn keep(&mut self, index: usize, run: u32, row: Row) {
        if let Some(repeated) = &mut self.repeated {
            repeated.record(index, run, &row);
        }
        if run == 1 {
            self.rows[index] = row;
        }
    }
}

/// The result of a trial that was not run.
pub(super) fn not_run(planned: &PlannedTrial, outcome: Outcome) -> TrialResult {
    TrialResult {
        trial: planned.trial.clone(),
        outcome,
        load: None,
        repetitions: Vec::new(),
        first_run: None,
        warmth: None,
        check: None,
        decode_check: None,
        output_check: None,
        fp32_difference: None,
        router_check: None,
        memory: Vec::new(),
        enforcement: None,
        others: None,
        power: PowerLog::default(),
        paging: None,
        offload: None,
        routing: Vec::new(),
        first_ids: Vec::new(),
        wall: None,
    }
}
