//! Which ceilings there are to search for, and what the trials of each look like.

use super::run::Bench;
use crate::ceiling::{CONTEXT_STEP, Failure, Fit, Kind, Limit, Pass, Sizes};
use crate::cli::RunCommand;
use crate::plan::{MOST_SEQUENCES, Plan, PlannedTrial};
use crate::report::{Ceiling, CeilingTrial, Row, ceilings as entries};
use crate::trial::{Device, Trial};

/// Tokens generated at the end of a context: the first comes out of the prompt, the median of the others is the speed there.
const DECODED: u32 = 16;

/// One ceiling to search for.
pub struct Task {
    /// What is searched for.
    pub kind: Kind,
    /// The ceiling as long as nothing is known.
    pub pending: Ceiling,
    /// Places in the plan of the trials it is about: one model, form, precision and budget, for a batch the same lengths.
    pub of: Vec<usize>,
}

/// The ceilings of a plan: those that were asked for, else contexts and batches on a GPU. On the CPU a long context may take hours.
pub fn tasks(command: &RunCommand, bench: &Bench) -> Vec<Task> {
    let plan = &bench.plan;
    let kinds = match (&command.ceilings, plan.device) {
        (Some(kinds), _) => kinds.clone(),
        (None, Device::Cuda(_)) if !command.request.ablate => vec![Kind::Context, Kind::Batch],
        // Nor between steps of one trial, which differ in speed.
        (None, _) => Vec::new(),
    };
    let mut tasks = Vec::new();
    for group in groups(plan, |trial| {
        (
            trial.model.clone(),
            trial.form,
            (trial.precision, trial.kv_cache),
            trial.budget,
        )
    }) {
        if kinds.contains(&Kind::Context) {
            tasks.push(context(plan, group.clone()));
        }
        if kinds.contains(&Kind::Batch) {
            let lengths = |trial: &Trial| (trial.prompt_tokens, trial.gen_tokens);
            let all = groups(plan, lengths).into_iter();
            let parts = all.map(|mut part| {
                part.retain(|place| group.contains(place));
                part
            });
            tasks.extend(
                parts
                    .filter(|part| !part.is_empty())
                    .map(|part| batch(plan, part)),
            );
        }
    }
    if kinds.contains(&Kind::Model) {
        let budgets = groups(plan, |trial| trial.budget).into_iter();
        tasks.extend(budgets.map(|of| Task {
            kind: Kind::Model,
            pending: entries::pending(Kind::Model, &plan.trials[of[0]].trial, None, None),
            of,
        }));
    }
    tasks
}

