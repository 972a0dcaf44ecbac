//! What the comparison sees of a file, whatever program wrote it: cases with figures, and facts of the machine.

use super::ceilings::Ceiling;
use super::facts::{Fact, Facts};
use super::quantity::Quantity;
use std::collections::BTreeMap;

/// The program that wrote a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// edgebench.
    Edgebench,
    /// llama.cpp's llama-bench.
    LlamaBench,
    /// A table of figures that somebody published, measured by another method.
    Published,
}

/// One file, ready to be compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its name, as given.
    pub file: String,
    /// The program that wrote it.
    pub source: Source,
    /// Start, RFC 3339 in UTC, where known.
    pub started_utc: Option<String>,
    /// The command line that made it, where known.
    pub command: Option<String>,
    /// Whether all its trials have run.
    pub finished: bool,
    /// The machine and what is the same in all rows.
    pub facts: Facts,
    /// What was run.
    pub cases: Vec<Case>,
    /// What was searched for.
    pub ceilings: Vec<Ceiling>,
}

/// What must be equal for two rows to be the same work. The machine is no part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Model name.
    pub model: String,
    /// Sequences decoded together.
    pub batch: u32,
    /// Prompt length.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub gen_tokens: u32,
    /// Tokens in the cache before the prompt.
    pub depth: u32,
    /// Type of the KV cache, by the names of edgebench.
    pub kv_cache: String,
    /// Tokens that the KV cache has room for.
    pub kv_capacity: u32,
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Its name in its file.
    pub id: String,
    /// The work.
    pub key: Key,
    /// Memory budget, where it is a part of the work: in a file that has several. `None` matches any.
    pub budget: Option<Budget>,
    /// Graph form; `None` for a program that has no such choice.
    pub form: Option<String>,
    /// Element type, or what another program calls its quantisation.
    pub precision: String,
    /// Stored parameters.
    pub params: u64,
    /// Why none of its figures may be compared, each in a few words.
    pub obstacles: Vec<String>,
    /// Settings whose difference is told but refuses nothing, by name. One that has no meaning here is left out.
    pub settings: BTreeMap<&'static str, String>,
    /// Settings without which a peak of memory says something else, by name.
    pub memory_settings: BTreeMap<&'static str, String>,
    /// Currency of the cost.
    pub currency: Option<String>,
    /// Whether the user said which model this is.
    pub named_by_user: bool,
    /// The figures.
    pub figures: Vec<(Quantity, Figure)>,
    /// Parts of the peak.
    pub memory: Parts,
}

/// A memory budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Its size.
    pub bytes: u64,
    /// Whether its file has others too, so that it tells rows apart.
    pub one_of_several: bool,
}

/// Whether budgets keep two results apart: where a file has several, each is another result. Those of two files with one budget
/// each do not, and their difference is told.
pub fn same_budget(a: Option<Budget>, b: Option<Budget>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) if a.one_of_several || b.one_of_several => a.bytes == b.bytes,
        _ => true,
    }
}

/// A figure, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub enum Figure {
    /// Measured.
    Known {
        /// The figure.
        value: f64,
        /// What an interval can be taken from.
        samples: Samples,
    },
    /// Not measured.
    Missing(String),
}

/// What stands behind a figure.
#[derive(Debug, Clone, PartialEq)]
pub enum Samples {
    /// Its own samples.
    Own(Vec<f64>),
    /// Samples of a speed to which it is inversely proportional.
    OfSpeed(Vec<f64>),
    /// None, and why.
    None(String),
}

/// Parts of the peak, in bytes; `None` where the row does not tell it.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Parts {
    /// Weights.
    pub weights_bytes: Option<u64>,
    /// KV cache buffers.
    pub kv_bytes: Option<u64>,
    /// Activations and workspace.
    pub activations_bytes: Option<u64>,
    /// The runtime itself.
    pub runtime_bytes: Option<u64>,
    /// What is left to reach the peak.
    pub unaccounted_bytes: Option<i64>,
    /// Reason for every `null` above, by field name.
    pub not_measured: BTreeMap<String, String>,
}

impl Run {
    /// The machine in a few words: its GPU, or its CPU where the trials ran there.
    pub fn machine(&self) -> Option<String> {
        let fact = |name| match self.facts.known.get(name) {
            Some(Fact::Text(text)) => Some(text.clone()),
            _ => None,
        };
        let gpu = fact("gpu").filter(|_| fact("device").as_deref() != Some("cpu"));
        gpu.or_else(|| fact("cpu"))
    }

    /// Whether any row has a figure that something can be held to.
    pub fn has_figures(&self) -> bool {
        let figures = self.cases.iter().flat_map(|case| &case.figures);
        figures
            .into_iter()
            .any(|(_, figure)| figure.value().is_some())
    }
}

impl Case {
    /// One of its figures.
    pub fn figure(&self, quantity: Quantity) -> Option<&Figure> {
        let mut figures = self.figures.iter();
        figures
            .find(|(name, _)| *name == quantity)
            .map(|(_, figure)| figure)
    }
}

impl Figure {
    /// The number, if there is one.
    pub fn value(&self) -> Option<f64> {
        match self {
            Figure::Known { value, .. } => Some(*value),
            Figure::Missing(_) => None,
        }
    }
}

impl Parts {
    /// Parts of a peak that nobody measured.
    pub fn missing(reason: &str) -> Parts {
        let names = [
            "weights_bytes",
            "kv_bytes",
            "activations_bytes",
            "runtime_bytes",
            "unaccounted_bytes",
        ];
        Parts {
            not_measured: names
                .iter()
                .map(|name| ((*name).to_owned(), reason.to_owned()))
                .collect(),
            ..Parts::default()
        }
    }
}
