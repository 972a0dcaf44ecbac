//! Energy and state of the device a trial runs on, read on demand from the best source there is.

use super::rail::BoardRail;
use super::rapl::Rapl;
use super::state::{self, Events};
use super::tree::Tree;
use crate::protocol::Told;
use crate::trial::{Device, DeviceState, EnergySource, PowerReading, PowerSample};
use crate::units::Nanos;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What a GPU's driver tells about power.
pub trait GpuPower: Send + Sync {
    /// Whether this is the GPU the process runs on, or why nobody knows.
    fn is_ours(&self) -> Told<()>;
    /// The energy counter, in millijoules.
    fn energy_mj(&self) -> Told<u64>;
    /// Samples of the power that the driver has kept since then: microseconds of the system's clock, and milliwatts.
    fn power_samples(&self, since_us: Option<u64>) -> Told<Vec<(u64, u64)>>;
    /// What holds the clocks down now.
    fn throttle_reasons(&self) -> Told<Vec<String>>;
    /// Clocks, temperature, limit.
    fn state(&self) -> DeviceState;
}

/// Reads energy and state; nothing is read between two calls, but for a board's rail, which has a thread of its own.
pub struct PowerMeter {
    tree: Tree,
    device: Device,
    gpu: Told<Arc<dyn GpuPower>>,
    source: Told<Source>,
    events: Events,
    started: Instant,
}

enum Source {
    Counter(Arc<dyn GpuPower>),
    Samples {
        gpu: Arc<dyn GpuPower>,
        seen_us: u64,
    },
    Rail(BoardRail),
    Rapl(Rapl),
}

impl PowerMeter {
    /// Chooses a source. `root` is `/` or a folder that looks like it, `gpu` the driver's word of the GPU where there is one,
    /// `started` the zero of all times. To be called once the process is on the GPU.
    pub fn open(
        root: &Path,
        device: Device,
        gpu: Option<Arc<dyn GpuPower>>,
        started: Instant,
    ) -> PowerMeter {
        let tree = Tree::new(root);
        let gpu = gpu.ok_or_else(|| "NVML cannot be used".to_owned());
        let gpu = gpu.and_then(|gpu| gpu.is_ours().map(|()| gpu));
        let source = match device {
            Device::Cpu => of_cpu(&tree, started),
            Device::Cuda(_) => of_gpu(&gpu, &tree, started),
        };
        PowerMeter {
            events: Events::watch(&tree, device),
            tree,
            device,
            gpu,
            source,
            started,
        }
    }

    /// What the energy is told by, or why by nothing.
    pub fn source(&self) -> Told<EnergySource> {
        match &self.source {
            Ok(Source::Counter(_)) => Ok(EnergySource::NvmlCounter),
            Ok(Source::Samples { .. }) => Ok(EnergySource::NvmlSamples),
            Ok(Source::Rail(rail)) => Ok(EnergySource::BoardRail(rail.label().to_owned())),
            Ok(Source::Rapl(rapl)) => Ok(EnergySource::Rapl(rapl.packages())),
            Err(reason) => Err(reason.clone()),
        }
    }

    /// Reads the energy first, then what holds the device down.
    pub fn read(&mut self) -> PowerReading {
        let (counter_uj, samples) = match &mut self.source {
            Ok(Source::Counter(gpu)) => (Some(microjoules(gpu.as_ref())), Vec::new()),
            Ok(Source::Rapl(rapl)) => (Some(rapl.microjoules()), Vec::new()),
            Ok(Source::Rail(rail)) => (None, rail.take()),
            Ok(Source::Samples { gpu, seen_us }) => {
                (None, kept(gpu.as_ref(), seen_us, self.started))
            }
            Err(_) => (None, Vec::new()),
        };
        let by_driver = self.gpu.as_ref().map(|gpu| gpu.throttle_reasons());
        let by_driver = by_driver.ok().and_then(Result::ok).unwrap_or_default();
        let mut throttle_reasons = self.events.seen().unwrap_or_default();
        throttle_reasons.extend(by_driver);
        PowerReading {
            counter_uj,
            samples,
            throttle_reasons,
        }
    }

