//! The one memory of a Jetson or GB10, from which CPU and GPU both take: what is told of it, and how what a process takes is
//! read off that. Allocations of the GPU and resident memory both count, and none of it twice.

use super::MemoryReading;
use crate::units::Bytes;
use serde::{Deserialize, Serialize};

type Told<T> = Result<T, String>;

/// One look at a shared memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolReading {
    /// What the GPU holds for this process, as the Jetson's driver lists its clients.
    pub process: Told<Bytes>,
    /// What the GPU holds for everybody (`NvMapMemUsed`).
    pub gpu: Told<Bytes>,
    /// What a new program could have (`MemAvailable`).
    pub available: Told<Bytes>,
}

/// Where the figure comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PoolSource {
    /// NVML's word on this process: GB10 and Thor.
    Nvml,
    /// The driver's list of clients: Orin and older, as root.
    Clients,
    /// `NvMapMemUsed`, which is everybody's.
    NvMap,
    /// `MemAvailable`, which is everybody's.
    Available,
}

impl PoolSource {
    /// Every source, the most exact first.
    pub const ALL: [PoolSource; 4] = [
        PoolSource::Nvml,
        PoolSource::Clients,
        PoolSource::NvMap,
        PoolSource::Available,
    ];

    /// The best source that these readings have a figure of.
    pub fn best<'a>(
        readings: impl IntoIterator<Item = &'a MemoryReading> + Clone,
    ) -> Option<PoolSource> {
        PoolSource::ALL.into_iter().find(|source| {
            let mut readings = readings.clone().into_iter();
            readings.any(|reading| source.level(reading).is_some())
        })
    }

    /// A figure that rises by as much as the process takes of the memory. It says nothing alone: [`PoolSource::base`] is to be
    /// taken off it.
    pub fn level(self, reading: &MemoryReading) -> Option<Bytes> {
        let pool = reading.pool.as_ref()?;
        let own = reading.rss()?;
        match self {
            PoolSource::Nvml => Some(reading.device_process? + own),
            PoolSource::Clients => Some(pool.process.clone().ok()? + own),
            PoolSource::NvMap => Some(pool.gpu.clone().ok()? + own),
            // What is available falls by what the GPU takes and by the process's own anonymous memory; cached files, such as
            // mapped weights, count as available and are added here.
            PoolSource::Available => {
                let taken = MOST.saturating_sub(pool.available.clone().ok()?);
                Some(taken + reading.rss_file?)
            }
        }
    }

    /// What is not the trial's: the first reading, made before there is a CUDA context.
    pub fn base(self, first: &MemoryReading) -> Option<Bytes> {
        match self {
            // The GPU holds nothing for the process yet, and nobody lists it.
            PoolSource::Nvml | PoolSource::Clients => first.rss(),
            PoolSource::NvMap | PoolSource::Available => self.level(first),
        }
    }

    /// What is taken at `now`.
    pub fn taken(self, first: &MemoryReading, now: &MemoryReading) -> Option<Bytes> {
        Some(self.level(now)?.saturating_sub(self.base(first)?))
    }
}

/// More than any memory: what is available is counted down from it.
const MOST: Bytes = Bytes(1 << 60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::Phase;
    use crate::units::Nanos;

    /// A reading: anonymous and file-backed memory, and what NVML, the list of clients, nvmap and the kernel tell.
    fn look(rss: (u64, u64), told: [Option<u64>; 4]) -> MemoryReading {
        let told = told.map(|bytes| bytes.map(Bytes));
        let or = |bytes: Option<Bytes>| bytes.ok_or_else(|| "it is not there".to_owned());
        MemoryReading {
            arena: None,
            at: Nanos(0),
            phase: Phase::Load,
            rss_anon: Some(Bytes(rss.0)),
            rss_file: Some(Bytes(rss.1)),
            device_process: told[0],
            device_used: None,
            pool: Some(PoolReading {
                process: or(told[1]),
                gpu: or(told[2]),
                available: or(told[3]),
            }),
        }
    }

    #[test]
    fn each_source_counts_gpu_and_resident_memory_once() {
        // The process grows by 70 bytes of its own, 20 of mapped files and 500 on the GPU.
        let first = look((10, 5), [None, None, Some(300), Some(8000)]);
        let all = look((80, 25), [Some(500), Some(500), Some(800), Some(7430)]);
        for source in PoolSource::ALL {
            assert_eq!(source.taken(&first, &all), Some(Bytes(590)), "{source:?}");
        }
    }

    #[test]
    fn the_best_source_that_tells_anything_is_taken() {
        let first = look((10, 5), [None, None, Some(300), Some(8000)]);
        let table = [
            ([Some(1), Some(1), Some(1), Some(1)], PoolSource::Nvml),
            ([None, Some(1), Some(1), Some(1)], PoolSource::Clients),
            ([None, None, Some(1), Some(1)], PoolSource::NvMap),
        ];
        for (told, expected) in table {
            let readings = [first.clone(), look((1, 1), told)];
            assert_eq!(PoolSource::best(&readings), Some(expected));
        }
        let only_available = [look((1, 1), [None, None, None, Some(9)])];
        assert_eq!(
            PoolSource::best(&only_available),
            Some(PoolSource::Available)
        );
        let nothing = [look((1, 1), [None; 4])];
        assert_eq!(PoolSource::best(&nothing), None);
        // A GPU with a memory of its own: nothing of this applies.
        let mut separate = look((1, 1), [Some(1); 4]);
        separate.pool = None;
        assert_eq!(PoolSource::best(&[separate]), None);
    }

    #[test]
    fn what_others_give_back_is_not_less_than_nothing() {
        let first = look((10, 5), [None, None, Some(300), Some(8000)]);
        let less = look((10, 5), [None, None, Some(100), Some(9000)]);
        for source in [PoolSource::NvMap, PoolSource::Available] {
            assert_eq!(source.taken(&first, &less), Some(Bytes(0)));
        }
    }
}
