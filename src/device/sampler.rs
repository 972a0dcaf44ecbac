//! Looks at memory between phase boundaries: one thread, a fixed pause, a word only about a new peak.

use super::ProcessMemory;
use crate::trial::{MemoryReading, Phase, PoolReading, PoolSource};
use crate::units::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PHASES: [Phase; 8] = [
    Phase::Start,
    Phase::Runtime,
    Phase::Load,
    Phase::Check,
    Phase::Warmup,
    Phase::Prefill,
    Phase::Decode,
    Phase::SelfCheck,
];

/// The largest readings so far of each phase, and the phase that runs now. Shared by the sampler and the boundaries.
#[derive(Debug, Default)]
pub struct Peaks {
    phase: AtomicU8,
    resident: [AtomicU64; PHASES.len()],
    file: [AtomicU64; PHASES.len()],
    device: [AtomicU64; PHASES.len()],
    used: [AtomicU64; PHASES.len()],
}

// Relaxed everywhere: each value stands for itself, and a sample that lands on the wrong side of a boundary is no error.
impl Peaks {
    /// From now on this phase runs.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// The phase that runs.
    pub fn phase(&self) -> Phase {
        let index = usize::from(self.phase.load(Ordering::Relaxed));
        PHASES.get(index).copied().unwrap_or(Phase::Start)
    }

    /// The largest resident memory of a phase, with the file-backed part it had then.
    pub fn resident(&self, phase: Phase) -> (Bytes, Bytes) {
        let load = |cells: &[AtomicU64]| Bytes(cells[phase as usize].load(Ordering::Relaxed));
        (load(&self.resident), load(&self.file))
    }

    /// Takes a reading in. `true` when it is above the phase's largest by more than `margin`.
    pub fn raise(&self, reading: &MemoryReading, margin: Bytes) -> bool {
        let cell = reading.phase as usize;
        let above = |cells: &[AtomicU64], bytes: Option<Bytes>| {
            let most = cells[cell].load(Ordering::Relaxed);
            bytes.filter(|bytes| bytes.0 > most.saturating_add(margin.0))
        };
        let resident = above(&self.resident, reading.rss());
        // On a shared memory the GPU's part may be told by something else; what rises with it will do here.
        let told = || PoolSource::best([reading])?.level(reading);
        let device = above(&self.device, reading.device_process.or_else(told));
        let used = above(&self.used, reading.device_used);
        if let (Some(resident), Some(file)) = (resident, reading.rss_file) {
            self.resident[cell].store(resident.0, Ordering::Relaxed);
            self.file[cell].store(file.0, Ordering::Relaxed);
        }
        if let Some(device) = device {
            self.device[cell].store(device.0, Ordering::Relaxed);
        }
        if let Some(used) = used {
            self.used[cell].store(used.0, Ordering::Relaxed);
        }
        resident.is_some() || device.is_some() || used.is_some()
    }
}

/// The sampling thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Sampler {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the device tells at one moment.
#[derive(Debug, Default)]
pub struct DeviceLook {
    /// Device memory of this process.
    pub process: Option<Bytes>,
    /// Device memory of everybody.
    pub used: Option<Bytes>,
    /// The memory that it shares with the CPU, where it does.
    pub pool: Option<PoolReading>,
}

/// Looks at the device.
pub type DeviceProbe = Box<dyn Fn() -> DeviceLook + Send>;

impl Sampler {
    /// Looks every `pause` and hands new peaks (by more than 1 MiB) to `on_peak`. `started` is the zero of their clock.
    pub fn start(
        proc_root: &Path,
        device: Option<DeviceProbe>,
        pause: Duration,
        started: Instant,
        peaks: Arc<Peaks>,
        on_peak: impl FnMut(MemoryReading) + Send + 'static,
    ) -> Sampler {
        let memory = ProcessMemory::open(proc_root);
        let (stop, stopped) = channel();
        let look = Look {
            memory,
            device,
            started,
            peaks,
        };
        // A pause of nothing would take a core away from the runtime.
        let pause = pause.max(Duration::from_millis(1));
        let thread = std::thread::Builder::new()
            .name("sampler".into())
            .spawn(move || watch(look, pause, stopped, on_peak));
        // Without the thread the boundary readings remain.
        Sampler {
            stop: Some(stop),
            thread: thread.ok(),
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A sampler that panicked has nothing left to say.
            let _ = thread.join();
        }
    }
}

