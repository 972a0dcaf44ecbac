//! A comparison as short strings, shared by the text table and Markdown: files, facts and the lines of each pair.

use crate::export::columns::{Unit, Value};
use crate::export::human::{self, Detail};
use crate::report::compare::{
    Comparison, Difference, Fact, Judgement, Pair, Parts, Quantity, Side, Source, Verdict,
};

/// One quantity of one pair, for people.
pub struct Line {
    /// Its name and unit.
    pub title: String,
    /// The baseline's figure.
    pub baseline: String,
    /// The other's.
    pub other: String,
    /// The ratio.
    pub ratio: String,
    /// Its interval.
    pub interval: String,
    /// The verdict in a word; empty for a part of the memory.
    pub word: String,
    /// The same without the word.
    pub verdict: Option<Verdict>,
}

/// A quantity's name for people.
pub fn title(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::TtftMs => "TTFT",
        Quantity::PrefillTokS => "prefill",
        Quantity::DecodeTokS => "decode",
        Quantity::ItlMsP50 => "ITL p50",
        Quantity::ItlMsP90 => "ITL p90",
        Quantity::PeakBytes => "peak memory",
        Quantity::CostPerMillionTokens => "cost",
        Quantity::EnergyPerTokenJ => "energy",
    }
}

/// What a quantity counts.
pub fn unit(quantity: Quantity) -> Unit {
    match quantity {
        Quantity::TtftMs | Quantity::ItlMsP50 | Quantity::ItlMsP90 => Unit::Millis,
        Quantity::PrefillTokS | Quantity::DecodeTokS => Unit::TokensPerSecond,
        Quantity::PeakBytes => Unit::Bytes,
        Quantity::CostPerMillionTokens => Unit::MoneyPerMillion,
        Quantity::EnergyPerTokenJ => Unit::JoulesPerToken,
    }
}

/// One line for each file.
pub fn files(comparison: &Comparison) -> Vec<String> {
    let baselines = comparison.files.iter().filter(|file| file.is_baseline);
    let role = match baselines.count() {
        1 => "the baseline",
        _ => "a baseline",
    };
    let one = |file: &crate::report::compare::FileFacts| {
        let mut facts = Vec::new();
        if file.is_baseline {
            facts.push(role.to_owned());
        }
        match file.source {
            Source::Edgebench => {}
            Source::LlamaBench => facts.push("of llama-bench".to_owned()),
            Source::Published => facts.push("published, other method".to_owned()),
        }
        facts.extend(file.started_utc.clone());
        if !file.finished {
            facts.push("unfinished".to_owned());
        }
        let facts = facts.join(", ");
        human::one_line(&format!("{} = {} ({facts})", file.label, file.file))
    };
    comparison.files.iter().map(one).collect()
}

/// A fact's name for people.
pub fn fact_title(name: &str) -> String {
    let bare = ["_bytes", "_mhz", "_mw"]
        .iter()
        .find_map(|unit| name.strip_suffix(unit))
        .unwrap_or(name);
    let capital = |word: &str| match word {
        "gpu" | "cpu" | "cuda" | "os" | "sm" => word.to_uppercase(),
        word => word.to_owned(),
    };
    let words: Vec<String> = bare.split('_').map(capital).collect();
    words.join(" ")
}

/// The values of a fact, one for each file.
pub fn fact_texts(difference: &Difference) -> Vec<String> {
    let name = difference.name;
    let text = |fact: &Option<Fact>| match fact {
        None => human::MISSING.to_owned(),
        Some(Fact::Text(text)) if name.ends_with("_bytes") => sizes(text),
        Some(Fact::Text(text)) => human::one_line(text),
        Some(Fact::Count(count)) if name.ends_with("_bytes") => human::bytes(*count),
        Some(Fact::Count(count)) if name.ends_with("_mhz") => format!("{count} MHz"),
        Some(Fact::Count(count)) if name.ends_with("_mw") => {
            format!("{} W", human::plain(*count as f64 / 1e3))
        }
        Some(Fact::Count(count)) => count.to_string(),
        Some(Fact::Number(number)) => human::short(*number),
    };
    difference.values.iter().map(text).collect()
}

/// A list of sizes for people.
fn sizes(text: &str) -> String {
    let size = |word: &str| {
        let bytes = word.parse().map(human::bytes);
        bytes.unwrap_or_else(|_| human::one_line(word))
    };
    text.split(", ").map(size).collect::<Vec<_>>().join(", ")
}

