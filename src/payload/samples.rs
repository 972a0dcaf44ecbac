//! Small programs and packages made up for tests.

use super::format::{self, Index, Kind, Package, Part, WORKER};
use crate::error::Error;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An ELF program for x86_64 with nothing but headers, one segment and filler: 4096 bytes in all.
pub fn program() -> Vec<u8> {
    elf(62, false)
}

/// [`program`] that passes for an ONNX Runtime.
pub fn runtime() -> Vec<u8> {
    let mut bytes = program();
    bytes[1000..1015].copy_from_slice(b"\0OrtGetApiBase\0");
    bytes
}

/// [`program`] for the machine of this number, which a dynamic loader has to start if it is `interpreted`.
pub fn elf(machine: u16, interpreted: bool) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..4096_u32).map(|at| (at * 7 % 251) as u8).collect();
    bytes[..64 + 2 * 56].fill(0);
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[16..18].copy_from_slice(&3_u16.to_le_bytes());
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes[20] = 1;
    // Program headers right behind the file header: a segment that is the whole file, and perhaps a loader's name.
    bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
    bytes[52..54].copy_from_slice(&64_u16.to_le_bytes());
    bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
    bytes[56..58].copy_from_slice(&(1 + u16::from(interpreted)).to_le_bytes());
    bytes[64] = 1;
    let length = bytes.len() as u64;
    bytes[64 + 32..64 + 40].copy_from_slice(&length.to_le_bytes());
    bytes[64 + 56] = 3;
    bytes
}

/// An ELF library for x86_64 that needs others, with GPU code.
pub fn provider(needed: &[&str], fat_binary: &[u8]) -> Vec<u8> {
    let (mut strings, mut dynamic) = (vec![0], Vec::new());
    for name in needed {
        dynamic.extend([1, strings.len() as u64].map(u64::to_le_bytes).concat());
        strings.extend(name.bytes().chain([0]));
    }
    dynamic.extend([0; 16]);
    let names = b"\0.nv_fatbin\0.dynstr\0.dynamic\0.shstrtab\0";
    // Name, kind, section of its strings, contents.
    let sections: [(u32, u32, u32, &[u8]); 4] = [
        (1, 1, 0, fat_binary),
        (12, 3, 0, &strings),
        (20, 6, 2, &dynamic),
        (29, 3, 0, names),
    ];
    let (mut bytes, mut headers) = (vec![0; 64], vec![0; 64]);
    for (name, kind, link, contents) in sections {
        let mut header = vec![0; 64];
        header[0..4].copy_from_slice(&name.to_le_bytes());
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[24..32].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(contents.len() as u64).to_le_bytes());
        header[40..44].copy_from_slice(&link.to_le_bytes());
        headers.extend(header);
        bytes.extend(contents);
        bytes.resize(bytes.len().next_multiple_of(16), 0);
    }
    let table = bytes.len() as u64;
    bytes.extend(headers);
    bytes[..64].copy_from_slice(&elf(62, false)[..64]);
    bytes[32..40].fill(0);
    bytes[40..48].copy_from_slice(&table.to_le_bytes());
    bytes[56..58].fill(0);
    bytes[58..60].copy_from_slice(&64_u16.to_le_bytes());
    bytes[60..62].copy_from_slice(&5_u16.to_le_bytes());
    bytes[62..64].copy_from_slice(&4_u16.to_le_bytes());
    bytes
}

/// A worker that can be started: it says `ready`.
pub const SCRIPT: &[u8] = b"#!/bin/sh\necho ready\n";

/// A library of 1 MiB, nearly all of it zero, as after cutting.
pub fn library() -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    bytes[..4].copy_from_slice(b"\x7fELF");
    bytes.extend(b"the end");
    bytes
}

/// The parts of [`package`].
pub fn parts() -> Vec<(Kind, &'static str, Vec<u8>)> {
    let notice = "A licence.\n".repeat(40).into_bytes();
    vec![
        (Kind::Worker, WORKER, SCRIPT.to_vec()),
        (Kind::Notice, "onnxruntime/LICENSE", notice),
        (Kind::Runtime, "libonnxruntime.so.1.2.3", library()),
        (Kind::Provider, "libprovider.so", b"provider".to_vec()),
    ]
}

/// Writes a program with a worker, a runtime, a provider and a licence.
pub fn package(path: &Path) {
    pack(path, &parts(), |_| {});
}

/// [`package`], open.
pub fn opened(folder: &Path) -> Package {
    let path = folder.join("program");
    package(&path);
    Package::open(&path).unwrap().unwrap()
}

/// Writes a program with these parts; `change` may tell lies about them.
pub fn pack(path: &Path, parts: &[(Kind, &str, Vec<u8>)], change: impl FnOnce(&mut Index)) {
    let program = program();
    let mut stored = tempfile::tempfile().unwrap();
    let mut list = Vec::new();
    for (kind, name, content) in parts {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(content).unwrap();
        let frame = encoder.finish().unwrap();
        stored.write_all(&frame).unwrap();
        list.push(Part {
            name: (*name).to_owned(),
            kind: *kind,
            bytes: content.len() as u64,
            stored: frame.len() as u64,
            sha256: format::digest(&frame[..]).unwrap(),
        });
    }
    let mut index = Index {
        version: "0.0.0".into(),
        arch: "x86_64".into(),
        front_bytes: program.len() as u64,
        front_sha256: format::digest(&program[..]).unwrap(),
        runtime_source: "made up".into(),
        kernels: Vec::new(),
        parts: list,
    };
    change(&mut index);
    let mut out = fs::File::create(path).unwrap();
    format::write(&mut &program[..], &index, &mut stored, &mut out).unwrap();
    out.set_permissions(Permissions::from_mode(0o755)).unwrap();
}

/// Checks that an error is one sentence with these parts and this exit code.
#[track_caller]
pub fn told(error: &Error, code: u8, parts: &[&str]) {
    let sentence = error.to_string();
    assert_eq!(error.exit_code(), code, "{sentence}");
    assert!(
        !sentence.contains('\n') && !sentence.contains(". ") && sentence.contains("; "),
        "{sentence}"
    );
    for part in parts {
        assert!(sentence.contains(part), "{part:?} is not in: {sentence}");
    }
}

/// The names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let items = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = items
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Whether this test runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says where nobody can overlook it that a test could not do its work.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED, nothing was tested: {why}");
}

/// A file system in memory, for as long as it lives.
pub struct Mount(PathBuf);

impl Mount {
    /// Mounts one below `folder`; nothing where this user may not.
    pub fn new(folder: &Path, options: &str) -> Option<Mount> {
        let place = folder.join("mount");
        fs::create_dir(&place).unwrap();
        let mount = Mount(place);
        let options = format!("mode=0700,{options}");
        if is_root() && mount.call("mount", &["-t", "tmpfs", "-o", &options, "tmpfs"]) {
            return Some(mount);
        }
        skipped("no file system can be mounted here");
        None
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it read-only.
    pub fn freeze(&self) {
        assert!(self.call("mount", &["-o", "remount,ro"]));
    }

    fn call(&self, program: &str, args: &[&str]) -> bool {
        let mut command = Command::new(program);
        let done = command.args(args).arg(&self.0).output();
        done.is_ok_and(|output| output.status.success())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.call("umount", &["-l"]);
    }
}
