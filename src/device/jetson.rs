//! What a Jetson tells in its files: chip, release, power mode, GPU clock, power rails, over-current events. Nothing is run.

use super::tree::Tree;
use crate::protocol::Told;

/// A Jetson board.
#[derive(Debug, Clone, PartialEq)]
pub struct Jetson {
    /// Its chip.
    pub soc: Told<Soc>,
    /// Release of Jetson Linux (L4T), for example `36.4.3`.
    pub l4t: Told<String>,
    /// The JetPack that has this release.
    pub jetpack: Told<&'static str>,
    /// Board specification of the flashing tool, which begins with the module's part number.
    pub module: Told<String>,
    /// Power mode in force.
    pub power_mode: Told<PowerMode>,
    /// All power modes of this board.
    pub power_modes: Vec<PowerMode>,
    /// The GPU's clock.
    pub gpu_clock: Told<GpuClock>,
    /// Rails of the power monitors.
    pub rails: Vec<Rail>,
    /// Alarms and event counters of the power monitors, with what they stand at.
    pub alarms: Vec<(String, u64)>,
}

/// A Tegra chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Soc {
    /// The kernel's name of it.
    pub name: &'static str,
    /// NVIDIA's name of it.
    pub family: &'static str,
    /// Compute capability of its GPU, as one number: 87 is 8.7.
    pub sm: u32,
}

const SOCS: [Soc; 5] = [
    Soc {
        name: "tegra264",
        family: "Thor",
        sm: 110,
    },
    Soc {
        name: "tegra234",
        family: "Orin",
        sm: 87,
    },
    Soc {
        name: "tegra194",
        family: "Xavier",
        sm: 72,
    },
    Soc {
        name: "tegra186",
        family: "TX2",
        sm: 62,
    },
    Soc {
        name: "tegra210",
        family: "TX1 or Nano",
        sm: 53,
    },
];

/// Releases of Jetson Linux with the JetPack that brings each. Where it ends in a point, every revision counts.
const JETPACKS: [(&str, &str); 9] = [
    ("39.2.0", "7.2"),
    ("38.4.0", "7.1"),
    ("38.2.", "7.0"),
    ("36.5.0", "6.2.2"),
    ("36.4.7", "6.2.1"),
    ("36.4.4", "6.2.1"),
    ("36.4.3", "6.2"),
    ("36.4.0", "6.1"),
    ("36.3.0", "6.0"),
];

/// A power mode of `nvpmodel`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PowerMode {
    /// Number, as in `nvpmodel -m NUMBER`.
    pub id: u32,
    /// Name, such as `15W` or `MAXN_SUPER`.
    pub name: String,
    /// Highest GPU clock it allows.
    pub gpu: Cap,
    /// Highest memory clock it allows.
    pub memory: Cap,
}

/// What a power mode allows; a higher one is faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cap {
    /// The mode does not say.
    NotNamed,
    /// At most so many hertz.
    Hertz(u64),
    /// Whatever the chip can do.
    Unlimited,
}

/// The GPU's clock as the kernel scales it.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuClock {
    /// The kernel's name of it.
    pub name: String,
    /// Clock now.
    pub now_mhz: Told<u64>,
    /// Lowest clock allowed.
    pub min_mhz: Told<u64>,
    /// Highest clock allowed.
    pub max_mhz: Told<u64>,
    /// What decides about it.
    pub governor: Told<String>,
    /// Load of the GPU.
    pub load_percent: Told<f64>,
}

/// A rail of an INA3221 power monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rail {
    /// The board's label of it.
    pub label: String,
    /// Voltage.
    pub millivolts: Told<u64>,
    /// Current.
    pub milliamperes: Told<u64>,
    /// Their product.
    pub milliwatts: Told<u64>,
}

/// Labels of the rail that feeds the whole board, on newer boards and on older ones.
pub(super) const BOARD_RAILS: [&str; 2] = ["VDD_IN", "POM_5V_IN"];

/// Why there is no power of the board.
pub(super) const NO_BOARD_RAIL: &str = "no power rail is labelled VDD_IN or POM_5V_IN";

