//! Where the GPU code of a file lies, recognised by its layout; whatever is not exactly of a known layout is left whole.
//!
//! Code comes in three wrappings, all little-endian:
//! - a fat binary ("region"): magic, `u16` version 1, `u16` header size 16, `u64` body size; the body is a row of entries, each
//!   with `u16` kind, `u16` version, `u32` header size, `u64` payload size, and at 28 the architecture, at 40 flags;
//! - a Zstandard frame around one cubin, and
//! - a bare cubin: an ELF file for machine 190. Libraries keep these in tables of their own.

use std::io::Read as _;
use std::ops::Range;

use memchr::memmem;

use super::arch::{Arch, Target, Variant};
use super::sections;

const REGION_MAGIC: [u8; 4] = [0x50, 0xed, 0x55, 0xba];
const REGION_HEADER: usize = 16;
const ENTRY_VERSION: u16 = 0x0101;
const SMALLEST_ENTRY_HEADER: usize = 64;
const FLAG_SPECIFIC: u64 = 0x10_0000;
const FLAG_FAMILY: u64 = 0x20_0000;
/// The rest of the bits in which the letters lie: no meaning is known.
const FLAG_UNKNOWN_LETTER: u64 = 0xc0_0000;
const FRAME_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Start of a 64-bit little-endian ELF file.
const ELF_MAGIC: [u8; 7] = [0x7f, b'E', b'L', b'F', 2, 1, 1];
const ELF_HEADER: usize = 64;
const MACHINE_CUDA: u16 = 190;
/// Everything in question begins at a multiple of this.
const ALIGNMENT: usize = 8;

/// What a piece of code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Machine code.
    Cubin,
    /// Text that the driver translates.
    Ptx,
    /// Something else, which is always kept.
    Other,
}

/// One translation of a kernel module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// What it is for.
    pub target: Target,
    /// Where its code lies in the file, without the headers.
    pub payload: Range<usize>,
}

/// Who chooses among the entries of a module at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chooser {
    /// The driver: the module was registered with it.
    Driver,
    /// The library that holds it, by rules of its own.
    Library,
}

/// The translations of one kernel module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Who chooses.
    pub chooser: Chooser,
    /// Among what.
    pub entries: Vec<Entry>,
}

/// All code found in a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Kernel modules.
    pub modules: Vec<Module>,
    /// Whether the driver chooses in any module that has machine code or PTX.
    pub has_registered: bool,
    /// Fat binaries whose layout is unknown.
    pub unknown_regions: usize,
    /// Their size; `None` when one does not tell it.
    pub unknown_bytes: Option<u64>,
}

/// Finds the GPU code in a file.
pub fn find(bytes: &[u8]) -> Found {
    let mut found = Found {
        modules: Vec::new(),
        has_registered: false,
        unknown_regions: 0,
        unknown_bytes: Some(0),
    };
    for (part, chooser) in sections::data_parts(bytes) {
        let mut at = part.start;
        while let Some(begin) = aligned(bytes, at..part.end, &REGION_MAGIC).next() {
            found.loose(bytes, at..begin);
            at = found.region(bytes, begin..part.end, chooser);
        }
        found.loose(bytes, at..part.end);
    }
    found.has_registered = found.modules.iter().any(|module| {
        module.chooser == Chooser::Driver
            && module.entries.iter().any(|entry| entry.kind != Kind::Other)
    });
    found
}

impl Found {
    /// Adds the region that begins with `range` and returns where it ends. When that is unknown, it is the end of `range`:
    /// nothing behind it can be told from its contents.
    fn region(&mut self, bytes: &[u8], range: Range<usize>, chooser: Chooser) -> usize {
        let end = number::<8>(bytes, range.start + 8)
            .and_then(|size| usize::try_from(u64::from_le_bytes(size)).ok())
            .and_then(|size| (range.start + REGION_HEADER).checked_add(size))
            .filter(|end| *end <= range.end);
        let known_header = half(bytes, range.start + 4) == Some(1)
            && half(bytes, range.start + 6) == Some(REGION_HEADER as u16);
        let body = end.filter(|_| known_header);
        let entries = body.and_then(|end| entries(bytes, range.start + REGION_HEADER..end));
        match entries {
            Some(entries) => self.modules.push(Module { chooser, entries }),
            None => {
                self.unknown_regions += 1;
                let size = body.map(|end| (end - range.start) as u64);
                self.unknown_bytes = self
                    .unknown_bytes
                    .zip(size)
                    .map(|(sum, size)| sum.saturating_add(size));
            }
        }
        end.unwrap_or(range.end)
    }

    /// Adds the cubins in `range` that are in no region.
    fn loose(&mut self, bytes: &[u8], range: Range<usize>) {
        let mut at = range.start;
        while let Some((begin, end)) = next_frame(bytes, at..range.end) {
            self.bare(bytes, at..begin);
            if let Some(entry) = framed_cubin(bytes, begin..end) {
                self.single(entry);
            }
            at = end;
        }
        self.bare(bytes, at..range.end);
    }

    /// Adds the cubins in `range` that have no wrapping.
    fn bare(&mut self, bytes: &[u8], range: Range<usize>) {
        let mut at = range.start;
        let next = |from| {
            let mut starts = aligned(bytes, from..range.end, &ELF_MAGIC);
            starts.find_map(|begin| Some((begin, cubin_end(bytes, begin, range.end)?)))
        };
        while let Some((begin, end)) = next(at) {
            if let Some(target) = cubin_target(&bytes[begin..end])
                && !is_blank(&bytes[begin + ELF_HEADER..end])
            {
                self.single(Entry {
                    kind: Kind::Cubin,
                    target,
                    payload: begin + ELF_HEADER..end,
                });
            }
            at = end;
        }
    }

