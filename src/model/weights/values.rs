//! The seeded values of weights. Integer hashing and single IEEE operations only: the same on every machine.

use crate::trial::Float;
use half::f16;

/// How a tensor is filled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Mean and standard deviation; bell-shaped, bounded at 3.46 standard deviations.
    Bell {
        /// Mean.
        mean: f32,
        /// Standard deviation.
        std: f32,
    },
    /// As `Bell` around zero, but each odd row is the negative of the row before it.
    Antithetic {
        /// Standard deviation.
        std: f32,
    },
    /// Rotary table: cosine or sine of `position * theta^(-2i / head_dim)`.
    Rope {
        /// Base of the frequencies.
        theta: f64,
        /// Sine instead of cosine.
        sine: bool,
    },
}

/// SplitMix64's output function (Steele, Lea, Flood 2014): a bijection that scatters a counter.
fn scatter(counter: u64) -> u64 {
    let mut z = counter.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Standard deviation of the sum of four uniform 16-bit integers: `sqrt(4 * (65536^2 - 1) / 12)`.
const LANES_STD: f32 = 37_837.227;

/// A value of mean 0 and standard deviation 1: the centred sum of the four 16-bit lanes of a scattered counter (Irwin-Hall).
fn bell(key: u64, index: u64) -> f32 {
    let bits = scatter(key.wrapping_add(index));
    let lanes = (bits & 0xFFFF) + ((bits >> 16) & 0xFFFF) + ((bits >> 32) & 0xFFFF) + (bits >> 48);
    (lanes as i32 - 131_070) as f32 / LANES_STD
}

/// Passes on the values at these indices of a tensor whose last dimension is `row`. One loop for each kind of tensor: this runs
/// for every weight of every model.
pub fn each(
    init: Init,
    key: u64,
    row: u64,
    indices: impl Iterator<Item = u64>,
    mut take: impl FnMut(f32),
) {
    match init {
        Init::Bell { mean, std } => indices.for_each(|index| take(mean + std * bell(key, index))),
        Init::Antithetic { std } => indices.for_each(|index| {
            let (at, column) = (index / row, index % row);
            let value = std * bell(key, (at >> 1) * row + column);
            take(if at & 1 == 0 { value } else { -value });
        }),
        Init::Rope { theta, sine } => indices.for_each(|index| {
            let (position, pair) = ((index / row) as f64, (index % row) as f64);
            let angle = position * libm::pow(theta, -pair / row as f64);
            take(if sine {
                libm::sin(angle)
            } else {
                libm::cos(angle)
            } as f32);
        }),
    }
}

/// Appends a value in a type.
pub fn encode(value: f32, float: Float, out: &mut Vec<u8>) {
    match float {
        Float::Fp32 => out.extend_from_slice(&value.to_le_bytes()),
        Float::Fp16 => out.extend_from_slice(&f16::from_f32(value).to_le_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bell_has_unit_variance_and_no_mean() {
        let values: Vec<f64> = (0..200_000)
            .map(|index| f64::from(bell(7, index)))
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>()
            / values.len() as f64;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((variance - 1.0).abs() < 0.01, "{variance}");
    }
}
