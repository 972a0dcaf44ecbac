//! The page itself: head, contents, sections in their order, and the few lines that all sections share.

use super::super::human;
use super::{
    Shown, budgets, ceilings, compared, facts, latency, limits, memory, methods, offload,
    positions, repeat, scatter, study, trials, verdicts,
};
use crate::report::compare::Comparison;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

/// Look of the page.
const STYLE: &str = include_str!("style.css");

/// Sorts tables, and opens what is folded before printing.
const SCRIPT: &str = include_str!("sort.js");

/// The page.
pub fn page(results: &[Shown], comparison: Option<&Comparison>) -> Markup {
    let title = title(results);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "edgebench " (env!("CARGO_PKG_VERSION")) };
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    p.brand { "edgebench report" }
                    h1 { (headline(results)) }
                    @for shown in results { p.sub { @if results.len() > 1 { span.badge { (shown.label) } " " } (subtitle(shown)) } }
                    (contents(results, comparison.is_some()))
                }
                main data-results=(results.len()) {
                    (facts::section(results))
                    (verdicts::section(results, comparison))
                    (memory::section(results))
                    (scatter::section(results))
                    (latency::section(results))
                    (positions::section(results))
                    (study::section(results))
                    (offload::section(results))
                    (ceilings::section(results))
                    (limits::section(results))
                    (repeat::section(results))
                    @if let Some(comparison) = comparison { (compared::section(comparison)) }
                    (trials::section(results))
                    section #methods { h2 { "How each figure is obtained" } (methods::list()) (recorded(results)) }
                }
                footer { p { "Made by edgebench " (env!("CARGO_PKG_VERSION")) " from the results alone: " @for (place, shown) in results.iter().enumerate() { @if place > 0 { ", " } (human::one_line(&shown.file)) } "." } }
                (methods::popovers())
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// Nothing is loaded, and no script runs but the page's own: not even one that a result brings along.
fn policy() -> String {
    let digest = base64(&Sha256::digest(SCRIPT.as_bytes()));
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
}

/// Bytes in the letters that a policy wants a digest in.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, nth| {
            bits << 8 | u32::from(group.get(nth).copied().unwrap_or(0))
        });
        for nth in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * nth) & 63) as usize];
            text.push(if nth <= group.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

/// The title of the window.
fn title(results: &[Shown]) -> String {
    let machines: Vec<String> = results.iter().map(machine).collect();
    format!("edgebench: {}", machines.join(" | "))
}

/// What the page is about, in large letters.
fn headline(results: &[Shown]) -> String {
    let mut machines: Vec<String> = results.iter().map(machine).collect();
    machines.dedup();
    machines.join(" and ")
}

/// The device that a result is of.
pub fn machine(shown: &Shown) -> String {
    let report = &shown.report;
    let environment = &report.environment;
    let on_cpu = report.trials.iter().all(|row| row.device == "cpu") && !report.trials.is_empty();
    let gpu = environment.gpu_info.clone().filter(|_| !on_cpu);
    let name = gpu
        .or(environment.cpu_info.clone())
        .unwrap_or_else(|| environment.arch.clone());
    human::one_line(&name)
}

/// A result in a line.
fn subtitle(shown: &Shown) -> String {
    let report = &shown.report;
    let environment = &report.environment;
    let mut words: Vec<String> = Vec::new();
    words.extend(environment.host.clone());
    words.extend(
        environment
            .runtime_version
            .as_ref()
            .map(|version| format!("ONNX Runtime {version}")),
    );
    words.extend(
        environment
            .provider_in_use
            .as_ref()
            .map(|provider| provider.replace("ExecutionProvider", "")),
    );
    words.push(match report.trials.len() {
        1 => "1 trial".to_owned(),
        count => format!("{count} trials"),
    });
    words.push(report.started_utc.replace('T', " ").replace('Z', " UTC"));
    human::one_line(&words.join(" · "))
}

/// Which result a part of a section is of; its heading where there are several.
pub fn of(shown: &Shown) -> Markup {
    html! { h3.of { span.badge { (shown.label) } " " (machine(shown)) " " small { (file_name(shown)) } } }
}

/// The file without its folder.
pub fn file_name(shown: &Shown) -> String {
    let name = std::path::Path::new(&shown.file).file_name();
    human::one_line(&name.map_or_else(
        || shown.file.clone(),
        |name| name.to_string_lossy().into_owned(),
    ))
}

/// Remarks on the results, each once, with the results that it is true for where not for all.
pub fn remarks(results: &[Shown], read: impl Fn(&Shown) -> Vec<String>) -> Markup {
    let mut told: Vec<(String, Vec<&str>)> = Vec::new();
    for shown in results {
        for remark in read(shown) {
            match told.iter_mut().find(|(known, _)| *known == remark) {
                Some((_, labels)) => labels.push(&shown.label),
                None => told.push((remark, vec![&shown.label])),
            }
        }
    }
    html! {
        @for (remark, labels) in &told {
            p.note {
                @if labels.len() < results.len() { @for label in labels { span.badge { (label) } " " } }
                (remark)
            }
        }
    }
}

/// Links to the sections that there are.
fn contents(results: &[Shown], compared: bool) -> Markup {
    let any = |told: fn(&Shown) -> bool| results.iter().any(told);
    let studied = any(|shown| study::of(shown).is_some());
    let offloaded = any(offload::is_told) || budgets::part(results).is_some();
    let repeated = any(|shown| repeat::of(shown).is_some());
    let sections = [
        ("measured", "Conditions", true),
        ("verdict", "Verdict", true),
        ("memory", "Memory", true),
        ("speed", "Speed", true),
        ("latency", "Latency", true),
        ("positions", "Over position", true),
        ("study", "Dense against MoE", studied),
        ("offload", "Budgets", offloaded),
        ("ceilings", "Ceilings", true),
        ("limits", "Limits", true),
        ("repeat", "Run to run", repeated),
        ("compare", "Side by side", compared),
        ("trials", "All trials", true),
        ("methods", "Methods", true),
    ];
    html! {
        nav aria-label="Sections" {
            @for (id, name, _) in sections.into_iter().filter(|(_, _, there)| *there) { a href={ "#" (id) } { (name) } }
        }
    }
}

/// How the results themselves say that their figures were obtained.
fn recorded(results: &[Shown]) -> Markup {
    const MOST: usize = 8;
    let mut told: Vec<(&str, String)> = Vec::new();
    let mut add = |what, text: &str| {
        let text = human::one_line(text);
        if !text.is_empty() && told.len() < MOST && !told.contains(&(what, text.clone())) {
            told.push((what, text));
        }
    };
    for shown in results {
        let report = &shown.report;
        if let Some(limits) = &report.environment.limits {
            add("Limits of the device", &limits.method);
        }
        for row in &report.trials {
            add("Memory", &row.memory.method);
            if let Some(energy) = &row.energy {
                add("Energy", &energy.method);
            }
            if let Some(cost) = &row.cost {
                add("Cost", &cost.formula);
            }
        }
        for ceiling in &report.ceilings {
            add("Ceilings", &ceiling.method);
        }
    }
    html! {
        @if !told.is_empty() {
            details { summary { "As recorded in the results" } dl.methods { @for (what, text) in &told { dt { (what) } dd { (text) } } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_written_as_browsers_read_them() {
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, text) in cases {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert!(policy().contains("default-src 'none'"));
    }
}
