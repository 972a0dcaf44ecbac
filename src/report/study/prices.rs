//! What a million tokens cost by formulas that do not agree: ours, and the two that the published study uses. The latter are
//! computed to show how they differ; nothing else goes by them.

use super::StudyPair;
use crate::report::schema::Row;
use serde::{Deserialize, Serialize};

/// Dollars an hour of the flat formula, as published.
const HOURLY: f64 = 3.06;
/// Dollars of the other formula for a thousand tokens a second, and its factor, as published.
const PER_THOUSAND: f64 = 0.0004;
const SECONDS: f64 = 60.0;

/// A way to price tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Formula {
    /// What the rows go by: an hour of the hardware over the tokens of an hour.
    Repaired,
    /// The published study's result files: it rises with speed.
    StudyJson,
    /// The published study's other script: a flat price of the hour.
    StudyHourly,
}

/// A formula's price of one model's tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FormulaPrice {
    /// The formula.
    pub formula: Formula,
    /// Price of 1,000,000 generated tokens, as the formula calls it; null where the row has no cost.
    pub per_million_tokens: Option<f64>,
    /// Its currency.
    pub currency: String,
    /// The formula in words.
    pub how: String,
}

/// The prices of one model's tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Priced {
    /// Model name.
    pub model: String,
    /// Its row.
    pub row: String,
    /// The decode speed they come from, tokens per second.
    pub decode_tok_s: f64,
    /// By each formula that was asked for.
    pub prices: Vec<FormulaPrice>,
}

impl Formula {
    /// Every formula, ours first.
    pub const ALL: [Formula; 3] = [Formula::Repaired, Formula::StudyJson, Formula::StudyHourly];

    /// Its name on the command line and in data.
    pub fn name(self) -> &'static str {
        match self {
            Formula::Repaired => "repaired",
            Formula::StudyJson => "study-json",
            Formula::StudyHourly => "study-hourly",
        }
    }

    /// What the study's two call the price at a speed, which is all that they go by.
    pub(super) fn of_speed(self, tok_s: f64) -> Option<f64> {
        match self {
            Formula::Repaired => None,
            Formula::StudyJson => Some(tok_s / 1000.0 * PER_THOUSAND * SECONDS),
            Formula::StudyHourly => Some(HOURLY / (tok_s * 3600.0) * 1e6),
        }
    }

    /// The price at a decode speed.
    fn price(self, row: &Row, decode_tok_s: f64) -> FormulaPrice {
        let (price, how) = match self {
            Formula::Repaired => {
                let cost = row.cost.as_ref();
                let how = cost.map_or("the row has no cost", |cost| cost.formula.as_str());
                (cost.map(|cost| cost.per_million_tokens), how.to_owned())
            }
            Formula::StudyJson => (
                self.of_speed(decode_tok_s),
                format!(
                    "tokens per second / 1000 * {PER_THOUSAND} * {SECONDS}, as published: it rises with speed"
                ),
            ),
            Formula::StudyHourly => (
                self.of_speed(decode_tok_s),
                format!("{HOURLY} an hour / (tokens per second * 3600) * 1,000,000, as published"),
            ),
        };
        let ours = row.cost.as_ref().map(|cost| cost.currency.clone());
        FormulaPrice {
            formula: self,
            per_million_tokens: price.filter(|price| price.is_finite()),
            currency: match (self, ours) {
                (Formula::Repaired, Some(currency)) => currency,
                _ => "USD".to_owned(),
            },
            how,
        }
    }
}

/// The prices of each model of the pairs that decoded, once for each row.
pub fn of(rows: &[Row], pairs: &[StudyPair], formulas: &[Formula]) -> Vec<Priced> {
    let is_in_a_pair = |row: &&Row| {
        let sides = pairs.iter().flat_map(|pair| [&pair.dense, &pair.moe]);
        sides.into_iter().any(|side| side.row == row.id)
    };
    let priced = |row: &Row| {
        let decode_tok_s = row.decode_tok_s.as_ref()?.mean;
        Some(Priced {
            model: row.model.clone(),
            row: row.id.clone(),
            decode_tok_s,
            prices: formulas
                .iter()
                .map(|formula| formula.price(row, decode_tok_s))
                .collect(),
        })
    };
    if formulas.is_empty() {
        return Vec::new();
    }
    rows.iter()
        .filter(is_in_a_pair)
        .filter_map(priced)
        .collect()
}
