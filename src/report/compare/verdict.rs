//! Two figures to a ratio, its interval and a verdict.

use super::quantity::{Direction, Quantity};
use super::run::{Figure, Samples};
use crate::stats::{self, Centre};
use serde::Serialize;
use std::collections::BTreeMap;

/// Ratios nearer to 1 than this, up or down, are no difference: two runs of the same on one machine are no closer.
pub const NOISE: f64 = 0.01;

/// What a ratio means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Better than the baseline.
    Better,
    /// Worse than the baseline.
    Worse,
    /// The interval holds 1, or the ratio is within [`NOISE`].
    NoDifference,
    /// No ratio, or one that would say nothing.
    NotComparable,
}

/// One quantity of two rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// What is compared.
    pub metric: Quantity,
    /// The baseline's figure.
    pub baseline: Option<f64>,
    /// The other file's figure.
    pub other: Option<f64>,
    /// Other / baseline.
    pub ratio: Option<f64>,
    /// 95 % interval of the ratio.
    pub ci95: Option<[f64; 2]>,
    /// The verdict, as [`Quantity::word`] tells it.
    #[serde(rename = "verdict")]
    pub word: &'static str,
    /// The same without the word.
    #[serde(skip)]
    pub verdict: Verdict,
    /// Why it is not comparable.
    pub reason: Option<String>,
    /// Reason for every `null` of the figures above, by field name.
    pub not_measured: BTreeMap<&'static str, String>,
}

/// Labels of the two files.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    /// The baseline's.
    pub baseline: &'a str,
    /// The other's.
    pub other: &'a str,
}

/// Judges a quantity. `refused` says why the figures stand for different things, if they do.
pub fn judge(
    metric: Quantity,
    baseline: &Figure,
    other: &Figure,
    refused: Option<&str>,
    labels: Labels,
) -> Judgement {
    let mut not_measured = BTreeMap::new();
    let mut absent = Vec::new();
    for (name, label, figure) in [
        ("baseline", labels.baseline, baseline),
        ("other", labels.other, other),
    ] {
        if let Figure::Missing(reason) = figure {
            absent.push(format!("{label}: {reason}"));
            not_measured.insert(name, reason.clone());
        }
    }
    let mut reason = refused.map(str::to_owned);
    if reason.is_none() && !absent.is_empty() {
        reason = Some(absent.join("; "));
    }
    let ratio = match reason {
        None => quotient(baseline, other),
        Some(_) => None,
    };
    if ratio.is_none() {
        reason = reason.or_else(|| Some("the ratio is no number above zero".to_owned()));
    }
    let interval = match (ratio, &reason) {
        (Some(ratio), _) => interval(metric, baseline, other, ratio),
        (None, reason) => Err(reason.clone().unwrap_or_default()),
    };
    if let Some(reason) = reason.as_ref() {
        not_measured.insert("ratio", reason.clone());
    }
    if let Err(reason) = &interval {
        not_measured.insert("ci95", reason.clone());
    }
    let ci95 = interval.ok();
    let verdict = ratio.map_or(Verdict::NotComparable, |ratio| {
        verdict(metric.direction(), ratio, ci95)
    });
    Judgement {
        metric,
        baseline: baseline.value(),
        other: other.value(),
        ratio,
        ci95,
        word: metric.word(verdict),
        verdict,
        reason,
        not_measured,
    }
}

/// Other / baseline, where that is a number above zero.
fn quotient(baseline: &Figure, other: &Figure) -> Option<f64> {
    let ratio = other.value()? / baseline.value()?;
    (ratio.is_finite() && ratio > 0.0).then_some(ratio)
}

