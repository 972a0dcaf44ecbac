//! Energy counters of CPU packages (RAPL), which the kernel shows to root only and which begin anew when they are full.

use super::tree::Tree;
use crate::protocol::Told;

const FOLDER: &str = "/sys/class/powercap";

/// The counters of all packages, added up.
#[derive(Debug)]
pub struct Rapl {
    tree: Tree,
    packages: Vec<Package>,
    total_uj: u64,
}

#[derive(Debug)]
struct Package {
    folder: String,
    last_uj: u64,
}

impl Rapl {
    /// Opens the packages' counters; the zero of their sum is now.
    pub fn open(tree: &Tree) -> Told<Rapl> {
        let mut packages = Vec::new();
        for folder in folders(tree) {
            let last_uj = tree.count(&format!("{folder}/energy_uj")).map_err(remedy)?;
            packages.push(Package { folder, last_uj });
        }
        if packages.is_empty() {
            return Err(format!("{FOLDER} shows no counter of a CPU package (RAPL)"));
        }
        Ok(Rapl {
            tree: tree.clone(),
            packages,
            total_uj: 0,
        })
    }

    /// Number of packages.
    pub fn packages(&self) -> u32 {
        u32::try_from(self.packages.len()).unwrap_or(u32::MAX)
    }

    /// Microjoules since the opening. A counter that is lower than before has begun anew once: to be full twice takes many
    /// minutes at full power, longer than from one reading to the next.
    pub fn microjoules(&mut self) -> Told<u64> {
        for package in &mut self.packages {
            let folder = &package.folder;
            let now = self.tree.count(&format!("{folder}/energy_uj"))?;
            let spent = match now.checked_sub(package.last_uj) {
                Some(spent) => spent,
                None => {
                    let range = self.tree.count(&format!("{folder}/max_energy_range_uj"))?;
                    let rest = range.checked_sub(package.last_uj);
                    rest.and_then(|rest| rest.checked_add(now))
                        .ok_or_else(|| format!("{folder}/energy_uj went back"))?
                }
            };
            package.last_uj = now;
            self.total_uj = self.total_uj.saturating_add(spent);
        }
        Ok(self.total_uj)
    }
}

/// Power limit of all packages in milliwatts: the first one, which holds for the long run.
pub fn power_limit_mw(tree: &Tree) -> Told<u64> {
    let limits = folders(tree)
        .into_iter()
        .map(|folder| tree.count(&format!("{folder}/constraint_0_power_limit_uw")));
    let limits = limits.collect::<Told<Vec<u64>>>()?;
    if limits.is_empty() {
        return Err(format!("{FOLDER} shows no limit of a CPU package (RAPL)"));
    }
    Ok(limits.iter().map(|micro| micro / 1000).sum())
}

/// Folders of packages. Parts of a package, and the platform that packages are part of, would count twice.
fn folders(tree: &Tree) -> Vec<String> {
    let zones = tree.names(FOLDER).into_iter().filter(|name| {
        let number = name.strip_prefix("intel-rapl:");
        number.is_some_and(|number| number.chars().all(|char| char.is_ascii_digit()))
    });
    let folders = zones.map(|name| format!("{FOLDER}/{name}"));
    let package = |folder: &String| {
        let name = tree.text(&format!("{folder}/name"));
        name.is_ok_and(|name| name.starts_with("package"))
    };
    folders.filter(package).collect()
}

/// What to do about a counter that may not be read.
fn remedy(reason: String) -> String {
    if reason.ends_with("may not be read") {
        format!("{reason}; run as root to measure energy")
    } else {
        reason
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::planted;
    use super::*;
    use std::path::Path;

    const ZONE: &str = "sys/class/powercap/intel-rapl:";

    fn two_packages() -> (tempfile::TempDir, Tree) {
        let file = |name: &str| format!("{ZONE}{name}");
        let files = [
            (file("0/name"), "package-0\n"),
            (file("0/energy_uj"), "1000\n"),
            (file("0/max_energy_range_uj"), "262143328850\n"),
            (file("0/constraint_0_power_limit_uw"), "65000000\n"),
            (file("1/name"), "package-1\n"),
            (file("1/energy_uj"), "500\n"),
            (file("1/max_energy_range_uj"), "9000\n"),
            (file("1/constraint_0_power_limit_uw"), "65000000\n"),
            (file("0:0/name"), "core\n"),
            (file("0:0/energy_uj"), "77\n"),
            (file("2/name"), "psys\n"),
            (file("2/energy_uj"), "88\n"),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, *text)).collect();
        planted(&files)
    }

    fn set(root: &Path, zone: &str, value: &str) {
        std::fs::write(root.join(format!("{ZONE}{zone}/energy_uj")), value).unwrap();
    }

    #[test]
    fn packages_add_up_and_their_parts_do_not_count_twice() {
        let (root, tree) = two_packages();
        let mut rapl = Rapl::open(&tree).unwrap();
        assert_eq!((rapl.packages(), rapl.microjoules()), (2, Ok(0)));
        set(root.path(), "0", "1700");
        set(root.path(), "0:0", "99999");
        set(root.path(), "2", "99999");
        assert_eq!(rapl.microjoules(), Ok(700));
        assert_eq!(power_limit_mw(&tree), Ok(130_000));
    }

    #[test]
    fn a_counter_that_begins_anew_goes_on() {
        let (root, tree) = two_packages();
        let mut rapl = Rapl::open(&tree).unwrap();
        set(root.path(), "1", "8900");
        assert_eq!(rapl.microjoules(), Ok(8400));
        set(root.path(), "1", "50");
        assert_eq!(rapl.microjoules(), Ok(8400 + 100 + 50));
        std::fs::remove_file(root.path().join(format!("{ZONE}1/max_energy_range_uj"))).unwrap();
        set(root.path(), "1", "20");
        assert!(rapl.microjoules().unwrap_err().contains("is not there"));
    }

    #[test]
    fn no_counter_is_a_reason() {
        let (_root, tree) = planted(&[("sys/class/powercap/dtpm/name", "dtpm")]);
        assert!(Rapl::open(&tree).unwrap_err().contains("RAPL"));
        assert!(power_limit_mw(&tree).unwrap_err().contains("RAPL"));
        let told = remedy("/x/energy_uj may not be read".into());
        assert!(told.ends_with("run as root to measure energy"), "{told}");
    }
}
