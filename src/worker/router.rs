//! Routers held to what a router has to do: each token goes to its number of experts and no others, by weights that are none below
//! zero and sum to 1, or to the chosen experts' shares of the softmax where the model does not renormalise.

use crate::engine::{Engine, EngineError};
use crate::protocol::{EXPERT_WRITES, RouterCheck};
use crate::trial::{RouterFacts, RouterRead};

/// One token: the weights of the experts that it went to, and the logits of all, where they are known.
#[derive(Debug, Default)]
struct Token {
    chosen: Vec<(usize, f64)>,
    logits: Vec<f64>,
    /// Something in it is no number, or of an expert that there is not.
    broken: bool,
}

/// Looks, when everything was measured. One that cannot is told why; the engine ends up without sequences.
pub fn look(
    engine: &mut dyn Engine,
    check: &RouterCheck,
    prompts: &[Vec<i64>],
) -> Result<Result<RouterFacts, String>, EngineError> {
    match tokens(engine, check, prompts) {
        Ok(Some(tokens)) => Ok(Ok(judge(&tokens, check))),
        Ok(None) => Ok(Err("the engine does not show a router's weights".into())),
        Err(EngineError::OutOfMemory(reason)) => Ok(Err(format!(
            "there was no memory to look at the router's weights: {reason}"
        ))),
        Err(error) => Err(error),
    }
}

fn tokens(
    engine: &mut dyn Engine,
    check: &RouterCheck,
    prompts: &[Vec<i64>],
) -> Result<Option<Vec<Token>>, EngineError> {
    let Some(side) = &check.graph else {
        engine.reset()?;
        engine.append(prompts)?;
        let rows = engine.specialist_weights()?;
        engine.reset()?;
        let tokens = |rows: Vec<f32>| {
            let rows = rows.chunks_exact(check.experts.max(1) as usize);
            rows.map(|row| measured(row, &[], 1.0, 0.0)).collect()
        };
        return Ok(rows.map(tokens));
    };
    let Some(told) = engine.beside(side)? else {
        return Ok(None);
    };
    let output = |name: &str| {
        let place = side.outputs.iter().position(|output| output.name == name);
        let found = place.and_then(|place| Some((told.get(place)?, &side.outputs[place])));
        let (values, output) = found.ok_or_else(|| {
            EngineError::Other(format!("the router's graph has no output {name}"))
        })?;
        let width = output.dims.last().map_or(1, |last| (*last).max(1) as usize);
        Ok::<_, EngineError>(values.chunks_exact(width))
    };
    if check.read == RouterRead::Outputs {
        let rows = output("weights")?.zip(output("chosen")?);
        let rows = rows.zip(output("logits")?);
        let read = rows.map(|((weights, chosen), logits)| read(weights, chosen, logits));
        return Ok(Some(read.collect()));
    }
    let mut tokens = Vec::new();
    for result in ["mixed", "poisoned"] {
        let rows = output(result)?.zip(output(&format!("logits.{result}"))?);
        let unit = f64::from(EXPERT_WRITES);
        tokens.extend(rows.map(|(row, logits)| measured(row, logits, unit, check.tolerance)));
    }
    Ok(Some(tokens))
}

/// A token whose weights and choices are told.
fn read(weights: &[f32], chosen: &[f32], logits: &[f32]) -> Token {
    let mut token = Token {
        logits: logits.iter().copied().map(f64::from).collect(),
        broken: weights.iter().chain(logits).any(|value| !value.is_finite()),
        ..Token::default()
    };
    for (weight, expert) in weights.iter().zip(chosen) {
        let place = (0..logits.len()).find(|place| *place as f32 == *expert);
        // One that is told twice is one expert, and the token has one too few.
        let twice = |place: &usize| token.chosen.iter().any(|(known, _)| known == place);
        match place.filter(|place| !twice(place)) {
            Some(place) => token.chosen.push((place, f64::from(*weight))),
            None => token.broken |= place.is_none(),
        }
    }
    token
}

