//! Which rows are a pair: models of one vocabulary that are equal in size, in the same setting.

use super::Basis;
use crate::model;
use crate::report::ladder::step;
use crate::report::schema::Row;

/// Two counts of parameters are equal when they differ by less than this factor.
const EQUAL: f64 = 1.02;
/// Where nothing is equal, the nearest two are told when they differ by less than this one.
const NEAR: f64 = 1.5;
/// A model that is not built in is a Mixture of Experts when less than this share of its parameters takes part for one token.
const MOE_SHARE: f64 = 0.95;
/// The two models that the published study compared.
pub const PUBLISHED: (&str, &str) = ("dense-120m", "alchemist-16m");
/// The dense model and the one whose FFN is that model's, behind a router that has no choice: what a mixture costs by its machinery
/// alone. They are a pair with each other only.
const ONE_EXPERT: (&str, &str) = ("swiglu-124m", "one-expert-124m");

/// Two rows that belong together.
pub struct Found<'a> {
    /// By what.
    pub basis: Basis,
    /// What keeps them from being matched.
    pub mismatch: Option<String>,
    /// The dense model's row.
    pub dense: &'a Row,
    /// The mixture's.
    pub moe: &'a Row,
}

/// What a model is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Everything takes part for every token.
    Dense,
    /// A router chooses experts for each token.
    Experts,
    /// Whole models whose logits are mixed.
    Specialists,
}

fn kind(row: &Row) -> Kind {
    match model::find(&row.model) {
        Some(spec) if spec.specialists.is_some() => Kind::Specialists,
        Some(spec) if spec.has_experts() => Kind::Experts,
        Some(spec) if spec.foreign.is_some_and(|foreign| foreign.routes()) => Kind::Experts,
        Some(_) => Kind::Dense,
        None => {
            let active = row.params.active.unwrap_or(row.params.total) as f64;
            match active < row.params.total as f64 * MOE_SHARE {
                true => Kind::Experts,
                false => Kind::Dense,
            }
        }
    }
}

/// Words that a row's model knows, where it is built in.
pub fn vocabulary(row: &Row) -> Option<u32> {
    model::find(&row.model).map(|spec| spec.vocab)
}

/// The count of a row that a basis goes by. Rows of which it is not known make no pair: see [`gap`].
pub fn size(row: &Row, basis: Basis) -> u64 {
    match basis {
        Basis::Active => row.params.active.unwrap_or(row.params.total),
        Basis::Total | Basis::OneExpert | Basis::AsPublished => row.params.total,
    }
}

/// Whether a model is there for the sake of its one partner.
fn is_of_one_expert(row: &Row) -> bool {
    [ONE_EXPERT.0, ONE_EXPERT.1].contains(&row.model.as_str())
}

/// By what factor two rows differ, in whichever direction.
fn gap(a: &Row, b: &Row, basis: Basis) -> f64 {
    let unknown = |row: &Row| basis == Basis::Active && row.params.active.is_none();
    if unknown(a) || unknown(b) {
        return f64::INFINITY;
    }
    let ratio = size(a, basis).max(1) as f64 / size(b, basis).max(1) as f64;
    ratio.max(1.0 / ratio)
}

/// All pairs of these rows, in the order of the dense models. Those whose trials have not ended are left out.
pub fn find(rows: &[Row]) -> Vec<Found<'_>> {
    // Of a ladder the last step alone is how the model is run.
    let ended: Vec<&Row> = rows
        .iter()
        .filter(|row| row.status != "pending" && step(row).is_none())
        .collect();
    let mut found = Vec::new();
    for (basis, dense, moe) in models(&ended) {
        let mismatch = mismatch(dense, moe, basis);
        let of = |model: &str| -> Vec<&Row> {
            let rows = ended.iter().filter(|row| row.model == model);
            rows.copied().collect()
        };
        for (dense, moe) in settings(&of(&dense.model), &of(&moe.model)) {
            found.push(Found {
                basis,
                mismatch: mismatch.clone(),
                dense,
                moe,
            });
        }
    }
    found
}

