//! The limit that a worker on the CPU sets on its own memory, so that what goes beyond the budget is refused to it and ends in
//! a clean row, instead of being swapped or felled by the system.
//!
//! It is `RLIMIT_DATA`, which since Linux 4.7 counts private writable memory wherever it comes from: heap, mappings, stacks of
//! threads. `RLIMIT_AS` would count what never takes a page of memory: weights that are mapped to be read, the code of
//! libraries, 64 MiB of reserved addresses for each thread's heap. `RLIMIT_RSS` has no effect since Linux 2.4.30.
//!
//! What counts against the budget is resident memory, and what is limited is memory that was asked for, touched or not. The
//! runtime's arena asks for regions of doubling size, so a limit of exactly what remains refused runs that fit (dense-120m,
//! which takes 693 MiB, ran in 690 MiB and not in 695). Hence some more is granted ([`SLACK`]), and the supervisor, which looks
//! at resident memory every few milliseconds, ends what goes over the budget inside it, as it does for pages of mapped weights
//! that are read for the first time.

use crate::device::Status;
use crate::protocol::TrialRequest;
use crate::trial::{Device, Enforce, Phase};
use crate::units::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Call stack of a thread where the system sets no limit to it: what glibc then takes on 64-bit machines.
const UNLIMITED_STACK: u64 = 2 << 20;

/// The part of the budget that may be asked for beyond what remains of it, and no more than remains.
const SLACK: u64 = 4;

/// The limit of one trial; lifted when this is dropped.
#[derive(Debug)]
pub struct Limit {
    budget: Bytes,
    /// Resident memory of the empty worker, which is not the trial's.
    empty: Bytes,
    /// Stacks of the runtime's threads: asked for in full, hardly touched.
    stacks: Bytes,
    /// What was in force before.
    before: Rlimit,
}

impl Limit {
    /// For a trial on the CPU whose budget is held by force; `empty` is the worker before it has done anything. Nothing is limited yet.
    pub fn of(request: &TrialRequest, empty: &Status) -> Option<Limit> {
        let stack = getrlimit(Resource::Stack)
            .current
            .unwrap_or(UNLIMITED_STACK);
        let forced = request.trial.device == Device::Cpu && request.enforce == Enforce::Hard;
        forced.then_some(Limit {
            budget: request.trial.budget,
            empty: empty.resident()?,
            stacks: Bytes(stack.saturating_mul(request.trial.threads.into())),
            before: getrlimit(Resource::Data),
        })
    }

    /// Sets the limit for a phase that begins; `now` is what is held. Loading the library is left alone: its loader cannot tell
    /// a refusal from a damaged file.
    pub fn renew(&self, phase: Phase, now: &Status) {
        if phase < Phase::Load {
            return;
        }
        let Some(most) = self.most(phase, now) else {
            return;
        };
        let ours = self.before.current.map_or(most.0, |own| own.min(most.0));
        // Without it the supervisor's look at resident memory remains.
        let _ = setrlimit(
            Resource::Data,
            Rlimit {
                current: Some(ours),
                ..self.before
            },
        );
    }

    /// What may be held in private writable memory: what is held now, and what remains of the budget. `None` where the kernel
    /// does not tell.
    fn most(&self, phase: Phase, now: &Status) -> Option<Bytes> {
        let used = now.resident()?.saturating_sub(self.empty);
        let remains = self.budget.saturating_sub(used);
        // Threads are started while loading; later their stacks are held already.
        let stacks = if phase == Phase::Load {
            self.stacks
        } else {
            Bytes(0)
        };
        let slack = remains.0.min(self.budget.0 / SLACK);
        let held = now.data?.0;
        let more = [remains.0, slack, stacks.0];
        let sum = more
            .iter()
            .fold(held, |sum, part| sum.saturating_add(*part));
        Some(Bytes(sum))
    }

    /// Lifts the limit: the last words of a worker need memory too.
    pub fn lift(&self) {
        let _ = setrlimit(Resource::Data, self.before);
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        self.lift();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_what_is_held_and_what_remains_of_the_budget() {
        let limit = Limit {
            budget: Bytes(1000),
            empty: Bytes(50),
            stacks: Bytes(16),
            before: getrlimit(Resource::Data),
        };
        // Phase, anonymous, file-backed, private writable; the limit.
        let table = [
            (Phase::Load, 40, 60, 500, Some(500 + 950 + 250 + 16)),
            (Phase::Prefill, 40, 60, 500, Some(500 + 950 + 250)),
            (Phase::Decode, 700, 350, 2000, Some(2000)),
            (Phase::Decode, 600, 350, 2000, Some(2000 + 100 + 100)),
            // Over the budget already: not a byte more.
            (Phase::Decode, 9000, 350, 9500, Some(9500)),
            // Less than the empty worker, whose pages may be dropped.
            (Phase::Load, 10, 10, 30, Some(30 + 1000 + 250 + 16)),
        ];
        for (phase, anon, file, data, expected) in table {
            let now = Status {
                anon: Some(Bytes(anon)),
                file: Some(Bytes(file)),
                data: Some(Bytes(data)),
                peak: None,
            };
            let most = limit.most(phase, &now).map(|bytes| bytes.0);
            assert_eq!(most, expected, "{phase} {anon} {file} {data}");
        }
        assert_eq!(limit.most(Phase::Load, &Status::default()), None);
    }
}
