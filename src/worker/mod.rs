//! Door of the worker room: the process that runs one request and leaves. Stdout carries the protocol and nothing else.

mod clocks;
mod fixed_text;
#[cfg(test)]
mod foreign_tests;
mod limit;
mod meter;
mod outputs;
mod paging;
#[cfg(test)]
mod pass_tests;
mod phases;
mod power;
mod reference;
mod router;
mod routing;
mod selfcheck;
mod shared;
mod speaker;
mod warmth;
mod whole;

use crate::device;
use crate::engine::{self, EngineError};
use crate::error::exit;
use crate::protocol::{EngineKind, FailureKind, GpuFacts, Message, ProbeFacts, Request};
use crate::trial::DeviceChoice;
use crate::units::Bytes;
use speaker::Speaker;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Why a worker stops before it is done.
#[derive(Debug)]
enum Stop {
    /// Nobody reads what it says.
    Unheard,
    /// The engine gave up.
    GaveUp(EngineError),
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Stop {
        Stop::GaveUp(error)
    }
}

/// Reads one request line from `stdin`, answers it on `stdout`, and returns the exit code.
/// The process ends at once when `stdin` closes: the supervisor is gone then.
pub fn serve(stdin: impl Read + Send + 'static, stdout: impl Write + Send + 'static) -> u8 {
    let started = Instant::now();
    // The supervisor's death by a signal closes stdin too; this only makes it sooner, so a refusal changes nothing.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let speaker = Speaker::new(stdout);
    let farewell = Farewell::default();
    let Ok(line) = listen(stdin, farewell.clone()).recv() else {
        return exit::BUG;
    };
    match answer(&line, &speaker, &farewell, started) {
        Ok(()) => exit::OK,
        Err(Stop::Unheard) => exit::OUTPUT,
        Err(Stop::GaveUp(error)) => {
            let failed = Message::Failed {
                kind: error.kind(),
                reason: error.to_string(),
            };
            // Nothing is left to do for a worker that is not heard.
            let _ = speaker.say(&failed);
            exit_code(error.kind())
        }
    }
}

fn exit_code(kind: FailureKind) -> u8 {
    match kind {
        FailureKind::Runtime => exit::RUNTIME,
        FailureKind::Device => exit::DEVICE,
        FailureKind::Model => exit::MODEL,
        FailureKind::OutOfMemory | FailureKind::Other => exit::TRIALS,
    }
}

/// What is to be done before the process ends, where there is anything, to an exit code.
type LastAct = Box<dyn FnOnce() -> u8 + Send>;

/// Keeps the last act.
#[derive(Clone, Default)]
struct Farewell(Arc<Mutex<Option<LastAct>>>);

