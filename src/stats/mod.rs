//! Door of the statistics room: samples in, a summary or outliers out. Pure: no clock, no environment, one fixed seed.
//! A figure that is undefined (spread of one sample, anything of none) is `None`, and no output is ever NaN or infinite.

mod robust;

pub use robust::{Centre, mean, median, outliers, quantile, ratio_ci95, sample_sd};

/// Samples needed before a 90th percentile means something.
pub const P90_SAMPLES: usize = 64;
/// Samples needed before a 99th percentile means something.
pub const P99_SAMPLES: usize = 662;

/// What there is to say about one quantity.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Median.
    pub median: f64,
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation (n - 1); `None` for one sample.
    pub sd: Option<f64>,
    /// 95 % bootstrap interval of the mean; `None` for one sample.
    pub ci95: Option<[f64; 2]>,
    /// Number of samples.
    pub n: usize,
    /// Smallest sample.
    pub min: f64,
    /// Largest sample.
    pub max: f64,
    /// 90th percentile, from [`P90_SAMPLES`].
    pub p90: Option<f64>,
    /// 99th percentile, from [`P99_SAMPLES`].
    pub p99: Option<f64>,
}

/// Summarises `samples`; `None` when there are none or one of them is not finite.
pub fn summarise(samples: &[f64]) -> Option<Summary> {
    let from = |least: usize, q: f64| {
        (samples.len() >= least)
            .then(|| quantile(samples, q))
            .flatten()
    };
    Some(Summary {
        median: median(samples)?,
        mean: mean(samples)?,
        sd: sample_sd(samples),
        ci95: robust::bootstrap_ci95(samples),
        n: samples.len(),
        min: quantile(samples, 0.0)?,
        max: quantile(samples, 1.0)?,
        p90: from(P90_SAMPLES, 0.9),
        p99: from(P99_SAMPLES, 0.99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_summary() {
        assert_eq!(summarise(&[]), None);
        assert_eq!(summarise(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn one_sample_has_no_spread() {
        let summary = summarise(&[3.5]).unwrap();
        assert_eq!((summary.mean, summary.median, summary.n), (3.5, 3.5, 1));
        assert_eq!((summary.sd, summary.ci95), (None, None));
    }

    #[test]
    fn a_tail_needs_enough_samples() {
        let tail = |n: usize| {
            let samples: Vec<f64> = (0..n).map(|i| i as f64).collect();
            let summary = summarise(&samples).unwrap();
            (summary.p90.is_some(), summary.p99.is_some())
        };
        assert_eq!(tail(63), (false, false));
        assert_eq!(tail(64), (true, false));
        assert_eq!(tail(661), (true, false));
        assert_eq!(tail(662), (true, true));
    }
}