impl Jetson {
    /// Power of the whole board, from the rail that feeds it.
    pub fn board_milliwatts(&self) -> Told<u64> {
        let total = |rail: &&Rail| BOARD_RAILS.contains(&rail.label.as_str());
        let rail = self.rails.iter().find(total);
        rail.ok_or(NO_BOARD_RAIL)?.milliwatts.clone()
    }

    /// The fastest power mode: the one with the highest GPU clock, then memory clock. `None` where that is not told.
    pub fn fastest_mode(&self) -> Option<&PowerMode> {
        let modes = &self.power_modes;
        if modes.iter().all(|mode| mode.gpu != Cap::NotNamed) {
            return modes.iter().max_by_key(|mode| (mode.gpu, mode.memory));
        }
        let mut unlimited = modes.iter().filter(|mode| mode.name.starts_with("MAXN"));
        unlimited.next().filter(|_| unlimited.next().is_none())
    }
}

/// The board's facts; `None` on other machines.
pub fn jetson(tree: &Tree) -> Option<Jetson> {
    let compatible = device_tree(tree, "compatible");
    let tegra = compatible
        .as_ref()
        .is_ok_and(|names| names.contains("nvidia,tegra"));
    let release = tree.text("/etc/nv_tegra_release");
    if !tegra && release.is_err() {
        return None;
    }
    let l4t = release.and_then(|text| {
        l4t(&text).ok_or_else(|| "/etc/nv_tegra_release names no release".to_owned())
    });
    let power_modes = power_modes(&tree.text("/etc/nvpmodel.conf").unwrap_or_default());
    let folders = monitors(tree);
    Some(Jetson {
        soc: compatible.and_then(|names| {
            let known = SOCS.iter().find(|soc| names.contains(soc.name)).copied();
            known.ok_or_else(|| "the device tree names no chip that is known here".into())
        }),
        jetpack: l4t.clone().and_then(|release| jetpack(&release)),
        l4t,
        module: tree.text("/etc/nv_boot_control.conf").and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("TNSPEC "));
            line.map(|spec| spec.trim().to_owned())
                .ok_or_else(|| "/etc/nv_boot_control.conf has no TNSPEC".into())
        }),
        power_mode: power_mode(tree, &power_modes),
        power_modes,
        gpu_clock: gpu_clock(tree),
        rails: folders
            .iter()
            .flat_map(|folder| rails(tree, folder))
            .collect(),
        alarms: folders
            .iter()
            .flat_map(|folder| alarms(tree, folder))
            .collect(),
    })
}

/// A property of the device tree's root.
pub fn device_tree(tree: &Tree, property: &str) -> Told<String> {
    tree.text(&format!("/proc/device-tree/{property}"))
        .or_else(|_| tree.text(&format!("/sys/firmware/devicetree/base/{property}")))
        .map_err(|_| "there is no device tree".into())
}

/// `# R36 (release), REVISION: 4.3, GCID: …` → `36.4.3`.
fn l4t(text: &str) -> Option<String> {
    let after = |word: &str| Some(text.split_once(word)?.1.trim_start());
    let number = |text: &str| -> String {
        text.chars()
            .take_while(|char| char.is_ascii_digit() || *char == '.')
            .collect()
    };
    let (major, revision) = (number(after("# R")?), number(after("REVISION:")?));
    (!major.is_empty() && !revision.is_empty()).then(|| format!("{major}.{revision}"))
}

fn jetpack(l4t: &str) -> Told<&'static str> {
    let known = JETPACKS.iter().find(|(release, _)| {
        *release == l4t || (release.ends_with('.') && l4t.starts_with(release))
    });
    known
        .map(|(_, jetpack)| *jetpack)
        .ok_or_else(|| format!("unknown JetPack: no release known here has Jetson Linux {l4t}"))
}

