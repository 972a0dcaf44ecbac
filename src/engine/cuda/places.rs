//! Where CUDA libraries may lie: folders in the order in which they are looked at. Only folders are read here, no library.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The kind of machine a library must be built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Its name in folder names and in sentences.
    pub name: &'static str,
    /// Its number in ELF headers.
    pub number: u16,
    /// Names of its folders below a toolkit's `targets`.
    targets: &'static [&'static str],
}

/// 64-bit x86.
pub const X86_64: Machine = Machine {
    name: "x86_64",
    number: 62,
    targets: &["x86_64-linux"],
};

/// 64-bit Arm: boards and servers have CUDA toolkits of different names.
pub const AARCH64: Machine = Machine {
    name: "aarch64",
    number: 183,
    targets: &["aarch64-linux", "sbsa-linux"],
};

/// All that decides where to look.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The machine.
    pub machine: Machine,
    /// `/`, or the folder that plays it in a test.
    pub root: PathBuf,
    /// The CUDA provider's file.
    pub provider: PathBuf,
    /// Folders that were named.
    pub folders: Vec<PathBuf>,
    /// `LD_LIBRARY_PATH`.
    pub loader_path: Vec<PathBuf>,
    /// `CUDA_HOME` and `CUDA_PATH`.
    pub toolkits: Vec<PathBuf>,
    /// `VIRTUAL_ENV` and `CONDA_PREFIX`.
    pub environments: Vec<PathBuf>,
    /// `PATH`, on which `python3` is looked for.
    pub path: Vec<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process(provider: &Path, folders: &[PathBuf]) -> Surroundings {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let folder = |name: &str| variable(name).map(PathBuf::from);
        let list = |name: &str| -> Vec<PathBuf> {
            let value: OsString = variable(name).unwrap_or_default();
            let folders = std::env::split_paths(&value);
            folders.filter(|folder| folder.is_absolute()).collect()
        };
        Surroundings {
            machine: if cfg!(target_arch = "aarch64") {
                AARCH64
            } else {
                X86_64
            },
            root: PathBuf::from("/"),
            provider: provider.to_owned(),
            folders: folders
                .iter()
                .map(|folder| std::path::absolute(folder).unwrap_or_else(|_| folder.clone()))
                .collect(),
            loader_path: list("LD_LIBRARY_PATH"),
            toolkits: ["CUDA_HOME", "CUDA_PATH"]
                .into_iter()
                .filter_map(folder)
                .collect(),
            environments: ["VIRTUAL_ENV", "CONDA_PREFIX"]
                .into_iter()
                .filter_map(folder)
                .collect(),
            path: list("PATH"),
            home: folder("HOME"),
        }
    }
}

/// A folder to look in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The folder. One with a `*` stands for folders of which there is none.
    pub folder: PathBuf,
    /// What was installed as one: libraries of one home belong together.
    pub home: PathBuf,
}

/// Folders before and after the loader's own search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The provider's own folder and those that were named.
    pub named: Vec<Place>,
    /// `LD_LIBRARY_PATH`.
    pub loader_path: Vec<Place>,
    /// The usual ones.
    pub usual: Vec<Place>,
}

impl Places {
    /// The places of these surroundings, each once.
    pub fn of(around: &Surroundings) -> Places {
        let own = around.provider.parent().map(Path::to_owned);
        let named = own.into_iter().chain(around.folders.clone());
        let mut places = Places {
            named: named.map(alone).collect(),
            loader_path: around.loader_path.iter().cloned().map(alone).collect(),
            usual: Vec::new(),
        };
        places.toolkits(around);
        places.distribution(around);
        places.packages(around);
        if around.machine == AARCH64 {
            let jetpack = ["tegra", "nvidia"].map(|name| {
                let folder = around.root.join("usr/lib/aarch64-linux-gnu");
                alone(folder.join(name))
            });
            places.usual.extend(jetpack);
        }
        let mut seen = Vec::new();
        for list in [
            &mut places.named,
            &mut places.loader_path,
            &mut places.usual,
        ] {
            list.retain(|place| {
                let new = !seen.contains(&place.folder);
                seen.push(place.folder.clone());
                new
            });
        }
        places
    }

    /// Every place, in order.
    pub fn all(&self) -> impl Iterator<Item = &Place> {
        self.named
            .iter()
            .chain(&self.loader_path)
            .chain(&self.usual)
    }

