//! Scales of the charts: from values to a share of the chart's length, and round numbers to mark on it.

/// A scale from nought or, where values are far apart and said so, by powers of ten.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Axis {
    /// From 0 to the largest.
    Linear(f64),
    /// From the exponent of the smallest to that of the largest.
    Log(f64, f64),
    /// From one value to another that is larger.
    Between(f64, f64),
}

/// Values farther apart than this stand on a logarithmic scale, where one is allowed.
const FAR: f64 = 30.0;

impl Axis {
    /// From 0 to the largest of these, with room behind it.
    pub fn linear(values: impl IntoIterator<Item = f64>) -> Axis {
        let finite = values.into_iter().filter(|value| value.is_finite());
        let largest = finite.fold(0.0_f64, f64::max);
        // Not beyond what a float holds.
        Axis::Linear(if largest > 0.0 {
            (largest * 1.04).min(f64::MAX)
        } else {
            1.0
        })
    }

    /// The same, or logarithmic where values are far apart and none is nought.
    pub fn spread(values: &[f64]) -> Axis {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let (low, high) = (
            finite().fold(f64::INFINITY, f64::min),
            finite().fold(0.0, f64::max),
        );
        if low > 0.0 && high / low > FAR {
            let margin = (high.log10() - low.log10()) * 0.05;
            return Axis::Log(low.log10() - margin, high.log10() + margin);
        }
        Axis::linear(values.iter().copied())
    }

    /// From the smallest to the largest of these, for places that nought says nothing of.
    pub fn between(values: impl IntoIterator<Item = f64>) -> Axis {
        let mut ends: Option<[f64; 2]> = None;
        for value in values.into_iter().filter(|value| value.is_finite()) {
            let [low, high] = ends.unwrap_or([value, value]);
            ends = Some([low.min(value), high.max(value)]);
        }
        match ends {
            Some([low, high]) if low < high => Axis::Between(low, high),
            Some([one, _]) => Axis::Between(one - 1.0, one + 1.0),
            None => Axis::Between(0.0, 1.0),
        }
    }

    /// Around 0, for deviations: as far below as above.
    pub fn deviations(values: impl IntoIterator<Item = f64>) -> Axis {
        let finite = values.into_iter().filter(|value| value.is_finite());
        let most = finite.fold(0.0_f64, |most, value| most.max(value.abs()));
        let most = if most > 0.0 { most * 1.06 } else { 1.0 };
        Axis::Between(-most, most)
    }

    /// Around 1, for ratios: as far below as above.
    pub fn ratios(values: impl IntoIterator<Item = f64>) -> Axis {
        let sizes = values
            .into_iter()
            .filter(|value| *value > 0.0 && value.is_finite());
        let most = sizes.map(|value| value.log10().abs()).fold(0.05, f64::max) * 1.1;
        Axis::Log(-most, most)
    }

    /// Whether it is logarithmic.
    pub fn is_log(self) -> bool {
        matches!(self, Axis::Log(..))
    }

    /// Where a value stands, 0 to 1. What lies outside stands at the edge.
    pub fn place(self, value: f64) -> f64 {
        let share = match self {
            Axis::Linear(largest) => value / largest,
            Axis::Log(low, high) => (value.log10() - low) / (high - low),
            Axis::Between(low, high) => (value - low) / (high - low),
        };
        if share.is_nan() {
            0.0
        } else {
            share.clamp(0.0, 1.0)
        }
    }

    /// Round values inside it, `most` at the most.
    pub fn ticks(self, most: usize) -> Vec<f64> {
        match self {
            Axis::Linear(largest) => {
                let step = round_step(largest / (most.max(1) as f64 + 0.49));
                let count = (largest / step).floor().min(most as f64) as u32;
                (0..=count).map(|nth| f64::from(nth) * step).collect()
            }
            Axis::Log(low, high) => log_ticks(low, high, most),
            Axis::Between(low, high) => {
                let step = round_step((high - low) / most.max(1) as f64);
                let first = (low / step).ceil();
                let places = (0..=most).map(|nth| (first + nth as f64) * step);
                places.filter(|tick| *tick <= high).collect()
            }
        }
    }
}

/// The next of 1, 2, 5, 10, ... at or above `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
    let fitting = steps.into_iter().find(|step| *step >= least * 0.999);
    fitting.filter(|step| step.is_finite()).unwrap_or(least)
}

/// Marks nearer to each other than this share of a scale would run into each other on a phone.
const NEAREST: f64 = 0.13;

