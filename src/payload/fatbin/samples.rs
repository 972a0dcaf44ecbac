//! Fat binaries, cubins and libraries made up for tests.

/// An entry: kind 1 is PTX and 2 a cubin; the letters lie in the flags.
pub fn entry(kind: u16, arch: u32, flags: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[0..2].copy_from_slice(&kind.to_le_bytes());
    bytes[2..4].copy_from_slice(&0x0101_u16.to_le_bytes());
    bytes[4..8].copy_from_slice(&64_u32.to_le_bytes());
    bytes[8..16].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes[28..32].copy_from_slice(&arch.to_le_bytes());
    bytes[40..48].copy_from_slice(&(flags | 0x11).to_le_bytes());
    bytes.extend(payload);
    bytes
}

/// A region around entries.
pub fn region(entries: &[Vec<u8>]) -> Vec<u8> {
    let body = entries.concat();
    let mut bytes = vec![0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0];
    bytes.extend((body.len() as u64).to_le_bytes());
    bytes.extend(body);
    bytes
}

/// A cubin of the older layout, whose flags hold the architecture in the lowest byte: `length` bytes with headers, none zero
/// behind the first header.
pub fn cubin(arch: u32, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..9].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0x33, 7]);
    bytes[18..20].copy_from_slice(&190_u16.to_le_bytes());
    bytes[40..48].copy_from_slice(&(length as u64 - 64).to_le_bytes());
    bytes[48..52].copy_from_slice(&(arch << 16 | 0x500 | arch).to_le_bytes());
    bytes[58..60].copy_from_slice(&64_u16.to_le_bytes());
    bytes[60..62].copy_from_slice(&1_u16.to_le_bytes());
    bytes.extend((64..length).map(|at| (at % 251) as u8 + 1));
    bytes
}

/// A 64-bit ELF library of sections by name, contents and whether they hold instructions.
pub fn library(sections: &[(&str, &[u8], bool)]) -> Vec<u8> {
    let mut names = vec![0];
    let mut bytes = vec![0; 64];
    let mut headers = vec![0; 64];
    let mut header = |name: usize, kind: u32, flags: u64, offset: usize, size: usize| {
        let mut header = vec![0; 64];
        header[0..4].copy_from_slice(&(name as u32).to_le_bytes());
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[8..16].copy_from_slice(&flags.to_le_bytes());
        header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
        headers.extend(header);
    };
    for (name, contents, code) in sections {
        let flags = if *code { 6 } else { 2 };
        header(names.len(), 1, flags, bytes.len(), contents.len());
        names.extend(name.bytes().chain([0]));
        bytes.extend(*contents);
        bytes.resize(bytes.len().next_multiple_of(16), 0);
    }
    let name = names.len();
    names.extend(b".shstrtab\0");
    header(name, 3, 0, bytes.len(), names.len());
    bytes.extend(names);
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    let table = bytes.len() as u64;
    bytes.extend(headers);
    bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    bytes[16..18].copy_from_slice(&3_u16.to_le_bytes());
    bytes[18..20].copy_from_slice(&62_u16.to_le_bytes());
    bytes[20..24].copy_from_slice(&1_u32.to_le_bytes());
    bytes[40..48].copy_from_slice(&table.to_le_bytes());
    bytes[52..54].copy_from_slice(&64_u16.to_le_bytes());
    bytes[58..60].copy_from_slice(&64_u16.to_le_bytes());
    bytes[60..62].copy_from_slice(&(sections.len() as u16 + 2).to_le_bytes());
    bytes[62..64].copy_from_slice(&(sections.len() as u16 + 1).to_le_bytes());
    bytes
}
