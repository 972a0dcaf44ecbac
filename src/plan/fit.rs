//! Why a trial cannot run, in words: too long for the model or too large for the budget, and what would fit instead.

use super::{Facts, PassedOver, Predict};
use crate::model::{Footprint, ModelSpec, builtin, census, check_device, check_form};
use crate::trial::{Offload, Precision, Trial};
use crate::units::Bytes;

/// Whether the trial is longer than the model's positions.
pub fn is_too_long(spec: &ModelSpec, trial: &Trial) -> bool {
    trial.context() > spec.max_positions
}

/// The sentence for a trial that is too long.
pub fn too_long(spec: &ModelSpec, trial: &Trial) -> String {
    let (name, positions) = (&spec.name, spec.max_positions);
    let (prompt, gen_tokens) = (trial.prompt_tokens, trial.gen_tokens);
    let remedy = match positions.checked_sub(gen_tokens) {
        Some(room) if room > 0 => format!("give --prompt-tokens at most {room}"),
        _ => "reduce --gen-tokens".to_owned(),
    };
    format!(
        "{name} has {positions} positions, too few for {prompt} prompt and {gen_tokens} generated tokens; \
         {remedy}, or choose a model with more positions"
    )
}

/// The sentence for a trial whose weights were to stay in main memory, where none can.
pub fn nothing_to_offload(
    spec: &ModelSpec,
    trial: &Trial,
    predicted: &Footprint,
) -> Option<String> {
    let asked = match trial.offload {
        Offload::None | Offload::Auto => return None,
        asked => asked,
    };
    let plan = predicted.offload_plan(spec, trial, trial.budget);
    if !plan.mapped.is_empty() {
        return None;
    }
    let name = &spec.name;
    Some(match asked {
        Offload::Experts if spec.has_experts() => format!(
            "{name} has no experts large enough to stay in main memory; leave --offload out"
        ),
        Offload::Experts => format!(
            "{name} has no experts that could stay in main memory; use --offload auto, all or a number of layers"
        ),
        _ => format!(
            "{name} has no weights large enough to stay in main memory; leave --offload out"
        ),
    })
}

/// The sentence for a trial predicted to need more than its budget, and for the wider precisions that need more still.
pub fn too_large(
    spec: &'static ModelSpec,
    trial: &Trial,
    (need, passed_over): (Bytes, &[PassedOver]),
    facts: &Facts,
    predict: Predict<'_>,
) -> String {
    let found = format!(
        "{} in {}{} is predicted to need {}, the budget is {}",
        spec.name,
        trial.precision,
        narrowest(trial.precision, passed_over),
        at_least(need),
        at_most(trial.budget),
    );
    let raise = facts
        .device_memory
        .is_none_or(|memory| mebibytes_up(need) <= memory.0 >> 20)
        .then(|| format!("raise --vram-budget to {}M", mebibytes_up(need)));
    let unified = trial.offload != Offload::None && predict(spec, trial).unified;
    let found = match unified {
        true => format!(
            "{found} (CPU and GPU share one memory, so that weights kept apart in it free none of it)"
        ),
        false => found,
    };
    if trial.offload == Offload::Auto && !unified {
        return format!(
            "{found}, with all weights in main memory that can be there; reduce --batch or --prompt-tokens, or {}",
            raise.unwrap_or_else(|| "use a device with more memory".to_owned())
        );
    }
    match (alternative(spec, trial, predict), raise) {
        (Some(other), Some(raise)) => format!("{found}; {other} would fit, or {raise}"),
        (Some(other), None) => format!("{found}; {other} would fit"),
        (None, Some(raise)) => {
            format!("{found}; no built-in model fits it at this batch and length, so {raise}")
        }
        (None, None) => format!(
            "{found}; no built-in model fits it at this batch and length, and the device has only {}: \
             reduce --batch or --prompt-tokens",
            at_most(facts.device_memory.unwrap_or(trial.budget)),
        ),
    }
}

/// What `auto` tried before, as an insertion: the precision is the last of them.
fn narrowest(precision: Precision, passed_over: &[PassedOver]) -> String {
    let wider: Vec<String> = passed_over
        .iter()
        .map(|one| one.precision.to_string())
        .collect();
    match wider.as_slice() {
        [] => String::new(),
        wider => format!(", the narrowest of {} and {precision},", wider.join(", ")),
    }
}

/// The largest of what is predicted to fit: the same model in fewer bits, or another built-in model in the same shape.
/// The test sizes are no alternative to anything.
fn alternative(spec: &'static ModelSpec, trial: &Trial, predict: Predict<'_>) -> Option<String> {
    let others = builtin().iter().filter(|other| {
        other.name != spec.name && other.suites.iter().any(|suite| suite != "sanity")
    });
    // The most exact one last: see below.
    let smaller = Precision::ALL.into_iter().rev().filter(|precision| {
        *precision > trial.precision && check_form(trial.form, *precision).is_ok()
    });
    // A graph that another program wrote has one precision.
    let smaller = smaller.filter(|_| spec.foreign.is_none());
    let smaller = smaller.map(|precision| (spec, precision));
    let candidates = others.map(|other| (other, trial.precision)).chain(smaller);
    let fitting = candidates.filter(|(candidate, precision)| {
        let trial = Trial {
            model: candidate.name.clone(),
            precision: *precision,
            ..trial.clone()
        };
        !is_too_long(candidate, &trial)
            && check_device(candidate, *precision, trial.device).is_ok()
            && predict(candidate, &trial).total() <= trial.budget
    });
    // Of equals the last is taken: the same model wins over another of its size.
    let (largest, precision) = fitting.max_by_key(|(candidate, _)| census(candidate).total)?;
    Some(format!("{} in {precision}", largest.name))
}

/// An amount in GiB or MiB, rounded up: a need.
pub fn at_least(bytes: Bytes) -> String {
    shown(bytes, |amount, unit| amount.div_ceil(unit))
}

/// An amount in GiB or MiB, rounded down: what there is.
pub fn at_most(bytes: Bytes) -> String {
    shown(bytes, |amount, unit| amount / unit)
}

/// An amount as an argument of `--vram-budget`, rounded down.
pub fn argument_at_most(bytes: Bytes) -> String {
    format!("{}M", bytes.0 >> 20)
}

fn mebibytes_up(bytes: Bytes) -> u64 {
    bytes.0.div_ceil(Bytes::MIB.0)
}

/// Two digits after the point. A need and a smaller budget never read the same: they are rounded apart.
fn shown(bytes: Bytes, divide: fn(u128, u128) -> u128) -> String {
    let (unit, name) = if bytes < Bytes::GIB {
        (Bytes::MIB, "MiB")
    } else {
        (Bytes::GIB, "GiB")
    };
    let hundredths = divide(u128::from(bytes.0) * 100, u128::from(unit.0));
    format!("{}.{:02} {name}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_round_up_and_budgets_down() {
        let cases = [
            (Bytes(0), "0.00 MiB", "0.00 MiB"),
            (Bytes::GIB, "1.00 GiB", "1.00 GiB"),
            (Bytes((1 << 30) + 1), "1.01 GiB", "1.00 GiB"),
            (Bytes((3 << 20) - 1), "3.00 MiB", "2.99 MiB"),
            (Bytes(u64::MAX), "17179869184.00 GiB", "17179869183.99 GiB"),
        ];
        for (bytes, up, down) in cases {
            assert_eq!((at_least(bytes), at_most(bytes)), (up.into(), down.into()));
        }
    }
}
