//! Readings at phase boundaries: the memory that a phase left behind, its exact peak, and what the next one starts with;
//! the energy around a timed phase, next to it on both sides.

use super::Stop;
use super::limit::Limit;
use super::power::PowerWatch;
use super::speaker::Speaker;
use crate::device::{DeviceLook, Gpu, Peaks, Pool, ProcessMemory, Sampler, Status};
use crate::protocol::{Message, TrialRequest};
use crate::trial::{Device, Edge, MemoryReading, Phase};
use crate::units::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Knows the phase, reads at its ends, and has the sampler read in between.
pub struct Meter {
    speaker: Speaker,
    memory: ProcessMemory,
    gpu: Option<Arc<Gpu>>,
    /// The memory that CPU and GPU share, where they do.
    pool: Option<Pool>,
    started: Instant,
    peaks: Arc<Peaks>,
    // Whether the kernel's peak is of this phase alone.
    peak_is_fresh: bool,
    power: PowerWatch,
    limit: Option<Limit>,
    _sampler: Sampler,
}

impl Meter {
    /// Begins [`Phase::Start`]: the reading everything later is held against.
    pub fn start(
        request: &TrialRequest,
        speaker: &Speaker,
        started: Instant,
    ) -> Result<Meter, Stop> {
        let proc_root = Path::new("/proc");
        let peaks = Arc::new(Peaks::default());
        // Opened before the first reading, so that NVML's own memory is not counted as the model's.
        let gpu = match request.trial.device {
            Device::Cpu => None,
            Device::Cuda(index) => Gpu::open(index).map(Arc::new),
        };
        let pool = request.unified_memory.then(|| Pool::open(Path::new("/")));
        let probe = (gpu.is_some() || pool.is_some()).then(|| {
            let (gpu, pool) = (gpu.clone(), pool.clone());
            Box::new(move || DeviceLook {
                process: gpu.as_ref().and_then(|gpu| gpu.own_bytes()),
                pool: pool.as_ref().map(Pool::read),
            }) as Box<dyn Fn() -> DeviceLook + Send>
        });
        let (loud, pause) = (
            speaker.clone(),
            Duration::from_nanos(request.sample_interval.0),
        );
        let say = move |reading| {
            // The main thread notices at its next word when nobody listens.
            let _ = loud.say(&Message::Memory(reading));
        };
        let memory = ProcessMemory::open(proc_root);
        let at = started.elapsed().into();
        speaker.say(&Message::Phase {
            phase: Phase::Start,
            at,
        })?;
        let mut meter = Meter {
            speaker: speaker.clone(),
            peak_is_fresh: true,
            power: PowerWatch::new(request, gpu.clone(), speaker, started),
            limit: None,
            _sampler: Sampler::start(proc_root, probe, pause, started, Arc::clone(&peaks), say),
            memory,
            gpu,
            pool,
            started,
            peaks,
        };
        let empty = meter.memory.status();
        meter.limit = Limit::of(request, &empty);
        meter.tell(Phase::Start, &empty, meter.own_bytes(), None)?;
        Ok(meter)
    }

    /// Ends the phase that runs and begins `next`. `device_used` is what the engine's device tells, where it tells.
    pub fn enter(&mut self, next: Phase, device_used: Option<Bytes>) -> Result<(), Stop> {
        self.power.mark(self.peaks.phase(), Edge::End, false)?;
        let (status, own) = self.end(device_used)?;
        self.peaks.enter(next);
        self.peak_is_fresh = self.memory.reset_peak();
        self.speaker.say(&Message::Phase {
            phase: next,
            at: self.started.elapsed().into(),
        })?;
        self.tell(next, &status, own, device_used)?;
        self.power.mark(next, Edge::Begin, false)?;
        if let Some(limit) = &self.limit {
            limit.renew(next, &status);
        }
        Ok(())
    }

    /// Ends the phase that runs; none follows.
    pub fn leave(&mut self, device_used: Option<Bytes>) -> Result<(), Stop> {
        if let Some(limit) = &self.limit {
            limit.lift();
        }
        self.power.mark(self.peaks.phase(), Edge::End, true)?;
        self.end(device_used).map(drop)
    }

    fn end(&self, device_used: Option<Bytes>) -> Result<(Status, Option<Bytes>), Stop> {
        let phase = self.peaks.phase();
        let (status, own) = (self.memory.status(), self.own_bytes());
        self.tell(phase, &status, own, device_used)?;
        let (most, file) = self.peaks.resident(phase);
        if let Some(peak) = status
            .peak
            .filter(|peak| self.peak_is_fresh && *peak > most)
        {
            // The kernel keeps the sum only: the file-backed part is that of the largest reading, the rest is anonymous.
            let split = Status {
                anon: Some(peak.saturating_sub(file)),
                file: Some(file),
                data: None,
                peak: None,
            };
            self.tell(phase, &split, own, device_used)?;
        }
        Ok((status, own))
    }

    fn own_bytes(&self) -> Option<Bytes> {
        self.gpu.as_ref()?.own_bytes()
    }

    fn tell(
        &self,
        phase: Phase,
        status: &Status,
        own: Option<Bytes>,
        used: Option<Bytes>,
    ) -> Result<(), Stop> {
        let reading = MemoryReading {
            at: self.started.elapsed().into(),
            phase,
            rss_anon: status.anon,
            rss_file: status.file,
            device_process: own,
            device_used: used,
            pool: self.pool.as_ref().map(Pool::read),
        };
        self.peaks.raise(&reading, Bytes(0));
        self.speaker.say(&Message::Memory(reading))
    }
}
