//! A process of its own that takes memory of a GPU away while a trial runs, so that the trial's own figures stay its own.

use super::process::{Process, WorkerCommand};
use super::verdict::{End, Ending, outcome};
use super::{listen, see_out, spawn};
use crate::protocol::{EngineKind, Held, Message, Request};
use crate::trial::{Enforce, Enforcement};
use crate::units::Bytes;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// A GPU's context, its libraries and the allocation take a second or two, on a slow board more.
const PATIENCE: Duration = Duration::from_secs(120);

/// The driver gives memory out in pieces: so much less than asked for may stay free where the rest was taken.
const GRANULE: Bytes = Bytes(2 << 20);

/// More than this beyond the budget left free is memory that the trial could still take.
const EXCESS: Bytes = Bytes(32 << 20);

/// Memory that is taken away as long as this lives.
#[derive(Debug)]
pub struct Hold {
    // Killed on drop.
    process: Process,
    /// What it said.
    pub held: Held,
}

impl Hold {
    /// Takes memory of GPU `device` away until `leave` stays free, for which it has `timeout`, or [`PATIENCE`] where that is less. An
    /// error is one clause.
    pub fn start(
        engine: &EngineKind,
        device: u32,
        leave: Bytes,
        alone_on: Option<String>,
        worker: &WorkerCommand,
        timeout: Duration,
    ) -> Result<Hold, String> {
        let patience = timeout.min(PATIENCE);
        let request = Request::Hold {
            engine: engine.clone(),
            device,
            leave,
            alone_on,
        };
        let mut process =
            spawn(&request, Some(engine), worker).map_err(|end| reason(end, None, ""))?;
        let mut held = None;
        let (end, _) = listen(&mut process, patience, &mut |message| match message {
            Message::Holding(facts) => {
                held = Some(facts);
                Some(End::Done)
            }
            _ => None,
        });
        match (held, end) {
            (Some(held), End::Done) => Ok(Hold { process, held }),
            (_, end) => {
                let status = see_out(&mut process, &end, patience);
                Err(reason(end, status, &process.stderr_tail()))
            }
        }
    }

    /// Its process, which is no stranger on the GPU.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How the budget is held by it; an error where it could not leave the budget free.
    pub fn enforcement(&self, budget: Bytes) -> Result<Enforcement, String> {
        let Held { taken, free } = self.held;
        if free + GRANULE < budget {
            return Err(format!(
                "only {} MiB are free beside the process that would take the rest away",
                free.0 >> 20
            ));
        }
        if free > budget + EXCESS {
            return Err(format!(
                "the process that was to take it away left {} MiB free",
                free.0 >> 20
            ));
        }
        Ok(Enforcement {
            mode: Enforce::Hard,
            how: format!(
                "another process took {} MiB of the GPU away and left {} MiB free",
                taken.0 >> 20,
                free.0 >> 20
            ),
            left_free: Some(free),
        })
    }

    /// Lets go of the memory and waits until the process is gone. An error, one clause, where it was gone before and the memory
    /// with it.
    pub fn release(mut self) -> Result<(), String> {
        let gone = self.process.wait(Instant::now());
        self.process.stop();
        match gone {
            None => Ok(()),
            Some(status) => Err(format!(
                "the process that had taken it away ended before the trial did ({status})"
            )),
        }
    }
}

/// How it ended, as a clause.
pub fn reason(end: End, status: Option<ExitStatus>, stderr: &str) -> String {
    let ending = Ending {
        end,
        phase: crate::trial::Phase::Start,
        status,
        stderr_tail: stderr.to_owned(),
        limit: None,
    };
    let outcome = outcome(ending);
    outcome
        .reason()
        .unwrap_or("it ended without an answer")
        .to_owned()
}

/// Whether so much more than the budget is free that it is to be taken away.
pub fn is_needed(budget: Bytes, free: Option<Bytes>) -> bool {
    free.is_none_or(|free| free > budget + EXCESS)
}

#[cfg(test)]
mod tests;
