//! What a library holds and what a cut did to it, as data, and in words.

use std::collections::BTreeMap;
use std::fmt;

use super::arch::{Arch, Target};

/// A number of pieces of code and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pieces.
    pub count: usize,
    /// Bytes in the file, without headers.
    pub bytes: u64,
}

impl Tally {
    pub(super) fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
    }
}

/// Machine code and PTX.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Code {
    /// Machine code by target.
    pub cubins: BTreeMap<Target, Tally>,
    /// PTX by target.
    pub ptx: BTreeMap<Target, Tally>,
}

impl Code {
    fn is_empty(&self) -> bool {
        self.cubins.is_empty() && self.ptx.is_empty()
    }
}

/// GPU code in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Code registered with the driver, which chooses what runs: the kernels that every GPU needs.
    pub registered: Code,
    /// Code in tables of the library, which chooses itself: faster kernels for some GPUs.
    pub tables: Code,
    /// Code of other kinds.
    pub other: Tally,
    /// Kernel modules of known layout.
    pub modules: usize,
    /// Fat binaries of unknown layout.
    pub unknown_regions: usize,
    /// Their size; `None` when one does not tell it.
    pub unknown_bytes: Option<u64>,
}

impl Holdings {
    /// Whether the file holds no GPU code at all.
    pub fn is_empty(&self) -> bool {
        self.registered.is_empty()
            && self.tables.is_empty()
            && self.other.count == 0
            && self.unknown_regions == 0
    }

    /// The code that says which GPUs the file is for: what is registered, or the tables of a file that registers nothing.
    fn telling(&self) -> &Code {
        if self.registered.is_empty() {
            &self.tables
        } else {
            &self.registered
        }
    }

    /// The architectures that say which GPUs the file is for, as `sm_86`; code as PTX only is `sm_86 (PTX)`.
    pub fn architectures(&self) -> Vec<String> {
        let code = self.telling();
        let ptx_only = |target: &&Target| !code.cubins.contains_key(target);
        let cubins = code.cubins.keys().map(Target::to_string);
        let ptx = code.ptx.keys().filter(ptx_only);
        cubins
            .chain(ptx.map(|target| format!("{target} (PTX)")))
            .collect()
    }

    /// Whether the code runs on `gpu`. A "yes" is no promise for every kernel: see [`Cut::served`].
    pub fn runs_on(&self, gpu: Arch) -> bool {
        let code = self.telling();
        code.cubins.keys().any(|target| target.cubin_runs_on(gpu))
            || code.ptx.keys().any(|target| target.ptx_runs_on(gpu))
    }
}

impl fmt::Display for Holdings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |targets: &BTreeMap<Target, Tally>| -> String {
            let names: Vec<String> = targets.keys().map(Target::to_string).collect();
            names.join(", ")
        };
        let code = self.telling();
        let mut parts = Vec::new();
        if !code.cubins.is_empty() {
            parts.push(format!("machine code for {}", names(&code.cubins)));
        }
        if !code.ptx.is_empty() {
            parts.push(format!("PTX for {}", names(&code.ptx)));
        }
        if self.other.count > 0 {
            parts.push(format!("{} pieces of other code", self.other.count));
        }
        if self.unknown_regions > 0 {
            parts.push(format!(
                "{} fat binaries of unknown layout",
                self.unknown_regions
            ));
        }
        if parts.is_empty() {
            parts.push("no GPU code".to_owned());
        }
        out.write_str(&parts.join(" and "))
    }
}

/// How many kernel modules serve an architecture, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// By machine code for it.
    pub exact: usize,
    /// By machine code for an earlier architecture.
    pub compatible: usize,
    /// By PTX.
    pub ptx: usize,
    /// Not at all: these modules are for other GPUs, with or without the cut.
    pub nothing: usize,
}

impl Served {
    /// Whether no module serves it.
    pub fn is_nothing(&self) -> bool {
        self.exact + self.compatible + self.ptx == 0
    }
}

/// What a cut kept and removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// Code kept, by target.
    pub kept: BTreeMap<Target, Tally>,
    /// Code blanked, by target.
    pub removed: BTreeMap<Target, Tally>,
    /// Code of other kinds, all kept.
    pub other: Tally,
    /// For each wanted architecture, how many of the registered modules serve it (of all modules where none is registered). Empty when the file has no module of known layout.
    pub served: BTreeMap<Arch, Served>,
    /// Fat binaries of unknown layout, all kept.
    pub unknown_regions: usize,
    /// Their size; `None` when one does not tell it.
    pub unknown_bytes: Option<u64>,
}

impl Cut {
    /// Bytes that are zeros now.
    pub fn blanked_bytes(&self) -> u64 {
        self.removed.values().map(|tally| tally.bytes).sum()
    }

    /// Whether the file holds no GPU code at all.
    pub fn found_nothing(&self) -> bool {
        self.served.is_empty() && self.unknown_regions == 0
    }
}

/// Why a file was not cut; it is unchanged. A fragment of a sentence, to follow the file's name and a colon.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing was to be kept.
    #[error("no GPU architecture was named to keep; name at least one, such as 86")]
    NoneNamed,
    /// Nothing in the file runs on these architectures.
    #[error(
        "nothing in it runs on {}: it holds {holdings}; name architectures that it has code for, or take a build that has code for {}",
        list(missing),
        if missing.len() == 1 { "this one" } else { "these" }
    )]
    Nothing {
        /// The architectures without code.
        missing: Vec<Arch>,
        /// What there is instead.
        holdings: Box<Holdings>,
    },
}

fn list(archs: &[Arch]) -> String {
    let names: Vec<String> = archs.iter().map(Arch::to_string).collect();
    names.join(" and ")
}
