//! Where the routers of the mixtures send tokens, looked at after the suite: a short untimed trial for each.

use super::published::one_of_each;
use super::run::{Purpose, Rows};
use super::suite::{Suite, code_of};
use crate::cli::RunCommand;
use crate::error::{Result, exit};
use crate::model::{self, Store};
use crate::plan::{Plan, PlannedTrial};
use crate::progress::Event;
use crate::report::{self, RouterFacts, Row};

/// The mixtures of the plan, of experts and of specialists.
pub fn pending(command: &RunCommand, plan: &Plan, rows: &[Row]) -> Vec<RouterFacts> {
    if !command.router {
        return Vec::new();
    }
    let has_router =
        |planned: &PlannedTrial| planned.spec.has_experts() || planned.spec.specialists.is_some();
    let row = |planned: &PlannedTrial| rows.iter().find(|row| row.id == planned.trial.id);
    let chosen = one_of_each(plan, &has_router);
    let rows = chosen.into_iter().filter_map(row);
    rows.map(report::to_route).collect()
}

impl Suite<'_> {
    /// Looks at what has not been looked at, to the exit code.
    pub fn routers(&self, store: &mut Store, rows: &mut Rows) -> Result<u8> {
        let mut code = exit::OK;
        let before = self.bench.plan.trials.len() * self.command.repeat as usize;
        let before = before + rows.as_published.len();
        for place in 0..rows.routers.len() {
            let wanted = &rows.routers[place];
            let index = rows.rows.iter().position(|row| row.id == wanted.row);
            let (Some(index), "pending") = (index, wanted.status.as_str()) else {
                continue;
            };
            let mut planned = self.bench.plan.trials[index].clone();
            let trial = &mut planned.trial;
            trial.id = format!("{}/router", trial.id);
            // One token at a time, of one sequence; a captured graph would log nothing.
            (trial.batch, trial.cuda_graph) = (1, false);
            let id = planned.trial.id.clone();
            self.progress.event(&Event::TrialStarted {
                index: before + place,
                id: id.clone(),
            });
            let prompts: Vec<Vec<i64>> = self.prompts[index].iter().take(1).cloned().collect();
            let result = self.beside(&planned, prompts, Purpose::Routing, store);
            let (spec, trial) = (planned.spec, &planned.trial);
            let work = model::work(spec, trial);
            let bytes = model::expert_bytes(spec, trial.numerics());
            let experts = bytes.map(|bytes| report::Experts {
                bytes,
                layers: spec.n_layers,
                work: &work,
                limits: rows.limits.as_ref(),
            });
            let is_trained = model::origin(spec).is_some() || spec.foreign.is_some();
            let row = &rows.rows[index];
            let found = report::routed(&result, row, experts.as_ref(), is_trained);
            code = code.max(code_of(&found.status));
            let line = format!("{} routers: {}", found.layers.len(), found.status);
            self.progress.event(&Event::TrialFinished { id, line });
            rows.routers[place] = found;
            rows.save()?;
        }
        Ok(code)
    }
}
