//! Where edgebench keeps what it fetches and generates. Shared with `build.rs`, so std only; nothing is created here.

use std::ffi::OsString;
use std::path::PathBuf;

/// The cache folder: `$XDG_CACHE_HOME/edgebench` when that variable is absolute, else `$HOME/.cache/edgebench`.
pub fn root() -> Result<PathBuf, String> {
    choose(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"))
}

/// The rule of [`root`], apart from the environment it reads. A relative path counts as unset, as the XDG rules say.
fn choose(xdg: Option<OsString>, home: Option<OsString>) -> Result<PathBuf, String> {
    let absolute =
        |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(xdg)
        .or_else(|| absolute(home).map(|home| home.join(".cache")))
        .map(|cache| cache.join("edgebench"))
        .ok_or_else(|| {
            "there is no place for a cache, because neither XDG_CACHE_HOME nor HOME is an absolute path; set XDG_CACHE_HOME to a folder you can write to"
                .to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(xdg: Option<&str>, home: Option<&str>) -> Result<PathBuf, String> {
        choose(xdg.map(OsString::from), home.map(OsString::from))
    }

    #[test]
    fn an_absolute_xdg_cache_home_wins() {
        assert_eq!(
            chosen(Some("/x"), Some("/h")).unwrap(),
            PathBuf::from("/x/edgebench")
        );
    }

    #[test]
    fn home_is_used_when_xdg_cache_home_is_absent_empty_or_relative() {
        for xdg in [None, Some(""), Some("x/y")] {
            assert_eq!(
                chosen(xdg, Some("/h")).unwrap(),
                PathBuf::from("/h/.cache/edgebench"),
                "{xdg:?}"
            );
        }
    }

    #[test]
    fn without_either_the_sentence_names_the_remedy() {
        for home in [None, Some(""), Some("h")] {
            let sentence = chosen(None, home).unwrap_err();
            assert!(sentence.contains("set XDG_CACHE_HOME"), "{sentence}");
        }
    }
}