/// A pair by what was run.
pub fn name(pair: &Pair) -> String {
    if pair.published.is_some() {
        return human::one_line(&format!("{} and {}", pair.row, pair.other_row));
    }
    let mut words = vec![pair.model.clone()];
    words.extend(pair.variant.iter().cloned());
    words.extend(
        pair.budget_bytes
            .map(|budget| format!("budget {}", human::bytes(budget))),
    );
    words.push(format!("batch {}", pair.batch));
    let lengths = [
        (pair.prompt_tokens, "prompt"),
        (pair.gen_tokens, "generated"),
        (pair.depth, "in the cache before"),
    ];
    let lengths = lengths.iter().filter(|(count, _)| *count > 0);
    words.extend(lengths.map(|(count, what)| format!("{count} {what}")));
    human::one_line(&words.join(", "))
}

/// The lines of a pair. What neither file measured is left out here; data formats have it with the reasons.
pub fn lines(pair: &Pair) -> Vec<Line> {
    let memory = [&pair.baseline_memory, &pair.other_memory];
    let currency = pair.currency.as_deref().unwrap_or_default();
    // Beside published figures stand their counterparts only, and no memory counted by other means.
    let shown = |found: &&Judgement| match pair.published {
        Some(Side::Baseline) => found.baseline.is_some(),
        Some(Side::Other) => found.other.is_some(),
        None => true,
    };
    let metrics: Vec<Judgement> = pair.metrics.iter().filter(shown).cloned().collect();
    let memory = memory.map(|parts| pair.published.is_none().then_some(parts));
    judged_lines(&metrics, memory, currency)
}

/// The lines of two rows that were judged, with the parts of their peaks below these.
pub fn judged_lines(
    metrics: &[Judgement],
    parts: [Option<&Parts>; 2],
    currency: &str,
) -> Vec<Line> {
    let mut lines = Vec::new();
    let measured = |found: &&Judgement| found.baseline.is_some() || found.other.is_some();
    for found in metrics.iter().filter(measured) {
        if let (Quantity::PeakBytes, [Some(baseline), Some(other)]) = (found.metric, parts) {
            lines.extend(memory([baseline, other], found));
        } else {
            let values = [number(found.baseline), number(found.other)];
            let cells = human::cells(unit(found.metric), &values, Detail::Mean, currency);
            let title = format!("{} {}", title(found.metric), cells.unit);
            lines.push(judged(title, &cells.texts, found));
        }
    }
    lines
}

/// A measured number, or nothing.
fn number(value: Option<f64>) -> Value {
    value.map_or(Value::Missing, Value::Number)
}

/// The line of a judgement.
fn judged(title: String, texts: &[String], found: &Judgement) -> Line {
    let mut numbers: Vec<f64> = found.ratio.into_iter().collect();
    numbers.extend(found.ci95.into_iter().flatten());
    let shown = human::ratios(&numbers);
    let missing = || human::MISSING.to_owned();
    Line {
        title,
        baseline: texts[0].clone(),
        other: texts[1].clone(),
        ratio: shown.first().cloned().unwrap_or_else(missing),
        interval: match shown.get(1..) {
            Some([low, high]) => format!("{low} to {high}"),
            _ => missing(),
        },
        word: found.word.replace('_', " "),
        verdict: Some(found.verdict),
    }
}

/// The lines of the peak and its parts, all in one unit.
fn memory([baseline, other]: [&Parts; 2], peak: &Judgement) -> Vec<Line> {
    let parts = |parts: &Parts| {
        let counts = [
            parts.weights_bytes,
            parts.kv_bytes,
            parts.activations_bytes,
            parts.runtime_bytes,
        ];
        let mut values: Vec<Value> = counts.into_iter().map(Value::from).collect();
        values.push(parts.unaccounted_bytes.into());
        values
    };
    let titles = [
        "weights",
        "KV cache",
        "activations",
        "runtime",
        "unaccounted",
    ];
    let mut values = vec![number(peak.baseline)];
    values.extend(parts(baseline));
    values.push(number(peak.other));
    values.extend(parts(other));
    let cells = human::cells(Unit::Bytes, &values, Detail::Mean, "");
    let (ours, theirs) = cells.texts.split_at(titles.len() + 1);
    let head = format!("{} {}", title(peak.metric), cells.unit);
    let mut lines = vec![judged(head, &[ours[0].clone(), theirs[0].clone()], peak)];
    for (place, title) in titles.iter().enumerate() {
        let (ours, theirs) = (&ours[place + 1], &theirs[place + 1]);
        if ours == human::MISSING && theirs == human::MISSING {
            continue;
        }
        lines.push(Line {
            title: format!("  {title}"),
            baseline: ours.clone(),
            other: theirs.clone(),
            ratio: String::new(),
            interval: String::new(),
            word: String::new(),
            verdict: None,
        });
    }
    lines
}
