//! Door of the supervisor room: one worker per request, under deadlines, and whatever it said brought home.

mod clocks;
mod enforce;
mod examine;
mod hold;
mod notes;
mod process;
mod refusal;
mod verdict;

pub use clocks::{ClockLock, restore_clocks};
pub use examine::{Answers, examine};
pub use process::WorkerCommand;

use crate::error::{Error, Result};
use crate::protocol::{
    EngineKind, FailureKind, Message, PROTOCOL, ProbeFacts, Request, TrialRequest,
};
use crate::trial::{
    Device, DeviceChoice, DeviceLimits, MemoryReading, Outcome, Phase, PoolSource, TrialResult,
};
use crate::units::Bytes;
use hold::Hold;
use notes::Notes;
use process::{Heard, Process};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use verdict::{End, Ending};

/// What happens while a trial runs, for whoever shows progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A phase began.
    Phase(Phase),
    /// An untimed repetition is finished.
    WarmedUp,
    /// A timed repetition is finished.
    Repetition,
}

/// What a worker that is done gets to free its memory and leave.
const FAREWELL: Duration = Duration::from_secs(30);

/// Runs one trial in a worker of its own. Never fails: whatever goes wrong is the trial's outcome.
/// `timeout` holds for each phase.
pub fn run(
    request: &TrialRequest,
    worker: &WorkerCommand,
    timeout: Duration,
    on_event: &mut dyn FnMut(Event),
) -> TrialResult {
    let started = Instant::now();
    let (hold, enforcement) = enforce::take_away(request, worker, timeout);
    let own = hold.iter().map(Hold::pid).collect();
    let mut notes = Notes::new(own, enforcement);
    let mut over_budget = OverBudget::new(request.trial.device, request.trial.budget);
    let line = Request::Trial(Box::new(request.clone()));
    let engine = Some(&request.engine);
    let mut ending = converse(&line, engine, worker, timeout, &mut |message| {
        if let Message::Memory(reading) = &message
            && let Some(end) = over_budget.judge(reading)
        {
            notes.take(message);
            return Some(end);
        }
        if let Message::Others { .. } = &message {
            notes.take(message);
            let stranger = notes.others().first().filter(|_| request.exclusive);
            return stranger.map(|process| End::NotAlone {
                process: process.clone(),
            });
        }
        match &message {
            Message::Phase { phase, .. } => on_event(Event::Phase(*phase)),
            Message::WarmedUp(_) => on_event(Event::WarmedUp),
            Message::Repetition { .. } => on_event(Event::Repetition),
            _ => {}
        }
        notes.take(message);
        None
    });
    if let Some(Err(cause)) = hold.map(Hold::release) {
        notes.lost_hold(enforce::not_taken_away(&cause));
    }
    // On a GPU too: what was taken away is refused to it, and a library may end the process over that.
    let limited = notes.is_held();
    ending.limit = limited.then_some(request.trial.budget);
    notes.into_result(
        request.trial.clone(),
        verdict::outcome(ending),
        started.elapsed().into(),
    )
}

/// Asks a worker what there is to run on. `timeout` holds for the whole answer.
pub fn probe(
    engine: &EngineKind,
    device: DeviceChoice,
    worker: &WorkerCommand,
    timeout: Duration,
) -> Result<ProbeFacts> {
    let request = Request::Probe {
        engine: engine.clone(),
        device,
    };
    let mut facts = None;
    let ending = converse(&request, Some(engine), worker, timeout, &mut |message| {
        if let Message::Probed(probed) = message {
            facts = Some(*probed);
        }
        None
    });
    if let End::GaveUp { kind, reason } = ending.end {
        return Err(match kind {
            FailureKind::Runtime | FailureKind::OutOfMemory | FailureKind::Other => {
                Error::Runtime(reason)
            }
            FailureKind::Device => Error::Device(reason),
            FailureKind::Model => Error::Model(reason),
        });
    }
    let last_words = ending
        .stderr_tail
        .lines()
        .last()
        .map(|line| format!(" ({line})"))
        .unwrap_or_default();
    let failed = |reason: &str| {
        Error::Runtime(format!(
            "could not look at the runtime and the device: {reason}{last_words}"
        ))
    };
    match (verdict::outcome(ending), facts) {
        (Outcome::Ok, Some(facts)) => Ok(facts),
        (Outcome::Ok, None) => Err(failed("the worker was done without an answer")),
        (outcome, _) => Err(failed(
            outcome
                .reason()
                .unwrap_or("the worker was done without an answer"),
        )),
    }
}

/// Asks a worker how fast the device is. Never fails: what could not be measured says why.
pub fn measure(request: &Request, worker: &WorkerCommand, timeout: Duration) -> DeviceLimits {
    let engine = match request {
        Request::Measure { engine, .. } => Some(engine),
        _ => None,
    };
    let mut limits = None;
    let ending = converse(request, engine, worker, timeout, &mut |message| {
        if let Message::Measured(measured) = message {
            limits = Some(*measured);
        }
        None
    });
    match (limits, verdict::outcome(ending)) {
        (Some(limits), _) => limits,
        (None, outcome) => DeviceLimits::unknown(
            outcome
                .reason()
                .unwrap_or("the worker was done without an answer"),
        ),
    }
}

/// Ends a trial that outgrows its budget. On the CPU the system would swap or kill something else first.
struct OverBudget {
    device: Device,
    budget: Bytes,
    /// What the first reading with a figure said.
    base: Option<Bytes>,
    /// The driver has told this process's own use: from then on nothing else counts.
    own: bool,
    /// On a memory that CPU and GPU share.
    pool: PoolUse,
}

/// What a process takes of a shared memory, by the best source so far.
#[derive(Default)]
struct PoolUse {
    first: Option<MemoryReading>,
    source: Option<PoolSource>,
}

