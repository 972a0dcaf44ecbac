//! How the budget of a trial is held: what lies beyond it taken away, or watched, with the reason.

use super::hold::{self, Hold};
use super::process::WorkerCommand;
use crate::protocol::TrialRequest;
use crate::trial::{Device, Enforce, Enforcement};
use std::time::Duration;

/// Takes away what lies beyond the budget, where that is to be done and can be.
pub fn take_away(
    request: &TrialRequest,
    worker: &WorkerCommand,
    timeout: Duration,
) -> (Option<Hold>, Enforcement) {
    let enforcement = |mode, how: String| Enforcement {
        mode,
        how,
        left_free: None,
    };
    let watched = |why: &str| (None, watched(why));
    let Device::Cuda(index) = request.trial.device else {
        let how = match request.enforce {
            Enforce::Hard => {
                "the worker's own memory is limited (RLIMIT_DATA), and it is stopped when it is seen to hold more"
            }
            Enforce::Soft => "the worker is stopped when it is seen to hold more",
        };
        return (None, enforcement(request.enforce, how.into()));
    };
    if request.enforce == Enforce::Soft {
        return watched(request.enforce_note.as_deref().unwrap_or("as asked for"));
    }
    let budget = request.trial.budget;
    if !hold::is_needed(budget, request.device_free) {
        let how = "the GPU has no more than 32 MiB of free memory beyond the budget, so it refuses the rest itself";
        return (None, enforcement(Enforce::Hard, how.into()));
    }
    // A program that was started since the run began is not to be starved either, unless that was asked for.
    let alone_on = request.bus_id.clone().filter(|_| !request.enforce_asked);
    let hold = Hold::start(&request.engine, index, budget, alone_on, worker, timeout);
    let held = hold.and_then(|hold| Ok((hold.enforcement(budget)?, hold)));
    match held {
        Ok((enforcement, hold)) => (Some(hold), enforcement),
        Err(cause) => (None, not_taken_away(&cause)),
    }
}

/// How the budget is held where nothing is taken away.
fn watched(why: &str) -> Enforcement {
    Enforcement {
        mode: Enforce::Soft,
        how: format!("the process is watched, {why}"),
        left_free: None,
    }
}

/// The same where something was to be.
pub fn not_taken_away(cause: &str) -> Enforcement {
    watched(&format!(
        "because the rest could not be taken away: {cause}"
    ))
}
