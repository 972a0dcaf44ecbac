//! An engine that follows a JSON script: every outcome of a trial, for tests without hardware. It computes nothing.
//!
//! ```json
//! {
//!   "probe":       { "runtime_version": "0.0.0", "providers": ["CPUExecutionProvider"], "gpu": null, "cuda_unavailable": null },
//!   "probe_fault": "hang",
//!   "driver":      { "driver_version": { "Ok": "580.1" }, "gpus": [ { "temperature_c": { "Err": "not supported" } } ] },
//!   "own_process": 1048576,
//!   "default":     { "step_ms": [2.0, 3.0] },
//!   "models":      { "dense-120m": { "fault": { "at": "step", "nth": 3, "what": "out_of_memory" } } }
//! }
//! ```
//! Every field may be left out, an unknown one is refused. A model without an entry of its own follows `default`.
//! - `session_ms`, `prefill_ms`, `step_ms` (a list, cycled): time that really passes, 1 ms each unless told.
//! - `grow_mib`: anonymous memory touched at load and kept. `lock_mib`: the same, locked as pinned weights are.
//! - `memory`: `base_mib` and `bytes_per_token` for each position of each sequence: what the device tells from the load on, above
//!   `device_used_mib`; with `touch` it is really taken, as resident memory; above `spills_above_mib` every run is 20 times slower.
//! - `hello_protocol`: the protocol number to greet with. `logit_offset`: added to logit 0 of each row.
//! - `stale_from`: a decode step that makes a sequence longer than this sees the state of that length, as a captured graph does that
//!   reads a buffer nobody writes any more; what is appended from outside is seen.
//! - `device_used_mib`: what the device tells; where CPU and GPU share one memory, what is above it is the process's own. `first_run_ms`: what the first append takes on top.
//! - `power`: `source` as on the wire, such as `{"Ok": "nvml_counter"}`; `milliwatts` drawn all the time, or `counter_uj`, a list
//!   of `{"Ok": 7}` or `{"Err": "…"}`, one for each edge of a timed phase; `throttle_reasons`, a list of lists in the same
//!   order; `states`, at the start and the end of what is timed.
//! - `router`: what a graph tells that shows a router's weights, a row of each output by its name, repeated for every token.
//! - `limits` of the script itself: how fast the device is, each as `{"Ok": 1e9}` or `{"Err": "…"}`.
//! - `hold` of the script itself: what comes of taking memory away, a `fault` as below or the `free` bytes that are left.
//! - `fault`: `at` is `open`, `load`, `append` or `step`; `nth` counts those calls from 1, checks and warm-up included;
//!   `what` is `{"grow_mib": 64}` (memory asked for, touched and kept; a refusal is told), `{"burst_mib": 64}` (the same by a
//!   library that does not expect a refusal and aborts), `"out_of_memory"`, `"hang"`, `"crash"`, `"kill"`, `{"exit": 3}`, `{"garbage": "a line on stdout"}`,
//!   `{"runtime": "…"}`, `{"device": "…"}`, `{"model": "…"}` or `{"other": "…"}`; with `above_mib`
//!   it strikes only a trial whose `memory` is more.
//! - `variables`: what variables of the worker's environment do, by `NAME=value`: decode steps are `faster` by a factor, the trial
//!   `takes_mib` more, or a `fault` as above takes the place of the model's.
//!
//! The greedy next id after `n` ids is `n % vocab`; its logit is 1, the others are 0.

mod locked;
mod memory;
mod power;
mod variables;

pub use power::ScriptedPower;

use super::{Ballast, Engine, EngineError};
use crate::protocol::{DriverFacts, Held, ProbeFacts, SideGraph, Told, TrialRequest};
use crate::trial::{Arena, DeviceLimits, LoadFacts};
use crate::units::{Bytes, Nanos};
use memory::ScriptedMemory;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use variables::Effect;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Script {
    probe: Option<ProbeFacts>,
    probe_fault: Option<What>,
    hold: ScriptedHold,
    limits: Option<DeviceLimits>,
    driver: Option<DriverFacts>,
    own_process: Option<Bytes>,
    default: Behaviour,
    models: BTreeMap<String, Behaviour>,
}

/// A process that takes memory away, as a script plays it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ScriptedHold {
    fault: Option<What>,
    free: Option<Bytes>,
}

