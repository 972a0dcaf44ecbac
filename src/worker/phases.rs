//! One trial, phase by phase. In the timed region nothing is allocated, sent, locked or read but the clock.

use super::Stop;
use super::fixed_text;
use super::meter::{Meter, Seen};
use super::outputs;
use super::reference;
use super::router;
use super::routing;
use super::selfcheck::{self, Transcript};
use super::speaker::Speaker;
use super::warmth::Warmth;
use super::whole;
use crate::engine::{self, Engine, EngineError};
use crate::protocol::{Message, TrialRequest};
use crate::trial::{Phase, Repetition};
use crate::units::Nanos;
use std::time::Instant;

/// Runs the trial and says everything but the last word.
pub fn run(request: &TrialRequest, speaker: &Speaker, started: Instant) -> Result<(), Stop> {
    let mut meter = Meter::start(request, speaker, started)?;
    let mut engine = None;
    let mut transcript = Transcript::of(&request.trial);
    let result = measure(request, speaker, &mut meter, &mut engine, &mut transcript);
    let seen = engine.as_deref().map_or_else(Seen::default, Seen::by);
    // Said after a failure too: what a phase took before it failed is what one wants to know.
    meter.leave(seen)?;
    let result = result.and_then(|()| match engine.as_deref_mut() {
        Some(engine) => self_check(request, speaker, started, engine, &transcript),
        None => Ok(()),
    });
    // Freed before the last word, so that a crash in it is not one of a finished trial.
    drop(engine);
    result
}

fn measure(
    request: &TrialRequest,
    speaker: &Speaker,
    meter: &mut Meter,
    place: &mut Option<Box<dyn Engine>>,
    transcript: &mut Transcript,
) -> Result<(), Stop> {
    let trial = &request.trial;
    meter.enter(Phase::Runtime, Seen::default())?;
    let engine = place.insert(engine::open(request)?).as_mut();
    meter.enter(Phase::Load, Seen::by(engine))?;
    let facts = engine.load(&meter.holds())?;
    speaker.say(&Message::Loaded(facts))?;
    if request.routing {
        meter.enter(Phase::Warmup, Seen::by(engine))?;
        // The last id that is generated is read by nobody.
        let generated = (request.trial.gen_tokens as usize).saturating_sub(1);
        let layers = routing::trace(engine, &request.prompts, generated)?;
        return speaker.say(&Message::Routed { layers });
    }
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
    warm_up(request, speaker, meter, engine, transcript)?;
    for _ in 0..trial.repetitions {
        meter.enter(Phase::Prefill, Seen::by(engine))?;
        let timing = repeat(engine, request, transcript, |seen| {
            meter.enter(Phase::Decode, seen)
        })?;
        speaker.say(&Message::Repetition {
            timing,
            first_ids: transcript.first_ids(),
        })?;
    }
    Ok(())
}

/// Untimed repetitions: so many, or until their times are steady.
fn warm_up(
    request: &TrialRequest,
    speaker: &Speaker,
    meter: &mut Meter,
    engine: &mut dyn Engine,
    transcript: &mut Transcript,
) -> Result<(), Stop> {
    let mut warmth = Warmth::new(&request.trial);
    let start = Instant::now();
    if warmth.goes_on(Nanos(0)) {
        meter.enter(Phase::Warmup, Seen::by(engine))?;
    }
    while warmth.goes_on(start.elapsed().into()) {
        let timing = repeat(engine, request, transcript, |_| Ok(()))?;
        warmth.took(&timing);
        speaker.say(&Message::WarmedUp(timing))?;
    }
    match warmth.facts() {
        Some(facts) => speaker.say(&Message::Warmth(facts)),
        None => Ok(()),
    }
}

/// Holds decode to prefill, and logits to those in fp32, after everything was measured. It is no part of the trial's work, so memory
/// that is refused to it is not a failure of the trial.
fn self_check(
    request: &TrialRequest,
    speaker: &Speaker,
    started: Instant,
    engine: &mut dyn Engine,
    transcript: &Transcript,
) -> Result<(), Stop> {
    if request.output_check && request.trial.repetitions > 0 {
        speaker.say(&Message::Phase {
            phase: Phase::SelfCheck,
            at: started.elapsed().into(),
        })?;
        let facts = outputs::check(engine)?;
        let verdict = outputs::verdict(&facts);
        speaker.say(&Message::OutputsChecked { facts })?;
        return Ok(verdict?);
    }
    let decoded = request.decode_rule.filter(|_| request.trial.gen_tokens > 1);
    let is_checked =
        decoded.is_some() || request.fp32_text.is_some() || request.router_check.is_some();
    if request.trial.repetitions == 0 || !is_checked {
        return Ok(());
    }
    speaker.say(&Message::Phase {
        phase: Phase::SelfCheck,
        at: started.elapsed().into(),
    })?;
    if let Some(rule) = decoded {
        let facts = match selfcheck::check(engine, request, transcript, rule) {
            Ok(facts) => Ok(facts),
            Err(EngineError::OutOfMemory(reason)) => Err(format!(
                "there was no memory to read the generated tokens again: {reason}"
            )),
            Err(error) => return Err(error.into()),
        };
        let verdict = facts.as_ref().map_or(Ok(()), selfcheck::verdict);
        speaker.say(&Message::DecodeChecked { facts })?;
        verdict?;
    }
    if let Some(expected) = &request.fp32_text {
        let facts = fixed_text::compare(engine, request, expected)?;
        speaker.say(&Message::Fp32Compared { facts })?;
    }
    if let Some(check) = &request.router_check {
        let facts = router::look(engine, check, &request.prompts)?;
        let verdict = facts.as_ref().map_or(Ok(()), router::verdict);
        speaker.say(&Message::RouterChecked { facts })?;
        verdict?;
    }
    Ok(())
}

/// One repetition. `between` is called after prefill and before decode, outside both clocks.
fn repeat(
    engine: &mut dyn Engine,
    request: &TrialRequest,
    transcript: &mut Transcript,
    between: impl FnOnce(Seen) -> Result<(), Stop>,
) -> Result<Repetition, Stop> {
    if request.whole_sequence {
        return Ok(whole::repeat(
            engine,
            &request.prompts,
            request.trial.gen_tokens,
            transcript,
        )?);
    }
    engine.reset()?;
    let steps = (request.trial.gen_tokens as usize).saturating_sub(1);
    let mut itl = Vec::with_capacity(steps);
    transcript.clear();

    let start = Instant::now();
    let prefill = engine.append(&request.prompts)?;
    let ttft = start.elapsed().into();

    transcript.keep(engine.next_ids());
    between(Seen::by(engine))?;
    let inside = decode(engine, steps, &mut itl, transcript)?;
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
    transcript: &mut Transcript,
) -> Result<u64, EngineError> {
    let mut inside = 0;
    let mut last = Instant::now();
    for _ in 0..steps {
        inside += engine.step()?.0;
        transcript.keep(engine.next_ids());
        let now = Instant::now();
        itl.push(now.duration_since(last).into());
        last = now;
    }
    Ok(inside)
}