/// 1, 2 and 5 of each power of ten; fewer of them where that is too many.
fn log_ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let inside = |value: &f64| (low..=high).contains(&value.log10());
    let of = |mantissas: &[f64], every: i32| -> Vec<f64> {
        let exponents =
            (low.floor() as i32..=high.ceil() as i32).filter(|power| power % every == 0);
        let all = exponents.flat_map(|power| mantissas.iter().map(move |m| m * 10_f64.powi(power)));
        all.filter(inside).collect()
    };
    let fine: &[f64] = &[1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 7.0];
    let finest: &[f64] = &[1.0, 1.1, 1.2, 1.3, 1.5, 2.0, 3.0, 5.0, 7.0, 8.0, 9.0];
    let sets = [
        of(finest, 1),
        of(fine, 1),
        of(&[1.0, 2.0, 5.0], 1),
        of(&[1.0, 3.0], 1),
        of(&[1.0], 1),
        of(&[1.0], 2),
        of(&[1.0], 5),
        of(&[1.0], 50),
    ];
    let apart = |ticks: &[f64]| {
        let mut pairs = ticks.windows(2);
        pairs.all(|pair| (pair[1].log10() - pair[0].log10()) / (high - low) > NEAREST)
    };
    let mut sets = sets.into_iter();
    sets.find(|ticks| ticks.len() <= most && apart(ticks))
        .unwrap_or_default()
}

/// A round value in few letters: `1.5 k`, `3 M`.
pub fn short(value: f64) -> String {
    let (divisor, suffix) = match value.abs() {
        size if size >= 1e12 => return format!("{value:.0e}"),
        size if size >= 1e9 => (1e9, " G"),
        size if size >= 1e6 => (1e6, " M"),
        size if size >= 1e4 => (1e3, " k"),
        size if size > 0.0 && size < 1e-3 => return format!("{value:.0e}"),
        _ => (1.0, ""),
    };
    format!("{}{suffix}", super::super::human::plain(value / divisor))
}

/// Sizes are marked in whole powers of two: the unit that suits the axis and its name.
pub fn size_unit(largest: f64) -> (f64, &'static str) {
    let gib = f64::from(1 << 30);
    if largest >= gib * 1.5 {
        (gib, "GiB")
    } else {
        (f64::from(1 << 20), "MiB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_few_and_inside() {
        for largest in [1e-9, 0.7, 3.0, 99.0, 1234.0, 1e308, f64::MAX] {
            let axis = Axis::linear([largest]);
            let ticks = axis.ticks(5);
            assert!((2..=6).contains(&ticks.len()), "{largest}: {ticks:?}");
            assert!(
                ticks
                    .iter()
                    .all(|tick| tick.is_finite() && axis.place(*tick) <= 1.0)
            );
        }
        assert_eq!(
            Axis::Linear(1000.0).ticks(5),
            [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]
        );
    }

    #[test]
    fn values_far_apart_stand_on_powers_of_ten_and_nought_never_does() {
        let axis = Axis::spread(&[1.0, 1e4]);
        assert!(axis.is_log() && axis.ticks(6).contains(&100.0));
        assert!(!Axis::spread(&[0.0, 1e4]).is_log());
        assert!(!Axis::spread(&[3.0, 40.0]).is_log());
        assert_eq!(Axis::spread(&[]), Axis::Linear(1.0));
        let huge = Axis::spread(&[1e-300, 1e300]);
        assert!(huge.ticks(5).len() <= 5 && huge.place(f64::NAN) == 0.0);
    }

    #[test]
    fn a_ratio_of_one_stands_in_the_middle() {
        let axis = Axis::ratios([0.4, 1.1]);
        assert!((axis.place(1.0) - 0.5).abs() < 1e-12);
        assert!(axis.ticks(7).contains(&1.0));
        assert_eq!(Axis::ratios([0.88, 1.11]).ticks(5), [0.9, 1.0, 1.1]);
    }

    #[test]
    fn a_scale_from_one_value_to_another_has_round_ticks_inside() {
        let axis = Axis::between([257.0, 384.0]);
        assert_eq!((axis.place(257.0), axis.place(384.0)), (0.0, 1.0));
        assert_eq!(axis.ticks(3), [300.0, 350.0]);
        assert_eq!(Axis::between([5.0]).place(5.0), 0.5);
        let around = Axis::deviations([0.013, -0.021]);
        assert_eq!(around.place(0.0), 0.5);
        assert_eq!(around.ticks(4), [-0.02, 0.0, 0.02]);
    }

    #[test]
    fn round_values_are_told_in_few_letters() {
        let told = [0.0, 0.25, 1500.0, 20_000.0, 3e6, 1e300].map(short);
        assert_eq!(told, ["0", "0.25", "1500", "20 k", "3 M", "1e300"]);
    }
}