impl Ballast for ScriptedHold {}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Behaviour {
    session_ms: f64,
    prefill_ms: f64,
    first_run_ms: f64,
    step_ms: Vec<f64>,
    grow_mib: usize,
    lock_mib: usize,
    hello_protocol: Option<u32>,
    logit_offset: f32,
    stale_from: Option<usize>,
    device_used_mib: Option<u64>,
    power: ScriptedPower,
    memory: ScriptedMemory,
    router: BTreeMap<String, Vec<f32>>,
    fault: Option<Fault>,
    variables: BTreeMap<String, Effect>,
}

impl Default for Behaviour {
    fn default() -> Behaviour {
        Behaviour {
            session_ms: 1.0,
            prefill_ms: 1.0,
            first_run_ms: 0.0,
            step_ms: vec![1.0],
            grow_mib: 0,
            lock_mib: 0,
            hello_protocol: None,
            logit_offset: 0.0,
            stale_from: None,
            device_used_mib: None,
            power: ScriptedPower::default(),
            memory: ScriptedMemory::default(),
            router: BTreeMap::new(),
            fault: None,
            variables: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    at: Point,
    #[serde(default = "first")]
    nth: usize,
    what: What,
    above_mib: Option<u64>,
}

fn first() -> usize {
    1
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Point {
    Open,
    Load,
    Append,
    Step,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    OutOfMemory,
    GrowMib(usize),
    BurstMib(usize),
    Hang,
    Crash,
    Kill,
    Exit(i32),
    Garbage(String),
    Runtime(String),
    Device(String),
    Model(String),
    Other(String),
}

impl What {
    /// Lets it happen. Comes back only where the process is meant to go on.
    fn happen(&self) -> Result<(), EngineError> {
        match self {
            What::OutOfMemory => Err(EngineError::OutOfMemory(
                "the script refused an allocation".into(),
            )),
            What::GrowMib(mib) => {
                // Kept for good: what it plays is not given back.
                std::mem::forget(grown(*mib)?);
                Ok(())
            }
            What::BurstMib(mib) => {
                std::mem::forget(vec![1_u8; mib << 20]);
                Ok(())
            }
            What::Runtime(reason) => Err(EngineError::Runtime(reason.clone())),
            What::Device(reason) => Err(EngineError::Device(reason.clone())),
            What::Model(reason) => Err(EngineError::Model(reason.clone())),
            What::Other(reason) => Err(EngineError::Other(reason.clone())),
            What::Garbage(line) => {
                let line = format!("{line}\n");
                let mut stdout = std::io::stdout();
                stdout
                    .write_all(line.as_bytes())
                    .and_then(|()| stdout.flush())
                    .map_err(|error| {
                        EngineError::Other(format!("could not write the script's line: {error}"))
                    })
            }
            What::Hang => hang(),
            What::Crash => std::process::abort(),
            // A library that ends the process from inside is what this plays.
            What::Exit(code) => std::process::exit(*code),
            What::Kill => {
                rustix::process::kill_process(
                    rustix::process::getpid(),
                    rustix::process::Signal::KILL,
                )
                .map_err(|error| {
                    EngineError::Other(format!("could not kill the worker: {error}"))
                })?;
                hang()
            }
        }
    }
}

/// Memory that is touched. Ones, not zeros: an untouched zero page is not resident.
fn grown(mib: usize) -> Result<Vec<u8>, EngineError> {
    let bytes = mib << 20;
    let mut block = Vec::new();
    block.try_reserve_exact(bytes).map_err(|_| {
        EngineError::OutOfMemory(format!("could not allocate {bytes} bytes of memory"))
    })?;
    block.resize(bytes, 1);
    Ok(block)
}

fn hang() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn read(path: &Path) -> Result<Script, EngineError> {
    let text = std::fs::read(path).map_err(|error| {
        EngineError::Other(format!(
            "could not read the script {}: {error}",
            path.display()
        ))
    })?;
    serde_json::from_slice(&text).map_err(|error| {
        EngineError::Other(format!("the script {} is not one: {error}", path.display()))
    })
}

fn behaviour(script: Script, model: &str) -> Behaviour {
    let behaviour = script.models.get(model).cloned();
    variables::applied(behaviour.unwrap_or(script.default), |name| {
        std::env::var(name).ok()
    })
}

/// The scripted protocol number, where there is one.
pub fn greeting(script: &Path, model: &str) -> Option<u32> {
    behaviour(read(script).ok()?, model).hello_protocol
}

/// The scripted facts, or a CPU-only runtime.
pub fn probe(script: &Path) -> Result<ProbeFacts, EngineError> {
    let script = read(script)?;
    if let Some(fault) = script.probe_fault {
        fault.happen()?;
    }
    Ok(script.probe.unwrap_or_else(|| ProbeFacts {
        runtime_version: "0.0.0".into(),
        providers: vec!["CPUExecutionProvider".into()],
        ..ProbeFacts::default()
    }))
}

/// Says that memory was taken away, or what the script says instead.
pub fn hold(script: &Path, leave: Bytes) -> Result<(Box<dyn Ballast>, Held), EngineError> {
    let hold = read(script)?.hold;
    if let Some(fault) = &hold.fault {
        fault.happen()?;
    }
    let held = Held {
        taken: Bytes(0),
        free: hold.free.unwrap_or(leave),
    };
    Ok((Box::new(hold), held))
}

/// The scripted limits.
pub fn measure(script: &Path) -> Result<DeviceLimits, EngineError> {
    let limits = read(script)?.limits;
    Ok(limits.unwrap_or_else(|| DeviceLimits::unknown("the script tells none")))
}

/// A driver as a script plays it.
#[derive(Debug)]
pub struct ScriptedDriver {
    /// What it says.
    pub facts: Told<DriverFacts>,
    /// What it lists of this process.
    pub own_process: Told<Bytes>,
}

/// The scripted driver.
pub fn driver(script: &Path) -> Result<ScriptedDriver, EngineError> {
    let script = read(script)?;
    let none = || "the script has no driver".to_owned();
    Ok(ScriptedDriver {
        facts: script.driver.ok_or_else(none),
        own_process: script.own_process.ok_or_else(none),
    })
}

/// The scripted energy and state of the device.
pub fn power(script: &Path, model: &str) -> Result<ScriptedPower, EngineError> {
    Ok(behaviour(read(script)?, model).power)
}

/// What the scripted device has in use before the trial.
pub fn device_used(script: &Path, model: &str) -> Result<Option<Bytes>, EngineError> {
    let told = behaviour(read(script)?, model).device_used_mib;
    Ok(told.map(|mib| Bytes(mib << 20)))
}

/// The engine of one trial.
pub fn open(script: &Path, request: &TrialRequest) -> Result<Box<dyn Engine>, EngineError> {
    let mut engine = Scripted {
        behaviour: behaviour(read(script)?, &request.trial.model),
        request: request.clone(),
        loads: 0,
        appends: 0,
        steps: 0,
        length: 0,
        next: vec![0; request.trial.batch as usize],
        ballast: Vec::new(),
        locked: Vec::new(),
    };
    engine.strike(Point::Open, 1)?;
    Ok(Box::new(engine))
}

struct Scripted {
    behaviour: Behaviour,
    request: TrialRequest,
    loads: usize,
    appends: usize,
    steps: usize,
    length: usize,
    next: Vec<i64>,
    ballast: Vec<u8>,
    /// Kept until the engine goes.
    locked: Vec<u8>,
}

impl Scripted {
    fn strike(&mut self, point: Point, count: usize) -> Result<(), EngineError> {
        let taken = self.behaviour.memory.taken(&self.request.trial);
        let spared = |fault: &Fault| fault.above_mib.is_some_and(|mib| taken <= mib << 20);
        match &self.behaviour.fault {
            Some(fault) if fault.at == point && fault.nth == count && !spared(fault) => {
                fault.what.happen()
            }
            _ => Ok(()),
        }
    }

    /// Lets the time of a run pass.
    fn pass(&self, milliseconds: f64) -> Nanos {
        pass(milliseconds * self.behaviour.memory.slower(&self.request.trial))
    }

    fn vocab(&self) -> usize {
        (self.request.io.vocab as usize).max(1)
    }

    fn extend(&mut self, ids: usize) -> Result<(), EngineError> {
        self.length += ids;
        let room = self.request.trial.context() as usize;
        if self.length > room {
            return Err(EngineError::Model(format!(
                "a sequence of {} ids does not fit a cache of {room}",
                self.length
            )));
        }
        let next = (self.length % self.vocab()) as i64;
        self.next.fill(next);
        Ok(())
    }
}

/// Lets time pass: asleep while there is plenty, awake for the last stretch.
fn pass(milliseconds: f64) -> Nanos {
    let start = Instant::now();
    let span = Duration::try_from_secs_f64(milliseconds / 1e3).unwrap_or_default();
    let awake = Duration::from_millis(1);
    if span > 2 * awake {
        std::thread::sleep(span - awake);
    }
    while start.elapsed() < span {
        std::hint::spin_loop();
    }
    start.elapsed().into()
}

impl Engine for Scripted {
    fn load(&mut self, _holds: &dyn Fn() -> Option<Bytes>) -> Result<LoadFacts, EngineError> {
        self.loads += 1;
        let touched = self.behaviour.memory.touched(&self.request.trial) >> 20;
        self.ballast = grown(self.behaviour.grow_mib + touched)?;
        self.locked = locked::locked(self.behaviour.lock_mib)?;
        let session = pass(self.behaviour.session_ms);
        self.strike(Point::Load, self.loads)?;
        let trial = &self.request.trial;
        let per_position: u64 = self
            .request
            .io
            .caches
            .iter()
            .map(|cache| 2 * u64::from(cache.kv_heads) * u64::from(cache.head_dim))
            .sum();
        let positions = u64::from(trial.batch) * u64::from(trial.context());
        Ok(LoadFacts {
            not_captured: None,
            session,
            provider: "ScriptedExecutionProvider".into(),
            weights: self.request.weights,
            kv_cache: Bytes(per_position * positions * trial.numerics().compute().bytes()),
            io_buffers: Bytes(0),
            weights_taken: None,
            buffers_taken: None,
            packed: None,
            arena_limit: None,
            mapped: Bytes(0),
            link_ways: None,
            largest_tensor: self.request.largest_tensor,
            kv_mode: match (self.request.io.shared_kv, self.request.io.fused) {
                (true, _) => "in place".into(),
                (false, true) => "copied".into(),
                (false, false) => "concatenated".into(),
            },
            placement: None,
        })
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        self.length = 0;
        Ok(())
    }

    fn append(&mut self, rows: &[Vec<i64>]) -> Result<Nanos, EngineError> {
        self.appends += 1;
        self.strike(Point::Append, self.appends)?;
        let ids = rows.first().map_or(0, Vec::len);
        if rows.len() != self.next.len() || ids == 0 || rows.iter().any(|row| row.len() != ids) {
            return Err(EngineError::Other("the rows do not match the batch".into()));
        }
        self.extend(ids)?;
        let first_run = if self.appends == 1 {
            self.behaviour.first_run_ms
        } else {
            0.0
        };
        Ok(self.pass(self.behaviour.prefill_ms + first_run))
    }

    fn step(&mut self) -> Result<Nanos, EngineError> {
        self.steps += 1;
        self.strike(Point::Step, self.steps)?;
        self.extend(1)?;
        if let Some(from) = self.behaviour.stale_from.filter(|from| self.length > *from) {
            let stale = (from % self.vocab()) as i64;
            self.next.fill(stale);
        }
        let times = &self.behaviour.step_ms;
        let index = (self.steps - 1) % times.len().max(1);
        Ok(self.pass(times.get(index).copied().unwrap_or(0.0)))
    }

    fn next_ids(&self) -> &[i64] {
        &self.next
    }

    fn logits(&mut self) -> Result<Vec<f32>, EngineError> {
        let vocab = self.vocab();
        let mut logits = vec![0.0; vocab * self.next.len()];
        for (row, next) in logits.chunks_mut(vocab).zip(&self.next) {
            row[*next as usize] = 1.0;
            row[0] += self.behaviour.logit_offset;
        }
        Ok(logits)
    }

    fn beside(&mut self, graph: &SideGraph) -> Result<Option<Vec<Vec<f32>>>, EngineError> {
        let told = graph.outputs.iter().map(|output| {
            let row = self.behaviour.router.get(&output.name)?;
            Some(row.iter().copied().cycle().take(output.count()).collect())
        });
        Ok(told.collect())
    }

    fn device_used(&self) -> Option<Bytes> {
        let loaded = self.loads > 0;
        let taken = if loaded {
            self.behaviour.memory.taken(&self.request.trial)
        } else {
            0
        };
        let told = self.behaviour.device_used_mib;
        told.map(|mib| Bytes((mib << 20) + taken))
    }

    fn arena(&self) -> Option<Arena> {
        None
    }
}
