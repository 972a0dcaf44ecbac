//! Tunings that ONNX Runtime's CUDA provider offers: what each switches, by which variables, and which graphs have it. Pure data.

use super::{Device, Form, Precision, Trial};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A choice of kernels that is switched by environment variables of the process.
#[derive(Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Name on the command line and in results.
    pub name: &'static str,
    /// What it switches, as the end of a sentence.
    pub switches: &'static str,
    /// The variables and their values.
    pub environment: &'static [(&'static str, &'static str)],
    /// Kinds of graphs that it changes anything in.
    pub applies_to: &'static [Kind],
}

/// A kind of graph, by facts that are known before it is written.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Types of the weights.
    pub precisions: &'static [Precision],
    /// Whether a router sends each token to some of many experts; `None` for both.
    pub experts: Option<bool>,
}

const ALL: &[Precision] = &Precision::ALL;
const FP16: &[Precision] = &[Precision::Fp16];
const QUANTIZED: &[Precision] = &[Precision::Int8, Precision::Int4];

/// The kind with these types of weights, with experts or without.
const fn any(precisions: &'static [Precision]) -> Kind {
    Kind {
        precisions,
        experts: None,
    }
}

/// The kind with these types of weights and with experts.
const fn moe(precisions: &'static [Precision]) -> Kind {
    Kind {
        precisions,
        experts: Some(true),
    }
}

/// Every tuning, in the order in which they are tried: each on top of those before it that were kept.
pub const TUNINGS: &[Tuning] = &[
    // Routers compute in floating point whatever the experts' weights are.
    Tuning {
        name: "gemm",
        switches: "floating-point matrix products by the fastest of cuBLAS's and the runtime's own kernels, timed for each shape",
        environment: &[
            ("ORT_CUDA_GEMM_AUTO_TUNE", "1"),
            ("ORT_CUDA_GEMM_GRAPH_REPLAY_TUNING", "1"),
        ],
        applies_to: &[any(FP16), moe(ALL)],
    },
    Tuning {
        name: "attention-flash",
        switches: "attention of decode steps by flash decoding instead of the XQA kernel",
        environment: &[("ORT_ENABLE_XQA", "0")],
        applies_to: &[any(ALL)],
    },
    Tuning {
        name: "fpa-intb",
        switches: "quantised linear layers by the kernels that pack their weights anew at load",
        environment: &[("ORT_FPA_INTB_GEMM", "1")],
        applies_to: &[any(QUANTIZED)],
    },
    Tuning {
        name: "moe-timed",
        switches: "kernels of the experts chosen by timing them instead of always the same",
        environment: &[("ORT_FORCE_DETERMINISTIC_MOE", "0")],
        applies_to: &[moe(ALL)],
    },
    Tuning {
        name: "moe-unfused-finalize",
        switches: "quantised experts whose results are added up by a kernel of its own",
        environment: &[("ORT_DISABLE_MOE_GEMV_FUSED_FINALIZE", "1")],
        applies_to: &[moe(QUANTIZED)],
    },
    Tuning {
        name: "moe-grouped",
        switches: "quantised experts by grouped matrix products instead of matrix-vector products",
        environment: &[("ORT_DISABLE_MOE_GEMV", "1")],
        applies_to: &[moe(QUANTIZED)],
    },
];

impl Tuning {
    /// Whether it changes anything in a trial of a model with experts or without.
    pub fn applies(&self, trial: &Trial, experts: bool) -> bool {
        let is = |kind: &Kind| {
            kind.precisions.contains(&trial.precision)
                && kind.experts.is_none_or(|wanted| wanted == experts)
        };
        can_be_tuned(trial) && self.applies_to.iter().any(is)
    }
}

/// Whether a trial runs what tunings are of: the operators of the fused form in the CUDA provider.
pub fn can_be_tuned(trial: &Trial) -> bool {
    trial.form == Form::Fused && matches!(trial.device, Device::Cuda(_))
}

/// The name of one of the [`TUNINGS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub struct TuningName(usize);

