//! Where in a file GPU code may lie: sections of data, never of instructions.

use std::ops::Range;

use object::elf::{FileHeader64, PF_X, PT_LOAD, SHF_EXECINSTR, SHT_PROGBITS};
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _};
use object::{Endianness, FileKind};

use super::layout::Chooser;

/// Sections whose fat binaries are registered with the driver, which then chooses.
const REGISTERED: [&[u8]; 2] = [b".nv_fatbin", b"__nv_relfatbin"];

/// The parts of a file that may hold GPU code, and who chooses among it. A file that is no 64-bit ELF file is one part.
pub fn data_parts(bytes: &[u8]) -> Vec<(Range<usize>, Chooser)> {
    match FileKind::parse(bytes) {
        Ok(FileKind::Elf64) => elf_parts(bytes).unwrap_or_default(),
        _ => vec![(0..bytes.len(), Chooser::Library)],
    }
}

/// Data sections, or data segments where the section table has been stripped.
fn elf_parts(bytes: &[u8]) -> object::read::Result<Vec<(Range<usize>, Chooser)>> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let mut parts = Vec::new();
    let sections = header.sections(endian, bytes)?;
    for section in sections.iter() {
        let holds_data = section.sh_type(endian) == SHT_PROGBITS
            && section.sh_flags(endian) & u64::from(SHF_EXECINSTR) == 0;
        let Some((offset, size)) = section.file_range(endian).filter(|_| holds_data) else {
            continue;
        };
        let name = sections.section_name(endian, section).unwrap_or_default();
        let chooser = if REGISTERED.contains(&name) {
            Chooser::Driver
        } else {
            Chooser::Library
        };
        parts.extend(within(bytes, offset, size).map(|range| (range, chooser)));
    }
    if sections.is_empty() {
        for segment in header.program_headers(endian, bytes)? {
            let holds_data =
                segment.p_type(endian) == PT_LOAD && segment.p_flags(endian) & PF_X == 0;
            let (offset, size) = segment.file_range(endian);
            let range = within(bytes, offset, size).filter(|_| holds_data);
            parts.extend(range.map(|range| (range, Chooser::Library)));
        }
    }
    Ok(disjoint(parts))
}

/// A range of the file, or nothing when it leaves it.
fn within(bytes: &[u8], offset: u64, size: u64) -> Option<Range<usize>> {
    let begin = usize::try_from(offset).ok()?;
    let end = begin.checked_add(usize::try_from(size).ok()?)?;
    (end <= bytes.len()).then_some(begin..end)
}

/// Drops every part that overlaps an earlier one: a sound file has none, and what lies twice cannot be told apart.
fn disjoint(mut parts: Vec<(Range<usize>, Chooser)>) -> Vec<(Range<usize>, Chooser)> {
    parts.sort_by_key(|(range, _)| (range.start, range.end));
    let mut end = 0;
    parts.retain(|(range, _)| {
        let apart = range.start >= end;
        end = end.max(range.end);
        apart
    });
    parts
}
