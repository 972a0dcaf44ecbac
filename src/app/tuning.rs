//! Tunings of the runtime: short trials before a timed one, each in a worker of its own, and the timed one with what they kept.
//! The search is a value of the tuning room; this turns its crank.

use super::run::{self, Bench, Purpose};
use crate::cli::RunCommand;
use crate::error::Result;
use crate::export;
use crate::model::Store;
use crate::plan::PlannedTrial;
use crate::progress::{Event, Progress};
use crate::report::{self, Row};
use crate::trial::{Trial, TrialResult, TuningName, can_be_tuned};
use crate::tuning::{Ask, Choice, Found, Ran, Search, candidates};
use crate::units::Bytes;

/// Runs trials with the tunings that suit them.
pub struct Tuner<'a> {
    command: &'a RunCommand,
    bench: &'a Bench,
    progress: &'a Progress,
    /// What was found, by the trial without its budget.
    found: Vec<(Trial, Found)>,
}

/// A trial that has ended, and the tunings it was run with.
pub type Tuned = (TrialResult, Option<report::Tuning>);

impl<'a> Tuner<'a> {
    /// One that has tried nothing yet.
    pub fn new(command: &'a RunCommand, bench: &'a Bench, progress: &'a Progress) -> Tuner<'a> {
        Tuner {
            command,
            bench,
            progress,
            found: Vec::new(),
        }
    }

    /// Takes over what the searches of a run that was stopped found: `rows` are in the order of the plan.
    pub fn recall(&mut self, rows: &[Row]) {
        if self.command.tune != Choice::Auto {
            return;
        }
        for (planned, row) in self.bench.plan.trials.iter().zip(rows) {
            let work = work(&planned.trial);
            let known = self.found.iter().any(|(known, _)| *known == work);
            if let Some(found) = row.tuning.as_ref().and_then(report::Tuning::found)
                && row.id == planned.trial.id
                && !known
            {
                self.found.push((work, found));
            }
        }
    }

    /// Runs a trial of the plan, after the short trials that it may need.
    pub fn run(
        &mut self,
        planned: &PlannedTrial,
        prompts: Vec<Vec<i64>>,
        store: &mut Store,
    ) -> Result<Tuned> {
        let trial = &planned.trial;
        if !planned.tune || !can_be_tuned(trial) {
            let untuned = || report::Tuning::new(&Choice::Off, &[], &Found::default(), &[], None);
            let told = can_be_tuned(trial).then(untuned);
            return Ok((self.trial(planned, prompts, Purpose::Row, store)?, told));
        }
        let choice = &self.command.tune;
        let experts = planned.spec.has_experts();
        let is_set = |variable: &str| std::env::var_os(variable).is_some();
        let (open, left_alone) = candidates(choice, trial, experts, is_set);
        let found = match choice {
            Choice::Auto => self.search(open, planned, &prompts, store),
            Choice::Named(_) | Choice::Off => Found {
                kept: open,
                ..Found::default()
            },
        };
        let (kept, note) = match over(&found, trial.budget) {
            Some(note) => (Vec::new(), Some(note)),
            None => (found.kept.clone(), found.note.clone()),
        };
        let tuned = |kept: &[TuningName], note| {
            Some(report::Tuning::new(choice, kept, &found, &left_alone, note))
        };
        let result = self.trial(
            &with(planned, kept.clone()),
            prompts.clone(),
            Purpose::Row,
            store,
        )?;
        // Two trials may differ: what only its tuning brought down is measured without it.
        let by_search = *choice == Choice::Auto && !kept.is_empty();
        let Some(reason) = self.broke(planned, &result).filter(|_| by_search) else {
            return Ok((result, tuned(&kept, note)));
        };
        let note = format!("with what was kept the timed trial ended otherwise ({reason})");
        self.tell(trial, format!("{note}; it runs again untuned"));
        let result = self.trial(planned, prompts, Purpose::Row, store)?;
        Ok((result, tuned(&[], Some(note))))
    }

    /// Why a trial is not what it should be: how it ended, or that it took more than its budget where nothing held it.
    fn broke(&self, planned: &PlannedTrial, result: &TrialResult) -> Option<String> {
        let budget = planned.trial.budget;
        match self.ran(planned, result) {
            Ran::Failed(_) => result.outcome.reason().map(str::to_owned),
            Ran::Ok { peak, .. } => peak.filter(|peak| *peak > budget).map(|peak| {
                format!(
                    "it took {} MiB more than its budget",
                    peak.saturating_sub(budget).0.div_ceil(Bytes::MIB.0)
                )
            }),
        }
    }

    /// What short trials keep, at the largest budget of the plan for the same work: what takes too much there takes too much in
    /// a smaller one as well.
    fn search(
        &mut self,
        open: Vec<TuningName>,
        planned: &PlannedTrial,
        prompts: &[Vec<i64>],
        store: &mut Store,
    ) -> Found {
        let work = work(&planned.trial);
        if let Some((_, found)) = self.found.iter().find(|(known, _)| *known == work) {
            return found.clone();
        }
        let largest = self.largest(planned);
        let mut search = Search::new(open, largest.trial.budget);
        let mut is_first = true;
        while let Some(ask) = search.next() {
            let ran = self.short(largest, planned, &ask, prompts, store);
            if std::mem::take(&mut is_first)
                && let Ran::Ok {
                    decode_tok_s: Some(speed),
                    ..
                } = ran
            {
                self.tell(&planned.trial, export::untuned_summary(speed));
            }
            let known = search.tell(ran).map(export::tuning_summary);
            if let Some(line) = known {
                self.tell(&planned.trial, line);
            }
        }
        let found = search.found();
        if let Some(note) = &found.note {
            self.tell(&planned.trial, note.clone());
        }
        self.found.push((work, found.clone()));
        found
    }

    /// The trial of the same work with the largest budget, of those that will run.
    fn largest<'p>(&self, planned: &'p PlannedTrial) -> &'p PlannedTrial
    where
        'a: 'p,
    {
        let work_of_it = work(&planned.trial);
        let trials: &'p [PlannedTrial] = &self.bench.plan.trials;
        trials
            .iter()
            .filter(|other| {
                other.refusal(self.command.try_all).is_none() && work(&other.trial) == work_of_it
            })
            .max_by_key(|other| other.trial.budget)
            .unwrap_or(planned)
    }