/// A token whose weights stand each in its place, in units; one within `nothing` of zero is that of an expert it did not go to.
fn measured(row: &[f32], logits: &[f32], unit: f64, nothing: f64) -> Token {
    let weights = row.iter().map(|value| f64::from(*value) / unit);
    Token {
        chosen: weights
            .enumerate()
            .filter(|(_, weight)| weight.is_nan() || weight.abs() > nothing)
            .collect(),
        logits: logits.iter().copied().map(f64::from).collect(),
        broken: row.iter().chain(logits).any(|value| !value.is_finite()),
    }
}

impl Token {
    /// What its weights have to sum to.
    fn sum(&self, normalized: bool) -> f64 {
        if normalized || self.logits.is_empty() {
            return 1.0;
        }
        let most = self.logits.iter().copied().fold(f64::MIN, f64::max);
        let mut shares: Vec<f64> = self.logits.iter().map(|one| (one - most).exp()).collect();
        let all: f64 = shares.iter().sum();
        shares.sort_by(|a, b| b.total_cmp(a));
        shares.iter().take(self.chosen.len()).sum::<f64>() / all
    }

    fn error(&self, normalized: bool) -> f64 {
        let sum: f64 = self.chosen.iter().map(|(_, weight)| weight).sum();
        match self.broken {
            // A result has no NaN: what is no number is told as the largest one.
            true => f64::MAX,
            false => (sum - self.sum(normalized)).abs(),
        }
    }

    /// Whether no other expert has a larger logit than one it went to.
    fn went_to_the_largest(&self) -> bool {
        let went = |expert: usize| self.chosen.iter().any(|(chosen, _)| *chosen == expert);
        let numbered = self.logits.iter().enumerate();
        let (chosen, others): (Vec<_>, Vec<_>) = numbered.partition(|(expert, _)| went(*expert));
        let least = chosen.iter().map(|(_, one)| **one).fold(f64::MAX, f64::min);
        others.iter().all(|(_, logit)| **logit <= least)
    }
}

fn judge(tokens: &[Token], check: &RouterCheck) -> RouterFacts {
    let counts = tokens.iter().map(|token| token.chosen.len() as u32);
    let weights = tokens.iter().flat_map(|token| &token.chosen);
    let least = weights.map(|(_, weight)| *weight).fold(f64::MAX, f64::min);
    let errors = tokens.iter().map(|token| token.error(check.normalized));
    RouterFacts {
        read: check.read,
        tokens: tokens.len() as u32,
        fewest: counts.clone().min().unwrap_or(0),
        most: counts.clone().max().unwrap_or(0),
        experts_per_token: f64::from(counts.sum::<u32>()) / tokens.len().max(1) as f64,
        per_token: check.per_token,
        // Neither has a result an infinity.
        least_weight: least.max(f64::MIN),
        largest_chosen: tokens.iter().all(Token::went_to_the_largest),
        weight_sum_error: errors.fold(0.0, f64::max),
        tolerance: check.tolerance,
    }
}

/// A model whose router does something else is another one.
pub fn verdict(facts: &RouterFacts) -> Result<(), EngineError> {
    if facts.passed() {
        return Ok(());
    }
    let RouterFacts {
        fewest,
        most,
        weight_sum_error,
        tolerance,
        ..
    } = facts;
    let wanted = match facts.per_token {
        Some(count) => format!("{count} of them"),
        None => "one at least".to_owned(),
    };
    let mut wrong = Vec::new();
    if *fewest == 0
        || facts
            .per_token
            .is_some_and(|count| (*fewest, *most) != (count, count))
    {
        wrong.push(format!(
            "tokens go to {fewest} to {most} experts and have to go to {wanted}"
        ));
    }
    if weight_sum_error > tolerance {
        wrong.push(format!(
            "the weights of a token sum to {weight_sum_error:.1e} more or less than they have to, where {tolerance:.0e} is allowed"
        ));
    }
    if facts.least_weight < 0.0 {
        wrong.push("a weight is below zero".to_owned());
    }
    if !facts.largest_chosen {
        wrong.push("tokens go to others than the experts their router likes most".to_owned());
    }
    Err(EngineError::Model(format!(
        "router check: {}; do not use these figures, and try another --form, or another ONNX Runtime with --ort",
        wrong.join("; ")
    )))
}

#[cfg(test)]
mod tests;
