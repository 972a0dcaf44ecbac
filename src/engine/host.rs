//! How fast the CPU reads and copies main memory, with the threads a trial has.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

/// Read by all threads together: more than any usual cache, and little beside the memory of a small board. Half as much again
/// is what a copy writes to.
const ALL: usize = 512 << 20;
/// Of each thread, at most and at least. The least is reached with 128 threads; only with more of them is it more than
/// [`ALL`] in all.
const LARGEST: usize = 128 << 20;
const SMALLEST: usize = 4 << 20;
/// About half a second of them. The fastest counts: what else goes on only ever slows one down, on a shared machine by half.
pub const ROUNDS: usize = 50;

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
    let block = block(threads);
    let barrier = Barrier::new(threads);
    let spans: Vec<Spans> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| measure(block / size_of::<u64>(), &barrier)))
            .collect();
        let ended = running.into_iter().map(|thread| thread.join());
        ended.filter_map(Result::ok).collect()
    });
    let bytes = (block * threads) as f64;
    HostRates {
        read: bytes / fastest(&spans, |spans| &spans.read),
        // Half of the block is read, as much is written.
        copy: bytes / fastest(&spans, |spans| &spans.copy),
    }
}

/// Bytes that each of so many threads reads.
fn block(threads: usize) -> usize {
    (ALL / threads).clamp(SMALLEST, LARGEST)
}

/// Begin and end of each round of one thread.
struct Spans {
    read: [(Instant, Instant); ROUNDS],
    copy: [(Instant, Instant); ROUNDS],
}

/// What one thread does, in step with the others. It fills its memory itself: the system gives it such as is near the
/// processor that touches it first.
fn measure(numbers: usize, barrier: &Barrier) -> Spans {
    // Ones, not zeros: untouched zero pages are one page in the cache.
    let (from, mut to) = (vec![1; numbers], vec![1; numbers / 2]);
    let timed = |work: &mut dyn FnMut()| {
        barrier.wait();
        let began = Instant::now();
        work();
        (began, Instant::now())
    };
    Spans {
        read: std::array::from_fn(|_| {
            timed(&mut || {
                black_box(sum(&from));
            })
        }),
        copy: std::array::from_fn(|_| {
            timed(&mut || {
                to.copy_from_slice(&from[..numbers / 2]);
                black_box(&to[0]);
            })
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

/// Seconds of the fastest round, from the first thread's start to the last one's end.
fn fastest(spans: &[Spans], of: impl Fn(&Spans) -> &[(Instant, Instant); ROUNDS]) -> f64 {
    let round = |round: usize| {
        let began = spans.iter().map(|spans| of(spans)[round].0).min()?;
        let ended = spans.iter().map(|spans| of(spans)[round].1).max()?;
        Some(ended.duration_since(began).as_secs_f64())
    };
    (0..ROUNDS).filter_map(round).fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_threads_take_no_more_memory_than_few() {
        for threads in 1..=128 {
            assert!(block(threads) * threads <= ALL, "{threads}");
        }
        assert_eq!(block(1), LARGEST);
        assert_eq!(block(1000), SMALLEST);
    }

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