    /// Runs a short trial: the same work under the same rules, timed once, and no row of the result. What goes wrong in it says
    /// no more than that these tunings are not to be had.
    fn short(
        &self,
        largest: &PlannedTrial,
        planned: &PlannedTrial,
        ask: &Ask,
        prompts: &[Vec<i64>],
        store: &mut Store,
    ) -> Ran {
        self.progress.event(&Event::Tuning {
            id: planned.trial.id.clone(),
            with: names(&ask.tuning),
        });
        let mut short = with(largest, ask.tuning.clone());
        (short.trial.repetitions, short.trial.steady) = (1, false);
        match self.trial(&short, prompts.to_vec(), Purpose::Tuning, store) {
            Ok(result) => self.ran(&short, &result),
            Err(error) => Ran::Failed(error.to_string()),
        }
    }

    /// How a short trial went, by the figures that a row of it would have.
    fn ran(&self, planned: &PlannedTrial, result: &TrialResult) -> Ran {
        if let Some(reason) = result.outcome.reason() {
            return Ran::Failed(format!("{}: {reason}", result.outcome.status()));
        }
        let row: Row = report::row(
            result,
            run::params(planned),
            run::weight_bytes(planned),
            planned.predicted_peak,
            &report::CostInputs::default(),
            None,
        );
        Ran::Ok {
            decode_tok_s: row.decode_tok_s.map(|speed| speed.mean),
            peak: row.memory.peak_bytes.map(Bytes),
        }
    }

    fn trial(
        &self,
        planned: &PlannedTrial,
        prompts: Vec<Vec<i64>>,
        purpose: Purpose,
        store: &mut Store,
    ) -> Result<TrialResult> {
        run::trial(
            self.command,
            self.bench,
            planned,
            prompts,
            purpose,
            store,
            self.progress,
        )
    }

    fn tell(&self, trial: &Trial, line: String) {
        self.progress.event(&Event::Tuned {
            id: trial.id.clone(),
            line,
        });
    }
}

/// What was kept takes more than this budget, as a note: a smaller one than it was found in.
fn over(found: &Found, budget: Bytes) -> Option<String> {
    match found.peak {
        Some(peak) if peak > budget && !found.kept.is_empty() => Some(format!(
            "{} is not used: it was found in a larger budget and takes {} MiB more than this one",
            names(&found.kept),
            peak.saturating_sub(budget).0.div_ceil(Bytes::MIB.0)
        )),
        _ => None,
    }
}

/// A trial without what does not change what is computed: budget, tunings and the name.
fn work(trial: &Trial) -> Trial {
    Trial {
        id: String::new(),
        budget: Bytes(0),
        tuning: Vec::new(),
        ..trial.clone()
    }
}

/// The trial, run with these.
fn with(planned: &PlannedTrial, tuning: Vec<TuningName>) -> PlannedTrial {
    let mut tuned = planned.clone();
    tuned.trial.tuning = tuning;
    tuned
}

/// Names of tunings in a sentence.
fn names(tuning: &[TuningName]) -> String {
    match tuning {
        [] => "untuned".to_owned(),
        all => {
            let names: Vec<String> = all.iter().map(TuningName::to_string).collect();
            names.join("+")
        }
    }
}
