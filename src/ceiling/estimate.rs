//! The peak of a size that was not tried, from those that were: the prediction's shape, laid through measured peaks.

use super::Fit;
use crate::units::Bytes;

/// Predicts the peak of a size by the model's shape; it need not be right, but should rise with the size.
pub type Predict<'a> = &'a dyn Fn(u32) -> Bytes;

/// A straight line over the prediction.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// A measured point, and what was predicted for it.
    measured: f64,
    predicted: f64,
    /// Measured bytes for each predicted one.
    slope: f64,
}

/// What is predicted, in the place of a size on the line. A byte for each unit keeps apart what a flat prediction does not.
fn place(predict: Predict<'_>, size: u32) -> f64 {
    predict(size).as_f64() + f64::from(size)
}

/// The line through the largest fit and one clearly smaller; through the only one, with the prediction's own slope. `fits`
/// ascend by size. `None` where no peak was measured.
pub fn line(fits: &[Fit], predict: Predict<'_>) -> Option<Line> {
    let mut points = fits
        .iter()
        .rev()
        .filter_map(|fit| Some((fit.size, fit.pass.peak?.as_f64())));
    let (top, measured) = points.next()?;
    let predicted = place(predict, top);
    // Two neighbours would say more of the noise than of the slope.
    let apart = |size: u32| f64::from(size) <= 0.9 * f64::from(top);
    let rest: Vec<(u32, f64)> = points.collect();
    let other = rest.iter().find(|(size, _)| apart(*size)).or(rest.last());
    let slope = other.map_or(1.0, |(size, peak)| {
        (measured - peak) / (predicted - place(predict, *size))
    });
    let slope = if slope.is_finite() && slope > 0.0 {
        slope
    } else {
        1.0
    };
    Some(Line {
        measured,
        predicted,
        slope,
    })
}

impl Line {
    /// The peak to expect.
    pub fn at(&self, size: u32, predict: Predict<'_>) -> Bytes {
        let peak = self.measured + self.slope * (place(predict, size) - self.predicted);
        // Saturates; there is no NaN in it, for all three figures are finite.
        Bytes(peak.max(0.0).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pass;
    use super::*;

    fn fit(size: u32, peak: u64) -> Fit {
        let pass = Pass {
            peak: Some(Bytes(peak)),
            ..Pass::default()
        };
        Fit { size, pass }
    }

    #[test]
    fn one_peak_shifts_the_prediction_and_two_scale_it() {
        let predict = |size: u32| Bytes(1_000_000 + 999 * u64::from(size));
        let one = line(&[fit(100, 1_300_000)], &predict).unwrap();
        assert_eq!(one.at(200, &predict), Bytes(1_400_000));
        let two = line(&[fit(100, 1_300_000), fit(200, 1_500_000)], &predict).unwrap();
        assert_eq!(two.at(400, &predict), Bytes(1_900_000));
    }

    #[test]
    fn neighbours_do_not_make_the_slope_when_there_is_another() {
        let predict = |size: u32| Bytes(999 * u64::from(size));
        let fits = [fit(100, 100_000), fit(199, 199_900), fit(200, 200_000)];
        let line = line(&fits, &predict).unwrap();
        assert_eq!(line.at(300, &predict), Bytes(300_000));
    }

    #[test]
    fn without_a_peak_there_is_no_estimate_and_a_falling_one_is_not_believed() {
        let predict = |size: u32| Bytes(99 * u64::from(size));
        assert!(
            line(
                &[Fit {
                    size: 1,
                    pass: Pass::default()
                }],
                &predict
            )
            .is_none()
        );
        let falling = line(&[fit(10, 5000), fit(20, 4000)], &predict).unwrap();
        assert_eq!(falling.at(30, &predict), Bytes(5000));
    }
}