    fn single(&mut self, entry: Entry) {
        self.modules.push(Module {
            chooser: Chooser::Library,
            entries: vec![entry],
        });
    }
}

/// The entries that fill `body` exactly, or nothing when anything about them is unexpected.
fn entries(bytes: &[u8], body: Range<usize>) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut at = body.start;
    while at < body.end {
        let header = usize::try_from(u32::from_le_bytes(number(bytes, at + 4)?)).ok()?;
        let payload = usize::try_from(u64::from_le_bytes(number(bytes, at + 8)?)).ok()?;
        let begin = at.checked_add(header)?;
        let end = begin.checked_add(payload)?;
        let sound = half(bytes, at + 2)? == ENTRY_VERSION
            && header >= SMALLEST_ENTRY_HEADER
            && header.is_multiple_of(ALIGNMENT)
            && payload.is_multiple_of(ALIGNMENT)
            && end <= body.end;
        if !sound {
            return None;
        }
        let flags = u64::from_le_bytes(number(bytes, at + 40)?);
        let kind = match half(bytes, at)? {
            _ if flags & FLAG_UNKNOWN_LETTER != 0 => Kind::Other,
            1 => Kind::Ptx,
            2 => Kind::Cubin,
            _ => Kind::Other,
        };
        let variant = if flags & FLAG_SPECIFIC != 0 {
            Variant::Specific
        } else if flags & FLAG_FAMILY != 0 {
            Variant::Family
        } else {
            Variant::Plain
        };
        let arch = Arch(u32::from_le_bytes(number(bytes, at + 28)?));
        // What an earlier cut blanked is not there any more.
        if !is_blank(&bytes[begin..end]) {
            entries.push(Entry {
                kind,
                target: Target { arch, variant },
                payload: begin..end,
            });
        }
        at = end;
    }
    Some(entries)
}

/// Whether nothing but zeros is left of a payload.
fn is_blank(payload: &[u8]) -> bool {
    !payload.is_empty() && payload.iter().all(|byte| *byte == 0)
}

/// The next whole Zstandard frame in `range`.
fn next_frame(bytes: &[u8], range: Range<usize>) -> Option<(usize, usize)> {
    aligned(bytes, range.clone(), &FRAME_MAGIC).find_map(|begin| {
        let rest = bytes.get(begin..range.end)?;
        let size = zstd::zstd_safe::find_frame_compressed_size(rest).ok()?;
        (size <= rest.len()).then_some((begin, begin + size))
    })
}

/// The cubin in a frame, or nothing when it holds something else.
fn framed_cubin(bytes: &[u8], frame: Range<usize>) -> Option<Entry> {
    let content = bytes.get(frame.clone())?;
    let mut decoder = zstd::stream::read::Decoder::with_buffer(content).ok()?;
    let mut head = [0; ELF_HEADER];
    decoder.read_exact(&mut head).ok()?;
    let payload = frame.start + frame_header(*content.get(4)?)..frame.end;
    (head.starts_with(&ELF_MAGIC) && !payload.is_empty()).then_some(Entry {
        kind: Kind::Cubin,
        target: cubin_target(&head)?,
        payload,
    })
}

/// Size of a frame's header, from its descriptor.
fn frame_header(descriptor: u8) -> usize {
    let single = descriptor >> 5 & 1 == 1;
    let window = usize::from(!single);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_size = match descriptor >> 6 {
        0 => usize::from(single),
        width => 1 << width,
    };
    FRAME_MAGIC.len() + 1 + window + dictionary + content_size
}

/// Where the cubin that begins at `begin` ends: behind its section and program headers, at most at `limit`.
fn cubin_end(bytes: &[u8], begin: usize, limit: usize) -> Option<usize> {
    if half(bytes, begin + 18)? != MACHINE_CUDA {
        return None;
    }
    let table_end = |offset: usize, size: usize, count: usize| {
        let offset = usize::try_from(u64::from_le_bytes(number(bytes, begin + offset)?)).ok()?;
        let size = usize::from(half(bytes, begin + size)?);
        offset.checked_add(size * usize::from(half(bytes, begin + count)?))
    };
    let length = table_end(32, 54, 56)?.max(table_end(40, 58, 60)?);
    let end = begin.checked_add(length)?;
    (length > ELF_HEADER && end <= limit).then_some(end)
}

/// What a cubin is for, from its ELF header. Newer ones do not tell the letter there; without one, more is kept than need be.
fn cubin_target(header: &[u8]) -> Option<Target> {
    if half(header, 18)? != MACHINE_CUDA {
        return None;
    }
    let flags = u32::from_le_bytes(number(header, 48)?);
    let (arch, specific) = match header.get(7..9)? {
        [0x33, 7] => (flags & 0xff, flags & 0x800 != 0),
        [0x41, 8] => (flags >> 8 & 0xff, false),
        _ => return None,
    };
    Some(Target {
        arch: Arch(arch),
        variant: if specific {
            Variant::Specific
        } else {
            Variant::Plain
        },
    })
}

/// Aligned places in `range` at which `magic` begins.
fn aligned<'a>(
    bytes: &'a [u8],
    range: Range<usize>,
    magic: &'a [u8],
) -> impl Iterator<Item = usize> + 'a {
    let text = bytes.get(range.clone()).unwrap_or_default();
    memmem::find_iter(text, magic)
        .map(move |at| range.start + at)
        .filter(|at| at.is_multiple_of(ALIGNMENT))
}

fn number<const SIZE: usize>(bytes: &[u8], at: usize) -> Option<[u8; SIZE]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    number(bytes, at).map(u16::from_le_bytes)
}
