//! The tables of the study beside its pairs, as CSV: each with a header of its own.

use crate::report::{Priced, Reproduced, RouterFacts, Study};

/// A table, or why it cannot be written.
type Table = std::result::Result<String, Box<dyn std::error::Error>>;

/// Those of the tables that have lines.
pub fn tables(study: &Study) -> Vec<Table> {
    let all = [
        (PRICES, prices(&study.prices)),
        (PUBLISHED, published(&study.as_published)),
        (ROUTERS, routers(&study.routers)),
    ];
    let filled = all.into_iter().filter(|(_, lines)| !lines.is_empty());
    filled.map(|(header, lines)| table(header, lines)).collect()
}

const PRICES: &[&str] = &[
    "priced_model",
    "row",
    "decode_tok_s",
    "formula",
    "per_million_tokens",
    "currency",
];

const PUBLISHED: &[&str] = &[
    "published_model",
    "row",
    "status",
    "prompt_tokens",
    "gen_tokens",
    "metric",
    "published",
    "reproduced",
    "measured",
    "reproduced_over_measured",
];

const ROUTERS: &[&str] = &[
    "routed_model",
    "row",
    "status",
    "router",
    "experts",
    "tokens",
    "experts_per_token",
    "least_share",
    "most_share",
    "entropy",
    "imbalance",
];

fn table(header: &[&str], lines: Vec<Vec<String>>) -> Table {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header)?;
    for line in lines {
        writer.write_record(line)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn prices(models: &[Priced]) -> Vec<Vec<String>> {
    let of_model = |model: &Priced| -> Vec<Vec<String>> {
        let prices = model.prices.iter();
        prices
            .map(|price| {
                vec![
                    model.model.clone(),
                    model.row.clone(),
                    model.decode_tok_s.to_string(),
                    price.formula.name().to_owned(),
                    number(price.per_million_tokens),
                    price.currency.clone(),
                ]
            })
            .collect()
    };
    models.iter().flat_map(of_model).collect()
}

/// A model that did not run has one line with its status.
fn published(models: &[Reproduced]) -> Vec<Vec<String>> {
    let of_model = |model: &Reproduced| -> Vec<Vec<String>> {
        let head = [
            model.model.clone(),
            model.row.clone(),
            model.status.clone(),
            model.prompt_tokens.to_string(),
            model.gen_tokens.to_string(),
        ];
        let with = |figures: [String; 5]| head.iter().cloned().chain(figures).collect();
        if model.figures.is_empty() {
            return vec![with(Default::default())];
        }
        let figures = model.figures.iter();
        figures
            .map(|figure| {
                let name = serde_json::to_value(figure.metric).unwrap_or_default();
                with([
                    name.as_str().unwrap_or_default().to_owned(),
                    number(figure.published),
                    number(figure.reproduced),
                    number(figure.measured),
                    number(figure.ratio),
                ])
            })
            .collect()
    };
    models.iter().flat_map(of_model).collect()
}

/// A model that did not run has one line with its status.
fn routers(models: &[RouterFacts]) -> Vec<Vec<String>> {
    let of_model = |model: &RouterFacts| -> Vec<Vec<String>> {
        let head = [model.model.clone(), model.row.clone(), model.status.clone()];
        let with = |figures: [String; 8]| head.iter().cloned().chain(figures).collect();
        if model.layers.is_empty() {
            return vec![with(Default::default())];
        }
        let layers = model.layers.iter();
        layers
            .map(|layer| {
                with([
                    layer.layer.clone(),
                    layer.chosen.len().to_string(),
                    layer.tokens.to_string(),
                    layer.experts_per_token.to_string(),
                    layer.least_share.to_string(),
                    layer.most_share.to_string(),
                    number(layer.entropy),
                    layer.imbalance.to_string(),
                ])
            })
            .collect()
    };
    models.iter().flat_map(of_model).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Beside, PublishedMetric, RouterLayer, studied, to_reproduce, to_route};
    use std::collections::BTreeMap;

    #[test]
    fn each_table_has_a_header_and_its_lines_and_one_without_lines_is_left_out() {
        let report = studied();
        let mut study = report.study.unwrap();
        study.prices.truncate(1);
        let row = &report.trials[1];
        let (mut routed, mut published) = (to_route(row), to_reproduce(row));
        routed.layers.push(RouterLayer {
            layer: "l0, first".into(),
            tokens: 4,
            chosen: vec![3, 1],
            experts_per_token: 1.0,
            least_share: 0.25,
            most_share: 0.75,
            entropy: None,
            imbalance: 1.5,
        });
        published.figures.push(Beside {
            metric: PublishedMetric::DecodeTokS,
            published: Some(161.56),
            reproduced: None,
            measured: Some(2.0),
            ratio: None,
            effect: None,
            not_measured: BTreeMap::new(),
        });
        study.routers = vec![routed, to_route(row)];
        study.as_published = vec![published];
        let texts: Vec<String> = tables(&study).into_iter().map(Result::unwrap).collect();
        let read = |text: &str| -> Vec<Vec<String>> {
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            let lines = reader.records().map(Result::unwrap);
            lines
                .map(|line| line.iter().map(str::to_owned).collect())
                .collect()
        };
        assert_eq!(texts.len(), 3);
        let prices = read(&texts[0]);
        assert_eq!(prices.len(), study.prices[0].prices.len());
        assert_eq!(prices[1][3], "study-json");
        let published = read(&texts[1]);
        assert_eq!(published[0][5..], ["decode_tok_s", "161.56", "", "2", ""]);
        let routers = read(&texts[2]);
        assert_eq!(routers[0][3..6], ["l0, first", "2", "4"]);
        // What was not told is empty, and a model that did not run is there.
        assert_eq!(
            (&*routers[0][9], &*routers[1][2], &*routers[1][3]),
            ("", "pending", "")
        );
        (study.routers, study.as_published) = (Vec::new(), Vec::new());
        study.prices.clear();
        assert!(tables(&study).is_empty());
    }
}