    /// CUDA's own folders: those of the variables, then `/usr/local/cuda`, then the versions beside it, newest first.
    fn toolkits(&mut self, around: &Surroundings) {
        let local = around.root.join("usr/local");
        let mut homes = around.toolkits.clone();
        homes.push(local.join("cuda"));
        homes.extend(matching(&local, "cuda-"));
        for home in homes {
            self.toolkit(&home, around.machine);
        }
    }

    fn toolkit(&mut self, home: &Path, machine: Machine) {
        let targets = machine.targets.iter();
        let below = targets.map(|target| home.join("targets").join(target).join("lib"));
        for folder in [home.join("lib64")].into_iter().chain(below) {
            self.usual.push(Place {
                folder,
                home: home.to_owned(),
            });
        }
    }

    /// Debian's and Ubuntu's, Fedora's, and Arch's folders.
    fn distribution(&mut self, around: &Surroundings) {
        let multiarch = format!("usr/lib/{}-linux-gnu", around.machine.name);
        for folder in [multiarch.as_str(), "usr/lib64", "usr/lib"] {
            self.usual.push(alone(around.root.join(folder)));
        }
        self.toolkit(&around.root.join("opt/cuda"), around.machine);
    }

    /// Python packages: of the installation that the provider is part of, of the active environments, of the `python3` that
    /// would be started, of the user, of the system.
    fn packages(&mut self, around: &Surroundings) {
        let capi = around.provider.parent();
        let site = capi
            .filter(|folder| folder.ends_with("onnxruntime/capi"))
            .and_then(|folder| folder.ancestors().nth(2));
        if let Some(site) = site {
            self.site(site);
        }
        for environment in &around.environments {
            self.prefix(environment);
            self.usual.push(Place {
                folder: environment.join("lib"),
                home: environment.clone(),
            });
            let targets = environment.join("targets");
            for target in around.machine.targets.iter().filter(|_| targets.is_dir()) {
                self.usual.push(Place {
                    folder: targets.join(target).join("lib"),
                    home: environment.clone(),
                });
            }
        }
        let python = around.path.iter().find(|dir| dir.join("python3").exists());
        let python = python.and_then(|folder| folder.parent());
        let user = around.home.as_ref().map(|home| home.join(".local"));
        let system = ["usr", "usr/local"].map(|prefix| around.root.join(prefix));
        // What lies on the path may only hand on to one of several versions beside it.
        let versions = python.map(|prefix| installed(&prefix.join("versions"), ""));
        let prefixes = python
            .map(Path::to_owned)
            .into_iter()
            .chain(versions.unwrap_or_default())
            .chain(user)
            .chain(system);
        for prefix in prefixes {
            self.prefix(&prefix);
        }
    }

    /// The package folders of a Python below `prefix`.
    fn prefix(&mut self, prefix: &Path) {
        let versions = ["lib", "lib64"]
            .into_iter()
            .flat_map(|lib| installed(&prefix.join(lib), "python3"));
        let sites: Vec<PathBuf> = versions
            .flat_map(|version| ["site-packages", "dist-packages"].map(|name| version.join(name)))
            .filter(|site| site.is_dir())
            .collect();
        if sites.is_empty() {
            self.usual
                .push(alone(prefix.join("lib*/python3*/*-packages/nvidia/*/lib")));
        }
        for site in sites {
            self.site(&site);
        }
    }

    /// NVIDIA's packages in a package folder: one folder for each, or one for all of a CUDA release.
    fn site(&mut self, site: &Path) {
        let home = site.join("nvidia");
        for part in matching(&home, "") {
            self.usual.push(Place {
                folder: part.join("lib"),
                home: home.clone(),
            });
        }
    }
}

/// A folder with no others beside it.
fn alone(folder: PathBuf) -> Place {
    Place {
        home: folder.clone(),
        folder,
    }
}

/// Folders in `parent` whose names begin with `prefix`, highest version first; a pattern where there is none.
fn matching(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let found = installed(parent, prefix);
    if found.is_empty() {
        return vec![parent.join(format!("{prefix}*"))];
    }
    found
}

fn installed(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort_by_key(|name| std::cmp::Reverse((numbers(name), name.clone())));
    names.into_iter().map(|name| parent.join(name)).collect()
}

/// The numbers in a name, so that 13.10 comes after 13.9.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|char: char| !char.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}
