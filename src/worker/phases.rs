//! One trial, phase by phase. In the timed region nothing is allocated, sent, locked or read but the clock.

use super::Stop;
use super::meter::{Meter, Seen};
use super::reference;
use super::speaker::Speaker;
use crate::engine::{self, Engine, EngineError};
use crate::protocol::{Message, TrialRequest};
use crate::trial::{Phase, Repetition};
use crate::units::Nanos;
use std::time::Instant;

/// Generated ids of row 0 that are kept to tell equal runs from different ones.
const FIRST_IDS: usize = 16;

/// Runs the trial and says everything but the last word.
pub fn run(request: &TrialRequest, speaker: &Speaker, started: Instant) -> Result<(), Stop> {
    let mut meter = Meter::start(request, speaker, started)?;
    let mut engine = None;
    let result = measure(request, speaker, &mut meter, &mut engine);
    let seen = engine.as_deref().map_or_else(Seen::default, Seen::by);
    // Said after a failure too: what a phase took before it failed is what one wants to know.
    meter.leave(seen)?;
    // Freed before the last word, so that a crash in it is not one of a finished trial.
    drop(engine);
    result
}

fn measure(
    request: &TrialRequest,
    speaker: &Speaker,
    meter: &mut Meter,
    place: &mut Option<Box<dyn Engine>>,
) -> Result<(), Stop> {
    let trial = &request.trial;
    meter.enter(Phase::Runtime, Seen::default())?;
    let engine = place.insert(engine::open(request)?).as_mut();
    meter.enter(Phase::Load, Seen::by(engine))?;
    let facts = engine.load(&meter.holds())?;
    speaker.say(&Message::Loaded(facts))?;
    if let Some(golden) = reference::of(request) {
        meter.enter(Phase::Check, Seen::by(engine))?;
        let mut facts = reference::check(engine, golden, request.tolerance)?;
        if let Some(golden) = reference::unquantized(request) {
            facts.quantization = Some(reference::compare_along(engine, golden)?);
        }
        let verdict = reference::verdict(&facts);
        speaker.say(&Message::Checked(facts))?;
        verdict?;
    }
    let mut first_ids = Vec::with_capacity(FIRST_IDS);
    if trial.warmup > 0 {
        meter.enter(Phase::Warmup, Seen::by(engine))?;
    }
    for _ in 0..trial.warmup {
        let timing = repeat(engine, request, &mut first_ids, |_| Ok(()))?;
        speaker.say(&Message::WarmedUp(timing))?;
    }
    for _ in 0..trial.repetitions {
        meter.enter(Phase::Prefill, Seen::by(engine))?;
        let timing = repeat(engine, request, &mut first_ids, |seen| {
            meter.enter(Phase::Decode, seen)
        })?;
        speaker.say(&Message::Repetition {
            timing,
            first_ids: first_ids.clone(),
        })?;
    }
    Ok(())
}

/// One repetition. `between` is called after prefill and before decode, outside both clocks.
fn repeat(
    engine: &mut dyn Engine,
    request: &TrialRequest,
    first_ids: &mut Vec<i64>,
    between: impl FnOnce(Seen) -> Result<(), Stop>,
) -> Result<Repetition, Stop> {
    engine.reset()?;
    let steps = (request.trial.gen_tokens as usize).saturating_sub(1);
    let mut itl = Vec::with_capacity(steps);
    first_ids.clear();

    let start = Instant::now();
    let prefill = engine.append(&request.prompts)?;
    let ttft = start.elapsed().into();

    keep(first_ids, engine.next_ids());
    between(Seen::by(engine))?;
    let inside = decode(engine, steps, &mut itl, first_ids)?;
    let total: u64 = itl.iter().map(|step| step.0).sum();
    Ok(Repetition {
        prefill,
        ttft,
        itl,
        outside_run: Nanos(total.saturating_sub(inside)),
    })
}

/// The timed loop: from the end of one step to the end of the next. Returns the nanoseconds inside the run call.
fn decode(
    engine: &mut dyn Engine,
    steps: usize,
    itl: &mut Vec<Nanos>,
    first_ids: &mut Vec<i64>,
) -> Result<u64, EngineError> {
    let mut inside = 0;
    let mut last = Instant::now();
    for _ in 0..steps {
        inside += engine.step()?.0;
        keep(first_ids, engine.next_ids());
        let now = Instant::now();
        itl.push(now.duration_since(last).into());
        last = now;
    }
    Ok(inside)
}

/// Keeps row 0's id while there is room that was set aside.
fn keep(first_ids: &mut Vec<i64>, next_ids: &[i64]) {
    if first_ids.len() < FIRST_IDS
        && let Some(id) = next_ids.first()
    {
        first_ids.push(*id);
    }
}
