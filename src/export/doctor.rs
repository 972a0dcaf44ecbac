//! A diagnosis as text of 80 columns and as JSON. What is not known is a dash, or null, with its reason.

use super::human::{self, MISSING};
use super::lists::pretty;
use crate::doctor::{Diagnosis, Finding, Section, Severity, Usable, Value};
use crate::error::Result;
use crate::protocol::Told;
use serde_json::{Map, Value as Json, json};

/// Raised whenever a key changes its meaning.
const SCHEMA: u32 = 1;
/// Columns of the text.
const WIDTH: usize = 80;
/// Column at which a fact's value begins.
const VALUES: usize = 24;

/// The text: facts, what is not known, findings, verdict.
pub fn text(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    for section in &diagnosis.sections {
        let known = section.facts.iter().filter_map(|fact| {
            let value = fact.value.as_ref().ok()?;
            Some(lines(fact.label, value))
        });
        let known: String = known.collect();
        if !known.is_empty() {
            text.push_str(&format!("{}\n{known}\n", section.title));
        }
    }
    text.push_str(&not_known(&diagnosis.sections));
    text.push_str("Findings\n");
    if diagnosis.findings.is_empty() {
        text.push_str("  none\n");
    }
    for finding in &diagnosis.findings {
        let what = human::one_line(&finding.what);
        text.push_str(&paragraph(
            &format!("  {}: {what}", finding.severity.word()),
            4,
        ));
        let remedy = human::one_line(&finding.remedy);
        text.push_str(&paragraph(&format!("    what to do: {remedy}"), 6));
    }
    let count = |severity| {
        let of_it = diagnosis.findings.iter();
        of_it.filter(|finding| finding.severity == severity).count()
    };
    let verdict = format!(
        "edgebench {} on {}: {} ({}, {}, {})",
        diagnosis.program.version,
        diagnosis.program.arch,
        human::one_line(&diagnosis.verdict),
        counted(count(Severity::Problem), "problem"),
        counted(count(Severity::Warning), "warning"),
        counted(count(Severity::Note), "note"),
    );
    text.push('\n');
    text.push_str(&paragraph(&verdict, 2));
    text
}

fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// Wrapped, with the first line's indent kept.
fn paragraph(text: &str, indent: usize) -> String {
    let first = text.len() - text.trim_start().len();
    // `wrap` drops white space at the start.
    let wrapped = human::wrap(text, WIDTH - first, indent - first.min(indent));
    let lines = wrapped.lines();
    lines.map(|line| format!("{:first$}{line}\n", "")).collect()
}

/// Each reason once, with the facts it stands for under the names they have in the JSON.
fn not_known(sections: &[Section]) -> String {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for section in sections {
        for fact in &section.facts {
            let Err(reason) = &fact.value else { continue };
            let name = format!("{}.{}", section.key, fact.key);
            match reasons.iter_mut().find(|(known, _)| known == reason) {
                Some((_, names)) => names.push(name),
                None => reasons.push((reason, vec![name])),
            }
        }
    }
    if reasons.is_empty() {
        return String::new();
    }
    let mut text = "Not known\n".to_owned();
    for (reason, names) in reasons {
        let names = names.join(", ");
        text.push_str(&paragraph(
            &format!("  {names}: {}", human::one_line(reason)),
            4,
        ));
    }
    text + "\n"
}

/// A fact on one line or more.
fn lines(label: &str, value: &Value) -> String {
    let mut text = String::new();
    for (index, said) in shown(value).iter().enumerate() {
        let label = if index == 0 { label } else { "" };
        let wrapped = human::wrap(said, WIDTH - VALUES, 2);
        for (row, part) in wrapped.lines().enumerate() {
            let label = if row == 0 { label } else { "" };
            let width = VALUES - 2;
            text.push_str(format!("  {label:width$}{part}").trim_end());
            text.push('\n');
        }
    }
    text
}

