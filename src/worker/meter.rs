//! Readings at phase boundaries: the memory that a phase left behind, its exact peak, and what the next one starts with;
//! the energy around a timed phase, next to it on both sides.

use super::Stop;
use super::limit::Limit;
use super::paging::PagingWatch;
use super::power::PowerWatch;
use super::shared::Shared;
use super::speaker::Speaker;
use crate::device::{DeviceLook, DeviceProbe, Gpu, Peaks, ProcessMemory, Sampler, Status};
use crate::engine::Engine;
use crate::protocol::{Message, TrialRequest};
use crate::trial::{Arena, Device, Edge, MemoryReading, Phase};
use crate::units::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the engine's side of the device tells at the end of a phase. Everything is `None` before there is an engine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    used: Option<Bytes>,
    arena: Option<Arena>,
}

impl Seen {
    /// Asks the engine.
    pub fn by(engine: &dyn Engine) -> Seen {
        Seen {
            used: engine.device_used(),
            arena: engine.arena(),
        }
    }
}

/// Knows the phase, reads at its ends, and has the sampler read in between.
pub struct Meter {
    speaker: Speaker,
    memory: ProcessMemory,
    gpu: Option<Arc<Gpu>>,
    /// The memory that CPU and GPU share, where they do.
    shared: Option<Shared>,
    started: Instant,
    peaks: Arc<Peaks>,
    // Whether the kernel's peak is of this phase alone.
    peak_is_fresh: bool,
    power: PowerWatch,
    paging: PagingWatch,
    /// What everybody had taken of the device before this process had a context.
    base: Option<Bytes>,
    limit: Option<Limit>,
    _sampler: Option<Sampler>,
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
            Device::Cuda(index) => Gpu::open(index, request.bus_id.as_deref()).map(Arc::new),
        };
        let shared = Shared::of(request)?;
        let pool = shared.as_ref().and_then(Shared::machine);
        let probe = (gpu.is_some() || pool.is_some()).then(|| {
            let (gpu, pool) = (gpu.clone(), pool.cloned());
            let look = move || DeviceLook {
                process: gpu.as_ref().and_then(|gpu| gpu.own_bytes()),
                used: gpu.as_ref().and_then(|gpu| gpu.used_bytes()),
                pool: pool.as_ref().map(crate::device::Pool::read),
            };
            Box::new(look) as DeviceProbe
        });
        let loud = speaker.clone();
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
            paging: PagingWatch::new(Path::new("/")),
            power: PowerWatch::new(request, gpu.clone(), speaker, started),
            _sampler: request.sample_interval.map(|pause| {
                let pause = Duration::from_nanos(pause.0);
                Sampler::start(proc_root, probe, pause, started, Arc::clone(&peaks), say)
            }),
            base: gpu.as_ref().and_then(|gpu| gpu.used_bytes()),
            limit: None,
            memory,
            gpu,
            shared,
            started,
            peaks,
        };
        meter.others()?;
        let (own, seen) = (meter.own_bytes(), meter.seen(Seen::default()));
        let empty = meter.memory.status();
        meter.limit = Limit::of(request, &empty);
        meter.tell(Phase::Start, &empty, own, seen)?;
        Ok(meter)
    }

    /// Tells the device memory of this process: as the driver lists it, else what everybody has taken since the start.
    pub fn holds(&self) -> impl Fn() -> Option<Bytes> + use<> {
        let (gpu, base) = (self.gpu.clone(), self.base);
        move || {
            let gpu = gpu.as_ref()?;
            let since = || Some(gpu.used_bytes()?.saturating_sub(base?));
            gpu.own_bytes().or_else(since)
        }
    }

    fn own_bytes(&self) -> Option<Bytes> {
        self.gpu.as_ref()?.own_bytes()
    }

    /// Ends the phase that runs and begins `next`.
    pub fn enter(&mut self, next: Phase, seen: Seen) -> Result<(), Stop> {
        self.power.mark(self.peaks.phase(), Edge::End, false)?;
        self.paged()?;
        let (status, own, seen) = self.end(seen)?;
        self.others()?;
        self.peaks.enter(next);
        self.peak_is_fresh = self.memory.reset_peak();
        self.speaker.say(&Message::Phase {
            phase: next,
            at: self.started.elapsed().into(),
        })?;
        self.tell(next, &status, own, seen)?;
        self.paging.begin(next);
        self.power.mark(next, Edge::Begin, false)?;
        if let Some(limit) = &self.limit {
            limit.renew(next, &status);
        }
        Ok(())
    }

    /// Ends the phase that runs; none follows that is metered: no reading, and no limit of memory.
    pub fn leave(mut self, seen: Seen) -> Result<(), Stop> {
        if let Some(limit) = &self.limit {
            limit.lift();
        }
        self.power.mark(self.peaks.phase(), Edge::End, true)?;
        self.paged()?;
        self.end(seen)?;
        self.others()
    }

    /// Says what was swapped, at the end of a phase of which that counts.
    fn paged(&mut self) -> Result<(), Stop> {
        match self.paging.end(self.peaks.phase()) {
            Some(facts) => self.speaker.say(&Message::Paging(facts)),
            None => Ok(()),
        }
    }

    /// Says who else is on the GPU.
    fn others(&self) -> Result<(), Stop> {
        match &self.gpu {
            Some(gpu) => self.speaker.say(&Message::Others {
                processes: gpu.other_processes(),
            }),
            None => Ok(()),
        }
    }

    /// Use of the device as the driver's own library tells it, where it does: it can be asked before there is a context, so that
    /// all readings of a trial are of one kind.
    fn seen(&self, seen: Seen) -> Seen {
        let told = self.gpu.as_ref().and_then(|gpu| gpu.used_bytes());
        Seen {
            used: told.or(seen.used),
            ..seen
        }
    }

    fn end(&self, seen: Seen) -> Result<(Status, Option<Bytes>, Seen), Stop> {
        let phase = self.peaks.phase();
        let (status, own, seen) = (self.memory.status(), self.own_bytes(), self.seen(seen));
        self.tell(phase, &status, own, seen)?;
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
            self.tell(phase, &split, own, seen)?;
        }
        Ok((status, own, seen))
    }

    fn tell(
        &self,
        phase: Phase,
        status: &Status,
        own: Option<Bytes>,
        seen: Seen,
    ) -> Result<(), Stop> {
        let reading = MemoryReading {
            at: self.started.elapsed().into(),
            phase,
            rss_anon: status.anon,
            rss_file: status.file,
            device_process: own,
            device_used: seen.used,
            arena: seen.arena,
            pool: self.shared.as_ref().map(|shared| shared.read(seen.used)),
        };
        self.peaks.raise(&reading, Bytes(0));
        self.speaker.say(&Message::Memory(reading))
    }
}
