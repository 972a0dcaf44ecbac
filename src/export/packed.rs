//! What `edgebench bundle` made, as text and as JSON. Text in, no files, no printing.

use super::human;
use super::lists::{pretty, table};
use crate::error::Result;
use crate::payload::{Kind, Part, Summary};
use serde_json::{Value, json};

/// Columns that running text is wrapped to.
const WIDTH: usize = 80;

/// The file, its parts and what was left out.
pub fn summary(made: &Summary, as_json: bool) -> Result<String> {
    if as_json {
        return pretty(&to_json(made));
    }
    let program = [row("program", made.front_bytes, made.front_bytes)];
    let parts = made.parts.iter().filter(|part| part.kind != Kind::Notice);
    let parts = parts.map(|part| row(&part.name, part.bytes, part.stored));
    let notices: Vec<&Part> = made
        .parts
        .iter()
        .filter(|part| part.kind == Kind::Notice)
        .collect();
    let sum = |length: fn(&Part) -> u64| notices.iter().map(|part| length(part)).sum();
    let texts = [row(
        &format!("{} licences and notices", notices.len()),
        sum(|part| part.bytes),
        sum(|part| part.stored),
    )];
    let rows = program.into_iter().chain(parts).chain(texts);
    let mut text = table(&["part", "size", "in the file"], rows, 1..3);
    let mut paragraphs = Vec::new();
    for kernels in &made.kernels {
        let mut line = format!(
            "{}: GPU code for {}",
            kernels.library,
            kernels.architectures.join(", ")
        );
        if kernels.blanked_bytes > 0 {
            line.push_str(&format!(
                "; {} for other GPUs blanked",
                human::bytes(kernels.blanked_bytes)
            ));
        }
        for (arch, modules) in &kernels.modules_without {
            line.push_str(&format!(
                "; {modules} kernel modules are for other GPUs than {arch} in the original too"
            ));
        }
        paragraphs.push(line + ".");
    }
    paragraphs.extend(made.notes.iter().map(|note| format!("note: {note}.")));
    paragraphs.push(if made.static_front {
        "The program is linked statically.".to_owned()
    } else {
        "The program is linked dynamically, like the build it was made from; scripts/dist.sh makes a static one.".to_owned()
    });
    if let Some((major, minor)) = made.glibc {
        paragraphs.push(format!(
            "The worker and its libraries need Linux with glibc {major}.{minor} or newer."
        ));
    }
    paragraphs.push(format!(
        "{}: {} bytes ({}) for Linux on {}.",
        made.output.display(),
        made.bytes,
        human::bytes(made.bytes),
        made.arch
    ));
    text.push('\n');
    for paragraph in paragraphs {
        text.push_str(&human::wrap(&paragraph, WIDTH, 2));
        text.push('\n');
    }
    Ok(text)
}

fn row(name: &str, bytes: u64, stored: u64) -> Vec<String> {
    vec![name.to_owned(), human::bytes(bytes), human::bytes(stored)]
}

fn to_json(made: &Summary) -> Value {
    json!({
        "file": made.output,
        "bytes": made.bytes,
        "arch": made.arch,
        "static": made.static_front,
        "front_bytes": made.front_bytes,
        "glibc": made.glibc.map(|(major, minor)| format!("{major}.{minor}")),
        "parts": made.parts,
        "kernels": made.kernels,
        "notes": made.notes,
    })
}