/// Pairs of models, each by one of its rows.
fn models<'a>(rows: &[&'a Row]) -> Vec<(Basis, &'a Row, &'a Row)> {
    let mut firsts: Vec<&'a Row> = Vec::new();
    for row in rows {
        if firsts.iter().all(|first| first.model != row.model) {
            firsts.push(row);
        }
    }
    let of = |wanted: Kind| {
        firsts
            .iter()
            .copied()
            .filter(move |row| kind(row) == wanted && !is_of_one_expert(row))
    };
    let mut pairs = Vec::new();
    for basis in [Basis::Total, Basis::Active] {
        let all = of(Kind::Dense).flat_map(|dense| of(Kind::Experts).map(move |moe| (dense, moe)));
        let all: Vec<(&Row, &Row)> = all.collect();
        let equal = |(dense, moe): &&(&Row, &Row)| mismatch(dense, moe, basis).is_none();
        let matched: Vec<(&Row, &Row)> = all.iter().filter(equal).copied().collect();
        let nearest = || {
            let ran = |row: &Row| {
                let mut rows = rows.iter().filter(|other| other.model == row.model);
                rows.any(|other| other.status == "ok")
            };
            let near = all
                .iter()
                .filter(|(dense, moe)| ran(dense) && ran(moe) && gap(dense, moe, basis) < NEAR);
            near.min_by(|a, b| gap(a.0, a.1, basis).total_cmp(&gap(b.0, b.1, basis)))
        };
        match matched.as_slice() {
            [] => pairs.extend(nearest().map(|(dense, moe)| (basis, *dense, *moe))),
            matched => pairs.extend(matched.iter().map(|(dense, moe)| (basis, *dense, *moe))),
        }
    }
    let named = |name: &str| firsts.iter().copied().find(|row| row.model == name);
    for (basis, (dense, moe)) in [
        (Basis::OneExpert, ONE_EXPERT),
        (Basis::AsPublished, PUBLISHED),
    ] {
        let both = named(dense).zip(named(moe));
        pairs.extend(both.map(|(dense, moe)| (basis, dense, moe)));
    }
    pairs
}

/// What keeps two models from being matched.
fn mismatch(dense: &Row, moe: &Row, basis: Basis) -> Option<String> {
    let mut reasons = Vec::new();
    let apart = gap(dense, moe, basis);
    if basis == Basis::AsPublished {
        reasons.push(format!(
            "it stores {:.2} times the parameters",
            size(moe, basis) as f64 / size(dense, basis).max(1) as f64
        ));
    } else if apart >= EQUAL {
        reasons.push(format!("{:.0} % apart", (apart - 1.0) * 100.0));
    }
    match (vocabulary(dense), vocabulary(moe)) {
        (Some(a), Some(b)) if a == b => {}
        (Some(a), Some(b)) => reasons.push(format!("a vocabulary of {b} words against {a}")),
        // Of a checkpoint the result does not tell it, and a head of another width is another amount of work.
        (Some(_), None) => reasons.push(format!("the vocabulary of {} is not known", moe.model)),
        (None, Some(_)) => reasons.push(format!("the vocabulary of {} is not known", dense.model)),
        (None, None) => reasons.push("neither vocabulary is known".to_owned()),
    }
    (!reasons.is_empty()).then(|| reasons.join(", "))
}

/// Which weights were to stay in main memory, where any were. A row that did not come so far has it in its name.
pub fn offload(row: &Row) -> Option<&str> {
    let told = row.offload.as_ref().map(|offload| offload.asked.as_str());
    told.or_else(|| row.id.split('/').find_map(|part| part.strip_prefix("off-")))
}

/// What must be equal for two rows to be compared.
fn setting(row: &Row) -> (&str, &str, &str, &str, [u32; 3], u64) {
    let lengths = [row.batch, row.prompt_tokens, row.gen_tokens];
    (
        &row.device,
        &row.form,
        &row.kv_cache_type,
        offload(row).unwrap_or("none"),
        lengths,
        row.memory.budget_bytes,
    )
}

/// Rows of one setting: of equal precision where there are such, else the widest that fits each, as `--precision auto` takes it.
fn settings<'a>(dense: &[&'a Row], moe: &[&'a Row]) -> Vec<(&'a Row, &'a Row)> {
    let mut free: Vec<&Row> = moe.to_vec();
    let mut take = |row: &Row, equal: bool| {
        let fits = |other: &&Row| {
            setting(row) == setting(other) && (!equal || row.precision == other.precision)
        };
        let place = free.iter().position(fits)?;
        Some(free.remove(place))
    };
    let mut found: Vec<Option<&Row>> = dense.iter().map(|row| take(row, true)).collect();
    for (row, partner) in dense.iter().zip(&mut found) {
        *partner = partner.or_else(|| take(row, false));
    }
    let both = dense.iter().zip(found);
    both.filter_map(|(dense, moe)| Some((*dense, moe?)))
        .collect()
}
