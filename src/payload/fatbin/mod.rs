//! The GPU code in a library: which architectures it is for, and how to keep it to some of them. Nothing is loaded or run here.
//!
//! CUDA keeps several translations of each kernel module side by side. Those that no wanted GPU can run are overwritten with
//! zeros: the file keeps its length, every header and every address, and compresses to a fraction of its size.

mod arch;
mod choose;
mod layout;
mod report;
#[cfg(test)]
pub(super) mod samples;
mod sections;

pub use arch::{Arch, code_runs_on};
pub use report::{Cut, Holdings, Refusal};

use std::collections::BTreeSet;

use choose::Fit;
use layout::{Chooser, Found, Kind, Module};
use report::Served;

/// What a library holds.
pub fn holdings(bytes: &[u8]) -> Holdings {
    layout::find(bytes).holdings()
}

/// Blanks the GPU code that no GPU of `keep` needs. A file without GPU code is left alone; one that has none for an
/// architecture of `keep` is refused, and left alone too.
pub fn cut(bytes: &mut [u8], keep: &BTreeSet<Arch>) -> Result<Cut, Refusal> {
    if keep.is_empty() {
        return Err(Refusal::NoneNamed);
    }
    let found = layout::find(bytes);
    let mut cut = Cut {
        unknown_regions: found.unknown_regions,
        unknown_bytes: found.unknown_bytes,
        ..Cut::default()
    };
    let mut blanks = Vec::new();
    for module in &found.modules {
        let mut wanted = vec![false; module.entries.len()];
        for arch in keep {
            let (fit, chosen) = choose::needed(module, *arch);
            if found.tells(module) {
                cut.served.entry(*arch).or_default().count(fit);
            }
            chosen.into_iter().for_each(|at| wanted[at] = true);
        }
        for (entry, wanted) in module.entries.iter().zip(wanted) {
            let tally = match (entry.kind, wanted) {
                (Kind::Other, _) => &mut cut.other,
                (_, true) => cut.kept.entry(entry.target).or_default(),
                (_, false) => {
                    blanks.push(entry.payload.clone());
                    cut.removed.entry(entry.target).or_default()
                }
            };
            tally.add(entry.payload.len());
        }
    }
    refuse_unserved(&cut, &found)?;
    for payload in blanks {
        if let Some(payload) = bytes.get_mut(payload) {
            payload.fill(0);
        }
    }
    Ok(cut)
}

/// Refuses when some architecture has no module at all that it could run. Code of unknown kind or layout might be for it, but
/// nobody can tell: a file with nothing else is left alone, one with known code for other GPUs is refused.
fn refuse_unserved(cut: &Cut, found: &Found) -> Result<(), Refusal> {
    let missing: Vec<Arch> = cut
        .served
        .iter()
        .filter(|(_, served)| served.is_nothing())
        .map(|(arch, _)| *arch)
        .collect();
    let known = !(cut.kept.is_empty() && cut.removed.is_empty());
    if known && !missing.is_empty() {
        return Err(Refusal::Nothing {
            missing,
            holdings: Box::new(found.holdings()),
        });
    }
    Ok(())
}

impl Found {
    /// Whether this module says which GPUs the file is for. Registered ones do, where there are any: code that a library keeps
    /// in tables of its own speeds up some GPUs, and is often there for many more than the rest of the library.
    fn tells(&self, module: &Module) -> bool {
        module.chooser == Chooser::Driver || !self.has_registered
    }

    fn holdings(&self) -> Holdings {
        let mut holdings = Holdings {
            modules: self.modules.len(),
            unknown_regions: self.unknown_regions,
            unknown_bytes: self.unknown_bytes,
            ..Holdings::default()
        };
        for module in &self.modules {
            let code = match module.chooser {
                Chooser::Driver => &mut holdings.registered,
                Chooser::Library => &mut holdings.tables,
            };
            for entry in &module.entries {
                let tally = match entry.kind {
                    Kind::Cubin => code.cubins.entry(entry.target).or_default(),
                    Kind::Ptx => code.ptx.entry(entry.target).or_default(),
                    Kind::Other => &mut holdings.other,
                };
                tally.add(entry.payload.len());
            }
        }
        holdings
    }
}

impl Served {
    fn count(&mut self, fit: Fit) {
        match fit {
            Fit::Exact => self.exact += 1,
            Fit::Compatible => self.compatible += 1,
            Fit::Ptx => self.ptx += 1,
            Fit::Nothing => self.nothing += 1,
        }
    }
}

#[cfg(test)]
mod tests;