/// The interval of the ratio, or why there is none.
fn interval(
    metric: Quantity,
    baseline: &Figure,
    other: &Figure,
    ratio: f64,
) -> Result<[f64; 2], String> {
    let (Figure::Known { samples: below, .. }, Figure::Known { samples: above, .. }) =
        (baseline, other)
    else {
        return Err("a figure is missing".to_owned());
    };
    let centre = match metric {
        Quantity::ItlMsP50 => Centre::Median,
        _ => Centre::Mean,
    };
    let ends = match (below, above) {
        (Samples::None(reason), _) | (_, Samples::None(reason)) => return Err(reason.clone()),
        (Samples::Own(below), Samples::Own(above)) => stats::ratio_ci95(below, above, centre),
        (Samples::OfSpeed(below), Samples::OfSpeed(above)) => of_inverse(below, above, ratio),
        _ => return Err("the two files keep samples of different things".to_owned()),
    };
    let ends = ends.filter(|ends| ends.iter().all(|end| end.is_finite()));
    ends.ok_or_else(|| "one sample has no spread".to_owned())
}

/// The interval of a ratio of figures that are inversely proportional to speeds, by a factor that has no spread.
fn of_inverse(below: &[f64], above: &[f64], ratio: f64) -> Option<[f64; 2]> {
    let [low, high] = stats::ratio_ci95(above, below, Centre::Mean)?;
    let factor = ratio / (stats::mean(below)? / stats::mean(above)?);
    Some([low * factor, high * factor])
}

