//! GPU architectures and what runs on what.

use std::fmt;
use std::str::FromStr;

/// Architectures of Tegra boards. They run neither desktop cubins of the same major number nor the other way round.
const TEGRA: [u32; 8] = [32, 53, 62, 72, 87, 88, 101, 110];

/// A GPU's architecture: compute capability 8.6 is `Arch(86)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arch(pub u32);

impl Arch {
    fn major(self) -> u32 {
        self.0 / 10
    }

    /// Whether it is the GPU of a Tegra board.
    pub fn is_tegra(self) -> bool {
        TEGRA.contains(&self.0)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "sm_{}", self.0)
    }
}

impl FromStr for Arch {
    type Err = String;

    /// `86`, `sm_86` and `8.6` are the same; so is `90a`, since the letter is one of the code, not of the GPU.
    fn from_str(text: &str) -> Result<Arch, String> {
        let wrong = || {
            format!(
                "{text:?} is no GPU architecture; write the compute capability without the dot, such as 86 or sm_86"
            )
        };
        let bare = text.trim();
        let bare = bare.strip_prefix("sm_").unwrap_or(bare);
        let bare = bare.strip_suffix(['a', 'f']).unwrap_or(bare);
        let digits = match bare.split_once('.') {
            Some((major, minor)) if minor.len() == 1 => format!("{major}{minor}"),
            Some(_) => return Err(wrong()),
            None => bare.to_owned(),
        };
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse().map_err(|_| wrong())?;
        if plain && (30..1000).contains(&number) {
            Ok(Arch(number))
        } else {
            Err(wrong())
        }
    }
}

/// How widely code can be used, as the letter behind its architecture says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    /// No letter: for later architectures too, as far as the kind of code allows.
    Plain,
    /// `f`: for the rest of its family.
    Family,
    /// `a`: for this architecture alone.
    Specific,
}

/// What a piece of code was compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The architecture.
    pub arch: Arch,
    /// Its letter.
    pub variant: Variant,
}

impl Target {
    /// Whether machine code for this target runs on `gpu`.
    pub fn cubin_runs_on(self, gpu: Arch) -> bool {
        self.arch == gpu || (self.variant != Variant::Specific && self.is_earlier_relative_of(gpu))
    }

    /// Whether the driver can translate PTX of this target for `gpu`.
    pub fn ptx_runs_on(self, gpu: Arch) -> bool {
        match self.variant {
            Variant::Plain => self.arch <= gpu,
            Variant::Family => self.arch == gpu || self.is_earlier_relative_of(gpu),
            Variant::Specific => self.arch == gpu,
        }
    }

    fn is_earlier_relative_of(self, gpu: Arch) -> bool {
        self.arch.major() == gpu.major()
            && self.arch < gpu
            && !self.arch.is_tegra()
            && !gpu.is_tegra()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.variant {
            Variant::Plain => "",
            Variant::Family => "f",
            Variant::Specific => "a",
        };
        write!(out, "{}{letter}", self.arch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(arch: u32, variant: Variant) -> Target {
        Target {
            arch: Arch(arch),
            variant,
        }
    }

    #[test]
    fn an_architecture_is_written_in_several_ways_and_anything_else_is_refused() {
        for text in ["86", "sm_86", "8.6", " 86 "] {
            assert_eq!(text.parse(), Ok(Arch(86)), "{text}");
        }
        for (text, arch) in [("90a", 90), ("sm_120f", 120), ("12.1", 121)] {
            assert_eq!(text.parse(), Ok(Arch(arch)), "{text}");
        }
        for text in [
            "",
            "8",
            "ampere",
            "8.60",
            "-86",
            "+86",
            "86b",
            "sm_",
            "99999999999",
        ] {
            let error = text.parse::<Arch>().unwrap_err();
            assert!(error.contains("such as 86"), "{error}");
        }
    }

    #[test]
    fn machine_code_runs_on_later_desktop_gpus_of_the_same_major_number_only() {
        let plain = |from, on| target(from, Variant::Plain).cubin_runs_on(Arch(on));
        assert!(plain(80, 80) && plain(80, 86) && plain(86, 89) && plain(120, 121));
        assert!(!plain(86, 80) && !plain(80, 90) && !plain(75, 80));
        assert!(
            !plain(80, 87) && !plain(87, 89) && !plain(70, 72) && !plain(100, 101),
            "Tegra parts take their own code only"
        );
        assert!(plain(87, 87) && plain(110, 110));
    }

    #[test]
    fn a_letter_narrows_what_code_runs_on() {
        assert!(target(90, Variant::Specific).cubin_runs_on(Arch(90)));
        assert!(!target(120, Variant::Specific).cubin_runs_on(Arch(121)));
        assert!(target(100, Variant::Family).cubin_runs_on(Arch(103)));
        assert!(!target(100, Variant::Family).cubin_runs_on(Arch(120)));
        assert!(target(75, Variant::Plain).ptx_runs_on(Arch(87)));
        assert!(!target(90, Variant::Plain).ptx_runs_on(Arch(89)));
        assert!(!target(90, Variant::Specific).ptx_runs_on(Arch(100)));
        assert!(target(100, Variant::Family).ptx_runs_on(Arch(103)));
        assert!(!target(100, Variant::Family).ptx_runs_on(Arch(120)));
        assert_eq!(target(90, Variant::Specific).to_string(), "sm_90a");
    }
}
