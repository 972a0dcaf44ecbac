//! The largest built-in model and precision that fits a budget, found by running.

use super::run::Rows;
use super::{Crank, Task, broken_off, task, verdict};
use crate::ceiling::{Largest, Verdict};
use crate::error::Error;
use crate::model::{self, Store, builtin};
use crate::plan::{self, PlannedTrial};
use crate::report::{Ceiling, CeilingTrial, LargerModel, ceilings as entries};
use crate::trial::{Precision, Trial};
use crate::units::Bytes;

/// A model and precision with the trial that would show whether it fits, and how that went.
struct Candidate {
    planned: PlannedTrial,
    predicted: Bytes,
    ran: Option<(CeilingTrial, Verdict)>,
}

impl Crank<'_> {
    /// The largest model under a budget, and what ended the search before its time.
    pub(super) fn largest(
        &self,
        task: &Task,
        store: &mut Store,
        rows: &Rows,
    ) -> (Ceiling, Option<Error>) {
        let mut candidates = self.candidates(&self.bench.plan.trials[task.of[0]]);
        let budget = Bytes(task.pending.budget_bytes);
        let margin = self.margin(budget, rows);
        let predicted = candidates.iter().map(|one| one.predicted).collect();
        let mut search = Largest::new(predicted, budget, margin);
        let mut ceiling = task.pending.clone();
        let (mut error, mut unread) = (None, None);
        while let Some(place) = search.next() {
            let candidate = &mut candidates[place];
            let (result, row) = match self.pass(&candidate.planned, store) {
                Ok(ran) => ran,
                Err(cause) => {
                    error = Some(cause);
                    break;
                }
            };
            let trial = entries::trial(None, &row);
            unread = task::unread(&row);
            if unread.is_some() {
                ceiling.trials.push(trial);
                break;
            }
            let verdict = verdict(&result, &row);
            search.tell(place, matches!(verdict, Verdict::Fits(_)));
            ceiling.trials.push(trial.clone());
            candidate.ran = Some((trial, verdict));
        }
        let best = search.best().and_then(|place| {
            let Trial {
                model, precision, ..
            } = &candidates[place].planned.trial;
            let (trial, _) = candidates[place].ran.as_ref()?;
            Some((model.as_str(), precision.to_string(), trial))
        });
        let larger = search
            .next_larger()
            .map(|place| larger(&candidates[place], budget, margin));
        let ceiling = entries::largest(ceiling, best, larger, margin, search.is_complete());
        (broken_off(ceiling, error.as_ref(), unread), error)
    }

    /// Every built-in model in every precision that has the positions, the largest first by the bytes of its weights. The
    /// test sizes are no answer to anything.
    fn candidates(&self, like: &PlannedTrial) -> Vec<Candidate> {
        let request = &self.command.request;
        let real = |spec: &&model::ModelSpec| spec.suites.iter().any(|suite| suite != "sanity");
        let mut candidates = Vec::new();
        for spec in builtin().iter().filter(real) {
            let (prompt_tokens, gen_tokens) = plan::lengths(
                request.prompt_tokens.first().copied(),
                request.gen_tokens.first().copied(),
                Some(spec.max_positions.into()),
            );
            for precision in Precision::ALL {
                let (name, form) = (&spec.name, like.trial.form);
                let kv_room = request.kv_room.map(|room| room.min(spec.max_positions));
                let cache = like.trial.kv_cache.suffix();
                let room = Trial::room_suffix(kv_room);
                let cache = format!("{cache}{room}{}", like.trial.offload.suffix());
                let device = like.trial.device;
                if model::check_form(form, precision).is_err()
                    || model::check_device(spec, precision, device).is_err()
                {
                    continue;
                }
                let trial = Trial {
                    id: format!(
                        "{name}/{form}/{precision}/b1/pp{prompt_tokens}/tg{gen_tokens}{cache}"
                    ),
                    model: name.clone(),
                    precision,
                    batch: 1,
                    prompt_tokens,
                    gen_tokens,
                    kv_room,
                    repetitions: 1,
                    warmup: 0,
                    steady: false,
                    ..like.trial.clone()
                };
                if trial.context() > spec.max_positions {
                    continue;
                }
                let model = PlannedTrial {
                    spec,
                    ..like.clone()
                };
                let (planned, predicted) = self.planned(&model, trial);
                candidates.push(Candidate {
                    planned,
                    predicted,
                    ran: None,
                });
            }
        }
        let size =
            |one: &Candidate| model::weight_bytes(one.planned.spec, one.planned.trial.numerics());
        candidates.sort_by_key(|one| std::cmp::Reverse(size(one)));
        candidates
    }
}

/// A model that is not the largest, and why.
fn larger(candidate: &Candidate, budget: Bytes, margin: Option<Bytes>) -> LargerModel {
    let Trial {
        model, precision, ..
    } = &candidate.planned.trial;
    let (status, reason) = match &candidate.ran {
        Some((trial, Verdict::Fails { reason, .. })) => (trial.status.clone(), reason.clone()),
        Some((trial, Verdict::Fits(_))) => (trial.status.clone(), "it ran".to_owned()),
        None => (
            "not_run".to_owned(),
            format!(
                "it is predicted to need {}, {} is {}, and it was not run",
                plan::at_least(candidate.predicted),
                if margin.is_some() {
                    "what the search stays under"
                } else {
                    "the budget"
                },
                plan::at_most(margin.map_or(budget, |margin| margin.min(budget))),
            ),
        ),
    };
    LargerModel {
        model: model.clone(),
        precision: precision.to_string(),
        predicted_peak_bytes: candidate.predicted.0,
        status,
        reason,
    }
}
