//! The published study's figures for people: for each model what was published, what its way gives here and what is measured properly,
//! with the effect of each flaw below.

use super::columns::{Unit, Value};
use super::human::{self, Cells, Detail};
use super::markdown;
use super::table::{self, Prepared};
use crate::report::{Beside, PublishedMetric, Reproduced, Study};

/// One table for each model, and its flaws.
pub fn blocks(study: &Study, width: usize) -> Vec<String> {
    let block = |model: &Reproduced| {
        let columns = table::fit(columns(model), width);
        let laid = table::layout(&columns, model.figures.len());
        let mut text = vec![human::wrap(&title(model), width, 2)];
        if !model.figures.is_empty() {
            text.extend(laid);
        }
        let effects = effects(model);
        if !effects.is_empty() {
            text.push(table::lines(&effects, width, 2));
        }
        text.join("\n")
    };
    study.as_published.iter().map(block).collect()
}

/// The same as Markdown.
pub fn markdown(study: &Study) -> Vec<String> {
    let block = |model: &Reproduced| {
        let heading = markdown::escape(&title(model));
        let effects = effects(model);
        let items = effects
            .iter()
            .map(|text| format!("- {}", markdown::escape(text)));
        let list = items.collect::<Vec<_>>().join("\n");
        match model.figures.is_empty() {
            true => format!("### {heading}\n\n{list}"),
            false => {
                let grid = markdown::grid(Some(&heading), &columns(model));
                format!("{grid}\n\n{list}")
            }
        }
    };
    study.as_published.iter().map(block).collect()
}

fn title(model: &Reproduced) -> String {
    human::one_line(&format!(
        "{} measured as the published study does; {} prompt, {} generated",
        model.model, model.prompt_tokens, model.gen_tokens
    ))
}

/// What each flaw does, how the study's way was run, and why there is nothing where that is so.
pub fn effects(model: &Reproduced) -> Vec<String> {
    let mut lines: Vec<String> = model
        .figures
        .iter()
        .filter_map(|figure| {
            Some(format!(
                "{}: {}.",
                name(figure.metric),
                figure.effect.as_ref()?
            ))
        })
        .collect();
    for figure in &model.figures {
        if let Some(reason) = figure.not_measured.get("reproduced") {
            let reason = format!("{} its way: not known, {reason}.", name(figure.metric));
            lines.push(reason);
        }
    }
    if model.status == "pending" {
        lines.push("It has not run.".to_owned());
    } else if model.status != "ok" {
        let reason = model.reason.as_deref().unwrap_or("no reason is known");
        lines.push(format!("{}: {reason}", model.status.replace('_', " ")));
    } else {
        lines.push(format!("Its way: {}.", model.method));
    }
    lines.iter().map(|line| human::one_line(line)).collect()
}

/// A quantity's name for people.
pub fn name(metric: PublishedMetric) -> &'static str {
    match metric {
        PublishedMetric::DecodeTokS => "tokens per second",
        PublishedMetric::FirstTokenMs => "\"first token\"",
        PublishedMetric::MemoryBytes => "memory",
        PublishedMetric::ActiveParams => "active parameters",
        PublishedMetric::CostStudyJson => "cost by study-json",
        PublishedMetric::CostStudyHourly => "cost by study-hourly",
    }
}

/// What a quantity counts.
pub fn unit(metric: PublishedMetric) -> Unit {
    match metric {
        PublishedMetric::DecodeTokS => Unit::TokensPerSecond,
        PublishedMetric::FirstTokenMs => Unit::Millis,
        PublishedMetric::MemoryBytes => Unit::Bytes,
        PublishedMetric::ActiveParams => Unit::Parameters,
        PublishedMetric::CostStudyJson | PublishedMetric::CostStudyHourly => Unit::MoneyPerMillion,
    }
}

/// The quantities have a line each, and so a unit each: it stands in the line.
fn columns(model: &Reproduced) -> Vec<Prepared<'static>> {
    let told: Vec<Cells> = model
        .figures
        .iter()
        .map(|figure| {
            let values: Vec<Value> = [figure.published, figure.reproduced, figure.measured]
                .into_iter()
                .map(Value::from)
                .collect();
            human::cells(unit(figure.metric), &values, Detail::Mean, "USD")
        })
        .collect();
    let column = |title, importance, texts, numeric| Prepared {
        importance,
        title,
        cells: Cells {
            unit: String::new(),
            texts,
            numeric,
        },
    };
    let place = |at: usize| told.iter().map(|cells| cells.texts[at].clone()).collect();
    let names = |figure: &Beside| name(figure.metric).to_owned();
    vec![
        column("", 0, model.figures.iter().map(names).collect(), false),
        column(
            "unit",
            0,
            told.iter().map(|cells| cells.unit.clone()).collect(),
            false,
        ),
        column("published", 1, place(0), true),
        column("its way", 0, place(1), true),
        column("properly", 0, place(2), true),
    ]
}