/// Power modes of `nvpmodel.conf`.
fn power_modes(text: &str) -> Vec<PowerMode> {
    let mut modes: Vec<PowerMode> = Vec::new();
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.starts_with('<') {
            let value = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
            let id = value("ID=").and_then(|id| id.parse().ok());
            inside = words.contains(&"POWER_MODEL");
            match (inside, id, value("NAME=")) {
                (true, Some(id), Some(name)) => modes.push(PowerMode {
                    id,
                    name: name.trim_end_matches('>').to_owned(),
                    gpu: Cap::NotNamed,
                    memory: Cap::NotNamed,
                }),
                _ => inside = false,
            }
        } else if let (true, [what, "MAX_FREQ", value], Some(mode)) =
            (inside, words.as_slice(), modes.last_mut())
        {
            match *what {
                "EMC" => mode.memory = cap(value),
                gpu if gpu == "GPU" || gpu.starts_with("GPU_") => {
                    mode.gpu = mode.gpu.max(cap(value))
                }
                _ => {}
            }
        }
    }
    modes
}

/// -1 lifts a limit, and so does 0, which no clock could run at.
fn cap(value: &str) -> Cap {
    match value.parse::<i64>() {
        Ok(..=0) => Cap::Unlimited,
        Ok(hertz) => Cap::Hertz(hertz.unsigned_abs()),
        Err(_) => Cap::NotNamed,
    }
}

/// The mode that `nvpmodel` wrote down when it was last set: `pmode:0002`.
fn power_mode(tree: &Tree, modes: &[PowerMode]) -> Told<PowerMode> {
    let state = "/var/lib/nvpmodel/status";
    let text = tree.text(state)?;
    let digits: String = text
        .split_once("pmode:")
        .map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect())
        .unwrap_or_default();
    let id: u32 = digits
        .parse()
        .map_err(|_| format!("{state} names no mode"))?;
    let known = modes.iter().find(|mode| mode.id == id);
    known
        .cloned()
        .ok_or_else(|| format!("mode {id} is set, and /etc/nvpmodel.conf does not name it"))
}

/// The GPU's clock: `17000000.gpu` on Orin, `17000000.ga10b` before JetPack 6, `gpu-gpc-0` on Thor.
pub(super) fn gpu_clock(tree: &Tree) -> Told<GpuClock> {
    let names = tree.names("/sys/class/devfreq");
    let ends = [".gpu", ".ga10b", ".gv11b", ".gp10b", ".gm20b"];
    let name = names
        .iter()
        .find(|name| *name == "gpu-gpc-0" || ends.iter().any(|end| name.ends_with(end)))
        .ok_or("/sys/class/devfreq shows no GPU")?;
    let folder = format!("/sys/class/devfreq/{name}");
    let mhz = |file: &str| {
        let hertz = tree.count(&format!("{folder}/{file}"));
        hertz.map(|hertz| hertz / 1_000_000)
    };
    Ok(GpuClock {
        name: name.clone(),
        now_mhz: mhz("cur_freq"),
        min_mhz: mhz("min_freq"),
        max_mhz: mhz("max_freq"),
        governor: tree.text(&format!("{folder}/governor")),
        // The kernel counts tenths of a percent.
        load_percent: tree
            .count(&format!("{folder}/device/load"))
            .map(|tenths| tenths as f64 / 10.0),
    })
}

/// Folders of the hardware monitors, each once.
pub(super) fn monitors(tree: &Tree) -> Vec<String> {
    let mut folders: Vec<(String, String)> = Vec::new();
    let class = "/sys/class/hwmon".to_owned();
    let chips = tree.names("/sys/bus/i2c/devices").into_iter();
    let parents = chips.map(|chip| format!("/sys/bus/i2c/devices/{chip}/hwmon"));
    for parent in std::iter::once(class).chain(parents) {
        for name in tree.names(&parent) {
            if name.starts_with("hwmon") && folders.iter().all(|(known, _)| *known != name) {
                let folder = format!("{parent}/{name}");
                folders.push((name, folder));
            }
        }
    }
    folders.into_iter().map(|(_, folder)| folder).collect()
}

/// Rails of a monitor.
fn rails(tree: &Tree, folder: &str) -> Vec<Rail> {
    let rail = |(number, label)| {
        let (millivolts, milliamperes) = rail_readings(tree, folder, number);
        Rail {
            label,
            milliwatts: product(&millivolts, &milliamperes),
            millivolts,
            milliamperes,
        }
    };
    rail_labels(tree, folder).into_iter().map(rail).collect()
}

