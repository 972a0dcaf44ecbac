//! A process of its own that takes memory of a GPU away while a trial runs, so that the trial's own figures stay its own.

use super::process::{Process, WorkerCommand};
use super::verdict::{End, Ending, outcome};
use super::{listen, spawn};
use crate::protocol::{EngineKind, Held, Message, Request};
use crate::trial::{Enforce, Enforcement};
use crate::units::Bytes;
use std::time::Duration;

/// A GPU's context, its libraries and the allocation take a second or two, on a slow board more.
const PATIENCE: Duration = Duration::from_secs(120);

/// The driver gives memory out in pieces: so much less than asked for may stay free where the rest was taken.
const GRANULE: Bytes = Bytes(2 << 20);

/// Memory that is taken away as long as this lives.
#[derive(Debug)]
pub struct Hold {
    // Killed on drop.
    process: Process,
    /// What it said.
    pub held: Held,
}

impl Hold {
    /// Takes memory of GPU `device` away until `leave` stays free. An error is one clause.
    pub fn start(
        engine: &EngineKind,
        device: u32,
        leave: Bytes,
        worker: &WorkerCommand,
    ) -> Result<Hold, String> {
        let request = Request::Hold {
            engine: engine.clone(),
            device,
            leave,
        };
        let mut process = spawn(&request, Some(engine), worker).map_err(|end| reason(end, ""))?;
        let mut held = None;
        let (end, _) = listen(&mut process, PATIENCE, &mut |message| match message {
            Message::Holding(facts) => {
                held = Some(facts);
                Some(End::Done)
            }
            _ => None,
        });
        match (held, end) {
            (Some(held), End::Done) => Ok(Hold { process, held }),
            (_, end) => {
                process.stop();
                Err(reason(end, &process.stderr_tail()))
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

    /// Lets go of the memory and waits until the process is gone.
    pub fn release(mut self) {
        self.process.stop();
    }
}

/// How it ended, as a clause.
fn reason(end: End, stderr: &str) -> String {
    let ending = Ending {
        end,
        phase: crate::trial::Phase::Start,
        status: None,
        stderr_tail: stderr.to_owned(),
        limit: None,
    };
    let outcome = outcome(ending);
    outcome
        .reason()
        .unwrap_or("it ended without an answer")
        .to_owned()
}

/// Room that the process which takes the rest away needs for itself: a CUDA context. Where less than this lies beyond the budget,
/// there is nothing for it to take. Measured on an H100: 518 MiB for the moment in which the context is made.
const OWN_ROOM: Bytes = Bytes(600 << 20);

/// Whether so much more than the budget is free that it can be taken away.
pub fn is_needed(budget: Bytes, free: Option<Bytes>) -> bool {
    free.is_none_or(|free| free > budget + OWN_ROOM)
}
