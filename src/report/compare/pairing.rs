//! Which row of one file is which row of another, and what stands against comparing them.

use super::quantity::Quantity;
use super::run::{Case, same_budget};
use super::verdict::Labels;
use std::collections::BTreeMap;

/// Places of rows that belong together, the baseline's first, and of those that stand alone.
#[derive(Debug, Default, PartialEq)]
pub struct Pairing {
    /// Pairs, in the baseline's order.
    pub pairs: Vec<(usize, usize)>,
    /// Alone in the baseline.
    pub baseline_only: Vec<usize>,
    /// Alone in the other file.
    pub other_only: Vec<usize>,
}

impl Pairing {
    /// The same with the files in each other's place.
    pub fn turned(self) -> Pairing {
        Pairing {
            pairs: self.pairs.into_iter().map(|(a, b)| (b, a)).collect(),
            baseline_only: self.other_only,
            other_only: self.baseline_only,
        }
    }
}

/// Pairs rows: the same work in the same form and precision, best with the same settings; what is left over is paired
/// by work alone, so that a row measured in another precision is shown beside its fellow and not as two strangers.
pub fn pair(baseline: &[Case], other: &[Case]) -> Pairing {
    let mut taken: Vec<Option<usize>> = vec![None; other.len()];
    let mut found: Vec<Option<usize>> = vec![None; baseline.len()];
    let ways: [fn(&Case, &Case) -> bool; 5] = [
        |a, b| same(a, b) && a.settings == b.settings,
        // A step of a ladder is not an ordinary row's fellow while there is one of the same name.
        |a, b| same(a, b) && a.id == b.id,
        same,
        |a, b| a.key == b.key && a.form == b.form,
        |a, b| a.key == b.key,
    ];
    for way in ways {
        for (at, case) in baseline.iter().enumerate() {
            let free = |place: &usize| {
                let other = &other[*place];
                taken[*place].is_none()
                    && same_budget(case.budget, other.budget)
                    && way(case, other)
            };
            if found[at].is_none()
                && let Some(place) = (0..other.len()).find(free)
            {
                found[at] = Some(place);
                taken[place] = Some(at);
            }
        }
    }
    let both = |(at, place): (usize, &Option<usize>)| place.map(|place| (at, place));
    let alone = |places: &[Option<usize>]| -> Vec<usize> {
        let of = places.iter().enumerate();
        of.filter_map(|(at, place)| place.is_none().then_some(at))
            .collect()
    };
    Pairing {
        pairs: found.iter().enumerate().filter_map(both).collect(),
        baseline_only: alone(&found),
        other_only: alone(&taken),
    }
}

/// Whether two rows are the same work, done in the same way.
fn same(a: &Case, b: &Case) -> bool {
    let by_name = a.named_by_user || b.named_by_user;
    a.key == b.key && same_form(a, b) && (by_name || a.precision == b.precision)
}

/// Whether the forms are the same; a program without forms has any.
fn same_form(a: &Case, b: &Case) -> bool {
    match (&a.form, &b.form) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}

/// `other X (A this, B that)`.
fn other(what: &str, a: &str, b: &str, labels: Labels) -> String {
    let Labels { baseline, other } = labels;
    format!("other {what} ({baseline} {a}, {other} {b})")
}

/// Why nothing of two rows may be compared.
pub fn refusal(a: &Case, b: &Case, labels: Labels) -> Option<String> {
    let own = |label, case: &Case| -> Vec<String> {
        let told = case.obstacles.iter();
        told.map(|obstacle| format!("{label}: {obstacle}"))
            .collect()
    };
    let mut reasons = own(labels.baseline, a);
    reasons.extend(own(labels.other, b));
    if let (Some(form_a), Some(form_b)) = (&a.form, &b.form)
        && form_a != form_b
    {
        reasons.push(other("graph form", form_a, form_b, labels));
    }
    if !(a.named_by_user || b.named_by_user) {
        reasons.extend(unlike(a, b, labels));
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// What makes two models different ones, whatever they are called.
fn unlike(a: &Case, b: &Case, labels: Labels) -> Vec<String> {
    let mut found = Vec::new();
    if a.precision != b.precision {
        let mut difference = other("precision", &a.precision, &b.precision, labels);
        if a.form.is_some() && b.form.is_some() {
            difference.push_str(", which --precision sets in a run");
        }
        found.push(difference);
    }
    if a.params != b.params {
        let (a, b) = (a.params.to_string(), b.params.to_string());
        found.push(other("number of parameters", &a, &b, labels));
    }
    found
}

/// Why one quantity of two rows may not be compared.
pub fn refusal_of(quantity: Quantity, a: &Case, b: &Case, labels: Labels) -> Option<String> {
    match quantity {
        Quantity::PeakBytes => {
            let names = differing(&a.memory_settings, &b.memory_settings);
            let names: Vec<String> = names.map(|(name, ..)| format!("other {name}")).collect();
            (!names.is_empty()).then(|| names.join("; "))
        }
        Quantity::CostPerMillionTokens => match (&a.currency, &b.currency) {
            (Some(a), Some(b)) if a != b => Some(other("currency", a, b, labels)),
            _ => None,
        },
        _ => None,
    }
}

/// What a reader must know of two rows that are compared all the same.
pub fn notes(a: &Case, b: &Case, labels: Labels) -> Vec<String> {
    let settings = differing(&a.settings, &b.settings);
    let mut notes: Vec<String> = settings
        .map(|(name, a, b)| other(name, a, b, labels))
        .collect();
    if a.named_by_user || b.named_by_user {
        notes.extend(unlike(a, b, labels));
    }
    notes
}

/// Settings that both have and that differ.
fn differing<'a>(
    a: &'a BTreeMap<&'static str, String>,
    b: &'a BTreeMap<&'static str, String>,
) -> impl Iterator<Item = (&'static str, &'a str, &'a str)> {
    a.iter().filter_map(|(name, of_a)| {
        let of_b = b.get(name)?;
        (of_a != of_b).then_some((*name, of_a.as_str(), of_b.as_str()))
    })
}