impl TuningName {
    /// All of them, in the order of the table.
    pub fn all() -> impl Iterator<Item = TuningName> {
        (0..TUNINGS.len()).map(TuningName)
    }

    /// What it is the name of.
    pub fn tuning(self) -> &'static Tuning {
        // Made from places of the table only.
        &TUNINGS[self.0]
    }
}

impl fmt::Display for TuningName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.tuning().name)
    }
}

impl From<TuningName> for &'static str {
    fn from(name: TuningName) -> &'static str {
        name.tuning().name
    }
}

impl TryFrom<String> for TuningName {
    type Error = String;

    fn try_from(given: String) -> Result<TuningName, String> {
        let place = TUNINGS.iter().position(|tuning| tuning.name == given);
        place.map(TuningName).ok_or_else(|| {
            let names: Vec<&str> = TUNINGS.iter().map(|tuning| tuning.name).collect();
            format!(
                "there is no tuning {given:?}; choose of {}",
                names.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    fn trial(precision: Precision, form: Form, device: Device) -> Trial {
        Trial {
            model: "m".into(),
            form,
            precision,
            device,
            prompt_tokens: 1,
            gen_tokens: 2,
            cuda_graph: true,
            budget: Bytes(1),
            ..Trial::example()
        }
    }

    fn names(trial: &Trial, experts: bool) -> Vec<&'static str> {
        let applying = TUNINGS
            .iter()
            .filter(|tuning| tuning.applies(trial, experts));
        applying.map(|tuning| tuning.name).collect()
    }

    #[test]
    fn each_graph_has_the_tunings_of_its_operators() {
        let table: [(Precision, bool, &[&str]); 5] = [
            (Precision::Fp16, false, &["gemm", "attention-flash"]),
            (Precision::Int4, false, &["attention-flash", "fpa-intb"]),
            (Precision::Fp32, false, &["attention-flash"]),
            (
                Precision::Fp16,
                true,
                &["gemm", "attention-flash", "moe-timed"],
            ),
            (
                Precision::Int8,
                true,
                &[
                    "gemm",
                    "attention-flash",
                    "fpa-intb",
                    "moe-timed",
                    "moe-unfused-finalize",
                    "moe-grouped",
                ],
            ),
        ];
        for (precision, experts, expected) in table {
            let found = names(&trial(precision, Form::Fused, Device::Cuda(0)), experts);
            assert_eq!(found, expected, "{precision} {experts}");
        }
    }

    #[test]
    fn nothing_is_tuned_on_the_cpu_or_in_the_plain_form() {
        let cpu = trial(Precision::Fp16, Form::Fused, Device::Cpu);
        let plain = trial(Precision::Fp16, Form::Plain, Device::Cuda(0));
        assert!(names(&cpu, true).is_empty() && names(&plain, true).is_empty());
    }

    #[test]
    fn names_and_variables_are_each_there_once() {
        let all: Vec<TuningName> = TuningName::all().collect();
        let mut variables: Vec<&str> = Vec::new();
        for name in all {
            let tuning = name.tuning();
            assert_eq!(TuningName::try_from(tuning.name.to_owned()), Ok(name));
            assert!(!tuning.environment.is_empty() && !tuning.applies_to.is_empty());
            // The command line takes these words for something else, and a list is separated by commas.
            assert!(!["auto", "off"].contains(&tuning.name) && !tuning.name.contains(','));
            variables.extend(tuning.environment.iter().map(|(variable, _)| *variable));
        }
        let mut unique = variables.clone();
        unique.sort_unstable();
        unique.dedup();
        // Two tunings of one variable would undo each other.
        assert_eq!(unique.len(), variables.len());
    }

    #[test]
    fn a_name_that_is_none_is_answered_with_the_list() {
        let error = serde_json::from_str::<Vec<TuningName>>(r#"["gemm","gem"]"#).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("no tuning \"gem\"; choose of gemm, attention-flash"),
            "{said}"
        );
        let known: Vec<TuningName> = serde_json::from_str(r#"["moe-timed"]"#).unwrap();
        assert_eq!(serde_json::to_string(&known).unwrap(), r#"["moe-timed"]"#);
    }
}
