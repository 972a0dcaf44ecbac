//! Energy and state of the device at the edges of the timed phases, said as they are read.

use super::Stop;
use super::speaker::Speaker;
use crate::device::{Gpu, PowerMeter};
use crate::engine::{self, ScriptedPower};
use crate::protocol::{EngineKind, Message, Told, TrialRequest};
use crate::trial::{Device, DeviceState, Edge, EnergySource, Phase, PowerMark, PowerReading};
use crate::units::Nanos;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Opens its source before the first timed phase: by then the process is on the GPU, and can be found there.
pub struct PowerWatch {
    speaker: Speaker,
    started: Instant,
    engine: EngineKind,
    model: String,
    device: Device,
    gpu: Option<Arc<Gpu>>,
    source: Option<Source>,
}

enum Source {
    Device(Box<PowerMeter>),
    Scripted(ScriptedPower),
}

impl PowerWatch {
    /// Watches the trial's device, or what the script plays of it.
    pub fn new(
        request: &TrialRequest,
        gpu: Option<Arc<Gpu>>,
        speaker: &Speaker,
        started: Instant,
    ) -> PowerWatch {
        PowerWatch {
            speaker: speaker.clone(),
            started,
            engine: request.engine.clone(),
            model: request.trial.model.clone(),
            device: request.trial.device,
            gpu,
            source: None,
        }
    }

    /// Reads at the edge of a phase, where the phase is timed; `last` is that of the trial.
    pub fn mark(&mut self, phase: Phase, edge: Edge, last: bool) -> Result<(), Stop> {
        if !matches!(phase, Phase::Prefill | Phase::Decode) {
            return Ok(());
        }
        let first = self.source.is_none();
        if first {
            let source = self.open()?;
            self.speaker.say(&Message::EnergySource {
                source: source.source(),
            })?;
            self.source = Some(source);
        }
        let Some(source) = &mut self.source else {
            return Ok(());
        };
        let now = || Nanos::from(self.started.elapsed());
        // The state takes long to read: before a phase it comes first, after one last, so that the energy is next to it.
        let before = first.then(|| source.state());
        let at = now();
        let reading = source.read(at);
        let at = if edge == Edge::Begin { now() } else { at };
        let state = before.or_else(|| last.then(|| source.state()));
        self.speaker.say(&Message::Power(Box::new(PowerMark {
            at,
            phase,
            edge,
            reading,
            state,
        })))
    }

    fn open(&self) -> Result<Source, Stop> {
        Ok(match &self.engine {
            EngineKind::Onnx { .. } => {
                let gpu = self.gpu.clone().map(|gpu| gpu as Arc<_>);
                let root = Path::new("/");
                let meter = PowerMeter::open(root, self.device, gpu, self.started);
                Source::Device(Box::new(meter))
            }
            EngineKind::Scripted { script } => {
                Source::Scripted(engine::scripted_power(script, &self.model)?)
            }
        })
    }
}

impl Source {
    fn source(&self) -> Told<EnergySource> {
        match self {
            Source::Device(meter) => meter.source(),
            Source::Scripted(script) => script.source(),
        }
    }

    fn read(&mut self, at: Nanos) -> PowerReading {
        match self {
            Source::Device(meter) => meter.read(),
            Source::Scripted(script) => script.read(at),
        }
    }

    fn state(&mut self) -> DeviceState {
        match self {
            Source::Device(meter) => meter.state(),
            Source::Scripted(script) => script.state(),
        }
    }
}