impl Farewell {
    /// Nobody leaves while this is held.
    fn lock(&self) -> MutexGuard<'_, Option<LastAct>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands on the first line of `stdin` and watches for its end.
fn listen(stdin: impl Read + Send + 'static, farewell: Farewell) -> Receiver<Vec<u8>> {
    let (send, first) = channel();
    std::thread::spawn(move || {
        let mut stdin = BufReader::new(stdin);
        let mut line = Vec::new();
        if stdin.read_until(b'\n', &mut line).is_ok()
            && line.ends_with(b"\n")
            && send.send(line).is_ok()
        {
            // Whatever else is said is not part of the protocol; only the end counts.
            let _ = std::io::copy(&mut stdin, &mut std::io::sink());
        }
        // The main thread may be deep inside the runtime; the process and its memory must go without asking it.
        let mut last_act = farewell.lock();
        let code = last_act.take().map_or(exit::OK, |act| act());
        std::process::exit(i32::from(code));
    });
    first
}

fn answer(
    line: &[u8],
    speaker: &Speaker,
    farewell: &Farewell,
    started: Instant,
) -> Result<(), Stop> {
    let request: Result<Request, _> = serde_json::from_slice(line);
    let protocol = request
        .as_ref()
        .map_or(crate::protocol::PROTOCOL, engine::greeting);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    speaker.say(&Message::Hello {
        protocol,
        version,
        pid: std::process::id(),
    })?;
    let request = request.map_err(|error| {
        EngineError::Other(format!(
            "the worker does not understand its request: {error}"
        ))
    })?;
    match request {
        Request::Probe { engine, device } => {
            let facts = probe(&engine, device)?;
            speaker.say(&Message::Probed(Box::new(facts)))?;
        }
        Request::LockClocks {
            device,
            bus_id,
            folder,
        } => clocks::keep(device, bus_id.as_deref(), &folder, farewell, speaker)?,
        Request::RestoreClocks { folder } => clocks::restore(&folder, speaker)?,
        Request::Examine { engine, device } => examine(engine.as_ref(), device, speaker)?,
        Request::Hold {
            engine,
            device,
            leave,
            alone_on,
        } => {
            if let Some(bus_id) = alone_on {
                alone(device, &bus_id)?;
            }
            hold(&engine, device, leave, speaker)?;
        }
        Request::Measure {
            engine,
            device,
            yardsticks,
            room,
            threads,
        } => {
            let limits = engine::measure(&engine, device, &yardsticks, room, threads)?;
            speaker.say(&Message::Measured(Box::new(limits)))?;
        }
        Request::Trial(request) => phases::run(&request, speaker, started)?,
    }
    speaker.say(&Message::Done)
}

/// What the engine found, completed with what the driver tells.
fn probe(engine: &EngineKind, device: DeviceChoice) -> Result<ProbeFacts, EngineError> {
    let mut facts = engine::probe(engine, device)?;
    if let Some(gpu) = &mut facts.gpu
        && matches!(engine, EngineKind::Onnx { .. })
        && let Some(driver) = device::Gpu::open(gpu.index, gpu.bus_id.as_deref())
    {
        driver.complete(gpu);
    }
    Ok(facts)
}

/// Refuses a GPU that another process uses: to take memory away would starve it.
fn alone(device: u32, bus_id: &str) -> Result<(), EngineError> {
    let others = device::Gpu::open(device, Some(bus_id)).map(|gpu| gpu.other_processes());
    match others {
        Some(Ok(others)) if others.is_empty() => Ok(()),
        Some(Ok(others)) => {
            let pids: Vec<String> = others.iter().map(|other| other.pid.to_string()).collect();
            Err(EngineError::Other(format!(
                "others use the GPU now: {}",
                pids.join(", ")
            )))
        }
        // What the driver did not tell was judged before the first trial.
        Some(Err(_)) | None => Ok(()),
    }
}

/// Takes memory away and keeps it until the supervisor lets go.
fn hold(engine: &EngineKind, device: u32, leave: Bytes, speaker: &Speaker) -> Result<(), Stop> {
    let (_ballast, held) = engine::hold(engine, device, leave)?;
    speaker.say(&Message::Holding(held))?;
    // The thread that listens ends the process, and with it what it holds, when standard input closes.
    loop {
        std::thread::park();
    }
}

/// Says what the driver tells before ONNX Runtime and CUDA get a chance to end this process.
fn examine(
    engine: Option<&EngineKind>,
    device: DeviceChoice,
    speaker: &Speaker,
) -> Result<(), Stop> {
    let script = engine.map_or(Ok(None), engine::scripted_driver)?;
    let (facts, scripted) = match script {
        Some(driver) => (driver.facts, Some(driver.own_process)),
        None => (device::driver(), None),
    };
    speaker.say(&Message::Driver {
        facts: Box::new(facts),
    })?;
    let Some(engine) = engine else { return Ok(()) };
    let found = probe(engine, device)?;
    // The probe's context lives as long as this process, so the driver could list it now.
    let own = |gpu: &GpuFacts| match scripted {
        Some(own) => own,
        None => device::own_process(gpu.index, gpu.bus_id.as_deref()),
    };
    let bytes = match &found.gpu {
        Some(gpu) => own(gpu),
        None => Err("CUDA is not used, so this process holds nothing on a GPU".into()),
    };
    speaker.say(&Message::Probed(Box::new(found)))?;
    speaker.say(&Message::OwnProcess { bytes })
}
