//! Finding the CUDA libraries, all of one release where possible. Nothing is loaded here: the loader is asked through a function.

use super::needed::Wanted;
use super::places::{Machine, Place, Places, Surroundings};
use crate::protocol::FOUND_NOWHERE;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A search for several libraries, which remembers where the first one was and what was passed over.
pub struct Search {
    places: Places,
    machine: Machine,
    /// Folder and home of the first library found, the runtime.
    origin: Option<Place>,
    /// Files of the right name that cannot be used, and why.
    skipped: Vec<(PathBuf, String)>,
}

impl Search {
    /// A search in these surroundings.
    pub fn new(around: &Surroundings) -> Search {
        Search {
            places: Places::of(around),
            machine: around.machine,
            origin: None,
            skipped: Vec::new(),
        }
    }

    /// The file of library `name`: from the folders that were named, then from where the runtime was found, then by the
    /// loader's path, by the loader itself (`ask_loader` loads by name and tells the file), and from the usual places.
    pub fn find(
        &mut self,
        name: &str,
        ask_loader: &mut dyn FnMut(&str) -> Option<PathBuf>,
    ) -> Option<PathBuf> {
        self.skipped.clear();
        let before = [
            self.places.named.clone(),
            self.places_of_origin(),
            self.places.loader_path.clone(),
        ];
        let found = self
            .first(&before.concat(), name)
            .or_else(|| {
                let path = ask_loader(name)?;
                let folder = path.parent().unwrap_or(Path::new("")).to_owned();
                let known = self.places.all().find(|place| place.folder == folder);
                let home = known.map_or(folder.clone(), |place| place.home.clone());
                Some((Place { folder, home }, path))
            })
            .or_else(|| self.first(&self.places.usual.clone(), name));
        let (place, path) = found?;
        self.origin.get_or_insert(place);
        Some(path)
    }

    /// The runtime's own folder, then the others of the same installation.
    fn places_of_origin(&self) -> Vec<Place> {
        let Some(origin) = &self.origin else {
            return Vec::new();
        };
        let same = self.places.all().filter(|place| place.home == origin.home);
        [origin].into_iter().chain(same).cloned().collect()
    }

    /// The first usable file of this name in `places`.
    fn first(&mut self, places: &[Place], name: &str) -> Option<(Place, PathBuf)> {
        for place in places {
            let path = place.folder.join(name);
            if !path.exists() {
                continue;
            }
            match flaw(&path, self.machine) {
                None => return Some((place.clone(), path)),
                Some(flaw) => {
                    if !self.skipped.iter().any(|(skipped, _)| *skipped == path) {
                        self.skipped.push((path, flaw));
                    }
                }
            }
        }
        None
    }

    /// One sentence about a library that [`Search::find`] has just not found.
    pub fn missing(&self, wanted: &Wanted) -> String {
        let places: Vec<String> = self
            .places
            .all()
            .map(|place| place.folder.display().to_string())
            .collect();
        let skipped: Vec<String> = self
            .skipped
            .iter()
            .map(|(path, flaw)| format!("{} was passed over: it {flaw}; ", path.display()))
            .collect();
        format!(
            "{}{FOUND_NOWHERE} by the system's loader nor in {}; {}install it ({}) or name its folder with --cuda-dir",
            wanted.name,
            places.join(", "),
            skipped.concat(),
            wanted.packages()
        )
    }
}

/// Why a file is no library for this machine.
fn flaw(path: &Path, machine: Machine) -> Option<String> {
    let mut head = [0; 20];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    if let Err(cause) = read {
        return Some(match cause.kind() {
            std::io::ErrorKind::UnexpectedEof => "is cut short".to_owned(),
            _ => format!("could not be read ({cause})"),
        });
    }
    let number = u16::from_le_bytes([head[18], head[19]]);
    if !head.starts_with(b"\x7fELF\x02\x01") {
        Some("is no 64-bit ELF library".to_owned())
    } else if number != machine.number {
        Some(format!(
            "is built for another machine than {}",
            machine.name
        ))
    } else {
        None
    }
}

/// The file of library `name` in the text of a process's memory map.
pub fn file_in_map(map: &str, name: &str) -> Option<PathBuf> {
    let files = map
        .lines()
        .filter_map(|line| Some(&line[line.find('/')?..]));
    let is_it = |path: &&str| {
        let file = path.rsplit('/').next().unwrap_or_default();
        let rest = file.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    files.map(str::trim_end).find(is_it).map(PathBuf::from)
}

#[cfg(test)]
mod tests;
