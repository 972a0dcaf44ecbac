//! Estimators over slices of numbers. No types of other rooms.
//!
//! Every function gives `None` for an empty slice, for a slice that holds NaN or an infinity, and where the result would
//! overflow: a number that comes out is finite.

/// Resamples behind a bootstrap interval.
const RESAMPLES: usize = 2_000;
/// Draws in one resample at most. Above it fewer are drawn and the deviations scaled by the square root of the share
/// (the rescaled m-out-of-n bootstrap), so that the time taken does not grow with the number of samples.
const DRAWS: usize = 512;
/// Seed of the bootstrap: the same samples give the same interval everywhere.
const SEED: u64 = 0x6564_6765_6265_6e63;
/// Modified Z-score above which a sample is an outlier: ten standard deviations of a normal distribution, as in hyperfine.
const OUTLIER_THRESHOLD: f64 = 14.826;

/// Samples far away from the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Outliers {
    /// How many.
    pub count: usize,
    /// The one farthest from the median.
    pub worst: f64,
}

/// The number, if it is one.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// A sorted copy; `None` when empty or when something is not finite.
fn sorted(samples: &[f64]) -> Option<Vec<f64>> {
    if samples.is_empty() || !samples.iter().all(|sample| sample.is_finite()) {
        return None;
    }
    let mut copy = samples.to_vec();
    copy.sort_by(f64::total_cmp);
    Some(copy)
}

/// Smallest and largest.
fn range(samples: &[f64]) -> Option<(f64, f64)> {
    let ordered = sorted(samples)?;
    Some((*ordered.first()?, *ordered.last()?))
}

/// Arithmetic mean.
pub fn mean(samples: &[f64]) -> Option<f64> {
    let (low, high) = range(samples)?;
    let mean = finite(samples.iter().sum::<f64>() / samples.len() as f64)?;
    Some(mean.clamp(low, high))
}

/// Sample standard deviation, with n - 1; `None` for one sample.
pub fn sample_sd(samples: &[f64]) -> Option<f64> {
    if samples.len() < 2 {
        return None;
    }
    let mean = mean(samples)?;
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    finite((squares / (samples.len() - 1) as f64).sqrt())
}

/// Quantile `q` in 0..=1 with linear interpolation between the two nearest samples (Hyndman and Fan's type 7, what
/// NumPy and R do by default).
pub fn quantile(samples: &[f64], q: f64) -> Option<f64> {
    if !(0.0..=1.0).contains(&q) {
        return None;
    }
    quantile_of_sorted(&sorted(samples)?, q)
}

/// [`quantile`] of samples that are already in order.
fn quantile_of_sorted(ordered: &[f64], q: f64) -> Option<f64> {
    let position = q * ordered.len().checked_sub(1)? as f64;
    let below = *ordered.get(position.floor() as usize)?;
    let above = *ordered.get(position.ceil() as usize)?;
    // `below + gap * part` can round past `above`.
    finite((below + (above - below) * position.fract()).clamp(below, above))
}

/// Median.
pub fn median(samples: &[f64]) -> Option<f64> {
    quantile(samples, 0.5)
}

/// Median absolute deviation from the median, unscaled.
pub fn mad(samples: &[f64]) -> Option<f64> {
    let centre = median(samples)?;
    let distances: Vec<f64> = samples
        .iter()
        .map(|sample| (sample - centre).abs())
        .collect();
    median(&distances)
}

/// Samples whose distance from the median is more than 14.826 median absolute deviations. `None` when there are none of
/// them, and when the deviation is 0: then more than half of the samples are equal and the score is undefined.
pub fn outliers(samples: &[f64]) -> Option<Outliers> {
    let centre = median(samples)?;
    let spread = mad(samples).filter(|spread| *spread > 0.0)?;
    let far = |sample: &&f64| (**sample - centre).abs() / spread > OUTLIER_THRESHOLD;
    let found: Vec<f64> = samples.iter().filter(far).copied().collect();
    let distance = |sample: &f64| (sample - centre).abs();
    let worst = found
        .iter()
        .copied()
        .max_by(|a, b| distance(a).total_cmp(&distance(b)))?;
    Some(Outliers {
        count: found.len(),
        worst,
    })
}

/// SplitMix64: small, deterministic, good enough to pick indices.
struct Generator(u64);

impl Generator {
    /// The next 64 bits.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// One of the samples.
    fn pick(&mut self, samples: &[f64]) -> f64 {
        let index = (u128::from(self.next()) * samples.len() as u128) >> 64;
        samples[index as usize]
    }
}

/// 95 % percentile interval of the mean from 2,000 bootstrap resamples with a fixed seed; `None` for one sample.
/// With a handful of samples it is on the narrow side, as every bootstrap is.
pub fn bootstrap_ci95(samples: &[f64]) -> Option<[f64; 2]> {
    if samples.len() < 2 {
        return None;
    }
    let (low, high) = range(samples)?;
    let centre = mean(samples)?;
    let mut generator = Generator(SEED);
    let means: Vec<f64> = (0..RESAMPLES)
        .map(|_| resampled_mean(&mut generator, samples, centre))
        .collect();
    let ordered = sorted(&means)?;
    let bound = |q: f64| quantile_of_sorted(&ordered, q).map(|bound| bound.clamp(low, high));
    Some([bound(0.025)?, bound(0.975)?])
}

