//! What a row says of its logits: held to a committed reference, and decode held to prefill.

use super::row::ended;
use super::schema::{Check, DecodeCheck, Difference, OutputCheck, RouterCheck};
use crate::trial::{
    CheckFacts, DifferenceFacts, Outcome, OutputFacts, Reading, RouterRead, TrialResult,
};

/// What came out of a model that is no decoder.
pub fn outputs(facts: &OutputFacts) -> OutputCheck {
    OutputCheck {
        passed: facts.passed(),
        outputs: facts.outputs,
        values: facts.values,
        not_finite: facts.not_finite,
        difference: facts.difference,
        tolerance: facts.tolerance,
    }
}

/// Comparison with the reference, shortened to what a reader needs.
pub fn check(facts: &CheckFacts) -> Check {
    let errors = [
        facts.prefill_error,
        facts.pieces_error,
        facts.stepwise_error,
        facts.decode_error,
    ];
    // JSON has no NaN or infinity: a difference that is no number is told as the largest one.
    let worst = errors.iter().fold(0.0_f64, |worst, error| {
        worst.max(if error.is_finite() { *error } else { f64::MAX })
    });
    Check {
        passed: facts.passed(),
        tolerance: facts.tolerance,
        worst_error: worst,
        ids_equal: facts.ids_equal,
        quantization: facts.quantization.map(difference),
    }
}

fn difference(facts: DifferenceFacts) -> Difference {
    Difference {
        error: facts.error,
        same_top: facts.same_top,
        positions: facts.positions,
    }
}

/// Why nothing was compared with a reference.
pub fn no_check(result: &TrialResult) -> String {
    match &result.outcome {
        Outcome::Ok => {
            "no committed reference for this model with this seed, batch and length".to_owned()
        }
        _ => ended(result, "a comparison with a reference was reported"),
    }
}

/// Decode against prefill, where it was compared.
pub fn decode_check(result: &TrialResult) -> Option<DecodeCheck> {
    let facts = result.decode_check.as_ref()?.as_ref().ok()?;
    Some(DecodeCheck {
        passed: facts.passed(),
        tolerance: facts.rule.tolerance,
        error: facts.error,
        position: facts.position,
        read: match facts.rule.reading {
            Reading::Pieces => "pieces",
            Reading::Tokens => "tokens",
        }
        .to_owned(),
    })
}

/// Why decode was not held to prefill.
pub fn no_decode_check(result: &TrialResult) -> String {
    match &result.decode_check {
        Some(Err(reason)) => reason.clone(),
        _ if result.trial.gen_tokens < 2 => {
            "one generated token comes out of prefill: there is no decode step to compare"
                .to_owned()
        }
        _ => ended(result, "decode was held to prefill"),
    }
}

/// How far the logits are from fp32's, where that was compared.
pub fn fp32_difference(result: &TrialResult) -> Option<Difference> {
    let facts = result.fp32_difference.as_ref()?.as_ref().ok()?;
    Some(difference(*facts))
}

/// Why they were not compared with fp32's.
pub fn no_fp32_difference(result: &TrialResult) -> String {
    match (&result.fp32_difference, &result.outcome) {
        (Some(Err(reason)), _) => reason.clone(),
        (_, Outcome::Ok) => "no committed fp32 logits for this model with this seed".to_owned(),
        _ => ended(result, "the logits were compared with fp32's"),
    }
}

/// The routers' weights, where they were looked at.
pub fn router_check(result: &TrialResult) -> Option<RouterCheck> {
    let facts = result.router_check.as_ref()?.as_ref().ok()?;
    Some(RouterCheck {
        passed: facts.passed(),
        read: match facts.read {
            RouterRead::Outputs => "outputs",
            RouterRead::Operator => "operator",
            RouterRead::Cache => "cache",
        }
        .to_owned(),
        tokens: facts.tokens,
        experts_per_token: facts.experts_per_token,
        weight_sum_error: facts.weight_sum_error,
        tolerance: facts.tolerance,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::trial::{DecodeFacts, DecodeRule};

    #[test]
    fn the_difference_from_fp32_is_told_or_why_it_is_not() {
        let mut result = fixture::result("tiny-llama", 4);
        assert_eq!(fp32_difference(&result), None);
        assert!(no_fp32_difference(&result).contains("no committed fp32 logits"));
        result.fp32_difference = Some(Err("too short".into()));
        assert_eq!(fp32_difference(&result), None);
        assert_eq!(no_fp32_difference(&result), "too short");
        result.fp32_difference = Some(Ok(DifferenceFacts {
            error: 0.25,
            same_top: 5,
            positions: 8,
        }));
        let found = fp32_difference(&result).unwrap();
        assert_eq!((found.error, found.same_top, found.positions), (0.25, 5, 8));
        result.fp32_difference = None;
        result.outcome = Outcome::DoesNotFit {
            reason: "too large".into(),
        };
        assert!(!no_fp32_difference(&result).contains("no committed"));
    }

    #[test]
    fn decode_is_compared_or_there_is_a_reason() {
        let mut result = fixture::result("tiny-llama", 4);
        let facts = DecodeFacts {
            position: 7,
            error: 0.25,
            rule: DecodeRule {
                reading: Reading::Tokens,
                tolerance: 0.5,
            },
        };
        result.decode_check = Some(Ok(facts));
        let check = decode_check(&result).unwrap();
        assert_eq!((check.passed, check.position, check.error), (true, 7, 0.25));
        assert_eq!((check.read.as_str(), check.tolerance), ("tokens", 0.5));
        for error in [0.75, f64::NAN] {
            result.decode_check = Some(Ok(DecodeFacts { error, ..facts }));
            assert!(!decode_check(&result).unwrap().passed);
        }
        result.decode_check = Some(Err("no memory".into()));
        assert_eq!(decode_check(&result), None);
        assert_eq!(no_decode_check(&result), "no memory");
        result.decode_check = None;
        assert!(no_decode_check(&result).contains("did not report"));
        result.trial.gen_tokens = 1;
        assert!(no_decode_check(&result).contains("no decode step"));
    }
}