/// Numbers and labels of a monitor's rails, but those that are not connected and the sum of shunt voltages, which is no rail.
pub(super) fn rail_labels(tree: &Tree, folder: &str) -> Vec<(u32, String)> {
    let chip = tree.text(&format!("{folder}/name"));
    if chip.is_ok_and(|name| name != "ina3221") {
        return Vec::new();
    }
    let labelled = tree.names(folder).into_iter().filter_map(|file| {
        let number: u32 = file
            .strip_prefix("in")?
            .strip_suffix("_label")?
            .parse()
            .ok()?;
        let label = tree.text(&format!("{folder}/{file}")).ok()?;
        (label != "NC" && number != 7).then_some((number, label))
    });
    labelled.collect()
}

/// Voltage and current of a rail.
pub(super) fn rail_readings(tree: &Tree, folder: &str, number: u32) -> (Told<u64>, Told<u64>) {
    (
        tree.count(&format!("{folder}/in{number}_input")),
        tree.count(&format!("{folder}/curr{number}_input")),
    )
}

/// Power of millivolts and milliamperes, in milliwatts.
pub(super) fn product(millivolts: &Told<u64>, milliamperes: &Told<u64>) -> Told<u64> {
    let microwatts = milliamperes.clone()?.checked_mul(millivolts.clone()?);
    microwatts
        .map(|micro| micro / 1000)
        .ok_or_else(|| "its readings are no power".into())
}

