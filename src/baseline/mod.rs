//! Door of the baselines: results that others are compared with by a name, carried in the program or added by the user. Nothing is
//! printed here.

mod added;
mod builtin;

use crate::error::{Error, Result};
use crate::report::compare::Run;
use added::Folder;
use std::borrow::Cow;
use std::path::PathBuf;

/// Where a baseline comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The program carries it.
    BuiltIn,
    /// The user added it; its file.
    Added(PathBuf),
}

/// A baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// What it is, in a sentence without a full stop; of one that was added nobody has said it.
    pub summary: Option<String>,
    /// What it is made of, at least one.
    pub parts: Vec<Part>,
}

/// One file of a baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its content.
    pub text: Cow<'static, str>,
    /// The same as the comparison sees it.
    pub run: Run,
}

/// A baseline in the list: as it is, or by its name and why it cannot be used.
pub type Listed = Result<Baseline, (String, Error)>;

/// All baselines there are.
pub struct Library {
    folder: Result<Folder, String>,
}

impl Library {
    /// Those of the program and of this user. No folder is needed until one is asked for that is not built in.
    pub fn open() -> Library {
        Library {
            folder: Folder::of_user(),
        }
    }

    /// The baseline of this name.
    pub fn find(&self, name: &str) -> Result<Baseline> {
        if let Some(found) = builtin::find(name) {
            return found;
        }
        check_name(name)?;
        let folder = self.folder.as_ref().map_err(|_| self.unknown(name))?;
        match folder.find(name)? {
            Some(found) => Ok(found),
            None => Err(self.unknown(name)),
        }
    }

    /// All, those of the program first, then by name.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let builtin = builtin::names().into_iter().filter_map(|name| {
            let found = builtin::find(&name)?;
            Some(found.map_err(|error| (name, error)))
        });
        let mut all: Vec<Listed> = builtin.collect();
        if let Ok(folder) = &self.folder {
            for name in folder.names()? {
                let found = folder.find(&name).transpose();
                all.extend(found.map(|found| found.map_err(|error| (name, error))));
            }
        }
        Ok(all)
    }

    /// Keeps a result under a name; gives its file. `source` names it in messages.
    pub fn add(&self, name: &str, source: &str, text: &str, replace: bool) -> Result<PathBuf> {
        check_name(name)?;
        if builtin::find(name).is_some() {
            return Err(Error::Usage(format!(
                "the baseline '{name}' is built in and cannot be replaced; choose another name"
            )));
        }
        let run = read(name, source, text)?;
        if !run.has_figures() {
            return Err(Error::Usage(format!(
                "{source}: there is no figure in it that anything could be compared with; add a result in which a trial ran to its end"
            )));
        }
        self.folder()?.add(name, text, replace)
    }

    /// Removes what was added under a name, whatever is in it; gives its file.
    pub fn remove(&self, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        if builtin::find(name).is_some() {
            return Err(Error::Usage(format!(
                "the baseline '{name}' is built in and cannot be removed; `edgebench baseline list` tells which were added"
            )));
        }
        self.folder()?
            .remove(name)?
            .ok_or_else(|| self.unknown(name))
    }

    fn folder(&self) -> Result<&Folder> {
        let folder = self.folder.as_ref();
        folder.map_err(|cause| Error::Usage(cause.clone()))
    }

    /// There is no baseline of this name; these are there.
    fn unknown(&self, name: &str) -> Error {
        let mut names = builtin::names();
        let added = self.folder.as_ref().ok();
        names.extend(
            added
                .and_then(|folder| folder.names().ok())
                .unwrap_or_default(),
        );
        Error::Usage(format!(
            "there is no baseline '{name}'; there are {}, and `edgebench baseline add {name} FILE` makes one of a result file",
            names.join(", ")
        ))
    }
}

/// A part of the baseline `name`, from `source`.
fn read(name: &str, source: &str, text: &str) -> Result<Run> {
    Run::read(name, text).map_err(|error| match error {
        Error::Usage(cause) => Error::Usage(format!("{source}: {cause}")),
        other => other,
    })
}

/// Most characters of a name.
const LONGEST: usize = 64;

/// A name is that of a file and a word of the command line.
fn check_name(name: &str) -> Result<()> {
    let plain =
        |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || "-_.".contains(char);
    let begins = name.starts_with(|char: char| char.is_ascii_lowercase() || char.is_ascii_digit());
    if begins && name.len() <= LONGEST && name.chars().all(plain) {
        return Ok(());
    }
    let shown: String = name
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .take(LONGEST)
        .collect();
    Err(Error::Usage(format!(
        "'{shown}' is no name of a baseline: that is up to {LONGEST} of a-z, 0-9, '-', '_' and '.', with a letter or digit in front; a result file is compared with `edgebench compare BASELINE FILE`, or added under a name first with `edgebench baseline add NAME FILE`"
    )))
}

#[cfg(test)]
mod tests;
