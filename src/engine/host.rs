//! How fast the CPU reads and copies main memory, with the threads a trial has.

use std::hint::black_box;
use std::time::Instant;

/// Of all threads together: more than any cache, and little beside the memory of a small board.
const ALL: usize = 512 << 20;
/// Of each thread, at most and at least.
const LARGEST: usize = 128 << 20;
const SMALLEST: usize = 16 << 20;
/// The fastest round counts: what else goes on only ever slows one down.
const ROUNDS: usize = 5;

/// Bytes per second with `threads` threads.
pub struct HostRates {
    /// Bytes read.
    pub read: f64,
    /// Bytes read and written by a copy.
    pub copy: f64,
}

/// Measures all threads at once, each on memory of its own.
pub fn rates(threads: u32) -> HostRates {
    let threads = threads.max(1) as usize;
    let block = (ALL / threads).clamp(SMALLEST, LARGEST);
    let numbers = block / size_of::<u64>();
    let mut blocks: Vec<Block> = (0..threads)
        // Ones, not zeros: untouched zero pages are one page in the cache.
        .map(|_| (vec![1; numbers], vec![1; numbers / 2]))
        .collect();
    let bytes = (block * threads) as f64;
    HostRates {
        read: bytes
            / fastest(&mut blocks, &|(block, _)| {
                black_box(sum(block));
            }),
        // Half of the block is read, as much is written.
        copy: bytes
            / fastest(&mut blocks, &|(from, to)| {
                to.copy_from_slice(&from[..numbers / 2]);
                black_box(&to[0]);
            }),
    }
}

/// Many sums at once, so that the processor waits for memory and not for an addition.
fn sum(block: &[u64]) -> u64 {
    let mut sums = [0u64; 16];
    for chunk in block.chunks_exact(16) {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*value);
        }
    }
    sums.iter().fold(0, |all, sum| all.wrapping_add(*sum))
}

type Block = (Vec<u64>, Vec<u64>);

/// Seconds of the fastest round, from the first thread's start to the last one's end.
fn fastest(blocks: &mut [Block], work: &(dyn Fn(&mut Block) + Sync)) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let barrier = std::sync::Barrier::new(blocks.len());
        let spans: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
            let barrier = &barrier;
            let running: Vec<_> = blocks
                .iter_mut()
                .map(|block| {
                    scope.spawn(move || {
                        barrier.wait();
                        let began = Instant::now();
                        work(block);
                        (began, Instant::now())
                    })
                })
                .collect();
            running
                .into_iter()
                .filter_map(|thread| thread.join().ok())
                .collect()
        });
        let began = spans.iter().map(|span| span.0).min();
        let ended = spans.iter().map(|span| span.1).max();
        if let (Some(began), Some(ended)) = (began, ended) {
            best = best.min(ended.duration_since(began).as_secs_f64());
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_summed_and_memory_has_a_speed() {
        assert_eq!(sum(&vec![3; 16 * 5]), 240);
        let rates = rates(1);
        // Slower than a floppy disk or faster than any memory: the loop was optimised away.
        for rate in [rates.read, rates.copy] {
            assert!(rate > 1e7 && rate < 1e13, "{rate}");
        }
    }
}