/// Places of the trials that have something in common, in the order of the plan.
fn groups<K: PartialEq>(plan: &Plan, key: impl Fn(&Trial) -> K) -> Vec<Vec<usize>> {
    let mut groups: Vec<(K, Vec<usize>)> = Vec::new();
    for (place, planned) in plan.trials.iter().enumerate() {
        let key = key(&planned.trial);
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, group)) => group.push(place),
            None => groups.push((key, vec![place])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn context(plan: &Plan, of: Vec<usize>) -> Task {
    let planned = &plan.trials[of[0]];
    let trial = Trial {
        gen_tokens: decoded(planned),
        ..planned.trial.clone()
    };
    let predicted = planned.fits_up_to.context_at_batch_1.size;
    Task {
        kind: Kind::Context,
        pending: entries::pending(Kind::Context, &trial, Some(CONTEXT_STEP), predicted),
        of,
    }
}

fn batch(plan: &Plan, of: Vec<usize>) -> Task {
    let planned = &plan.trials[of[0]];
    let predicted = planned.fits_up_to.batch.size;
    Task {
        kind: Kind::Batch,
        pending: entries::pending(Kind::Batch, &planned.trial, Some(1), predicted),
        of,
    }
}

/// Few enough to leave the smallest context a prompt.
fn decoded(planned: &PlannedTrial) -> u32 {
    DECODED.min(planned.spec.max_positions / 2).max(1)
}

impl Task {
    /// The sizes there are.
    pub fn sizes(&self, model: &PlannedTrial) -> Sizes {
        match self.kind {
            Kind::Context => Sizes {
                step: CONTEXT_STEP,
                most: model.spec.max_positions,
                end: Limit::Positions,
            },
            Kind::Batch | Kind::Model => Sizes {
                step: 1,
                most: MOST_SEQUENCES,
                end: Limit::Flag,
            },
        }
    }

    /// The trial of a size: a short one, for a context; for a batch the row's own lengths, so that a cache that grows grows as
    /// far as it does there.
    pub fn trial(&self, model: &PlannedTrial, size: u32) -> Trial {
        let (batch, prompt_tokens, gen_tokens) = match self.kind {
            Kind::Context => {
                let generated = decoded(model).min(size.saturating_sub(1)).max(1);
                (1, size.saturating_sub(generated).max(1), generated)
            }
            Kind::Batch | Kind::Model => (size, model.trial.prompt_tokens, model.trial.gen_tokens),
        };
        let Trial {
            model: name,
            form,
            precision,
            kv_cache,
            ..
        } = &model.trial;
        // For a context it is the room that is searched for.
        let kv_room = model.trial.kv_room.filter(|_| self.kind != Kind::Context);
        let cache = format!(
            "{}{}{}",
            kv_cache.suffix(),
            Trial::room_suffix(kv_room),
            model.trial.offload.suffix()
        );
        Trial {
            id: format!(
                "{name}/{form}/{precision}/b{batch}/pp{prompt_tokens}/tg{gen_tokens}{cache}"
            ),
            batch,
            prompt_tokens,
            gen_tokens,
            repetitions: 1,
            warmup: 0,
            steady: false,
            kv_room,
            ..model.trial.clone()
        }
    }

    /// The trials of this ceiling that ran inside the budget, the largest last.
    pub fn ran<'a>(&self, plan: &'a Plan, rows: &'a [Row]) -> Vec<(&'a PlannedTrial, &'a Row)> {
        let all = self
            .of
            .iter()
            .map(|place| (&plan.trials[*place], &rows[*place]));
        let mut ran: Vec<_> = all.filter(|(_, row)| is_inside(row)).collect();
        ran.sort_by_key(|(planned, _)| (planned.trial.batch, planned.trial.sequence()));
        ran
    }

    /// Why there is nothing to start from.
    pub fn no_row(&self, rows: &[Row]) -> String {
        let ends = self.of.first().map(|place| &rows[*place]);
        let why = ends.map_or_else(String::new, |row| {
            let reason = unread(row).or_else(|| row.reason.clone());
            let reason = reason.unwrap_or_else(|| "its peak was above the budget".to_owned());
            format!(" ({}: {reason})", row.status.replace('_', " "))
        });
        format!("no trial of this model, form and precision ran to its end inside the budget{why}")
    }

    /// The smallest size whose trial in the plan ran out of memory.
    pub fn failed(&self, plan: &Plan, rows: &[Row]) -> Option<Failure> {
        let all = self.of.iter();
        let failed = all.filter_map(|place| {
            let (trial, row) = (&plan.trials[*place].trial, &rows[*place]);
            let size = match self.kind {
                // More sequences say nothing of one, and a cache with more room nothing of a sequence.
                Kind::Context => {
                    let one = trial.batch == 1 && trial.kv_room.is_none();
                    one.then(|| trial.sequence())?
                }
                Kind::Batch => trial.batch,
                Kind::Model => return None,
            };
            // With a tuning it took more than the search's own trials, which have none.
            let tuned = row.tuning.as_ref().is_some_and(|one| !one.kept.is_empty());
            (row.status == "out_of_memory" && !tuned).then_some((size, row))
        });
        let (size, row) = failed.min_by_key(|(size, _)| *size)?;
        let phase = row.failed_phase.clone();
        Some(Failure {
            size,
            limit: Limit::Memory,
            phase: phase.and_then(|phase| serde_json::from_value(phase.into()).ok()),
            reason: row.reason.clone().unwrap_or_default(),
            remembered_from: None,
        })
    }

    /// The largest size that a row ran.
    pub fn largest(&self, ran: &[(&PlannedTrial, &Row)]) -> Option<u32> {
        let size = |trial: &Trial| match self.kind {
            Kind::Context => Some(trial.sequence()),
            Kind::Batch => Some(trial.batch),
            Kind::Model => None,
        };
        ran.iter()
            .filter_map(|(planned, _)| size(&planned.trial))
            .max()
    }

    /// A row whose steps the times of larger sizes are held against.
    pub fn base(&self, ran: &[(&PlannedTrial, &Row)]) -> Option<Fit> {
        let (planned, row) = match self.kind {
            Kind::Context => ran.iter().rfind(|(planned, _)| planned.trial.batch == 1)?,
            Kind::Batch | Kind::Model => return None,
        };
        Some(Fit {
            size: planned.trial.sequence(),
            pass: warm(row),
        })
    }

    /// A row that is one of the sizes searched for: a batch at these lengths.
    pub fn fit(&self, ran: &[(&PlannedTrial, &Row)]) -> Option<(Fit, CeilingTrial)> {
        let (planned, row) = ran.last()?;
        let size = planned.trial.batch;
        let fit = Fit {
            size,
            pass: warm(row),
        };
        (self.kind == Kind::Batch).then(|| (fit, entries::trial(Some(size), row)))
    }
}

fn is_inside(row: &Row) -> bool {
    let peak = row.memory.peak_bytes;
    row.status == "ok" && peak.is_some_and(|peak| peak <= row.memory.budget_bytes)
}

