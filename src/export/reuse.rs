//! What caches of experts would hit, for people: a line for each cache.

use super::columns::{Unit, Value};
use super::human::{self, Detail};
use super::markdown;
use super::table::{self, Prepared};
use crate::report::{ExpertCache, RouterFacts, Study};

const TITLE: &str = "What caches of experts would hit";

/// The table with what it means.
pub fn blocks(study: &Study, width: usize) -> Vec<String> {
    let remarks = remarks(study);
    if remarks.is_empty() {
        return Vec::new();
    }
    let columns = table::fit(columns(study), width);
    let rows = columns.first().map_or(0, |column| column.cells.texts.len());
    let mut text = vec![TITLE.to_owned()];
    if rows > 0 {
        text.extend(table::layout(&columns, rows));
    }
    text.push(table::lines(&remarks, width, 2));
    vec![text.join("\n")]
}

/// The same as Markdown.
pub fn markdown(study: &Study) -> Vec<String> {
    let remarks = remarks(study);
    if remarks.is_empty() {
        return Vec::new();
    }
    let items = remarks.iter();
    let items: Vec<String> = items
        .map(|text| format!("- {}", markdown::escape(text)))
        .collect();
    let grid = markdown::grid(Some(TITLE), &columns(study));
    vec![grid, items.join("\n")]
}

/// What follows for each model, or why nothing does, and how it was computed.
pub fn remarks(study: &Study) -> Vec<String> {
    let mut remarks = Vec::new();
    for facts in &study.routers {
        let model = &facts.model;
        if let Some(reason) = &facts.no_reuse {
            remarks.push(human::one_line(&format!("{model}: no caches: {reason}.")));
        }
        let Some(reuse) = &facts.reuse else { continue };
        remarks.push(human::one_line(&format!("{model}: {}.", reuse.verdict)));
        let link = human::bytes(reuse.link_bytes_per_token as u64);
        let without = match (&reuse.predicted_decode_tok_s, &reuse.not_predicted) {
            (Some(speed), _) => format!(
                "predicted to decode {} tok/s without a cache",
                human::short(*speed)
            ),
            (None, reason) => format!(
                "no speed is predicted: {}",
                reason
                    .as_deref()
                    .unwrap_or("nothing is known of the device")
            ),
        };
        remarks.push(human::one_line(&format!(
            "{model}: a token reads {link} of experts; {without}."
        )));
    }
    let mut reused = study
        .routers
        .iter()
        .filter_map(|facts| facts.reuse.as_ref());
    let method = reused.next();
    remarks.extend(method.map(|reuse| human::one_line(&format!("Caches: {}.", reuse.method))));
    remarks
}

fn columns(study: &Study) -> Vec<Prepared<'static>> {
    let caches = |facts: &'_ RouterFacts| facts.reuse.clone().map_or(Vec::new(), |all| all.caches);
    let lines: Vec<(&RouterFacts, ExpertCache)> = study
        .routers
        .iter()
        .flat_map(|facts| caches(facts).into_iter().map(move |cache| (facts, cache)))
        .collect();
    type Read<'a> = &'a dyn Fn(&RouterFacts, &ExpertCache) -> Value;
    let column = |title, importance, unit, read: Read<'_>| {
        let values: Vec<Value> = lines
            .iter()
            .map(|(facts, cache)| read(facts, cache))
            .collect();
        Prepared {
            importance,
            title,
            cells: human::cells(unit, &values, Detail::Mean, ""),
        }
    };
    let text = |text: &str| Value::Text(text.to_owned());
    vec![
        column("model", 0, Unit::Plain, &|facts, _| (&facts.model).into()),
        column("cache", 0, Unit::Plain, &|_, one| text(one.policy.name())),
        column("of", 0, Unit::Plain, &|_, one| text(one.scope.name())),
        column("experts", 0, Unit::Share, &|_, one| one.share.into()),
        column("hit", 0, Unit::Share, &|_, one| one.hit_rate.into()),
        column("random", 0, Unit::Share, &|_, one| {
            one.random_hit_rate.into()
        }),
        column("size", 3, Unit::Bytes, &|_, one| one.bytes.into()),
        column("link/token", 1, Unit::Bytes, &|_, one| {
            one.link_bytes_per_token.into()
        }),
        column("predicted", 2, Unit::TokensPerSecond, &|_, one| {
            one.predicted_decode_tok_s.into()
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{CachePolicy, CacheScope, ExpertReuse, studied, to_route};

    #[test]
    fn each_cache_has_a_line_and_each_model_its_sentence() {
        let report = studied();
        let mut study = report.study.unwrap();
        assert!(blocks(&study, 80).is_empty() && markdown(&study).is_empty());
        let mut facts = to_route(&report.trials[1]);
        facts.reuse = Some(ExpertReuse {
            prompt_tokens: 8,
            generated_tokens: 8,
            judged_tokens: 8,
            layers: 2,
            experts: 8,
            expert_bytes: 1 << 20,
            link_bytes_per_token: 4_194_304.0,
            predicted_decode_tok_s: None,
            not_predicted: Some("no link".into()),
            caches: vec![ExpertCache {
                policy: CachePolicy::Lru,
                scope: CacheScope::Layer,
                share: 0.25,
                slots: 4,
                bytes: 4 << 20,
                hit_rate: 0.5,
                random_hit_rate: 0.25,
                link_bytes_per_token: 2_097_152.0,
                predicted_decode_tok_s: None,
            }],
            verdict: "a cache pays".into(),
            method: "by hand".into(),
        });
        let mut without = to_route(&report.trials[1]);
        without.no_reuse = Some("all specialists run".into());
        study.routers = vec![facts, without];
        let text = blocks(&study, 100).join("\n");
        for part in [
            TITLE,
            "lru",
            "each layer",
            "50.0",
            "a cache pays.",
            "4.00 MiB of experts",
            "no speed is predicted: no link.",
            "no caches: all specialists run.",
            "Caches: by hand.",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(
            blocks(&study, 80)
                .join("\n")
                .lines()
                .all(|line| line.chars().count() <= 80)
        );
        let text = markdown(&study).join("\n");
        assert!(text.contains("| lru ") && text.contains("- "), "{text}");
    }
}