impl PoolUse {
    fn taken(&mut self, reading: &MemoryReading) -> Option<Bytes> {
        let first = self.first.get_or_insert_with(|| reading.clone());
        let best = PoolSource::best([reading])?;
        let source = self.source.map_or(best, |known| known.min(best));
        self.source = Some(source);
        source.taken(first, reading)
    }
}

impl OverBudget {
    fn new(device: Device, budget: Bytes) -> OverBudget {
        OverBudget {
            device,
            budget,
            base: None,
            own: false,
            pool: PoolUse::default(),
        }
    }

    fn judge(&mut self, reading: &MemoryReading) -> Option<End> {
        let needed = match (self.device, reading.device_process) {
            (Device::Cpu, _) => self.above_base(reading.rss()?),
            (Device::Cuda(_), _) if reading.pool.is_some() => self.pool.taken(reading)?,
            (Device::Cuda(_), Some(own)) => {
                self.own = true;
                own
            }
            (Device::Cuda(_), None) if self.own => return None,
            (Device::Cuda(_), None) => self.above_base(reading.device_used?),
        };
        (needed > self.budget).then_some(End::OverBudget {
            needed,
            budget: self.budget,
            device: self.device,
            shared: reading.pool.is_some(),
        })
    }

    fn above_base(&mut self, value: Bytes) -> Bytes {
        value.saturating_sub(*self.base.get_or_insert(value))
    }
}

/// Hands a message on; an answer ends the conversation.
type OnMessage<'a> = &'a mut dyn FnMut(Message) -> Option<End>;

/// Starts a worker, listens until an end, and sees it out.
fn converse(
    request: &Request,
    engine: Option<&EngineKind>,
    worker: &WorkerCommand,
    timeout: Duration,
    on_message: OnMessage<'_>,
) -> Ending {
    let mut process = match spawn(request, engine, worker) {
        Ok(process) => process,
        Err(end) => {
            return Ending {
                end,
                phase: Phase::Start,
                status: None,
                stderr_tail: String::new(),
                limit: None,
            };
        }
    };
    let (end, phase) = listen(&mut process, timeout, on_message);
    let status = see_out(&mut process, &end, timeout);
    Ending {
        end,
        phase,
        status,
        stderr_tail: process.stderr_tail(),
        limit: None,
    }
}

/// Starts a worker on a request.
fn spawn(
    request: &Request,
    engine: Option<&EngineKind>,
    worker: &WorkerCommand,
) -> std::result::Result<Process, End> {
    let library_dirs: &[PathBuf] = match engine {
        Some(EngineKind::Onnx { cuda_dirs, .. }) => cuda_dirs,
        Some(EngineKind::Scripted { .. }) | None => &[],
    };
    let variables: Vec<(&str, &str)> = match request {
        Request::Trial(request) => request
            .trial
            .tuning
            .iter()
            .flat_map(|name| name.tuning().environment)
            .copied()
            .collect(),
        _ => Vec::new(),
    };
    let spawned = serde_json::to_vec(request)
        .map_err(std::io::Error::from)
        .and_then(|mut line| {
            line.push(b'\n');
            let apart = matches!(request, Request::LockClocks { .. });
            Process::spawn(worker, library_dirs, &variables, line, apart)
        });
    spawned.map_err(|error| End::NotStarted {
        cause: format!("{}: {error}", worker.program.display()),
    })
}

/// Far enough for a deadline that cannot be told.
fn deadline(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout)
        .unwrap_or_else(|| now + Duration::from_secs(365 * 24 * 3600))
}

fn listen(process: &mut Process, timeout: Duration, on_message: OnMessage<'_>) -> (End, Phase) {
    let mut phase = Phase::Start;
    let mut until = deadline(timeout);
    let mut greeted = false;
    loop {
        let line = match process.hear(until) {
            Heard::Line(line) => line,
            Heard::TooLong(line) => {
                return (
                    End::NotProtocol {
                        line,
                        too_long: true,
                    },
                    phase,
                );
            }
            Heard::Closed => return (End::Silent, phase),
            Heard::Nothing => return (End::TimedOut { limit: timeout }, phase),
        };
        let end = match serde_json::from_slice(&line) {
            Ok(Message::Hello {
                protocol: PROTOCOL, ..
            }) if !greeted => {
                greeted = true;
                None
            }
            Ok(Message::Hello { protocol, .. }) if !greeted => Some(End::OtherProtocol {
                theirs: protocol,
                ours: PROTOCOL,
            }),
            Ok(Message::Hello { .. }) | Err(_) => Some(End::NotProtocol {
                line,
                too_long: false,
            }),
            Ok(_) if !greeted => Some(End::NotProtocol {
                line,
                too_long: false,
            }),
            Ok(Message::Done) => Some(End::Done),
            Ok(Message::Failed { kind, reason }) => Some(End::GaveUp { kind, reason }),
            Ok(message) => {
                if let Message::Phase { phase: next, .. } = message {
                    phase = next;
                    until = deadline(timeout);
                }
                on_message(message)
            }
        };
        if let Some(end) = end {
            return (end, phase);
        }
    }
}

/// Ends the process. Its status, where it left by itself.
fn see_out(process: &mut Process, end: &End, timeout: Duration) -> Option<ExitStatus> {
    let left = match end {
        End::Done | End::GaveUp { .. } | End::Silent => {
            process.wait(deadline(timeout.min(FAREWELL)))
        }
        _ => None,
    };
    match (left, end) {
        (Some(_), _) => {}
        // It grows on while it is asked.
        (None, End::OverBudget { .. }) => process.kill(),
        (None, _) => process.stop(),
    }
    left
}

#[cfg(test)]
mod tests;