/// Why nobody can say whether a trial that ran was inside the budget; `None` where that is known.
pub fn unread(row: &Row) -> Option<String> {
    let unread = row.status == "ok" && row.memory.peak_bytes.is_none();
    unread.then(|| {
        let told = row.not_measured.get("memory.peak_bytes");
        format!(
            "it ran, but its memory was not read ({}), so nobody can say whether it was inside the budget",
            told.map_or("no reason was told", String::as_str)
        )
    })
}

/// What a row took. Its prompts ran with everything warmed up, and are not compared with first ones.
fn warm(row: &Row) -> Pass {
    Pass {
        prefill: None,
        ..super::pass_of(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::run;
    use crate::model::{find, footprint};
    use crate::plan::{Facts, PrecisionChoice, Request, Selection};
    use crate::trial::{Form, Phase};
    use crate::units::Bytes;

    fn plan() -> Plan {
        let request = Request {
            selection: Selection::Models(vec!["tiny-llama".into(), "dense-120m".into()]),
            forms: vec![Form::Fused],
            precisions: vec![PrecisionChoice::Auto],
            kv_caches: vec![Default::default()],
            ablate: false,
            offload: Default::default(),
            kv_room: None,
            external_paths: Default::default(),
            batches: vec![1, 2],
            prompt_tokens: vec![32, 64],
            gen_tokens: vec![8],
            repetitions: 5,
            warmup: 1,
            steady: false,
            threads: None,
            cuda_graph: true,
            seed: 42,
            budgets: Vec::new(),
        };
        let facts = Facts {
            device: Device::Cpu,
            device_memory: Some(Bytes(8 << 30)),
            cores: 2,
        };
        Plan::build(&request, &facts, &footprint).unwrap()
    }

    #[test]
    fn groups_are_those_of_equal_key_in_the_order_of_the_plan() {
        let plan = plan();
        let models = groups(&plan, |trial| trial.model.clone());
        assert_eq!(models, [vec![0, 1, 2, 3], vec![4, 5, 6, 7]]);
        let lengths = groups(&plan, |trial| trial.prompt_tokens);
        assert_eq!(lengths, [vec![0, 2, 4, 6], vec![1, 3, 5, 7]]);
    }

    #[test]
    fn rows_tell_what_ran_and_what_ran_out_of_memory() {
        let plan = plan();
        let mut rows: Vec<Row> = plan
            .trials
            .iter()
            .map(|planned| {
                let (params, weights) = (run::params(planned), run::weight_bytes(planned));
                crate::report::pending_row(&planned.trial, params, weights, None)
            })
            .collect();
        let place = |batch: u32, prompt: u32| {
            let is = |planned: &PlannedTrial| {
                (planned.trial.batch, planned.trial.prompt_tokens) == (batch, prompt)
            };
            plan.trials.iter().position(is).unwrap()
        };
        let of: Vec<usize> = (0..4).collect();
        let (context, batch) = (
            context(&plan, of.clone()),
            batch(&plan, vec![place(1, 32), place(2, 32)]),
        );
        assert_eq!(context.failed(&plan, &rows), None);
        for failed in [place(1, 64), place(2, 32)] {
            rows[failed].status = "out_of_memory".to_owned();
            rows[failed].failed_phase = Some("prefill".to_owned());
        }
        // What two sequences take says nothing of one.
        let fails = context.failed(&plan, &rows).unwrap();
        assert_eq!((fails.size, fails.phase), (72, Some(Phase::Prefill)));
        assert_eq!(batch.failed(&plan, &rows).unwrap().size, 2);
        rows[place(1, 32)].status = "ok".to_owned();
        assert!(context.ran(&plan, &rows).is_empty());
        assert!(unread(&rows[place(1, 32)]).is_some() && unread(&rows[place(1, 64)]).is_none());
        rows[place(1, 32)].memory.peak_bytes = Some(1);
        let largest = |task: &Task| task.largest(&task.ran(&plan, &rows));
        assert_eq!((largest(&context), largest(&batch)), (Some(40), Some(1)));
        assert_eq!(unread(&rows[place(1, 32)]), None);
    }

    #[test]
    fn the_trial_of_a_size_is_short_and_has_all_of_it() {
        let plan = plan();
        let model = &plan.trials[4];
        let task = context(&plan, vec![4]);
        for size in [64, 128, 1024] {
            let trial = task.trial(model, size);
            assert_eq!(
                (trial.context(), trial.gen_tokens, trial.batch),
                (size, 16, 1)
            );
            assert_eq!((trial.repetitions, trial.warmup), (1, 0));
        }
        assert_eq!(
            task.sizes(model).most,
            find("dense-120m").unwrap().max_positions
        );
        let trial = batch(&plan, vec![4]).trial(model, 7);
        assert_eq!(trial.id, "dense-120m/fused/fp32/b7/pp32/tg8");
    }
}
