//! `edgebench baseline`: what is listed, shown, added and removed.

use super::{is_coloured, print, read_text};
use crate::baseline::Library;
use crate::cli::{BaselineAction, ColorChoice, ListFormat};
use crate::error::Result;
use crate::export::{self, baselines};

/// Runs the command to an exit code.
pub fn run(action: &BaselineAction) -> Result<u8> {
    let library = Library::open();
    match action {
        BaselineAction::List(format) => print(&baselines::list(
            &library.list()?,
            *format == ListFormat::Json,
        )?),
        BaselineAction::Show(name, format) => {
            let found = library.find(name)?;
            print(&match format {
                ListFormat::Json => baselines::as_json(&found)?,
                ListFormat::Table => {
                    let colour = is_coloured(ColorChoice::Auto);
                    baselines::show(&found, export::terminal_width(), colour)?
                }
            })
        }
        BaselineAction::Add {
            name,
            file,
            replace,
        } => {
            let text = read_text(file)?;
            let path = library.add(name, &file.display().to_string(), &text, *replace)?;
            print(&format!("added {name}: {}\n", path.display()))
        }
        BaselineAction::Remove(name) => {
            let path = library.remove(name)?;
            print(&format!("removed {name}: {}\n", path.display()))
        }
    }
}
