//! Door of the report room: from raw trial results to everything an exporter may know. Pure; nothing is measured here.

mod budgets;
pub mod ceilings;
mod checks;
mod codec;
pub mod compare;
mod cost;
mod elsewhere;
mod energy;
#[cfg(test)]
mod fixture;
mod ladder;
mod limit;
mod memory;
mod metrics;
mod offload;
mod paging;
mod positions;
mod repeat;
mod row;
mod schema;
mod state;
mod study;
mod tuning;
mod verdict;
mod warnings;

pub use budgets::{Step, is_same_work, of as budgets, steps};
pub use ceilings::{Ceiling, CeilingTrial, LargerModel};
pub use codec::{ceiling_to_json_line, closing_to_json_lines, from_json, to_json, to_json_line};
pub use cost::{CostInputs, hardware_price_source};
#[cfg(test)]
pub use fixture::{fixture, repeated_report, several_budgets, studied};
pub use ladder::{Rung, rungs, step};
pub use limit::{device_limits, with_limits, without_limits};
pub use offload::{predicted_step, with_link};
pub use repeat::{Repeatability, RepeatedTrial, RunFigures, Spread};
pub use row::{pending_row, row, variant};
pub use schema::*;
pub use study::{
    Basis, Beside, Formula, PUBLISHED, Priced, PublishedMetric, Ratio, Reproduced, Side, Study,
    StudyPair, reproduced, to_reproduce,
};
#[cfg(test)]
pub use study::{CachePolicy, CacheScope, ExpertReuse};
pub use study::{ExpertCache, Experts};
pub use study::{RouterFacts, RouterLayer, routed, to_route};
#[cfg(test)]
pub use tuning::LeftAloneTuning;
pub use tuning::{TriedTuning, Tuning, tuning_name, with_tuning};

use crate::units::Bytes;

/// Everything in a report that is known before the first trial.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportHead {
    /// The program.
    pub tool: Tool,
    /// The command line, as typed.
    pub command_line: Vec<String>,
    /// Start, RFC 3339 in UTC.
    pub started_utc: String,
    /// The machine.
    pub environment: Environment,
    /// Memory budgets of the run in ascending order, one at least.
    pub budgets: Vec<Bytes>,
    /// Seed of the built-in weights.
    pub seed: u64,
    /// Tokenizer in use.
    pub tokenizer: String,
    /// What came from outside the command line.
    pub inputs: Option<Inputs>,
    /// When it was continued after a stop, each time.
    pub continued_utc: Vec<String>,
    /// Formulas to price tokens by, where the study was asked for by name.
    pub formulas: Option<Vec<Formula>>,
}

/// A report of `rows`, in the order of the plan. It is finished when none of them is pending, and has a verdict once
/// one of them has ended.
/// Of several runs the rows are the first, and it is finished when all of them have ended.
pub fn build(head: &ReportHead, rows: Vec<Row>, repeated: Option<&Repeatability>) -> Report {
    let study = study::study(&rows, repeated, head.formulas.as_deref());
    let ended = rows.iter().all(|row| row.status != "pending");
    let mut verdict = verdict::verdict(&rows, study.as_ref());
    if let (Some(verdict), Some(repeated)) = (&mut verdict, repeated) {
        add(verdict, &repeated.verdict);
    }
    Report {
        schema_version: SCHEMA_VERSION.to_owned(),
        tool: head.tool.clone(),
        command_line: head.command_line.clone(),
        started_utc: head.started_utc.clone(),
        continued_utc: head.continued_utc.clone(),
        finished: ended && repeated.is_none_or(Repeatability::is_complete),
        environment: head.environment.clone(),
        budget_bytes: head.budgets.last().map_or(0, |budget| budget.0),
        budgets_bytes: head.budgets.iter().map(|budget| budget.0).collect(),
        seed: head.seed,
        tokenizer: head.tokenizer.clone(),
        inputs: head.inputs.clone(),
        verdict,
        trials: rows,
        ceilings: Vec::new(),
        study,
        repeatability: repeated.cloned(),
    }
}

/// A sentence at the end of a verdict, in a paragraph of its own where there are several.
fn add(verdict: &mut String, sentence: &str) {
    verdict.push(if verdict.contains('\n') { '\n' } else { ' ' });
    verdict.push_str(sentence);
}

/// The report with the ceilings that were searched for. It is finished when none of them is pending either, and its verdict
/// names the largest sizes.
pub fn with_ceilings(mut report: Report, ceilings: &[Ceiling]) -> Report {
    report.finished &= ceilings.iter().all(|ceiling| ceiling.status != "pending");
    if let (Some(verdict), Some(sentence)) = (&mut report.verdict, ceilings::sentence(ceilings)) {
        add(verdict, &sentence);
    }
    report.ceilings = ceilings.to_vec();
    report
}

/// The report with what was measured by the published study's method. It is finished when all of that has run.
pub fn with_as_published(mut report: Report, models: &[Reproduced]) -> Report {
    report.finished &= models.iter().all(|model| model.status != "pending");
    report.study = study::as_published(report.study.take(), models);
    report
}

/// The report with what the routers did. It is finished when all of that has run.
pub fn with_routers(mut report: Report, routers: &[RouterFacts]) -> Report {
    report.finished &= routers.iter().all(|one| one.status != "pending");
    report.study = study::with_routers(report.study.take(), routers);
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_with_a_pending_row_is_not_finished() {
        let whole = fixture();
        assert!(whole.finished);
        let mut rows = whole.trials.clone();
        rows[0].status = "pending".to_owned();
        assert!(!build(&fixture::head(), rows, None).finished);
    }
}