/// Alarms and event counters of a monitor.
fn alarms(tree: &Tree, folder: &str) -> Vec<(String, u64)> {
    let files = tree.names(folder).into_iter().filter(|file| {
        (file.starts_with("oc") && file.ends_with("_event_cnt"))
            || file.ends_with("_oc_alarm")
            || (file.starts_with("curr") && file.ends_with("_alarm"))
    });
    files
        .filter_map(|file| {
            let count = tree.count(&format!("{folder}/{file}")).ok()?;
            Some((file, count))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree::{planted, recorded};
    use super::*;

    #[test]
    fn an_orin_tells_chip_release_mode_clock_and_power() {
        let (_root, tree) = recorded("orin");
        let orin = jetson(&tree).unwrap();
        assert_eq!(orin.soc.as_ref().unwrap().sm, 87);
        assert_eq!(
            (orin.l4t.as_deref(), orin.jetpack.clone()),
            (Ok("36.4.3"), Ok("6.2"))
        );
        assert!(orin.module.as_ref().unwrap().starts_with("3767-"));
        let mode = orin.power_mode.as_ref().unwrap();
        assert_eq!((mode.id, mode.name.as_str()), (0, "15W"));
        assert_eq!(mode.gpu, Cap::Hertz(612_000_000));
        // The fastest is neither the first nor the last nor the highest number.
        assert_eq!(orin.fastest_mode().unwrap().name, "MAXN_SUPER");
        let clock = orin.gpu_clock.as_ref().unwrap();
        assert_eq!(
            (clock.now_mhz.clone(), clock.max_mhz.clone()),
            (Ok(306), Ok(612))
        );
        assert_eq!(clock.load_percent, Ok(12.3));
        let labels: Vec<_> = orin.rails.iter().map(|rail| rail.label.as_str()).collect();
        assert_eq!(labels, ["VDD_IN", "VDD_CPU_GPU_CV"]);
        assert_eq!(orin.board_milliwatts(), Ok(9250));
        assert!(orin.alarms.contains(&("oc3_event_cnt".into(), 37)));
        assert!(orin.alarms.contains(&("curr1_crit_alarm".into(), 0)));
    }

    #[test]
    fn a_thor_has_other_names_and_no_board_rail() {
        let (_root, tree) = recorded("thor");
        let thor = jetson(&tree).unwrap();
        assert_eq!(thor.soc.as_ref().unwrap().family, "Thor");
        assert_eq!(
            (thor.l4t.as_deref(), thor.jetpack.clone()),
            (Ok("38.2.1"), Ok("7.0"))
        );
        assert_eq!(thor.gpu_clock.as_ref().unwrap().name, "gpu-gpc-0");
        assert!(thor.board_milliwatts().unwrap_err().contains("VDD_IN"));
        assert_eq!(thor.power_mode.as_ref().unwrap().name, "MAXN");
        assert!(thor.module.unwrap_err().contains("not there"));
    }

    #[test]
    fn another_machine_is_no_jetson() {
        for name in ["laptop", "no_gpu", "container"] {
            assert_eq!(jetson(&recorded(name).1), None, "{name}");
        }
        assert_eq!(jetson(&planted(&[]).1), None);
    }

    #[test]
    fn releases_are_read_and_unknown_ones_say_so() {
        let line = "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref";
        assert_eq!(l4t(line).as_deref(), Some("35.4.1"));
        assert_eq!(l4t("nothing"), None);
        assert_eq!(l4t("# R (release), REVISION: 1"), None);
        for (release, expected) in [("36.4.7", "6.2.1"), ("38.2.0", "7.0"), ("39.2.0", "7.2")] {
            assert_eq!(jetpack(release), Ok(expected));
        }
        for unknown in ["35.4.1", "38.20.0", "36.4.30"] {
            assert!(jetpack(unknown).unwrap_err().contains("unknown JetPack"));
        }
    }

    #[test]
    fn modes_are_ranked_by_what_they_allow() {
        let ranked = |text: &str| {
            let (_root, tree) = planted(&[
                ("etc/nv_tegra_release", "# R36 (release), REVISION: 4.3"),
                ("etc/nvpmodel.conf", text),
            ]);
            let board = jetson(&tree).unwrap();
            board.fastest_mode().map(|mode| mode.name.clone())
        };
        let capped = "< POWER_MODEL ID=0 NAME=A >\nGPU MAX_FREQ 5\nEMC MAX_FREQ 0\n< POWER_MODEL NAME=B ID=1 >\nGPU MAX_FREQ 5\nEMC MAX_FREQ 3\n";
        assert_eq!(ranked(capped), Some("A".into()));
        let names = "< POWER_MODEL ID=0 NAME=10W>\n< POWER_MODEL ID=1 NAME=MAXN >\n";
        assert_eq!(ranked(names), Some("MAXN".into()));
        assert_eq!(ranked("< POWER_MODEL ID=0 NAME=10W >\n"), None);
        assert_eq!(
            ranked("< POWER_MODEL ID=x NAME=10W >\nGPU MAX_FREQ 5\n"),
            None
        );
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_files_hold_nothing_panics(text in "[<>=A-Z#: 0-9.\n-]{0,200}", number in "-?[0-9]{0,25}") {
            let (_root, tree) = planted(&[
                ("etc/nv_tegra_release", &format!("# R{text}")),
                ("etc/nvpmodel.conf", &format!("< POWER_MODEL ID=0 NAME=A >\nGPU MAX_FREQ {number}\n{text}")),
                ("var/lib/nvpmodel/status", &format!("pmode:{number}{text}")),
                ("sys/class/devfreq/1.gpu/cur_freq", &number),
                ("sys/class/hwmon/hwmon0/in1_label", "VDD_IN"),
                ("sys/class/hwmon/hwmon0/in1_input", &number),
                ("sys/class/hwmon/hwmon0/curr1_input", &number),
            ]);
            let board = jetson(&tree).unwrap();
            let _ = (board.fastest_mode(), board.board_milliwatts());
        }
    }

    #[test]
    fn a_mode_that_is_not_told_has_a_reason() {
        let told = |state: &[(&str, &str)]| {
            let mut files = vec![("etc/nv_tegra_release", "?")];
            files.extend(state);
            let (_root, tree) = planted(&files);
            jetson(&tree).unwrap().power_mode.unwrap_err()
        };
        let status = "var/lib/nvpmodel/status";
        assert!(told(&[]).contains("is not there"));
        assert!(told(&[(status, "fmode:quiet")]).contains("names no mode"));
        assert!(told(&[(status, "pmode:0007")]).contains("mode 7 is set"));
    }
}
