//! What an ELF file tells about itself: its machine, what it needs, and where it ends. Read here only, never loaded.

use object::elf;
use object::read::elf::{Dyn as _, ElfFile64, FileHeader as _, ProgramHeader as _};
use object::read::elf::{SectionHeader as _, VerneedIterator};
use object::{Endianness, ReadCache, ReadRef as _};
use std::fs::File;
use std::io;
use std::path::Path;

/// What edgebench wants to know of an ELF file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elf {
    /// The machine it is for, by Rust's name (`x86_64`, `aarch64`); `None` for one that edgebench does not know.
    pub machine: Option<&'static str>,
    /// Whether it asks for a dynamic loader, as a program that is not linked statically does.
    pub interpreted: bool,
    /// Libraries that the loader must find for it (`DT_NEEDED`).
    pub needed: Vec<String>,
    /// The newest version of glibc whose symbols it uses: (2, 28), say. `None` where it uses none.
    pub glibc: Option<(u32, u32)>,
    /// The first byte behind the last that its headers speak of: what follows there was appended.
    pub end: u64,
}

/// Reads a 64-bit little-endian ELF file; anything else is an error that says what it is not.
pub fn read(file: &File) -> io::Result<Elf> {
    let invalid = |cause: object::Error| io::Error::new(io::ErrorKind::InvalidData, cause);
    let cache = ReadCache::new(file);
    let mut start = [0; 6];
    start.copy_from_slice(cache.read_bytes_at(0, 6).map_err(|()| not_elf())?);
    if start != *b"\x7fELF\x02\x01" {
        return Err(not_elf());
    }
    let parsed = ElfFile64::<Endianness, _>::parse(&cache).map_err(invalid)?;
    let (endian, data, header) = (parsed.endian(), parsed.data(), parsed.elf_header());
    let sections = header.sections(endian, data).map_err(invalid)?;
    let table = u64::from(header.e_shentsize(endian)) * sections.len() as u64;
    let mut end = header.e_shoff(endian).saturating_add(table);
    for section in sections.iter() {
        if let Some((at, bytes)) = section.file_range(endian) {
            end = end.max(at.saturating_add(bytes));
        }
    }
    let mut interpreted = false;
    for segment in header.program_headers(endian, data).map_err(invalid)? {
        let (at, bytes) = segment.file_range(endian);
        end = end.max(at.saturating_add(bytes));
        interpreted |= segment.p_type(endian) == elf::PT_INTERP;
    }
    let mut needed = Vec::new();
    if let Some((entries, link)) = sections.dynamic(endian, data).map_err(invalid)? {
        let strings = sections.strings(endian, data, link).map_err(invalid)?;
        let names = entries
            .iter()
            .filter(|entry| entry.tag(endian) == elf::DT_NEEDED)
            .filter_map(|entry| entry.string(endian, strings).ok());
        needed.extend(names.map(|name| String::from_utf8_lossy(name).into_owned()));
    }
    let mut glibc = None;
    if let Some((verneeds, link)) = sections.gnu_verneed(endian, data).map_err(invalid)? {
        let strings = sections.strings(endian, data, link).map_err(invalid)?;
        glibc = newest_glibc(verneeds, endian, strings).map_err(invalid)?;
    }
    Ok(Elf {
        machine: match header.e_machine(endian) {
            elf::EM_X86_64 => Some("x86_64"),
            elf::EM_AARCH64 => Some("aarch64"),
            _ => None,
        },
        interpreted,
        needed,
        glibc,
        end,
    })
}

/// [`read`] by path.
pub fn read_path(path: &Path) -> io::Result<Elf> {
    read(&File::open(path)?)
}

fn not_elf() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "it is not a 64-bit ELF file (a Linux program or library)",
    )
}

/// The largest `GLIBC_x.y` among the versions needed.
fn newest_glibc<'data, R: object::ReadRef<'data>>(
    mut verneeds: VerneedIterator<'data, elf::FileHeader64<Endianness>>,
    endian: Endianness,
    strings: object::StringTable<'data, R>,
) -> object::Result<Option<(u32, u32)>> {
    let mut newest = None;
    while let Some((_, mut versions)) = verneeds.next()? {
        while let Some(version) = versions.next()? {
            let name = version.name(endian, strings)?;
            newest = newest.max(glibc_version(&String::from_utf8_lossy(name)));
        }
    }
    Ok(newest)
}

/// `GLIBC_2.28` → (2, 28); `GLIBC_2.2.5` → (2, 2).
fn glibc_version(name: &str) -> Option<(u32, u32)> {
    let mut numbers = name.strip_prefix("GLIBC_")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn this_test_program_is_described_and_ends_where_something_is_appended() {
        let own = std::env::current_exe().unwrap();
        let facts = read_path(&own).unwrap();
        assert_eq!(facts.machine, Some(std::env::consts::ARCH));
        assert_eq!(facts.end, std::fs::metadata(&own).unwrap().len());
        assert!(facts.interpreted && facts.glibc > Some((2, 2)), "{facts:?}");
        assert!(
            facts.needed.iter().any(|name| name == "libc.so.6"),
            "{facts:?}"
        );
        let mut longer = tempfile::tempfile().unwrap();
        std::io::copy(&mut File::open(&own).unwrap(), &mut longer).unwrap();
        longer.write_all(b"more").unwrap();
        assert_eq!(read(&longer).unwrap().end, facts.end);
    }

    #[test]
    fn what_is_no_elf_file_is_an_error_and_never_a_panic() {
        for bytes in [
            &b""[..],
            b"#!/bin/sh\n",
            b"\x7fELF\x01\x01",
            b"\x7fELF\x02\x01",
        ] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            assert!(read(&file).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn glibc_versions_compare_as_numbers() {
        assert_eq!(glibc_version("GLIBC_2.2.5"), Some((2, 2)));
        assert!(glibc_version("GLIBC_2.28") > glibc_version("GLIBC_2.4"));
        assert_eq!(glibc_version("GLIBCXX_3.4.22"), None);
        assert_eq!(glibc_version("GLIBC_PRIVATE"), None);
    }
}
