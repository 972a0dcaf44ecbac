//! What comes out of a model that is no decoder: finite, and the same from the same inputs.

use crate::engine::{Engine, EngineError, Output};
use crate::trial::OutputFacts;

/// Two passes may differ by so much of an output's largest number: sums in another order do.
const TOLERANCE: f64 = 1e-3;

/// Runs two passes and compares them.
pub fn check(engine: &mut dyn Engine) -> Result<OutputFacts, EngineError> {
    let first = engine.outputs()?;
    Ok(compare(&first, &engine.outputs()?))
}

fn compare(first: &[Output], second: &[Output]) -> OutputFacts {
    let odd = |output: &&Output| output.values.iter().any(|value| !value.is_finite());
    let count = |output: &Output| output.values.iter().filter(|one| !one.is_finite()).count();
    let pairs = first.iter().zip(second);
    let apart = pairs.map(|(one, other)| difference(&one.values, &other.values));
    OutputFacts {
        outputs: u32::try_from(first.len()).unwrap_or(u32::MAX),
        values: first.iter().map(|output| output.values.len() as u64).sum(),
        not_finite: first.iter().map(|output| count(output) as u64).sum(),
        not_finite_in: first.iter().find(odd).map(|output| output.name.clone()),
        difference: apart.fold(0.0, f64::max),
        tolerance: TOLERANCE,
    }
}

/// The largest difference of two outputs, over the largest number; as large as can be for those of other lengths.
pub fn difference(one: &[f64], other: &[f64]) -> f64 {
    if one.len() != other.len() {
        return f64::MAX;
    }
    let both = one.iter().zip(other);
    let apart = both
        .filter(|(a, b)| a.to_bits() != b.to_bits())
        .map(|(a, b)| (a - b).abs());
    let apart = apart.fold(0.0, |most: f64, one| {
        if one.is_finite() {
            most.max(one)
        } else {
            f64::MAX
        }
    });
    let finite = one.iter().filter(|value| value.is_finite());
    let largest = finite.fold(0.0, |most: f64, value| most.max(value.abs()));
    (apart / largest.max(f64::MIN_POSITIVE)).min(f64::MAX)
}

/// Fails a trial whose outputs are none to rely on.
pub fn verdict(facts: &OutputFacts) -> Result<(), EngineError> {
    if let Some(name) = &facts.not_finite_in {
        return Err(EngineError::Model(format!(
            "{} of {} numbers that come out are infinite or no numbers, the first of them in {name}; give inputs that the model is made for with --input NAME=FILE.npy",
            facts.not_finite, facts.values
        )));
    }
    if facts.passed() {
        return Ok(());
    }
    Err(EngineError::Model(format!(
        "two passes over the same inputs differ by {:.1e} of the largest number, and {:.0e} may be; a model that draws numbers by chance cannot be checked: export it without",
        facts.difference, facts.tolerance
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(values: &[f64]) -> Vec<Output> {
        vec![Output {
            name: "y".into(),
            shape: vec![values.len() as i64],
            values: values.to_vec(),
        }]
    }

    #[test]
    fn outputs_are_finite_and_the_same() {
        let good = compare(&output(&[1.0, -2.0]), &output(&[1.0, -2.001]));
        assert!(good.passed() && verdict(&good).is_ok(), "{good:?}");
        let apart = compare(&output(&[1.0, -2.0]), &output(&[1.1, -2.0]));
        assert!(verdict(&apart).unwrap_err().to_string().contains("differ"));
        let odd = compare(&output(&[1.0, f64::NAN]), &output(&[1.0, f64::NAN]));
        assert_eq!((odd.not_finite, odd.difference), (1, 0.0));
        assert!(verdict(&odd).unwrap_err().to_string().contains("in y"));
        assert!(!compare(&output(&[1.0]), &output(&[1.0, 1.0])).passed());
        assert_eq!(difference(&[0.0], &[0.0]), 0.0);
    }
}