    /// Clocks, temperature, limit: by the driver where it tells, else by the files.
    pub fn state(&self) -> DeviceState {
        let files = state::state(&self.tree, self.device, &self.events);
        if self.device == Device::Cpu {
            return files;
        }
        let driver = match &self.gpu {
            Ok(gpu) => gpu.state(),
            Err(reason) => DeviceState::unknown(reason),
        };
        // Of two reasons the driver's is the one to know.
        fn first<T>(driver: Told<T>, files: Told<T>) -> Told<T> {
            driver.or_else(|reason| files.map_err(|_| reason))
        }
        DeviceState {
            sm_clock_mhz: first(driver.sm_clock_mhz, files.sm_clock_mhz),
            memory_clock_mhz: first(driver.memory_clock_mhz, files.memory_clock_mhz),
            cpu_clock_mhz: files.cpu_clock_mhz,
            temperature_c: first(driver.temperature_c, files.temperature_c),
            power_limit_mw: first(driver.power_limit_mw, files.power_limit_mw),
            throttle_reasons: first(driver.throttle_reasons, files.throttle_reasons),
        }
    }
}

/// The packages' counters, else the board.
fn of_cpu(tree: &Tree, started: Instant) -> Told<Source> {
    let rapl = match Rapl::open(tree) {
        Ok(rapl) => return Ok(Source::Rapl(rapl)),
        Err(reason) => reason,
    };
    let rail = BoardRail::open(tree, started).map(Source::Rail);
    rail.map_err(|rail| format!("{rapl}; {rail}"))
}

/// The GPU's counter, else samples that the driver keeps, else the board.
fn of_gpu(gpu: &Told<Arc<dyn GpuPower>>, tree: &Tree, started: Instant) -> Told<Source> {
    let driver = match gpu {
        Ok(gpu) => match of_driver(gpu) {
            Ok(source) => return Ok(source),
            Err(reason) => reason,
        },
        Err(reason) => reason.clone(),
    };
    let rail = BoardRail::open(tree, started).map(Source::Rail);
    rail.map_err(|rail| format!("{driver}; {rail}"))
}

fn of_driver(gpu: &Arc<dyn GpuPower>) -> Told<Source> {
    let counter = match microjoules(gpu.as_ref()) {
        Ok(_) => return Ok(Source::Counter(Arc::clone(gpu))),
        Err(reason) => reason,
    };
    let samples = match gpu.power_samples(None) {
        Ok(samples) if !samples.is_empty() => {
            return Ok(Source::Samples {
                gpu: Arc::clone(gpu),
                seen_us: 0,
            });
        }
        Ok(_) => "none are kept".to_owned(),
        Err(reason) => reason,
    };
    Err(format!(
        "NVML's energy counter: {counter}; its power samples: {samples}"
    ))
}

/// The driver's counter. One that stands at 0 counts nothing: a GPU that is on has used some.
fn microjoules(gpu: &dyn GpuPower) -> Told<u64> {
    match gpu.energy_mj()? {
        0 => Err("it stands at 0".into()),
        millijoules => millijoules
            .checked_mul(1000)
            .ok_or_else(|| "its reading is no energy".into()),
    }
}