/// A value in lines.
fn shown(value: &Value) -> Vec<String> {
    let none = || vec!["none".to_owned()];
    match value {
        Value::List(items) if items.is_empty() => none(),
        Value::Rows(rows) if rows.is_empty() => none(),
        // Paths stand alone, so that they can be copied; names fill the line.
        Value::List(items) if items.iter().any(|item| item.contains('/')) => {
            items.iter().map(|item| human::one_line(item)).collect()
        }
        Value::List(items) => vec![human::one_line(&items.join(", "))],
        Value::Rows(rows) => rows.iter().map(|row| row_line(row)).collect(),
        single => vec![short(single)],
    }
}

/// `VDD_IN: 5000 mV, 1850 mA, 9.25 W`; what is not known of a thing is left out.
fn row_line(row: &[(&'static str, Told<Value>)]) -> String {
    let mut parts = row.iter().filter_map(|(key, told)| {
        let value = short(told.as_ref().ok()?);
        Some(match *key {
            "throttles_at_c" => format!("throttles at {value}"),
            _ => value,
        })
    });
    let name = parts.next().unwrap_or_default();
    let rest: Vec<String> = parts.collect();
    if rest.is_empty() {
        return format!("{name}: {MISSING}");
    }
    format!("{name}: {}", rest.join(", "))
}

fn short(value: &Value) -> String {
    match value {
        Value::Text(text) => human::one_line(text),
        Value::Flag(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        Value::Count(count) => count.to_string(),
        Value::Bytes(bytes) => human::bytes(bytes.0),
        Value::MegaHertz(clock) => format!("{clock} MHz"),
        Value::MilliWatts(power) => format!("{} W", human::plain(*power as f64 / 1e3)),
        Value::MilliJoules(energy) => format!("{} kJ", human::plain(*energy as f64 / 1e6)),
        Value::MilliVolts(voltage) => format!("{voltage} mV"),
        Value::MilliAmperes(current) => format!("{current} mA"),
        Value::Celsius(degrees) => format!("{} C", human::plain(*degrees)),
        Value::Percent(share) => format!("{} %", human::plain(*share)),
        Value::List(_) | Value::Rows(_) => shown(value).join("; "),
    }
}

/// The same for programs. Keys of facts that are null stand in `not_known` with the reason.
pub fn json(diagnosis: &Diagnosis) -> Result<String> {
    let mut not_known = Map::new();
    let mut root = Map::new();
    root.insert("schema".into(), json!(SCHEMA));
    root.insert("verdict".into(), verdict(diagnosis));
    let findings: Vec<Json> = diagnosis.findings.iter().map(finding).collect();
    root.insert("findings".into(), Json::Array(findings));
    for section in &diagnosis.sections {
        let facts = section.facts.iter().map(|fact| {
            let path = format!("{}.{}", section.key, fact.key);
            (
                fact.key.to_owned(),
                told(&fact.value, &path, &mut not_known),
            )
        });
        let facts: Map<String, Json> = facts.collect();
        root.insert(section.key.into(), Json::Object(facts));
    }
    root.insert("not_known".into(), Json::Object(not_known));
    pretty(&Json::Object(root))
}

fn verdict(diagnosis: &Diagnosis) -> Json {
    let (cuda, cpu) = match diagnosis.usable {
        Usable::Cuda(_) => (Some(true), Some(true)),
        Usable::Cpu => (Some(false), Some(true)),
        Usable::Nothing => (Some(false), Some(false)),
        Usable::NotTried => (None, None),
    };
    json!({ "cuda": cuda, "cpu": cpu, "says": diagnosis.verdict })
}

fn finding(finding: &Finding) -> Json {
    json!({
        "severity": finding.severity.word(),
        "code": finding.code,
        "what": finding.what,
        "remedy": finding.remedy,
    })
}

fn told(told: &Told<Value>, path: &str, not_known: &mut Map<String, Json>) -> Json {
    match told {
        Ok(value) => raw(value, path, not_known),
        Err(reason) => {
            not_known.insert(path.to_owned(), json!(reason));
            Json::Null
        }
    }
}

fn raw(value: &Value, path: &str, not_known: &mut Map<String, Json>) -> Json {
    match value {
        Value::Text(text) => json!(text),
        Value::List(items) => json!(items),
        Value::Flag(flag) => json!(flag),
        Value::Bytes(bytes) => json!(bytes),
        Value::Count(number)
        | Value::MegaHertz(number)
        | Value::MilliWatts(number)
        | Value::MilliJoules(number)
        | Value::MilliVolts(number)
        | Value::MilliAmperes(number) => json!(number),
        Value::Celsius(number) | Value::Percent(number) => json!(number),
        Value::Rows(rows) => {
            let mut list = Vec::new();
            for (index, row) in rows.iter().enumerate() {
                let cells = row.iter().map(|(key, cell)| {
                    let path = format!("{path}.{index}.{key}");
                    ((*key).to_owned(), self::told(cell, &path, not_known))
                });
                let cells: Map<String, Json> = cells.collect();
                list.push(Json::Object(cells));
            }
            Json::Array(list)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Fact, Program};
    use crate::units::Bytes;

    fn diagnosis(facts: Vec<Fact>) -> Diagnosis {
        Diagnosis {
            program: Program {
                version: "1.0.0".into(),
                commit: None,
                arch: "x86_64".into(),
            },
            usable: Usable::Cpu,
            verdict: "trials can run on the CPU only".into(),
            findings: vec![Finding {
                severity: Severity::Warning,
                code: "hot",
                what: format!("it is hot\u{1b}[2J {}", "and hotter ".repeat(12)),
                remedy: "cool it".into(),
            }],
            sections: vec![Section {
                key: "board",
                title: "Board",
                facts,
            }],
        }
    }

    fn fact(key: &'static str, value: Told<Value>) -> Fact {
        Fact {
            key,
            label: key,
            value,
        }
    }

    #[test]
    fn unknown_facts_are_null_with_a_reason_down_to_the_cell() {
        let row = vec![
            ("label", Ok(Value::Text("VDD_IN".into()))),
            ("power_mw", Err("not told".to_owned())),
        ];
        let diagnosis = diagnosis(vec![
            fact("memory_bytes", Ok(Value::Bytes(Bytes(5)))),
            fact("model", Err("no tree".into())),
            fact("rails", Ok(Value::Rows(vec![row]))),
            fact("temperature_c", Ok(Value::Celsius(48.125))),
        ]);
        let json: Json = serde_json::from_str(&json(&diagnosis).unwrap()).unwrap();
        assert_eq!(json["board"]["memory_bytes"], 5);
        assert_eq!(json["board"]["temperature_c"], 48.125);
        assert!(json["board"]["model"].is_null());
        assert!(json["board"]["rails"][0]["power_mw"].is_null());
        let expected = json!({ "board.model": "no tree", "board.rails.0.power_mw": "not told" });
        assert_eq!(json["not_known"], expected);
        assert_eq!(json["verdict"]["cuda"], false);
        assert_eq!(json["findings"][0]["severity"], "warning");
    }

    #[test]
    fn text_fits_80_columns_and_groups_what_is_not_known_by_reason() {
        let unknown = |key| fact(key, Err("the worker did not say anything about it".into()));
        let text = text(&diagnosis(vec![
            fact("list", Ok(Value::List(vec!["word".into(); 40]))),
            fact("paths", Ok(Value::List(vec!["/a/b".into(), "/c".into()]))),
            fact("none", Ok(Value::List(Vec::new()))),
            unknown("a_long_name_of_a_fact"),
            unknown("another_long_name_of_a_fact"),
        ]));
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        assert_eq!(text.matches("say anything about it").count(), 1, "{text}");
        assert!(text.contains("paths                 /a/b\n                        /c\n"));
        assert!(text.contains("none                  none\n"), "{text}");
        assert!(!text.contains('\u{1b}') && text.contains("    what to do: cool it\n"));
        let last = text.replace("\n  ", " ");
        assert!(
            last.ends_with("(0 problems, 1 warning, 0 notes)\n"),
            "{text}"
        );
    }
}
