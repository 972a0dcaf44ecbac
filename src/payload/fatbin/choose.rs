//! Which code of a kernel module a GPU needs: the rule alone, no bytes.

use super::arch::{Arch, Target};
use super::layout::{Chooser, Kind, Module};

/// How a module serves a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Machine code for this very architecture.
    Exact,
    /// Machine code for an earlier one of the same kind.
    Compatible,
    /// PTX, which the driver translates.
    Ptx,
    /// No code that runs there.
    Nothing,
}

/// The entries of `module` that `gpu` needs, by index, and how they fit. Where the driver chooses among the entries, it takes
/// the closest machine code, else the latest PTX, and nothing else is needed. Where the library chooses by a rule of its own,
/// all that runs on `gpu` is needed.
pub fn needed(module: &Module, gpu: Arch) -> (Fit, Vec<usize>) {
    let runs = |kind: Kind, test: fn(Target, Arch) -> bool| -> Vec<usize> {
        let entries = module.entries.iter().enumerate();
        entries
            .filter(|(_, entry)| entry.kind == kind && test(entry.target, gpu))
            .map(|(at, _)| at)
            .collect()
    };
    let cubins = runs(Kind::Cubin, Target::cubin_runs_on);
    let ptx = runs(Kind::Ptx, Target::ptx_runs_on);
    let arch_of = |at: &usize| module.entries[*at].target.arch;
    let closest = cubins.iter().map(arch_of).max();
    let fit = match closest {
        Some(arch) if arch == gpu => Fit::Exact,
        Some(_) => Fit::Compatible,
        None if !ptx.is_empty() => Fit::Ptx,
        None => Fit::Nothing,
    };
    let needed = match module.chooser {
        Chooser::Library => [cubins, ptx].concat(),
        Chooser::Driver => {
            let candidates = if closest.is_some() { cubins } else { ptx };
            let best = candidates.iter().map(arch_of).max();
            // Several of the best architecture differ by letter: which of them the driver prefers is its own business.
            let is_best = |at: &usize| Some(arch_of(at)) == best;
            candidates.into_iter().filter(is_best).collect()
        }
    };
    (fit, needed)
}

#[cfg(test)]
mod tests {
    use super::super::arch::Variant;
    use super::super::layout::Entry;
    use super::*;
    use Kind::{Cubin, Other, Ptx};
    use Variant::{Family, Plain, Specific};

    fn module(chooser: Chooser, entries: &[(Kind, u32, Variant)]) -> Module {
        let entries = entries.iter().map(|(kind, arch, variant)| Entry {
            kind: *kind,
            target: Target {
                arch: Arch(*arch),
                variant: *variant,
            },
            payload: 0..0,
        });
        Module {
            chooser,
            entries: entries.collect(),
        }
    }

    #[test]
    fn where_the_driver_chooses_the_closest_code_is_enough() {
        let entries = [
            (Ptx, 75, Plain),
            (Cubin, 75, Plain),
            (Cubin, 80, Plain),
            (Cubin, 86, Plain),
            (Cubin, 87, Plain),
            (Cubin, 90, Plain),
            (Cubin, 90, Specific),
            (Cubin, 100, Family),
            (Cubin, 100, Specific),
            (Ptx, 100, Specific),
            (Ptx, 120, Plain),
            (Other, 86, Plain),
        ];
        let module = module(Chooser::Driver, &entries);
        for (gpu, fit, kept) in [
            (70, Fit::Nothing, vec![]),
            (72, Fit::Nothing, vec![]),
            (75, Fit::Exact, vec![1]),
            (80, Fit::Exact, vec![2]),
            (86, Fit::Exact, vec![3]),
            (87, Fit::Exact, vec![4]),
            (89, Fit::Compatible, vec![3]),
            (90, Fit::Exact, vec![5, 6]),
            (100, Fit::Exact, vec![7, 8]),
            (101, Fit::Ptx, vec![0]),
            (103, Fit::Compatible, vec![7]),
            (110, Fit::Ptx, vec![0]),
            (120, Fit::Ptx, vec![10]),
        ] {
            assert_eq!(needed(&module, Arch(gpu)), (fit, kept), "sm_{gpu}");
        }
    }

    #[test]
    fn where_the_library_chooses_all_that_runs_is_needed() {
        let entries = [
            (Ptx, 75, Plain),
            (Cubin, 80, Plain),
            (Cubin, 86, Plain),
            (Cubin, 90, Plain),
        ];
        let module = module(Chooser::Library, &entries);
        assert_eq!(needed(&module, Arch(86)), (Fit::Exact, vec![1, 2, 0]));
        assert_eq!(needed(&module, Arch(87)), (Fit::Ptx, vec![0]));
        assert_eq!(needed(&module, Arch(70)), (Fit::Nothing, vec![]));
    }
}
