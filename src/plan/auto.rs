//! Which precision `auto` is for a trial: the widest of a few that is predicted to fit. Pure.

use super::{PrecisionChoice, Predict};
use crate::model::{ModelSpec, check_device, check_form};
use crate::trial::{Device, Form, Precision, Trial};
use crate::units::Bytes;
use serde::Serialize;

/// A precision that `auto` did not take, because it is predicted not to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// The precision.
    pub precision: Precision,
    /// Predicted peak of memory in it.
    pub predicted_peak: Bytes,
}

/// The precisions that a choice stands for, the widest first. What computes in fp32 gains nothing from weights in fp16.
pub fn candidates(choice: PrecisionChoice, form: Form, device: Device) -> Vec<Precision> {
    let widest = match (choice, device) {
        (PrecisionChoice::Exactly(precision), _) => return vec![precision],
        (PrecisionChoice::Auto, Device::Cpu) => Precision::Fp32,
        (PrecisionChoice::Auto, Device::Cuda(_)) => Precision::Fp16,
    };
    let narrower = [Precision::Int8, Precision::Int4].into_iter();
    let narrower = narrower.filter(|precision| check_form(form, *precision).is_ok());
    std::iter::once(widest).chain(narrower).collect()
}

/// Of trials that differ in precision, the widest first, the first that is predicted to fit, else the narrowest that the device
/// has operators for; and those before it.
pub fn choose(
    spec: &ModelSpec,
    mut trials: Vec<Trial>,
    predict: Predict<'_>,
) -> Option<(Trial, Vec<PassedOver>)> {
    // A single one was asked for, whatever becomes of it.
    if trials.len() > 1 {
        trials.retain(|trial| check_device(spec, trial.precision, trial.device).is_ok());
    }
    // A length that the model does not have is none in any precision.
    let too_long = |trial: &Trial| super::fit::is_too_long(spec, trial);
    let last = trials.len().checked_sub(1)?;
    let mut passed_over = Vec::new();
    for (place, trial) in trials.into_iter().enumerate() {
        if place == last || too_long(&trial) {
            return Some((trial, passed_over));
        }
        let predicted_peak = predict(spec, &trial).total();
        if predicted_peak <= trial.budget {
            return Some((trial, passed_over));
        }
        passed_over.push(PassedOver {
            precision: trial.precision,
            predicted_peak,
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_fp16_on_a_gpu_and_fp32_on_the_cpu_and_quantised_where_the_form_is() {
        use Precision::{Fp16, Fp32, Int4, Int8};
        let (auto, gpu) = (PrecisionChoice::Auto, Device::Cuda(0));
        assert_eq!(candidates(auto, Form::Fused, gpu), [Fp16, Int8, Int4]);
        assert_eq!(
            candidates(auto, Form::Fused, Device::Cpu),
            [Fp32, Int8, Int4]
        );
        assert_eq!(candidates(auto, Form::Plain, gpu), [Fp16]);
        assert_eq!(candidates(auto, Form::Plain, Device::Cpu), [Fp32]);
        let exactly = PrecisionChoice::Exactly(Int4);
        assert_eq!(candidates(exactly, Form::Fused, gpu), [Int4]);
    }
}
