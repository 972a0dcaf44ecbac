//! Which GPU code runs on which GPU, and what the known packages of ONNX Runtime hold.

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
        self.cubins.iter().any(|cubin| cubin_runs_on(*cubin, sm))
            || self.ptx.iter().any(|ptx| *ptx <= sm)
    }
}

/// Chips of the Jetson line, which take machine code for themselves only.
const TEGRA: [u32; 5] = [53, 62, 72, 87, 110];

/// Machine code runs on its own compute capability and on later ones of the same major number.
pub fn cubin_runs_on(cubin: u32, sm: u32) -> bool {
    let tegra = TEGRA.contains(&cubin) || TEGRA.contains(&sm);
    cubin == sm || (!tegra && cubin / 10 == sm / 10 && cubin <= sm)
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
    fn machine_code_runs_within_its_major_number_but_not_on_a_jetson() {
        for (cubin, sm, runs) in [
            (86, 86, true),
            (86, 89, true),
            (89, 86, false),
            (80, 90, false),
            (80, 87, false),
            (87, 87, true),
            (87, 89, false),
            (120, 121, true),
            (100, 110, false),
        ] {
            assert_eq!(cubin_runs_on(cubin, sm), runs, "sm_{cubin} on sm_{sm}");
        }
    }

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
