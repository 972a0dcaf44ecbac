//! What is compared: the name of each quantity in data, and what a ratio of it means.

use super::verdict::Verdict;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A figure of a row that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Mean time to first token, milliseconds.
    TtftMs,
    /// Mean prefill speed, tokens per second.
    PrefillTokS,
    /// Mean decode speed, tokens per second.
    DecodeTokS,
    /// Median inter-token latency, milliseconds.
    ItlMsP50,
    /// 90th percentile of the inter-token latency, milliseconds.
    ItlMsP90,
    /// Peak memory, bytes.
    PeakBytes,
    /// Cost of a million generated tokens.
    CostPerMillionTokens,
    /// Energy for each generated token, joules. No part of a comparison of files.
    EnergyPerTokenJ,
}

/// Which direction is an improvement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

impl Quantity {
    /// What is compared of a dense and a Mixture-of-Experts model, in the order in which it is shown.
    pub const STUDIED: [Quantity; 5] = [
        Quantity::DecodeTokS,
        Quantity::TtftMs,
        Quantity::PeakBytes,
        Quantity::EnergyPerTokenJ,
        Quantity::CostPerMillionTokens,
    ];

    /// Every quantity of a comparison of files, in the order in which they are shown.
    pub const ALL: [Quantity; 7] = [
        Quantity::TtftMs,
        Quantity::PrefillTokS,
        Quantity::DecodeTokS,
        Quantity::ItlMsP50,
        Quantity::ItlMsP90,
        Quantity::PeakBytes,
        Quantity::CostPerMillionTokens,
    ];

    /// Its name in data and on the command line, with the unit.
    pub fn name(self) -> &'static str {
        match self {
            Quantity::TtftMs => "ttft_ms",
            Quantity::PrefillTokS => "prefill_tok_s",
            Quantity::DecodeTokS => "decode_tok_s",
            Quantity::ItlMsP50 => "itl_ms_p50",
            Quantity::ItlMsP90 => "itl_ms_p90",
            Quantity::PeakBytes => "peak_bytes",
            Quantity::CostPerMillionTokens => "cost_per_million_tokens",
            Quantity::EnergyPerTokenJ => "energy_per_token_j",
        }
    }

    /// Whether more of it is better. Nothing else in edgebench decides this.
    pub fn direction(self) -> Direction {
        match self {
            Quantity::PrefillTokS | Quantity::DecodeTokS => Direction::Higher,
            Quantity::TtftMs
            | Quantity::ItlMsP50
            | Quantity::ItlMsP90
            | Quantity::PeakBytes
            | Quantity::CostPerMillionTokens
            | Quantity::EnergyPerTokenJ => Direction::Lower,
        }
    }

    /// The verdict in a word that suits the quantity.
    pub fn word(self, verdict: Verdict) -> &'static str {
        let (better, worse) = match self {
            Quantity::PeakBytes | Quantity::EnergyPerTokenJ => ("less", "more"),
            Quantity::CostPerMillionTokens => ("cheaper", "dearer"),
            _ => ("faster", "slower"),
        };
        match verdict {
            Verdict::Better => better,
            Verdict::Worse => worse,
            Verdict::NoDifference => "no_difference",
            Verdict::NotComparable => "not_comparable",
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quantity, D::Error> {
        let name = String::deserialize(deserializer)?;
        let mut all = Quantity::ALL.into_iter().chain(Quantity::STUDIED);
        let unknown = || serde::de::Error::custom(format!("there is no quantity {name:?}"));
        all.find(|quantity| quantity.name() == name)
            .ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_better_high_and_everything_else_low() {
        for quantity in Quantity::ALL.into_iter().chain(Quantity::STUDIED) {
            let higher = quantity.name().ends_with("tok_s");
            assert_eq!(
                quantity.direction() == Direction::Higher,
                higher,
                "{quantity:?}"
            );
        }
    }

    #[test]
    fn a_verdict_is_told_in_a_word_of_the_quantity() {
        let words = |quantity: Quantity| {
            (
                quantity.word(Verdict::Better),
                quantity.word(Verdict::Worse),
            )
        };
        assert_eq!(words(Quantity::TtftMs), ("faster", "slower"));
        assert_eq!(words(Quantity::DecodeTokS), ("faster", "slower"));
        assert_eq!(words(Quantity::PeakBytes), ("less", "more"));
        assert_eq!(words(Quantity::CostPerMillionTokens), ("cheaper", "dearer"));
    }
}
