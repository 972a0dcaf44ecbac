//! What a pair shows, in words that follow from its figures and its budget.

use super::{Basis, Ratio, Side, Study, StudyPair};
use crate::report::compare::Quantity;
use crate::report::schema::Row;
use crate::report::verdict::{bytes, capitalised, figure, millions, one_clause};

/// The pairs of a budget as sentences. A label tells the settings apart where there are several.
pub fn sentences(study: &Study, budget: u64) -> Vec<String> {
    let pairs = study.pairs.iter();
    let of_budget: Vec<&StudyPair> = pairs.filter(|pair| pair.budget_bytes == budget).collect();
    let several = of_budget
        .windows(2)
        .any(|two| setting(two[0]) != setting(two[1]));
    let sentence = |pair: &&StudyPair| {
        let label = if several {
            format!("{}: ", setting(pair))
        } else {
            String::new()
        };
        capitalised(&format!("{label}{}", pair.verdict))
    };
    of_budget.iter().map(sentence).collect()
}

/// A setting without its precision, which the sentence has.
fn setting(pair: &StudyPair) -> String {
    let cache = match pair.kv_cache_type.as_str() {
        "float" => String::new(),
        other => format!(" (KV cache {other})"),
    };
    let precision = match &pair.dense.precision {
        dense if *dense == pair.moe.precision => format!(" {dense}"),
        _ => String::new(),
    };
    format!(
        "{}{precision}{cache} on {}, batch {}, {}+{} tokens",
        pair.form, pair.device, pair.batch, pair.prompt_tokens, pair.gen_tokens
    )
}

/// The verdict on a pair; its rows tell why one of them did not run.
pub fn verdict(pair: &StudyPair, rows: [&Row; 2]) -> String {
    let head = head(pair);
    let told = match (absent(pair, rows), speed(pair)) {
        (Some(why), _) => why,
        (None, Some(speed)) => {
            let (needs, choice) = (needs(pair), choice(pair));
            format!("the MoE {speed}{needs}{choice}{}", throttled(rows))
        }
        (None, None) => "there is no decode speed to compare".to_owned(),
    };
    format!("{head} {told}.")
}

/// Which of the two slowed itself down, so that its figures are below what it can do.
fn throttled(rows: [&Row; 2]) -> String {
    let slowed = |row: &&Row| {
        row.warnings
            .iter()
            .any(|warning| warning.contains("throttled"))
    };
    let names = rows.into_iter().filter(slowed).map(|row| row.model.clone());
    match names.collect::<Vec<_>>().as_slice() {
        [] => String::new(),
        names => format!("; the device was throttled while {} ran", listed(names)),
    }
}

/// Who is compared, and by what.
fn head(pair: &StudyPair) -> String {
    let count = |side: &Side| {
        let params = &side.params;
        // Only rows whose count is known make a pair.
        millions(match pair.basis {
            Basis::Active => params.active.unwrap_or(params.total),
            Basis::Total | Basis::OneExpert | Basis::AsPublished => params.total,
        })
    };
    let [moe, dense] =
        [&pair.moe, &pair.dense].map(|side| format!("{} {}", side.model, count(side)));
    let who = format!("{moe} against {dense}");
    let mismatch = pair.mismatch.as_deref();
    let mut head = match (pair.basis, mismatch) {
        (Basis::Total, None) => format!("at equal total parameters ({who})"),
        (Basis::Active, None) => format!("at equal active parameters ({who})"),
        (Basis::Total, Some(why)) => {
            format!("at about the same total parameters, not matched ({who}, {why})")
        }
        (Basis::Active, Some(why)) => {
            format!("at about the same active parameters, not matched ({who}, {why})")
        }
        (Basis::OneExpert, None) => {
            format!("with the dense model's FFN as the only expert of a router ({who})")
        }
        (Basis::OneExpert, Some(why)) => {
            format!("with one expert behind a router, not matched ({who}, {why})")
        }
        (Basis::AsPublished, why) => format!(
            "not matched, as the published study has it ({who}: {})",
            why.unwrap_or("equal")
        ),
    };
    if pair.dense.precision != pair.moe.precision {
        head.push_str(&format!(
            ", the MoE in {} and the dense model in {},",
            pair.moe.precision, pair.dense.precision
        ));
    }
    head.push_str(&pinned(pair));
    head
}

/// What of the weights lies in main memory, where the peak does not count it and every token waits for the link.
fn pinned(pair: &StudyPair) -> String {
    let Some(asked) = &pair.offload else {
        return String::new();
    };
    let of = |side: &Side| side.pinned_bytes.map(bytes);
    match (of(&pair.moe), of(&pair.dense)) {
        (Some(moe), Some(dense)) => format!(
            ", with weights in main memory (--offload {asked}: {moe} of the MoE's and {dense} of the dense model's),"
        ),
        _ => format!(", with weights in main memory (--offload {asked}),"),
    }
}

