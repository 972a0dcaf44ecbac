//! Door of the tuning room: which tunings of the runtime a trial is run with, found by short trials or named by the user. Pure:
//! no process, no clock, no environment; `app` runs the short trials.

mod search;

pub use search::{Ask, Found, Ran, Search, Tried};

use crate::trial::{Trial, TuningName};

/// What the user wants tuned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// What short trials show to be faster.
    Auto,
    /// Nothing.
    Off,
    /// These, in the order of the table, without trying.
    Named(Vec<TuningName>),
}

impl Choice {
    /// The word used in results.
    pub fn mode(&self) -> &'static str {
        match self {
            Choice::Auto => "auto",
            Choice::Off => "off",
            Choice::Named(_) => "named",
        }
    }
}

/// A tuning that is neither tried nor applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftAlone {
    /// Which.
    pub name: TuningName,
    /// Why.
    pub reason: String,
}

/// The tunings that may be tried or applied in a trial, and the wanted ones that may not. `is_set` tells whether the user set a
/// variable himself: what he says of it holds.
pub fn candidates(
    choice: &Choice,
    trial: &Trial,
    experts: bool,
    is_set: impl Fn(&str) -> bool,
) -> (Vec<TuningName>, Vec<LeftAlone>) {
    let (mut open, mut left_alone) = (Vec::new(), Vec::new());
    for name in TuningName::all() {
        let tuning = name.tuning();
        let applies = tuning.applies(trial, experts);
        let wanted = match choice {
            Choice::Off => false,
            Choice::Auto => applies,
            Choice::Named(names) => names.contains(&name),
        };
        let mut variables = tuning.environment.iter().map(|(variable, _)| *variable);
        let reason = match variables.find(|variable| is_set(variable)) {
            _ if !applies => "it changes nothing in such a graph".to_owned(),
            Some(variable) => format!("{variable} is set in the environment"),
            None => {
                open.extend(wanted.then_some(name));
                continue;
            }
        };
        if wanted {
            left_alone.push(LeftAlone { name, reason });
        }
    }
    (open, left_alone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{Device, Precision};
    use crate::units::Bytes;

    fn trial() -> Trial {
        Trial {
            model: "m".into(),
            precision: Precision::Fp16,
            device: Device::Cuda(0),
            prompt_tokens: 1,
            gen_tokens: 2,
            cuda_graph: true,
            budget: Bytes(1),
            ..Trial::example()
        }
    }

    fn named(name: &str) -> TuningName {
        TuningName::try_from(name.to_owned()).unwrap()
    }

    /// Names of what is open, and name and reason of what is left alone.
    fn found(choice: &Choice, set: &str) -> (Vec<String>, Vec<(String, String)>) {
        let (open, left) = candidates(choice, &trial(), false, |variable| variable == set);
        let left = left.into_iter();
        (
            open.iter().map(TuningName::to_string).collect(),
            left.map(|one| (one.name.to_string(), one.reason)).collect(),
        )
    }

    #[test]
    fn what_applies_is_open() {
        let (open, left) = found(&Choice::Auto, "");
        assert_eq!(open, ["gemm", "attention-flash"]);
        assert!(left.is_empty());
        assert_eq!(found(&Choice::Off, ""), (vec![], vec![]));
    }

    #[test]
    fn a_variable_of_the_user_is_left_alone() {
        for choice in [
            Choice::Auto,
            Choice::Named(vec![named("gemm"), named("attention-flash")]),
        ] {
            // The second of two.
            let (open, left) = found(&choice, "ORT_CUDA_GEMM_GRAPH_REPLAY_TUNING");
            assert_eq!(open, ["attention-flash"]);
            assert_eq!(left[0].0, "gemm");
            assert_eq!(
                left[0].1,
                "ORT_CUDA_GEMM_GRAPH_REPLAY_TUNING is set in the environment"
            );
        }
    }

    #[test]
    fn a_named_one_that_changes_nothing_is_told() {
        let choice = Choice::Named(vec![named("moe-timed"), named("gemm")]);
        let (open, left) = found(&choice, "");
        assert_eq!(open, ["gemm"]);
        assert_eq!(left.len(), 1);
        assert!(left[0].1.contains("changes nothing"), "{left:?}");
    }
}
