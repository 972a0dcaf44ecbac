//! Models of the user's own beside the built-in ones: from their adoption on they are found by name as those are.

use super::foreign::Foreign;
use super::spec::{ModelSpec, builtin};
use super::weights::Source;
use crate::trial::Numerics;
use std::sync::{Mutex, PoisonError};

/// Where the weights of a model come from that is not built in.
pub trait Origin: Send + Sync {
    /// Tells these weights from others of the same dimensions.
    fn key(&self) -> u64;
    /// The weights, for graphs in these number formats.
    fn weights(&self, numerics: Numerics) -> Box<dyn Source + '_>;
}

/// A model and its weights.
struct Adopted {
    spec: ModelSpec,
    /// `None` for one whose files are used as they are.
    origin: Option<Box<dyn Origin>>,
}

/// Never given back, as plans refer to specs for as long as the program lives: a command line names a few, once.
static ADOPTED: Mutex<Vec<&'static Adopted>> = Mutex::new(Vec::new());

fn all() -> Vec<&'static Adopted> {
    ADOPTED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// Takes a model in. Where its name is another model's, it gets one of its own: references and results are told apart by name.
pub fn adopt(mut spec: ModelSpec, origin: Box<dyn Origin>) -> &'static ModelSpec {
    let key = |one: &Adopted| one.origin.as_ref().map(|origin| origin.key());
    if let Some(known) = all().iter().find(|one| key(one) == Some(origin.key())) {
        return &known.spec;
    }
    if is_taken(&spec.name) {
        spec.name = format!("{}-{:016x}", spec.name, origin.key());
    }
    keep(Adopted {
        spec,
        origin: Some(origin),
    })
}

/// Takes in a model whose files are used as they are.
pub fn adopt_foreign(mut spec: ModelSpec, foreign: Foreign) -> &'static ModelSpec {
    let same = |one: &&&'static Adopted| one.spec.foreign == Some(&foreign);
    if let Some(known) = all().iter().find(same) {
        return &known.spec;
    }
    if is_taken(&spec.name) {
        let path = xxhash_rust::xxh3::xxh3_64(spec.source.as_bytes());
        spec.name = format!("{}-{path:016x}", spec.name);
    }
    spec.foreign = Some(Box::leak(Box::new(foreign)));
    keep(Adopted { spec, origin: None })
}

fn is_taken(name: &str) -> bool {
    builtin().iter().any(|spec| spec.name == name) || find(name).is_some()
}

fn keep(adopted: Adopted) -> &'static ModelSpec {
    let adopted: &'static Adopted = Box::leak(Box::new(adopted));
    ADOPTED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(adopted);
    &adopted.spec
}

/// The adopted model of this name.
pub fn find(name: &str) -> Option<&'static ModelSpec> {
    let found = all().into_iter().find(|one| one.spec.name == name);
    found.map(|one| &one.spec)
}

/// Where the weights of an adopted model come from.
pub fn origin(spec: &ModelSpec) -> Option<&'static dyn Origin> {
    let found = all().into_iter().find(|one| one.spec == *spec);
    found.and_then(|one| one.origin.as_deref())
}
