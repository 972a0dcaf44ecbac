//! The seeded values of weights. Integer hashing and single IEEE operations only: the same on every machine.

use super::super::spec::RopeScaling;
use crate::trial::Float;
use half::f16;
use half::slice::HalfFloatSliceExt;

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
    /// As `Rope`, with scaled frequencies. A variant of its own: what built-in models have is a part of their digests.
    ScaledRope {
        /// Base of the frequencies.
        theta: f64,
        /// Sine instead of cosine.
        sine: bool,
        /// How they are scaled.
        scaling: RopeScaling,
    },
}

impl Init {
    /// Whether the values follow from the dimensions: a table, and no weights.
    pub fn is_table(self) -> bool {
        matches!(self, Init::Rope { .. } | Init::ScaledRope { .. })
    }
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

/// The centred sum of the four 16-bit lanes of a scattered counter (Irwin-Hall).
fn lanes(key: u64, index: u64) -> i32 {
    let bits = scatter(key.wrapping_add(index));
    let sum = (bits & 0xFFFF) + ((bits >> 16) & 0xFFFF) + ((bits >> 32) & 0xFFFF) + (bits >> 48);
    sum as i32 - 131_070
}

/// A value of mean 0 and standard deviation 1.
fn bell(key: u64, index: u64) -> f32 {
    lanes(key, index) as f32 / LANES_STD
}

/// Fills `out` with values of a tensor whose last dimension is `row`: those at `start`, `start + step`, and so on. One loop for
/// each kind of tensor, and no division of integers in it: this runs for every weight of every model.
pub fn fill(init: Init, key: u64, row: u64, start: u64, step: u64, out: &mut [f32]) {
    match init {
        Init::Bell { mean, std } => {
            let mut index = start;
            // Integers first, then all the arithmetic on them: the second loop is one that compilers vectorise.
            let mut sums = [0; 32];
            for part in out.chunks_mut(sums.len()) {
                for sum in &mut sums[..part.len()] {
                    *sum = lanes(key, index);
                    index = index.wrapping_add(step);
                }
                for (slot, sum) in part.iter_mut().zip(&sums) {
                    *slot = mean + std * (*sum as f32 / LANES_STD);
                }
            }
        }
        Init::Antithetic { std } => each_place(row, start, step, out, |at, column| {
            let value = std * bell(key, (at >> 1) * row + column);
            if at & 1 == 0 { value } else { -value }
        }),
        Init::Rope { theta, sine } => {
            let speed = |pair| libm::pow(theta, -(pair as f64) / row as f64);
            rotations(row, start, step, out, sine, speed);
        }
        Init::ScaledRope {
            theta,
            sine,
            scaling,
        } => {
            let speed = |pair| scaled(libm::pow(theta, -(pair as f64) / row as f64), scaling);
            rotations(row, start, step, out, sine, speed);
        }
    }
}

/// Cosines or sines of positions times the speed of each pair.
fn rotations(
    row: u64,
    start: u64,
    step: u64,
    out: &mut [f32],
    sine: bool,
    speed: impl Fn(u64) -> f64,
) {
    let speeds: Vec<f64> = (0..row).map(speed).collect();
    each_place(row, start, step, out, |position, pair| {
        let angle = position as f64 * speeds[pair as usize];
        (if sine {
            libm::sin(angle)
        } else {
            libm::cos(angle)
        }) as f32
    });
}

/// A frequency as Llama 3 scales it.
fn scaled(speed: f64, scaling: RopeScaling) -> f64 {
    let RopeScaling {
        factor,
        low_freq_factor: low,
        high_freq_factor: high,
        original_positions,
    } = scaling;
    let waves = f64::from(original_positions) * speed / std::f64::consts::TAU;
    // No wave of the first training's length, some, or many: all of it is scaled, a share, or nothing.
    let kept = ((waves - low) / (high - low)).clamp(0.0, 1.0);
    (1.0 - kept) * speed / factor + kept * speed
}

/// As [`fill`], from the row and the column of each value.
fn each_place(row: u64, start: u64, step: u64, out: &mut [f32], value: impl Fn(u64, u64) -> f32) {
    let (mut at, mut column) = (start / row, start % row);
    let (down, right) = (step / row, step % row);
    for slot in out {
        *slot = value(at, column);
        at += down;
        column += right;
        if column >= row {
            column -= row;
            at += 1;
        }
    }
}

/// Appends values in a type.
pub fn encode(values: &[f32], float: Float, out: &mut Vec<u8>) {
    let (at, size) = (out.len(), float.bytes() as usize);
    out.resize(at + values.len() * size, 0);
    let slots = out[at..].chunks_exact_mut(size);
    match float {
        Float::Fp32 => {
            for (slot, value) in slots.zip(values) {
                slot.copy_from_slice(&value.to_le_bytes());
            }
        }
        Float::Fp16 => {
            let mut halves = vec![f16::ZERO; values.len()];
            // What the processor can is asked once for all of them.
            halves.convert_from_f32_slice(values);
            for (slot, value) in slots.zip(&halves) {
                slot.copy_from_slice(&value.to_le_bytes());
            }
        }
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

    #[test]
    fn values_at_a_distance_are_those_of_the_whole_tensor() {
        let inits = [
            Init::Bell {
                mean: 1.0,
                std: 0.5,
            },
            Init::Antithetic { std: 0.5 },
            Init::Rope {
                theta: 1e4,
                sine: true,
            },
        ];
        for init in inits {
            let mut all = vec![0.0; 7 * 60];
            fill(init, 3, 7, 0, 1, &mut all);
            assert!(all.iter().any(|value| *value != all[0]), "{init:?}");
            for (start, step) in [(0, 1), (5, 1), (2, 7), (3, 16), (13, 5)] {
                let mut some = vec![0.0; 20];
                fill(init, 3, 7, start, step, &mut some);
                let expected = all.iter().skip(start as usize).step_by(step as usize);
                assert!(some.iter().eq(expected.take(20)), "{init:?} {start} {step}");
            }
        }
    }
}