struct Look {
    memory: ProcessMemory,
    device: Option<DeviceProbe>,
    started: Instant,
    peaks: Arc<Peaks>,
}

impl Look {
    fn read(&self) -> MemoryReading {
        let resident = self.memory.quick();
        let look = self
            .device
            .as_ref()
            .map(|device| device())
            .unwrap_or_default();
        // After the look: the driver may keep it waiting, a context's making for instance.
        let phase = self.peaks.phase();
        MemoryReading {
            at: self.started.elapsed().into(),
            phase,
            rss_anon: resident.map(|(resident, file)| resident - file),
            rss_file: resident.map(|(_, file)| file),
            device_process: look.process,
            device_used: look.used,
            arena: None,
            pool: look.pool,
        }
    }
}

fn watch(
    look: Look,
    pause: Duration,
    stopped: Receiver<()>,
    mut on_peak: impl FnMut(MemoryReading),
) {
    while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let reading = look.read();
        if look.peaks.raise(&reading, Bytes::MIB) {
            on_peak(reading);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Nanos;

    fn reading(phase: Phase, anon: u64, device: Option<u64>) -> MemoryReading {
        MemoryReading {
            at: Nanos(0),
            phase,
            rss_anon: Some(Bytes(anon)),
            rss_file: Some(Bytes(7)),
            device_process: device.map(Bytes),
            device_used: None,
            pool: None,
            arena: None,
        }
    }

    #[test]
    fn phases_are_numbered_as_they_are_declared() {
        for (index, phase) in PHASES.into_iter().enumerate() {
            assert_eq!(phase as usize, index);
            let peaks = Peaks::default();
            peaks.enter(phase);
            assert_eq!(peaks.phase(), phase);
        }
    }

    #[test]
    fn only_a_reading_above_its_own_phase_by_the_margin_is_a_peak() {
        let peaks = Peaks::default();
        assert!(peaks.raise(&reading(Phase::Load, 100, None), Bytes(10)));
        assert!(!peaks.raise(&reading(Phase::Load, 110, None), Bytes(10)));
        assert!(peaks.raise(&reading(Phase::Load, 111, None), Bytes(10)));
        assert!(peaks.raise(&reading(Phase::Load, 1, Some(11)), Bytes(10)));
        assert!(peaks.raise(&reading(Phase::Decode, 50, None), Bytes(10)));
        assert_eq!(peaks.resident(Phase::Load), (Bytes(118), Bytes(7)));
    }

    #[test]
    fn a_growing_process_is_noticed_and_the_thread_ends_with_its_owner() {
        let (send, heard) = channel();
        let peaks = Arc::new(Peaks::default());
        peaks.enter(Phase::Load);
        let sampler = Sampler::start(
            Path::new("/proc"),
            Some(Box::new(|| DeviceLook {
                process: Some(Bytes(5 << 20)),
                used: Some(Bytes(7 << 20)),
                pool: None,
            })),
            Duration::from_millis(1),
            Instant::now(),
            peaks,
            move |reading| drop(send.send(reading)),
        );
        let first = heard.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(
            (first.phase, first.device_process),
            (Phase::Load, Some(Bytes(5 << 20)))
        );
        let big = std::hint::black_box(vec![1u8; 256 << 20]);
        let grown = heard.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(grown.rss() > first.rss());
        drop(sampler);
        drop(big);
        // The sender went with the thread.
        while heard.recv_timeout(Duration::from_secs(20)).is_ok() {}
        assert!(heard.recv().is_err());
    }
}
