//! The baselines that the user added: one file each, in the user's data folder.

use super::{Baseline, Origin, Part, check_name, read};
use crate::error::{Error, Result};
use std::borrow::Cow;
use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Names what moves the folder.
const HINT: &str = " with XDG_DATA_HOME";

/// The folder of added baselines; made with the first of them.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// `$XDG_DATA_HOME/edgebench/baselines` when that variable is absolute, else `$HOME/.local/share/edgebench/baselines`.
    pub fn of_user() -> Result<Folder, String> {
        choose(std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.json"))
    }

    /// The names there are, sorted. Files that no name belongs to are none.
    pub fn names(&self) -> Result<Vec<String>> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(unreadable(&self.path, &cause)),
        };
        let name = |entry: fs::DirEntry| {
            let file = entry.file_name().into_string().ok()?;
            let name = file.strip_suffix(".json")?;
            check_name(name).ok().map(|()| name.to_owned())
        };
        let mut names: Vec<String> = entries
            .filter_map(std::result::Result::ok)
            .filter_map(name)
            .collect();
        names.sort();
        Ok(names)
    }

    /// The baseline of this name, if it was added.
    pub fn find(&self, name: &str) -> Result<Option<Baseline>> {
        let path = self.file(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(unreadable(&path, &cause)),
        };
        let source = format!("the baseline '{name}' ({})", path.display());
        let run = read(name, &source, &text).map_err(|error| match error {
            Error::Usage(cause) => Error::Usage(format!(
                "{cause}; or replace it with `edgebench baseline add {name} FILE --replace`"
            )),
            other => other,
        })?;
        Ok(Some(Baseline {
            name: name.to_owned(),
            origin: Origin::Added(path),
            summary: None,
            parts: vec![Part {
                text: Cow::Owned(text),
                run,
            }],
        }))
    }

    /// Keeps `text` under a name: a reader sees the old one or the new one, never half of one.
    pub fn add(&self, name: &str, text: &str, replace: bool) -> Result<PathBuf> {
        let path = self.file(name);
        let wrap = |cause| Error::output(&path, cause, HINT);
        fs::create_dir_all(&self.path).map_err(wrap)?;
        let mut staged = tempfile::NamedTempFile::new_in(&self.path).map_err(wrap)?;
        staged.write_all(text.as_bytes()).map_err(wrap)?;
        staged.as_file().sync_all().map_err(wrap)?;
        let kept = match replace {
            true => staged.persist(&path),
            false => staged.persist_noclobber(&path),
        };
        match kept {
            Ok(_) => Ok(path),
            Err(failed) if failed.error.kind() == ErrorKind::AlreadyExists => {
                Err(Error::Usage(format!(
                    "there is a baseline '{name}' already ({}); give --replace to put this one in its place, or choose another name",
                    path.display()
                )))
            }
            Err(failed) => Err(wrap(failed.error)),
        }
    }

    /// Removes a baseline; `None` where there is none of the name.
    pub fn remove(&self, name: &str) -> Result<Option<PathBuf>> {
        let path = self.file(name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(Some(path)),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(Error::Usage(format!(
                "could not remove {}: {cause}; remove it by hand",
                path.display()
            ))),
        }
    }
}

/// The rule of [`Folder::of_user`], apart from the environment it reads. A relative path counts as unset, as the XDG rules say.
fn choose(xdg: Option<OsString>, home: Option<OsString>) -> Result<Folder, String> {
    let absolute =
        |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(xdg)
        .or_else(|| absolute(home).map(|home| home.join(".local/share")))
        .map(|data| Folder {
            path: data.join("edgebench/baselines"),
        })
        .ok_or_else(|| {
            "there is no place for baselines, because neither XDG_DATA_HOME nor HOME is an absolute path; set XDG_DATA_HOME to a folder you can write to"
                .to_owned()
        })
}

fn unreadable(path: &Path, cause: &std::io::Error) -> Error {
    Error::Usage(format!(
        "could not read {}: {cause}; mend it, or remove it",
        path.display()
    ))
}

#[cfg(test)]
impl Folder {
    /// A folder for a test.
    pub(super) fn at(path: &Path) -> Folder {
        Folder {
            path: path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_data_home_wins_over_the_home() {
        let chosen = |xdg: Option<&str>, home: Option<&str>| {
            let folder = choose(xdg.map(OsString::from), home.map(OsString::from));
            folder.map(|folder| folder.path)
        };
        let path = |text: &str| Ok(PathBuf::from(text));
        assert_eq!(
            chosen(Some("/x"), Some("/h")),
            path("/x/edgebench/baselines")
        );
        for xdg in [None, Some(""), Some("x/y")] {
            assert_eq!(
                chosen(xdg, Some("/h")),
                path("/h/.local/share/edgebench/baselines")
            );
        }
        let sentence = chosen(None, Some("h")).unwrap_err();
        assert!(sentence.contains("set XDG_DATA_HOME"), "{sentence}");
    }
}
