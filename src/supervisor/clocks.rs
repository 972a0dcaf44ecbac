//! Clocks of a GPU that a process of its own holds locked for a run, and those that an earlier run left.

use super::process::{Process, WorkerCommand};
use super::verdict::End;
use super::{converse, deadline, hold, listen, see_out, spawn};
use crate::protocol::{Message, Request, Told};
use crate::trial::LockedClocks;
use std::path::Path;
use std::time::{Duration, Instant};

/// The driver answers in milliseconds; where it was not loaded, that takes seconds first.
const PATIENCE: Duration = Duration::from_secs(60);

/// Clocks that are locked as long as this lives.
#[derive(Debug)]
pub struct ClockLock {
    process: Process,
    /// What is locked.
    pub clocks: LockedClocks,
}

impl ClockLock {
    /// Locks the clocks of a GPU; `folder` is that of the notes. An error is one clause, and then nothing is locked.
    pub fn start(
        device: u32,
        bus_id: Option<String>,
        folder: &Path,
        worker: &WorkerCommand,
    ) -> Result<ClockLock, String> {
        let request = Request::LockClocks {
            device,
            bus_id,
            folder: folder.to_owned(),
        };
        let mut process =
            spawn(&request, None, worker).map_err(|end| hold::reason(end, None, ""))?;
        let mut clocks = None;
        let (end, _) = listen(&mut process, PATIENCE, &mut |message| match message {
            Message::ClocksLocked(locked) => {
                clocks = Some(*locked);
                Some(End::Done)
            }
            _ => None,
        });
        match (clocks, end) {
            (Some(clocks), End::Done) => Ok(ClockLock { process, clocks }),
            (_, end) => {
                // Not killed at once: it may be about to undo something.
                let left = process.leave(deadline(PATIENCE));
                let status = left.or_else(|| see_out(&mut process, &end, PATIENCE));
                Err(hold::reason(end, status, &process.stderr_tail()))
            }
        }
    }

    /// Restores the clocks and waits until that is done. An error is one clause.
    pub fn release(mut self) -> Result<(), String> {
        if let Some(status) = self.process.wait(Instant::now()) {
            return Err(format!(
                "the process that held them locked ended before the run did ({status})"
            ));
        }
        match self.process.leave(deadline(PATIENCE)) {
            Some(status) if status.success() => Ok(()),
            Some(_) => {
                let said = self.process.stderr_tail();
                Err(said
                    .lines()
                    .last()
                    .unwrap_or("no reason was told")
                    .to_owned())
            }
            None => Err("the driver did not answer".to_owned()),
        }
    }
}

impl Drop for ClockLock {
    fn drop(&mut self) {
        // Whatever ended the run: it is not killed before it had time to restore them.
        self.process.leave(deadline(PATIENCE));
    }
}

/// Restores the clocks that earlier runs left locked: a sentence for each GPU, an error where they could not be.
pub fn restore_clocks(folder: &Path, worker: &WorkerCommand) -> Vec<Told<String>> {
    let request = Request::RestoreClocks {
        folder: folder.to_owned(),
    };
    let mut told = None;
    let ending = converse(&request, None, worker, PATIENCE, &mut |message| {
        if let Message::ClocksRestored { said } = message {
            told = Some(said);
        }
        None
    });
    told.unwrap_or_else(|| {
        let cause = super::verdict::outcome(ending);
        vec![Err(format!(
            "clocks that an earlier run left locked could not be restored: {}; the next run tries again",
            cause.reason().unwrap_or("the worker was done without an answer")
        ))]
    })
}
