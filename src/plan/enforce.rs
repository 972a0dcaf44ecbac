//! How firmly a budget can be held on a device. Taking memory away from a desktop or from other programs would starve them.

use crate::error::{Error, Result};
use crate::protocol::{GpuFacts, GpuProcess};
use crate::trial::Enforce;

/// How firmly, and why not more firmly where nobody asked for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmness {
    /// How firmly.
    pub mode: Enforce,
    /// Why it is soft though it was not asked for: a clause.
    pub note: Option<String>,
}

/// Settles how the budget is held on `gpu`; on the CPU, `None`, it is what was asked for.
pub fn firmness(asked: Option<Enforce>, gpu: Option<&GpuFacts>) -> Result<Firmness> {
    let Some(gpu) = gpu else {
        return Ok(Firmness {
            mode: asked.unwrap_or(Enforce::Hard),
            note: None,
        });
    };
    if gpu.unified_memory && asked == Some(Enforce::Hard) {
        return Err(Error::Usage(format!(
            "--enforce hard: {} shares its memory with the CPU, and a process that takes it away could hang the machine; use --enforce soft",
            named(gpu)
        )));
    }
    let soft = |why: String| Firmness {
        mode: Enforce::Soft,
        note: Some(why),
    };
    Ok(match (asked, starved(gpu)) {
        (Some(mode), _) => Firmness { mode, note: None },
        (None, Some(why)) => soft(why),
        (None, None) => Firmness {
            mode: Enforce::Hard,
            note: None,
        },
    })
}

/// Who would be starved if memory were taken away.
fn starved(gpu: &GpuFacts) -> Option<String> {
    if gpu.unified_memory {
        return Some("because the GPU shares its memory with the CPU".into());
    }
    match gpu.display_active {
        Some(true) => {
            return Some(
                "because the GPU draws a display (--enforce hard takes the rest away all the same)"
                    .into(),
            );
        }
        None => {
            return Some("because the driver does not tell whether the GPU draws a display (--enforce hard takes the rest away all the same)".into());
        }
        Some(false) => {}
    }
    match gpu.others.as_deref() {
        Some([]) => None,
        Some([first, ..]) => Some(format!(
            "because {} uses the GPU too (--enforce hard takes the rest away all the same)",
            called(first)
        )),
        None => Some("because the driver does not tell who else uses the GPU (--enforce hard takes the rest away all the same)".into()),
    }
}

/// Refuses a GPU that others use, for `--exclusive`.
pub fn alone(gpu: &GpuFacts) -> Result<()> {
    match gpu.others.as_deref() {
        Some([]) => Ok(()),
        Some(others) => {
            let names: Vec<_> = others.iter().map(called).collect();
            Err(Error::Device(format!(
                "--exclusive: {} is also used by {}; stop that, or measure without --exclusive",
                named(gpu),
                names.join(", ")
            )))
        }
        None => Err(Error::Device(format!(
            "--exclusive: the driver does not tell who else uses {}; measure without --exclusive",
            named(gpu)
        ))),
    }
}

fn named(gpu: &GpuFacts) -> String {
    match gpu.name.as_str() {
        "" => format!("GPU {}", gpu.index),
        name => format!("GPU {} ({name})", gpu.index),
    }
}

fn called(process: &GpuProcess) -> String {
    match &process.name {
        Some(name) => format!("process {} ({name})", process.pid),
        None => format!("process {}", process.pid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu() -> GpuFacts {
        GpuFacts {
            display_active: Some(false),
            others: Some(Vec::new()),
            ..GpuFacts::default()
        }
    }

    fn other() -> GpuProcess {
        GpuProcess {
            pid: 7,
            bytes: None,
            name: Some("game".into()),
        }
    }

    #[test]
    fn force_is_on_where_nobody_else_needs_the_memory() {
        let settle = |gpu: &GpuFacts| firmness(None, Some(gpu)).unwrap();
        assert_eq!(settle(&gpu()).mode, Enforce::Hard);
        let cases = [
            (
                GpuFacts {
                    display_active: Some(true),
                    ..gpu()
                },
                "display",
            ),
            (
                GpuFacts {
                    display_active: None,
                    ..gpu()
                },
                "does not tell",
            ),
            (
                GpuFacts {
                    others: Some(vec![other()]),
                    ..gpu()
                },
                "7 (game)",
            ),
            (
                GpuFacts {
                    others: None,
                    ..gpu()
                },
                "does not tell",
            ),
            (
                GpuFacts {
                    unified_memory: true,
                    ..gpu()
                },
                "shares its memory",
            ),
        ];
        for (gpu, sign) in cases {
            let settled = settle(&gpu);
            assert_eq!(settled.mode, Enforce::Soft, "{sign}");
            assert!(settled.note.unwrap().contains(sign), "{sign}");
            let asked = firmness(Some(Enforce::Hard), Some(&gpu));
            assert_eq!(asked.is_ok(), !gpu.unified_memory, "{sign}");
        }
        assert_eq!(
            firmness(Some(Enforce::Soft), Some(&gpu())).unwrap().mode,
            Enforce::Soft
        );
    }

    #[test]
    fn exclusive_names_who_is_there() {
        assert!(alone(&gpu()).is_ok());
        let shared = GpuFacts {
            others: Some(vec![other()]),
            ..gpu()
        };
        let error = alone(&shared).unwrap_err();
        assert!(error.to_string().contains("process 7 (game)"), "{error}");
        assert_eq!(error.exit_code(), crate::error::exit::DEVICE);
        let unknown = GpuFacts {
            others: None,
            ..gpu()
        };
        assert!(alone(&unknown).is_err());
    }
}
