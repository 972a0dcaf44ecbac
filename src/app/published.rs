//! The published study's way of measuring, run after the suite: one more trial for each of its models, whose figures stand beside those
//! of the model's row.

use super::run::{self, Bench, Purpose, Rows};
use super::suite::{Suite, code_of, not_run};
use crate::baseline::Library;
use crate::cli::RunCommand;
use crate::error::{Result, exit};
use crate::export;
use crate::model::Store;
use crate::plan::{Plan, PlannedTrial};
use crate::progress::Event;
use crate::report::compare::Run;
use crate::report::{self, PUBLISHED, Reproduced, Row};
use crate::trial::{Outcome, Phase, TrialResult};
use std::time::SystemTime;

/// The table of what the study published.
const FIGURES: &str = "study-4070ti";

/// What is to be measured its way: its two models where the plan has them, else every model of the plan, each by one of its rows.
pub fn pending(command: &RunCommand, plan: &Plan, rows: &[Row]) -> Vec<Reproduced> {
    if !command.as_published {
        return Vec::new();
    }
    let is_its =
        |planned: &PlannedTrial| [PUBLISHED.0, PUBLISHED.1].contains(&planned.trial.model.as_str());
    let some = plan.trials.iter().any(is_its);
    let chosen = one_of_each(plan, &|planned| !some || is_its(planned));
    let row = |planned: &&PlannedTrial| rows.iter().find(|row| row.id == planned.trial.id);
    chosen
        .iter()
        .filter_map(row)
        .map(report::to_reproduce)
        .collect()
}

/// A trial of each model that is wanted: of the largest budget, and there of the smallest batch.
pub fn one_of_each<'a>(
    plan: &'a Plan,
    wanted: &dyn Fn(&PlannedTrial) -> bool,
) -> Vec<&'a PlannedTrial> {
    let mut chosen: Vec<&PlannedTrial> = Vec::new();
    let budget = plan.largest_budget();
    let largest = plan.trials.iter().filter(|one| one.trial.budget == budget);
    for planned in largest.filter(|planned| wanted(planned)) {
        let known = chosen
            .iter_mut()
            .find(|other| other.trial.model == planned.trial.model);
        match known {
            Some(other) if planned.trial.batch < other.trial.batch => *other = planned,
            Some(_) => (),
            None => chosen.push(planned),
        }
    }
    chosen
}

impl Suite<'_> {
    /// Measures what has not been, to the exit code.
    pub fn as_published(&self, store: &mut Store, rows: &mut Rows) -> Result<u8> {
        let mut code = exit::OK;
        if rows.as_published.is_empty() {
            return Ok(code);
        }
        let figures = Library::open().find(FIGURES)?;
        let published = figures.parts.first().map(|part| &part.run);
        let before = self.bench.plan.trials.len() * self.command.repeat as usize;
        for place in 0..rows.as_published.len() {
            let wanted = &rows.as_published[place];
            let index = rows.rows.iter().position(|row| row.id == wanted.row);
            if let (Some(index), "pending") = (index, wanted.status.as_str()) {
                let found = self.reproduce((index, before + place), wanted, published, store, rows);
                code = code.max(code_of(&found.status));
                rows.as_published[place] = found;
                rows.save()?;
            }
        }
        Ok(code)
    }

    fn reproduce(
        &self,
        (index, place): (usize, usize),
        wanted: &Reproduced,
        published: Option<&Run>,
        store: &mut Store,
        rows: &Rows,
    ) -> Reproduced {
        let planned = its_way(&self.bench.plan.trials[index], wanted);
        let id = planned.trial.id.clone();
        self.progress.event(&Event::TrialStarted {
            index: place,
            id: id.clone(),
        });
        let began = run::utc(SystemTime::now());
        let result = self.beside(
            &planned,
            self.prompts[index].clone(),
            Purpose::AsPublished,
            store,
        );
        let own = report::row(
            &result,
            run::params(&planned),
            run::weight_bytes(&planned),
            planned.predicted_peak,
            self.cost,
            Some(began),
        );
        let line = export::summary(&own);
        self.progress.event(&Event::TrialFinished { id, line });
        report::reproduced(&result, &own, &rows.rows[index], published)
    }

    /// A trial beside those of the suite.
    pub(super) fn beside(
        &self,
        planned: &PlannedTrial,
        prompts: Vec<Vec<i64>>,
        purpose: Purpose,
        store: &mut Store,
    ) -> TrialResult {
        if let Some(reason) = planned.refusal(self.command.try_all) {
            let reason = reason.to_owned();
            return not_run(planned, Outcome::DoesNotFit { reason });
        }
        let (command, bench): (&RunCommand, &Bench) = (self.command, self.bench);
        run::trial(
            command,
            bench,
            planned,
            prompts,
            purpose,
            store,
            self.progress,
        )
        .unwrap_or_else(|error| {
            let (phase, reason) = (Phase::Start, error.to_string());
            not_run(planned, Outcome::Failed { phase, reason })
        })
    }
}

/// The trial of a row with as many tokens as the study generates. Nothing is decoded, so there is no graph to capture.
fn its_way(planned: &PlannedTrial, wanted: &Reproduced) -> PlannedTrial {
    let mut planned = planned.clone();
    let trial = &mut planned.trial;
    trial.id = format!(
        "{}/as-published",
        trial.id.replace(
            &format!("/tg{}", trial.gen_tokens),
            &format!("/tg{}", wanted.gen_tokens)
        )
    );
    trial.gen_tokens = wanted.gen_tokens;
    trial.kv_room = None;
    trial.cuda_graph = false;
    planned
}