/// Draws in a resample of `n` samples, and what their deviations are scaled by; see [`DRAWS`].
fn draws(n: usize) -> (usize, f64) {
    let draws = n.min(DRAWS);
    (draws, (draws as f64 / n as f64).sqrt())
}

/// The mean of one resample; `centre` is the mean of the samples.
fn resampled_mean(generator: &mut Generator, samples: &[f64], centre: f64) -> f64 {
    let (draws, scale) = draws(samples.len());
    let sum: f64 = (0..draws).map(|_| generator.pick(samples)).sum();
    centre + (sum / draws as f64 - centre) * scale
}

/// The median of one resample; `centre` is the median of the samples.
fn resampled_median(generator: &mut Generator, samples: &[f64], centre: f64) -> Option<f64> {
    let (draws, scale) = draws(samples.len());
    let picked: Vec<f64> = (0..draws).map(|_| generator.pick(samples)).collect();
    Some(centre + (median(&picked)? - centre) * scale)
}

/// Which middle of the samples stands for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Centre {
    /// Mean.
    Mean,
    /// Median.
    Median,
}

/// 95 % percentile interval of `centre of other / centre of baseline`, both resampled 2,000 times with a fixed seed.
/// `None` where one of them has a single sample, or where the baseline is not above zero in every resample.
pub fn ratio_ci95(baseline: &[f64], other: &[f64], centre: Centre) -> Option<[f64; 2]> {
    if baseline.len() < 2 || other.len() < 2 {
        return None;
    }
    let whole = |samples| match centre {
        Centre::Mean => mean(samples),
        Centre::Median => median(samples),
    };
    let (below, above) = (whole(baseline)?, whole(other)?);
    let mut generator = Generator(SEED);
    let mut draw = |samples, middle| match centre {
        Centre::Mean => Some(resampled_mean(&mut generator, samples, middle)),
        Centre::Median => resampled_median(&mut generator, samples, middle),
    };
    let ratios: Option<Vec<f64>> = (0..RESAMPLES)
        .map(|_| {
            let below = draw(baseline, below).filter(|below| *below > 0.0)?;
            finite(draw(other, above)? / below)
        })
        .collect();
    let ordered = sorted(&ratios?)?;
    let bound = |q: f64| quantile_of_sorted(&ordered, q);
    Some([bound(0.025)?, bound(0.975)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        let samples = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(mean(&samples), Some(5.0));
        assert!((sample_sd(&samples).unwrap() - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
        assert_eq!(median(&samples), Some(4.5));
        assert_eq!(mad(&samples), Some(0.5));
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.9), Some(3.7));
        assert_eq!(quantile(&[1.0, 2.0], 1.5), None);
    }

    #[test]
    fn one_sample_has_no_spread() {
        assert_eq!(sample_sd(&[1.0]), None);
        assert_eq!(bootstrap_ci95(&[1.0]), None);
        assert_eq!(mad(&[1.0]), Some(0.0));
        assert_eq!(outliers(&[1.0]), None);
    }

    #[test]
    fn equal_samples_have_an_interval_of_no_width() {
        assert_eq!(bootstrap_ci95(&[0.1; 7]), Some([0.1, 0.1]));
        assert_eq!(sample_sd(&[0.1; 7]), Some(0.0));
    }

    #[test]
    fn an_outlier_is_far_beyond_the_usual_deviation() {
        let mut samples: Vec<f64> = (0..50).map(|i| 10.0 + f64::from(i % 5) * 0.1).collect();
        assert_eq!(outliers(&samples), None);
        samples.push(20.0);
        samples.push(30.0);
        let found = outliers(&samples).unwrap();
        assert_eq!((found.count, found.worst), (2, 30.0));
    }

    #[test]
    fn no_deviation_means_no_outliers() {
        assert_eq!(outliers(&[1.0, 1.0, 1.0, 1.0, 50.0]), None);
    }

    /// Half the width of the interval that a normal distribution gives.
    fn normal_half_width(samples: &[f64]) -> f64 {
        1.96 * sample_sd(samples).unwrap() / (samples.len() as f64).sqrt()
    }

    #[test]
    fn the_interval_is_as_wide_as_theory_says_with_few_and_with_many_samples() {
        for n in [100, 500, 5_000, 60_000] {
            let mut generator = Generator(n);
            let uniform: Vec<f64> = (0..n)
                .map(|_| (generator.next() >> 11) as f64 / (1_u64 << 53) as f64)
                .collect();
            let [low, high] = bootstrap_ci95(&uniform).unwrap();
            let ratio = (high - low) / 2.0 / normal_half_width(&uniform);
            assert!((0.9..1.1).contains(&ratio), "{n}: {ratio}");
        }
    }

    /// `n` samples around `middle`, uniform within `spread` of it on both sides.
    fn around(generator: &mut Generator, n: usize, middle: f64, spread: f64) -> Vec<f64> {
        let unit =
            |generator: &mut Generator| (generator.next() >> 11) as f64 / (1_u64 << 53) as f64;
        (0..n)
            .map(|_| middle * (1.0 + spread * (2.0 * unit(generator) - 1.0)))
            .collect()
    }

    /// Of 200 pairs whose true ratio is `ratio`, how many have an interval that holds it, and one that holds 1.
    fn coverage(n: usize, ratio: f64, centre: Centre) -> (usize, usize) {
        let mut generator = Generator(7);
        let intervals: Vec<[f64; 2]> = (0..200)
            .map(|_| {
                let baseline = around(&mut generator, n, 50.0, 0.1);
                let other = around(&mut generator, n, 50.0 * ratio, 0.1);
                ratio_ci95(&baseline, &other, centre).unwrap()
            })
            .collect();
        let holding = |value: f64| {
            let holds = |ends: &&[f64; 2]| ends[0] <= value && value <= ends[1];
            intervals.iter().filter(holds).count()
        };
        (holding(ratio), holding(1.0))
    }

    #[test]
    fn the_interval_of_a_ratio_holds_the_planted_one_as_often_as_it_says() {
        for centre in [Centre::Mean, Centre::Median] {
            for ratio in [1.0, 1.25] {
                let (held, _) = coverage(40, ratio, centre);
                assert!(
                    (182..=199).contains(&held),
                    "{centre:?} {ratio}: {held} of 200"
                );
            }
        }
        // With five samples it is too narrow, as the documentation says; not by more than this.
        let (held, _) = coverage(5, 1.25, Centre::Mean);
        assert!((160..=190).contains(&held), "{held} of 200");
    }

    #[test]
    fn a_planted_effect_larger_than_the_noise_is_always_found() {
        assert_eq!(coverage(5, 1.25, Centre::Mean).1, 0);
        assert_eq!(coverage(5, 0.8, Centre::Mean).1, 0);
    }

    #[test]
    fn a_ratio_needs_two_samples_on_both_sides_and_a_baseline_above_zero() {
        let few = [4.0, 5.0, 6.0];
        assert_eq!(ratio_ci95(&[4.0], &few, Centre::Mean), None);
        assert_eq!(ratio_ci95(&few, &[4.0], Centre::Mean), None);
        assert_eq!(ratio_ci95(&[0.0, 0.0, 0.0], &few, Centre::Mean), None);
        assert_eq!(ratio_ci95(&[1.0, f64::NAN], &few, Centre::Median), None);
        assert_eq!(
            ratio_ci95(&[2.0; 3], &[3.0; 3], Centre::Mean),
            Some([1.5, 1.5])
        );
    }

    proptest! {
        #[test]
        fn the_interval_of_a_ratio_is_finite_and_in_order(
            baseline in prop::collection::vec(any::<f64>(), 0..12), other in prop::collection::vec(any::<f64>(), 0..12),
        ) {
            if let Some([low, high]) = ratio_ci95(&baseline, &other, Centre::Mean) {
                prop_assert!(low.is_finite() && low <= high && high.is_finite());
            }
        }

        #[test]
        fn what_comes_out_is_finite(samples in prop::collection::vec(any::<f64>(), 0..40), q in any::<f64>()) {
            let single = [mean(&samples), sample_sd(&samples), median(&samples), mad(&samples), quantile(&samples, q),
                outliers(&samples).map(|found| found.worst)];
            let pair = bootstrap_ci95(&samples).into_iter().flatten();
            prop_assert!(single.into_iter().flatten().chain(pair).all(f64::is_finite));
            if samples.iter().any(|sample| !sample.is_finite()) {
                prop_assert_eq!(mean(&samples), None);
            }
        }

        #[test]
        fn order_does_not_matter_and_everything_lies_in_range(
            samples in prop::collection::vec(-1e9..1e9_f64, 1..60), q in 0.0..=1.0_f64,
        ) {
            let reversed: Vec<f64> = samples.iter().rev().copied().collect();
            let (low, high) = range(&samples).unwrap();
            let at = quantile(&samples, q).unwrap();
            prop_assert_eq!(quantile(&reversed, q), Some(at));
            let mean = mean(&samples).unwrap();
            prop_assert!(low <= at && at <= high && low <= mean && mean <= high);
            prop_assert!(quantile(&samples, q / 2.0).unwrap() <= at);
            if let Some([left, right]) = bootstrap_ci95(&samples) {
                prop_assert!(low <= left && left <= right && right <= high);
            }
            prop_assert!(mad(&samples).unwrap() >= 0.0 && sample_sd(&samples).is_none_or(|sd| sd >= 0.0));
        }
    }
}