/// The verdict on a ratio above zero.
fn verdict(direction: Direction, ratio: f64, ci95: Option<[f64; 2]>) -> Verdict {
    let spans = ci95.is_some_and(|[low, high]| low <= 1.0 && 1.0 <= high);
    // By logarithm, so that A against B says the opposite of B against A.
    if spans || ratio.ln().abs() <= NOISE.ln_1p() {
        return Verdict::NoDifference;
    }
    match (direction, ratio > 1.0) {
        (Direction::Higher, true) | (Direction::Lower, false) => Verdict::Better,
        (Direction::Higher, false) | (Direction::Lower, true) => Verdict::Worse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: Labels = Labels {
        baseline: "A",
        other: "B",
    };

    fn known(samples: &[f64]) -> Figure {
        Figure::Known {
            value: stats::mean(samples).unwrap(),
            samples: Samples::Own(samples.to_vec()),
        }
    }

    fn bare(value: f64) -> Figure {
        Figure::Known {
            value,
            samples: Samples::None("only quantiles are kept".to_owned()),
        }
    }

    fn judged(metric: Quantity, baseline: &Figure, other: &Figure) -> Judgement {
        judge(metric, baseline, other, None, LABELS)
    }

    /// Five samples with a spread of about 1 %.
    fn steady(mean: f64) -> Figure {
        known(&[0.99, 0.995, 1.0, 1.005, 1.01].map(|share| share * mean))
    }

    #[test]
    fn a_planted_effect_has_its_ratio_interval_and_word() {
        let faster = judged(Quantity::DecodeTokS, &steady(100.0), &steady(150.0));
        assert!((faster.ratio.unwrap() - 1.5).abs() < 1e-9);
        let [low, high] = faster.ci95.unwrap();
        assert!(1.45 < low && low < 1.5 && 1.5 < high && high < 1.55);
        assert_eq!(faster.word, "faster");
        let slower = judged(Quantity::TtftMs, &steady(100.0), &steady(150.0));
        assert_eq!((slower.word, slower.ratio), ("slower", faster.ratio));
        assert!(faster.not_measured.is_empty() && faster.reason.is_none());
    }

    #[test]
    fn an_interval_that_spans_one_is_no_difference_however_large_the_ratio() {
        let wide = |mean: f64| known(&[0.5, 0.7, 1.0, 1.3, 1.5].map(|share| share * mean));
        let found = judged(Quantity::DecodeTokS, &wide(100.0), &wide(115.0));
        assert!(found.ratio.unwrap() > 1.1);
        assert_eq!(found.word, "no_difference");
    }

    #[test]
    fn a_difference_within_the_noise_is_none_even_where_the_interval_is_narrower() {
        let exact = |mean: f64| known(&[mean; 5]);
        let word =
            |ratio: f64| judged(Quantity::DecodeTokS, &exact(100.0), &exact(100.0 * ratio)).word;
        assert_eq!([word(1.009), word(0.991)], ["no_difference"; 2]);
        assert_eq!([word(1.011), word(0.989)], ["faster", "slower"]);
    }

    #[test]
    fn the_other_way_round_says_the_opposite() {
        for percent in 50..200 {
            let other = f64::from(percent);
            let word = |a: &Figure, b: &Figure| judged(Quantity::TtftMs, a, b).word;
            let (there, back) = (
                word(&bare(100.0), &bare(other)),
                word(&bare(other), &bare(100.0)),
            );
            let opposite = match there {
                "faster" => "slower",
                "slower" => "faster",
                same => same,
            };
            assert_eq!(back, opposite, "{percent}");
        }
    }

    #[test]
    fn without_samples_there_is_a_ratio_and_the_reason_for_no_interval() {
        let found = judged(Quantity::ItlMsP90, &bare(2.0), &bare(1.0));
        assert_eq!(
            (found.ratio, found.ci95, found.word),
            (Some(0.5), None, "faster")
        );
        assert_eq!(found.not_measured["ci95"], "only quantiles are kept");
        let single = judged(Quantity::TtftMs, &known(&[2.0]), &known(&[1.0]));
        assert_eq!(single.not_measured["ci95"], "one sample has no spread");
    }

    #[test]
    fn a_missing_figure_is_not_comparable_and_says_whose_and_why() {
        let missing = Figure::Missing("the trial crashed".to_owned());
        let found = judged(Quantity::TtftMs, &bare(2.0), &missing);
        assert_eq!(
            (found.word, found.ratio, found.other),
            ("not_comparable", None, None)
        );
        assert_eq!(found.reason.as_deref(), Some("B: the trial crashed"));
        assert_eq!(found.not_measured["other"], "the trial crashed");
        assert!(
            found.not_measured.contains_key("ratio") && found.not_measured.contains_key("ci95")
        );
    }

    #[test]
    fn a_refusal_keeps_the_figures_and_gives_no_ratio() {
        let refused = Some("other precision (A fp32, B fp16)");
        let found = judge(Quantity::TtftMs, &bare(2.0), &bare(1.0), refused, LABELS);
        assert_eq!((found.baseline, found.other), (Some(2.0), Some(1.0)));
        assert_eq!((found.ratio, found.reason.as_deref()), (None, refused));
    }

    #[test]
    fn zero_and_huge_figures_have_no_ratio() {
        for (below, above) in [(0.0, 1.0), (1.0, 0.0), (1e-300, 1e300), (-1.0, 1.0)] {
            let found = judged(Quantity::PeakBytes, &bare(below), &bare(above));
            assert_eq!((found.ratio, found.word), (None, "not_comparable"));
            assert!(found.reason.is_some());
        }
    }

    #[test]
    fn a_cost_has_the_interval_of_the_speed_it_comes_from_turned_over() {
        let speeds = [99.0, 99.5, 100.0, 100.5, 101.0];
        let cost = |price: f64, factor: f64| {
            let samples: Vec<f64> = speeds.iter().map(|speed| speed * factor).collect();
            Figure::Known {
                value: price / stats::mean(&samples).unwrap(),
                samples: Samples::OfSpeed(samples),
            }
        };
        // Twice as fast on a machine that costs three times as much.
        let found = judged(
            Quantity::CostPerMillionTokens,
            &cost(1.0, 1.0),
            &cost(3.0, 2.0),
        );
        let [low, high] = found.ci95.unwrap();
        assert!((found.ratio.unwrap() - 1.5).abs() < 1e-9);
        assert!(
            1.47 < low && low < 1.5 && 1.5 < high && high < 1.53,
            "{low} {high}"
        );
        assert_eq!(found.word, "dearer");
    }
}
