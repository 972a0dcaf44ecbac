//! The same plan for weights in main memory on other links: predictions, for boxes that are not at hand.

use super::offload::predicted_step;
use super::schema::Elsewhere;
use crate::model::Work;
use crate::trial::DeviceLimits;

/// A link, or a memory that CPU and GPU share.
struct Link {
    name: &'static str,
    bytes_per_s: f64,
    source: &'static str,
    /// All weights are read from it.
    shared: bool,
}

/// A lane carries 8 GT/s in 128 of 130 bits, by the standard: 0.985 GB/s. The share is one that pinned copies typically reach; this
/// project's H100 on PCIe 5.0 x16 reached 84 % of its 63 GB/s (benchmarks/results/h100-offload.txt).
const PCIE_3: &str =
    "81 % of the standard's 0.985 GB/s a lane, a share that pinned copies typically reach";

/// The same with twice the transfers.
const PCIE_4: &str =
    "81 % of the standard's 1.969 GB/s a lane, a share that pinned copies typically reach";

const LINKS: [Link; 5] = [
    link("PCIe 3.0 x4", 3.2e9, PCIE_3),
    link("PCIe 3.0 x8", 6.4e9, PCIE_3),
    link("PCIe 4.0 x8", 12.8e9, PCIE_4),
    link("PCIe 4.0 x16", 25.6e9, PCIE_4),
    Link {
        name: "Orin Nano memory",
        bytes_per_s: 68e9,
        source: "NVIDIA's specification of the Jetson Orin Nano 8GB: 128 bits of LPDDR5, all weights in it",
        shared: true,
    },
];

const fn link(name: &'static str, bytes_per_s: f64, source: &'static str) -> Link {
    Link {
        name,
        bytes_per_s,
        source,
        shared: false,
    }
}

/// What the device that `limits` were measured of would decode over each link, and what it would with all weights in the memory of a
/// board; none where its limits are not known.
pub fn predicted(
    bytes: (u64, u64),
    layers: u32,
    work: &Work,
    limits: &DeviceLimits,
    batch: u32,
) -> Vec<Elsewhere> {
    let one = |link: &Link| {
        let rate = Ok(link.bytes_per_s);
        let (bytes, limits) = match link.shared {
            false => {
                let to_device_bytes_s = rate;
                let limits = limits.clone();
                (
                    bytes,
                    DeviceLimits {
                        to_device_bytes_s,
                        ..limits
                    },
                )
            }
            true => {
                let (read_bytes_s, copy_bytes_s) = (rate.clone(), rate);
                let limits = limits.clone();
                let limits = DeviceLimits {
                    read_bytes_s,
                    copy_bytes_s,
                    ..limits
                };
                ((0, 0), limits)
            }
        };
        let step = predicted_step(bytes, layers, work, &limits)?;
        Some(Elsewhere {
            link: link.name.to_owned(),
            bytes_per_s: link.bytes_per_s,
            source: link.source.to_owned(),
            predicted_decode_tok_s: f64::from(batch) / step,
        })
    };
    LINKS.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{find, work};
    use crate::trial::{Device, Precision, Trial};

    #[test]
    fn a_slower_link_decodes_more_slowly_and_a_link_that_is_all_gives_its_rate() {
        let spec = find("granite-1b-a400m").unwrap();
        let trial = Trial {
            device: Device::Cuda(0),
            precision: Precision::Fp16,
            ..Trial::example()
        };
        let limits = DeviceLimits {
            read_bytes_s: Ok(2.28e12),
            copy_bytes_s: Ok(3.0e12),
            to_device_bytes_s: Ok(52.7e9),
            graph_launch_s: Ok(1.28e-6),
            ..DeviceLimits::default()
        };
        let work = work(spec, &trial);
        let found = predicted(
            (604_000_000, 2_416_000_000),
            spec.n_layers,
            &work,
            &limits,
            1,
        );
        assert_eq!(found.len(), 5);
        let speeds: Vec<f64> = found.iter().map(|one| one.predicted_decode_tok_s).collect();
        assert!(speeds.is_sorted(), "{speeds:?}");
        // 604 MB at 85 % of 3.2 GB/s are 222 ms, of which all else is less than 2 %.
        assert!((speeds[0] * 0.222 - 1.0).abs() < 0.02, "{speeds:?}");
        // Some 0.86 GB of weights that a token reads, at 78 % of 68 GB/s.
        let board = 0.78 * 68e9 / (work.step.weights.0 + work.step.kv_cache.0) as f64;
        assert!(
            speeds[4] < board && speeds[4] > 0.9 * board,
            "{speeds:?} {board}"
        );
        assert!(found.iter().all(|one| !one.source.is_empty()));

        let batch = predicted(
            (604_000_000, 2_416_000_000),
            spec.n_layers,
            &work,
            &limits,
            2,
        );
        assert!((batch[0].predicted_decode_tok_s / speeds[0] - 2.0).abs() < 1e-9);
        let unknown = DeviceLimits::unknown("no GPU");
        assert!(predicted((1, 1), 1, &work, &unknown, 1).is_empty());
    }
}