/// Why there is nothing to compare: who did not fit, or broke.
fn absent(pair: &StudyPair, rows: [&Row; 2]) -> Option<String> {
    let budget = bytes(pair.budget_bytes);
    let why = |row: &Row| match &row.reason {
        Some(reason) => {
            let clause = one_clause(reason);
            match clause.starts_with(&row.model) {
                true => clause,
                false => format!("{} {clause}", row.model),
            }
        }
        None => match row.memory.peak_bytes {
            Some(peak) => format!("{} took {}", row.model, bytes(peak)),
            None => row.model.clone(),
        },
    };
    let [dense, moe] = rows;
    match (pair.dense.fits, pair.moe.fits) {
        (Some(true), Some(false)) => Some(format!(
            "under {budget} only {} fits: {}",
            dense.model,
            why(moe)
        )),
        (Some(false), Some(true)) => Some(format!(
            "under {budget} only {} fits: {}",
            moe.model,
            why(dense)
        )),
        (Some(false), Some(false)) => Some(format!(
            "neither fits {budget}: {}; {}",
            why(dense),
            why(moe)
        )),
        _ => {
            let broken = rows.into_iter().find(|row| row.status != "ok")?;
            Some(format!(
                "there is nothing to compare: {} {}",
                broken.model,
                broken.status.replace('_', " ")
            ))
        }
    }
}

/// Speed of decode.
fn speed(pair: &StudyPair) -> Option<String> {
    let decode = pair.ratio(Quantity::DecodeTokS)?;
    let ratio = figure(decode.ratio?);
    let interval = interval(decode);
    Some(match decode.verdict.as_str() {
        "no_difference" => {
            format!("shows no difference in decode speed (ratio {ratio}, {interval})")
        }
        _ => format!("decodes at {ratio} times the dense speed ({interval})"),
    })
}

/// The interval of a ratio in words, or why there is none.
fn interval(ratio: &Ratio) -> String {
    match ratio.ci95 {
        Some([low, high]) => format!("95 % interval {} to {}", figure(low), figure(high)),
        None => "too few samples for an interval".to_owned(),
    }
}

/// What the rest of a token takes: time to the first, memory, energy and cost.
fn needs(pair: &StudyPair) -> String {
    let names = [
        (Quantity::TtftMs, "time to the first token"),
        (Quantity::PeakBytes, "peak memory"),
        (Quantity::EnergyPerTokenJ, "energy per token"),
        (Quantity::CostPerMillionTokens, "cost per token"),
    ];
    let (mut unlike, mut alike) = (Vec::new(), Vec::new());
    for (metric, name) in names {
        let found = pair.ratio(metric);
        match found.and_then(|found| Some((found.ratio?, found.verdict.as_str()))) {
            Some((_, "no_difference")) => alike.push(name.to_owned()),
            Some((ratio, _)) => unlike.push(format!("{} times the {name}", figure(ratio))),
            None => {}
        }
    }
    let mut words = String::new();
    if !unlike.is_empty() {
        words += &format!(" and needs {}", listed(&unlike));
    }
    if !alike.is_empty() {
        words += &format!(", with no difference in {}", listed(&alike));
    }
    if pair
        .ratio(Quantity::PeakBytes)
        .is_none_or(|peak| peak.ratio.is_none())
    {
        words += "; peak memory is not known for both";
    }
    words
}

/// Words in a sentence.
fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Peaks that differ by less than this are no reason to take one model or the other.
const MATERIAL: f64 = 0.05;

/// What follows for somebody who has the choice: of matched pairs in one precision only.
fn choice(pair: &StudyPair) -> String {
    if pair.basis == Basis::AsPublished {
        return ": this tells models of unlike size apart, and not dense from MoE".to_owned();
    }
    if pair.basis == Basis::OneExpert {
        return ": this is what a router, its gather and the operator for experts cost, with no choice of experts to pay for it"
            .to_owned();
    }
    if !pair.matched || pair.dense.precision != pair.moe.precision {
        return String::new();
    }
    let speed = pair
        .ratio(Quantity::DecodeTokS)
        .map(|ratio| ratio.verdict.as_str());
    let peak = pair.ratio(Quantity::PeakBytes);
    let memory = peak.and_then(|peak| match (peak.verdict.as_str(), peak.ratio?) {
        ("no_difference", _) => Some("alike"),
        (_, more) if more > 1.0 + MATERIAL => Some("more"),
        (_, less) if less < 1.0 / (1.0 + MATERIAL) => Some("less"),
        _ => Some("alike"),
    });
    let (Some(speed), Some(memory)) = (speed, memory) else {
        return String::new();
    };
    let waits = pair
        .ratio(Quantity::TtftMs)
        .map_or("", |ratio| ratio.verdict.as_str());
    let choice = match (speed, memory) {
        ("faster", "alike" | "less") if waits == "slower" => {
            "the MoE buys speed with time to the first token"
        }
        ("slower", "alike" | "more") if waits == "faster" => {
            "the dense model buys speed with time to the first token"
        }
        ("faster", "alike" | "less") | ("no_difference", "less") => "the MoE is the better choice",
        ("slower", "alike" | "more") | ("no_difference", "more") => {
            "the dense model is the better choice"
        }
        ("faster", _) => "the MoE buys speed with memory",
        ("slower", _) => "the MoE buys memory with speed",
        ("no_difference", _) => "neither is the better choice",
        _ => return String::new(),
    };
    format!(": here {choice}")
}
