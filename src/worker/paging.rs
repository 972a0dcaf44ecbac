//! Watches swap and page faults around the load and the timed phases of a trial, by readings at their ends.

use crate::device::{PagingCounters, PagingLook};
use crate::protocol::Told;
use crate::trial::{Paging, Phase, Swapped};
use crate::units::Bytes;
use std::path::Path;

/// The counters at the beginning of the phase that runs, and what earlier phases add up to.
pub struct PagingWatch {
    counters: PagingCounters,
    begun: Option<PagingLook>,
    facts: Paging,
}

impl PagingWatch {
    /// Under `/`, or a folder that looks like it.
    pub fn new(root: &Path) -> PagingWatch {
        PagingWatch {
            counters: PagingCounters::open(root),
            begun: None,
            facts: Paging {
                worker_swap: Ok(Bytes(0)),
                load: None,
                timed: None,
                timed_major_faults: None,
            },
        }
    }

    /// A phase begins.
    pub fn begin(&mut self, phase: Phase) {
        self.begun = is_watched(phase).then(|| self.counters.read());
        if let Some(look) = &self.begun {
            self.facts.worker_swap = most(&self.facts.worker_swap, &look.worker_swap);
        }
    }

    /// A phase ends: everything so far, where it was one that counts.
    pub fn end(&mut self, phase: Phase) -> Option<Paging> {
        let before = self.begun.take()?;
        let after = self.counters.read();
        let facts = &mut self.facts;
        facts.worker_swap = most(&facts.worker_swap, &after.worker_swap);
        let swapped = both(&after.swapped, &before.swapped, Swapped::since);
        if phase == Phase::Load {
            facts.load = Some(swapped);
        } else {
            let faults = both(
                &after.major_faults,
                &before.major_faults,
                |after, before| after.saturating_sub(before),
            );
            facts.timed = Some(sum(facts.timed.take(), swapped, Swapped::with));
            facts.timed_major_faults = Some(sum(
                facts.timed_major_faults.take(),
                faults,
                u64::saturating_add,
            ));
        }
        Some(self.facts.clone())
    }
}

fn is_watched(phase: Phase) -> bool {
    matches!(phase, Phase::Load | Phase::Prefill | Phase::Decode)
}

fn both<T: Copy>(a: &Told<T>, b: &Told<T>, join: impl Fn(T, T) -> T) -> Told<T> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok(join(*a, *b)),
        (Err(reason), _) | (_, Err(reason)) => Err(reason.clone()),
    }
}

fn most(known: &Told<Bytes>, now: &Told<Bytes>) -> Told<Bytes> {
    both(known, now, Bytes::max)
}

fn sum<T: Copy>(before: Option<Told<T>>, more: Told<T>, add: impl Fn(T, T) -> T) -> Told<T> {
    match before {
        Some(before) => both(&before, &more, add),
        None => more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's files with this much of the process in swap, so many faults and pages that were swapped.
    fn write(root: &Path, swap_kib: u64, faults: u64, (read, written): (u64, u64)) {
        let folder = root.join("proc/self");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("status"), format!("VmSwap: {swap_kib} kB\n")).unwrap();
        let stat = format!("1 (w) R 1 1 1 0 -1 0 9 0 {faults} 0 1 1");
        std::fs::write(folder.join("stat"), stat).unwrap();
        let counts = format!("pswpin {read}\npswpout {written}\n");
        std::fs::write(root.join("proc/vmstat"), counts).unwrap();
    }

    #[test]
    fn load_and_timed_phases_are_counted_and_the_rest_is_not() {
        let root = tempfile::tempdir().unwrap();
        let mut watch = PagingWatch::new(root.path());
        let page = rustix::param::page_size() as u64;
        let steps = [
            (Phase::Load, 0, 10, (0, 100)),
            (Phase::Warmup, 8, 500, (50, 200)),
            (Phase::Prefill, 4, 501, (53, 200)),
            (Phase::Decode, 4, 503, (58, 201)),
            (Phase::Prefill, 4, 504, (58, 201)),
        ];
        write(root.path(), 0, 0, (0, 0));
        let mut told = None;
        for (phase, swap, faults, pages) in steps {
            watch.begin(phase);
            write(root.path(), swap, faults, pages);
            told = watch.end(phase).or(told);
        }
        let swapped = |read, written| Swapped {
            read: Bytes(read * page),
            written: Bytes(written * page),
        };
        let expected = Paging {
            // What was there when the prompt began.
            worker_swap: Ok(Bytes(8 << 10)),
            load: Some(Ok(swapped(0, 100))),
            timed: Some(Ok(swapped(8, 1))),
            timed_major_faults: Some(Ok(4)),
        };
        assert_eq!(told, Some(expected));
    }

    #[test]
    fn a_run_that_does_not_swap_says_nought_and_a_kernel_that_is_silent_says_why() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), 0, 3, (7, 7));
        let mut watch = PagingWatch::new(root.path());
        watch.begin(Phase::Decode);
        let facts = watch.end(Phase::Decode).unwrap();
        assert_eq!(facts.worker_swap, Ok(Bytes(0)));
        assert_eq!(facts.timed, Some(Ok(Swapped::default())));
        assert_eq!((facts.timed_major_faults, facts.load), (Some(Ok(0)), None));

        watch.begin(Phase::Decode);
        std::fs::remove_file(root.path().join("proc/vmstat")).unwrap();
        let facts = watch.end(Phase::Decode).unwrap();
        assert_eq!(
            facts.timed,
            Some(Err("/proc/vmstat is not there".to_owned()))
        );
        // What was once not known of a sum stays unknown.
        write(root.path(), 0, 3, (7, 7));
        watch.begin(Phase::Prefill);
        assert!(watch.end(Phase::Prefill).unwrap().timed.unwrap().is_err());
    }
}
