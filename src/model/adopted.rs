//! Models of the user's own beside the built-in ones: from their adoption on they are found by name as those are.

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
    origin: Box<dyn Origin>,
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
    let taken = |name: &str| builtin().iter().any(|spec| spec.name == name);
    if let Some(known) = all().iter().find(|one| one.origin.key() == origin.key()) {
        return &known.spec;
    }
    if taken(&spec.name) || find(&spec.name).is_some() {
        spec.name = format!("{}-{:016x}", spec.name, origin.key());
    }
    let adopted: &'static Adopted = Box::leak(Box::new(Adopted { spec, origin }));
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
    found.map(|one| &*one.origin)
}