/// The driver's samples since `seen_us`, on the clock that began at `started`.
fn kept(gpu: &dyn GpuPower, seen_us: &mut u64, started: Instant) -> Vec<PowerSample> {
    let samples = gpu.power_samples(Some(*seen_us).filter(|seen| *seen > 0));
    let (now, elapsed) = (SystemTime::now(), started.elapsed());
    let Ok(now) = now.duration_since(UNIX_EPOCH) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (at_us, milliwatts) in samples.unwrap_or_default() {
        if at_us <= *seen_us || milliwatts == 0 {
            continue;
        }
        *seen_us = at_us;
        // What is older than this process, or of a clock that was set meanwhile, is left out.
        let age = now.checked_sub(Duration::from_micros(at_us));
        if let Some(at) = age.and_then(|age| elapsed.checked_sub(age)) {
            let at: Nanos = at.into();
            found.push(PowerSample { at, milliwatts });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tree::recorded;
    use super::*;
    use std::sync::Mutex;

    /// A driver whose answers are set.
    struct Fake {
        ours: Told<()>,
        energy: Mutex<Vec<Told<u64>>>,
        samples: Told<Vec<(u64, u64)>>,
        state: DeviceState,
    }

    impl GpuPower for Fake {
        fn is_ours(&self) -> Told<()> {
            self.ours.clone()
        }
        fn energy_mj(&self) -> Told<u64> {
            self.energy.lock().unwrap().remove(0)
        }
        fn power_samples(&self, since_us: Option<u64>) -> Told<Vec<(u64, u64)>> {
            let all = self.samples.clone()?.into_iter();
            Ok(all.filter(|(at, _)| *at > since_us.unwrap_or(0)).collect())
        }
        fn throttle_reasons(&self) -> Told<Vec<String>> {
            self.state.throttle_reasons.clone()
        }
        fn state(&self) -> DeviceState {
            self.state.clone()
        }
    }

    fn refusing() -> Fake {
        let no = || Err("not supported on this GPU".to_owned());
        Fake {
            ours: Ok(()),
            energy: Mutex::new(vec![no(); 9]),
            samples: Err("not supported on this GPU".to_owned()),
            state: DeviceState::unknown("not supported on this GPU"),
        }
    }

    /// A meter, and the files that it reads.
    fn meter(tree: &str, device: Device, gpu: Option<Fake>) -> (tempfile::TempDir, PowerMeter) {
        let (root, _) = recorded(tree);
        let gpu = gpu.map(|gpu| Arc::new(gpu) as Arc<dyn GpuPower>);
        let meter = PowerMeter::open(root.path(), device, gpu, Instant::now());
        (root, meter)
    }

    #[test]
    fn the_counter_comes_first_and_its_errors_are_told() {
        let gone = Err("GPU is lost".to_owned());
        let gpu = Fake {
            energy: Mutex::new(vec![Ok(5), Ok(7), gone.clone(), Ok(0)]),
            ..refusing()
        };
        let (_root, mut meter) = meter("orin", Device::Cuda(0), Some(gpu));
        assert_eq!(meter.source(), Ok(EnergySource::NvmlCounter));
        assert_eq!(meter.read().counter_uj, Some(Ok(7000)));
        assert_eq!(meter.read().counter_uj, Some(gone));
        // Never a figure of 0.
        assert!(meter.read().counter_uj.unwrap().is_err());
    }

    #[test]
    fn without_a_counter_the_drivers_samples_count_each_once() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = u64::try_from(now.as_micros()).unwrap();
        let gpu = Fake {
            samples: Ok(vec![(7, 40_000), (now, 50_000), (now + 1, 0)]),
            ..refusing()
        };
        let (_root, mut meter) = meter("laptop", Device::Cuda(0), Some(gpu));
        meter.started -= Duration::from_secs(5);
        assert_eq!(meter.source(), Ok(EnergySource::NvmlSamples));
        let first = meter.read();
        let watts: Vec<u64> = first.samples.iter().map(|one| one.milliwatts).collect();
        assert_eq!((first.counter_uj, watts), (None, vec![50_000]));
        assert!(first.samples[0].at >= Nanos(4_900_000_000));
        assert!(meter.read().samples.is_empty());
    }

    #[test]
    fn a_driver_that_tells_nothing_leaves_the_board_and_the_files() {
        let (_root, orin) = meter("orin", Device::Cuda(0), Some(refusing()));
        let board = EnergySource::BoardRail("VDD_IN".into());
        assert_eq!(orin.source(), Ok(board.clone()));
        let state = orin.state();
        assert_eq!(state.sm_clock_mhz, Ok(306));
        assert_eq!(
            state.memory_clock_mhz,
            Err("not supported on this GPU".into())
        );
        for device in [Device::Cpu, Device::Cuda(0)] {
            let (_root, orin) = meter("orin", device, None);
            assert_eq!(orin.source(), Ok(board.clone()));
        }
    }

    #[test]
    fn no_source_names_every_reason() {
        let (_root, laptop) = meter("laptop", Device::Cuda(0), Some(refusing()));
        let reason = laptop.source().unwrap_err();
        for part in ["energy counter: not supported", "power samples", "VDD_IN"] {
            assert!(reason.contains(part), "{reason}");
        }
        let (_root, mut mute) = meter("laptop", Device::Cpu, None);
        assert!(mute.source().unwrap_err().contains("RAPL"));
        let reading = mute.read();
        assert_eq!((reading.counter_uj, reading.samples), (None, Vec::new()));
    }

    #[test]
    fn the_counter_of_a_gpu_that_may_be_another_is_not_used() {
        let gpu = Fake {
            ours: Err("NVML does not list this process".into()),
            energy: Mutex::new(vec![Ok(5); 9]),
            state: DeviceState {
                throttle_reasons: Ok(vec!["sw_power_cap".into()]),
                sm_clock_mhz: Ok(1980),
                ..DeviceState::default()
            },
            ..refusing()
        };
        let (_root, mut meter) = meter("laptop", Device::Cuda(0), Some(gpu));
        assert!(meter.source().unwrap_err().contains("does not list"));
        assert!(meter.read().throttle_reasons.is_empty());
        assert!(meter.state().sm_clock_mhz.is_err());
    }
}
