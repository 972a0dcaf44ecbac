//! Which GPU code runs on which GPU, and what the known packages of ONNX Runtime hold.

use crate::payload::{Arch, code_runs_on};

/// GPU code in a CUDA provider, as numbers of compute capability: 87 is 8.7.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kernels {
    /// Machine code.
    pub cubins: Vec<u32>,
    /// Code that the driver compiles for newer GPUs.
    pub ptx: Vec<u32>,
}

impl Kernels {
    /// Whether a GPU can run it.
    pub fn run_on(&self, sm: u32) -> bool {
        let runs = |cubin: &u32| code_runs_on(Arch(*cubin), Arch(sm));
        self.cubins.iter().any(runs) || self.ptx.iter().any(|ptx| *ptx <= sm)
    }
}

/// What PyPI's onnxruntime-gpu 1.31.1 holds; no PTX in either file.
pub fn pypi(arch: &str) -> Option<&'static [u32]> {
    match arch {
        "x86_64" => Some(&[75, 80, 86, 89, 90, 120]),
        "aarch64" => Some(&[89, 90, 120, 121]),
        _ => None,
    }
}

/// `sm_89, sm_90 and sm_120`.
pub fn listed(sms: &[u32]) -> String {
    let names: Vec<String> = sms.iter().map(|sm| format!("sm_{sm}")).collect();
    match names.as_slice() {
        [] => "none".into(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ptx_reaches_newer_gpus() {
        let kernels = Kernels {
            cubins: vec![75],
            ptx: vec![80],
        };
        assert!(kernels.run_on(75) && kernels.run_on(87) && kernels.run_on(110));
        assert!(!kernels.run_on(72));
    }

    #[test]
    fn neither_orin_nor_thor_is_in_the_known_packages() {
        for arch in ["x86_64", "aarch64"] {
            let cubins = pypi(arch).unwrap().to_vec();
            let package = Kernels {
                cubins,
                ptx: Vec::new(),
            };
            assert!(!package.run_on(87) && !package.run_on(110), "{arch}");
            assert!(package.run_on(90) && package.run_on(121), "{arch}");
        }
        assert_eq!(pypi("riscv64"), None);
        assert_eq!(listed(&[89, 90, 120]), "sm_89, sm_90 and sm_120");
    }
}
