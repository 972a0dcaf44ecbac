//! ONNX Runtime as files: a Python wheel (a zip file), a folder or a library, checked for this machine, unpacked, found again.
//! Shared with `build.rs`, so std, zip, sha2 and tempfile only; every error is a whole sentence. Nothing is downloaded or loaded here.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zip::ZipArchive;

/// The file that lists name and size of everything unpacked beside it.
const MANIFEST: &str = "MANIFEST";
/// What is taken from a wheel besides `libonnxruntime.so*`.
const COMPANIONS: [&str; 4] = [
    "onnxruntime/capi/libonnxruntime_providers_shared.so",
    "onnxruntime/capi/libonnxruntime_providers_cuda.so",
    "onnxruntime/LICENSE",
    "onnxruntime/ThirdPartyNotices.txt",
];

/// The library behind a wheel, a folder or a library file, for machine `arch` (a Rust name, such as `aarch64`).
/// A wheel is unpacked below `cache`, which is asked for only then.
pub fn resolve(
    given: &Path,
    arch: &str,
    cache: impl FnOnce() -> Result<PathBuf, String>,
) -> Result<PathBuf, String> {
    let path = std::path::absolute(given).map_err(|cause| unreadable(given, &cause))?;
    if path.is_dir() {
        return find_library(&path, arch);
    }
    let head = head_of(&path)?;
    if head.starts_with(b"PK") || path.extension().is_some_and(|extension| extension == "whl") {
        let destination = folder(&cache()?, &digest(&path)?);
        return unpack(&path, &destination, arch);
    }
    check_library(&path, arch)?;
    Ok(path)
}

/// The folder below `cache` for the wheel with this SHA-256 (hex).
pub fn folder(cache: &Path, digest: &str) -> PathBuf {
    cache.join("ort").join(digest.get(..16).unwrap_or(digest))
}

/// The SHA-256 of a file in lower-case hex.
pub fn digest(path: &Path) -> Result<String, String> {
    let mut file = File::open(path).map_err(|cause| unreadable(path, &cause))?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        let length = file
            .read(&mut block)
            .map_err(|cause| unreadable(path, &cause))?;
        if length == 0 {
            break;
        }
        hash.update(&block[..length]);
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// The library in a folder that [`unpack`] made earlier, or nothing when the folder is absent or a file has gone or changed size.
pub fn unpacked(folder: &Path, arch: &str) -> Option<PathBuf> {
    let manifest = fs::read_to_string(folder.join(MANIFEST)).ok()?;
    let whole = manifest.lines().all(|line| {
        line.split_once(' ').is_some_and(|(size, name)| {
            fs::metadata(folder.join(name))
                .is_ok_and(|found| found.is_file() && size.parse() == Ok(found.len()))
        })
    });
    if whole {
        find_library(folder, arch).ok()
    } else {
        None
    }
}

/// Unpacks the libraries and licences of `wheel` into `destination` and returns the library. Safe when several processes do
/// so at once: each unpacks into a folder of its own beside `destination`, and the first to rename it there serves all.
pub fn unpack(wheel: &Path, destination: &Path, arch: &str) -> Result<PathBuf, String> {
    if let Some(library) = unpacked(destination, arch) {
        return Ok(library);
    }
    let mut archive = open(wheel)?;
    check_platform(wheel, &mut archive, arch)?;
    let members = members(wheel, &mut archive, arch)?;
    let parent = destination.parent().unwrap_or(Path::new("/"));
    let unwritable = |cause: io::Error| {
        format!(
            "could not unpack {} into {}: {cause}; make room there or set XDG_CACHE_HOME to a folder you can write to",
            wheel.display(),
            destination.display()
        )
    };
    fs::create_dir_all(parent).map_err(unwritable)?;
    let staging = tempfile::Builder::new()
        .prefix(".unpack-")
        .tempdir_in(parent)
        .map_err(unwritable)?;
    let staged = staging.path().join("new");
    extract(&mut archive, &members, &staged).map_err(unwritable)?;
    publish(&staged, destination, &staging.path().join("old"), arch).map_err(unwritable)?;
    find_library(destination, arch)
}

/// The `libonnxruntime.so*` in `folder`, `folder/lib` or `folder/onnxruntime/capi`: the real file before a link to it, the
/// highest version before others.
pub fn find_library(folder: &Path, arch: &str) -> Result<PathBuf, String> {
    for place in [
        folder.to_owned(),
        folder.join("lib"),
        folder.join("onnxruntime/capi"),
    ] {
        let entries = match fs::read_dir(&place) {
            Ok(entries) => entries,
            Err(cause) if place == folder => return Err(unreadable(folder, &cause)),
            Err(_) => continue,
        };
        let best = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().is_file())
            .filter_map(|entry| {
                let version = library_version(entry.file_name().to_str()?)?;
                let real = entry.file_type().is_ok_and(|kind| kind.is_file());
                Some((real, version, entry.path()))
            })
            .max();
        if let Some((_, _, library)) = best {
            check_library(&library, arch)?;
            return Ok(library);
        }
    }
    Err(format!(
        "{} holds no libonnxruntime.so, neither itself nor in lib or onnxruntime/capi; give the folder of an unpacked ONNX Runtime for Linux on {arch}",
        folder.display()
    ))
}

/// Refuses a file that is no shared library for machine `arch`.
fn check_library(path: &Path, arch: &str) -> Result<(), String> {
    let head = head_of(path)?;
    let length = fs::metadata(path)
        .map_err(|cause| unreadable(path, &cause))?
        .len();
    match elf_flaw(&head, length, arch) {
        Some(flaw) => Err(format!(
            "{} {flaw}; give a libonnxruntime.so for Linux on {arch}, a folder that holds one, or an ONNX Runtime wheel",
            path.display()
        )),
        None => Ok(()),
    }
}

/// What is wrong with a library of `length` bytes that begins with `head`, as the rest of a sentence; nothing when it will do.
fn elf_flaw(head: &[u8], length: u64, arch: &str) -> Option<String> {
    let Some(header) = head
        .first_chunk::<64>()
        .filter(|header| header.starts_with(b"\x7fELF"))
    else {
        return Some("is not a shared library (ELF)".to_owned());
    };
    let number = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let machine = match (header[4], header[5], number(18)) {
        (2, 1, 62) => "x86_64",
        (2, 1, 183) => "aarch64",
        (2, 1, 243) => "riscv64",
        (1, 1, 3) => "x86 (32 bits)",
        (1, 1, 40) => "arm (32 bits)",
        _ => "another machine",
    };
    if machine != arch {
        return Some(format!("is a library for {machine}, not for {arch}"));
    }
    if number(16) != 3 {
        return Some("is an ELF file but not a shared library".to_owned());
    }
    // The section table is the last thing in a library: a copy that was cut short lacks it.
    let sections_at = u64::from_le_bytes(*header[40..].first_chunk()?);
    let sections = u64::from(number(58)) * u64::from(number(60));
    (sections_at.saturating_add(sections) > length).then(|| "is cut short".to_owned())
}

/// Up to 64 bytes from the beginning of a file.
fn head_of(path: &Path) -> Result<Vec<u8>, String> {
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(64).read_to_end(&mut head))
        .map_err(|cause| unreadable(path, &cause))?;
    Ok(head)
}

/// The version in a name like `libonnxruntime.so.1.31.1`; empty when it carries none, nothing for any other file.
fn library_version(name: &str) -> Option<Vec<u32>> {
    match name.strip_prefix("libonnxruntime.so")? {
        "" => Some(Vec::new()),
        suffix => suffix
            .strip_prefix('.')?
            .split('.')
            .map(|part| part.parse().ok())
            .collect(),
    }
}

/// Opens a wheel.
pub fn open(wheel: &Path) -> Result<ZipArchive<File>, String> {
    let file = File::open(wheel).map_err(|cause| unreadable(wheel, &cause))?;
    ZipArchive::new(file).map_err(|cause| no_wheel(wheel, &cause.to_string()))
}

/// Refuses a wheel none of whose `Tag:` lines says Linux (glibc) on `arch`.
fn check_platform(wheel: &Path, archive: &mut ZipArchive<File>, arch: &str) -> Result<(), String> {
    let name = names(archive)
        .into_iter()
        .find(|name| {
            name.split_once('/')
                .is_some_and(|(top, rest)| top.ends_with(".dist-info") && rest == "WHEEL")
        })
        .ok_or_else(|| no_wheel(wheel, "it is a zip file without a dist-info/WHEEL entry"))?;
    let mut text = String::new();
    archive
        .by_name(&name)
        .map_err(io::Error::other)
        .and_then(|entry| entry.take(1 << 16).read_to_string(&mut text))
        .map_err(|cause| no_wheel(wheel, &format!("{name}: {cause}")))?;
    let platforms: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("Tag:")?.trim().splitn(3, '-').nth(2))
        .flat_map(|platforms| platforms.split('.'))
        .collect();
    let fits = |platform: &&str| {
        (platform.starts_with("manylinux") || platform.starts_with("linux_"))
            && platform.ends_with(&format!("_{arch}"))
    };
    if platforms.iter().any(fits) {
        return Ok(());
    }
    Err(format!(
        "{} is a wheel for {}, and one for Linux on {arch} is needed; give the onnxruntime wheel whose name says manylinux and {arch}",
        wheel.display(),
        if platforms.is_empty() {
            "no platform it names".to_owned()
        } else {
            platforms.join(", ")
        }
    ))
}

/// The entries to unpack; refuses a wheel whose library is absent or built for another machine.
fn members(
    wheel: &Path,
    archive: &mut ZipArchive<File>,
    arch: &str,
) -> Result<Vec<String>, String> {
    let is_library = |name: &String| {
        name.strip_prefix("onnxruntime/capi/")
            .and_then(library_version)
            .is_some()
    };
    let (libraries, others): (Vec<_>, Vec<_>) = names(archive).into_iter().partition(is_library);
    if libraries.is_empty() {
        return Err(format!(
            "{} is a wheel without onnxruntime/capi/libonnxruntime.so; give a wheel of onnxruntime or onnxruntime-gpu for Linux, 1.20 or newer",
            wheel.display()
        ));
    }
    for name in &libraries {
        let mut head = Vec::new();
        let entry = archive
            .by_name(name)
            .map_err(|cause| no_wheel(wheel, &format!("{name}: {cause}")))?;
        let length = entry.size();
        entry
            .take(64)
            .read_to_end(&mut head)
            .map_err(|cause| no_wheel(wheel, &format!("{name}: {cause}")))?;
        if let Some(flaw) = elf_flaw(&head, length, arch) {
            return Err(format!(
                "{name} in {} {flaw}; give the onnxruntime wheel for Linux on {arch}",
                wheel.display()
            ));
        }
    }
    let companions = others
        .into_iter()
        .filter(|name| COMPANIONS.contains(&name.as_str()));
    Ok(libraries.into_iter().chain(companions).collect())
}

/// Writes the members and their [`MANIFEST`] flat into `folder`, all of it synced to disk.
fn extract(archive: &mut ZipArchive<File>, members: &[String], folder: &Path) -> io::Result<()> {
    fs::create_dir(folder)?;
    let mut manifest = String::new();
    for member in members {
        // `members` admits two fixed prefixes and no further slash, so the last part is a plain file name.
        let name = member.rsplit('/').next().unwrap_or(member);
        let mut entry = archive.by_name(member).map_err(io::Error::other)?;
        let mut file = File::create_new(folder.join(name))?;
        let size = io::copy(&mut entry, &mut file)?;
        file.sync_all()?;
        manifest.push_str(&format!("{size} {name}\n"));
    }
    let mut file = File::create_new(folder.join(MANIFEST))?;
    file.write_all(manifest.as_bytes())?;
    file.sync_all()?;
    File::open(folder)?.sync_all()
}

/// Renames `staged` to `destination`. A whole folder that came there first stays; a damaged one is moved to `aside`.
fn publish(staged: &Path, destination: &Path, aside: &Path, arch: &str) -> io::Result<()> {
    let placed = fs::rename(staged, destination).or_else(|cause| {
        if unpacked(destination, arch).is_some() {
            return Ok(());
        }
        fs::rename(destination, aside).map_err(|_| cause)?;
        fs::rename(staged, destination)
    });
    match placed {
        Err(_) if unpacked(destination, arch).is_some() => Ok(()),
        Err(cause) => Err(cause),
        Ok(()) => destination
            .parent()
            .map_or(Ok(()), |parent| File::open(parent)?.sync_all()),
    }
}

/// The names of its entries.
pub fn names(archive: &ZipArchive<File>) -> Vec<String> {
    archive
        .file_names()
        .filter_map(Result::ok)
        .map(|name| name.into_owned())
        .collect()
}

fn no_wheel(path: &Path, cause: &str) -> String {
    format!(
        "{} is not a Python wheel ({cause}); download the onnxruntime wheel again, or give its folder or libonnxruntime.so",
        path.display()
    )
}

fn unreadable(path: &Path, cause: &io::Error) -> String {
    format!(
        "could not read {}: {cause}; give an ONNX Runtime wheel, a folder that holds libonnxruntime.so, or that file",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use zip::write::{SimpleFileOptions, ZipWriter};

    const TAG: &str =
        "Wheel-Version: 1.0\nTag: cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64\n";
    const LIBRARY: &str = "onnxruntime/capi/libonnxruntime.so.1.31.1";

    /// The header of a shared library for an ELF machine number, and `body` bytes after it.
    fn elf(machine: u16, body: usize) -> Vec<u8> {
        let mut bytes = vec![0; 64 + body];
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        bytes[16] = 3;
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes
    }

    fn zip_of(path: &Path, entries: &[(&str, &[u8])]) -> PathBuf {
        let mut zip = ZipWriter::new(File::create(path).unwrap());
        for (name, bytes) in entries {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
        path.to_owned()
    }

    fn good_wheel(folder: &Path) -> PathBuf {
        let entries: [(&str, &[u8]); 8] = [
            ("onnxruntime-1.31.1.dist-info/WHEEL", TAG.as_bytes()),
            (LIBRARY, &elf(62, 5000)),
            (
                "onnxruntime/capi/libonnxruntime_providers_shared.so",
                &elf(62, 1),
            ),
            (
                "onnxruntime/capi/libonnxruntime_providers_cuda.so",
                &elf(62, 2),
            ),
            (
                "onnxruntime/capi/libonnxruntime_providers_tensorrt.so",
                &elf(62, 3),
            ),
            ("onnxruntime/capi/../../../libonnxruntime.so", &elf(62, 4)),
            ("onnxruntime/LICENSE", b"MIT"),
            ("onnxruntime/ThirdPartyNotices.txt", b"many"),
        ];
        zip_of(
            &folder.join("onnxruntime-1.31.1-cp312-cp312-manylinux_2_28_x86_64.whl"),
            &entries,
        )
    }

    /// Resolves for x86_64 with a cache in `folder`, and expects a refusal that names the file and each of `parts`.
    fn refused(file: &Path, folder: &Path, parts: &[&str]) {
        let sentence = resolve(file, "x86_64", || Ok(folder.join("cache"))).unwrap_err();
        for part in parts.iter().copied().chain([file.to_str().unwrap(), "; "]) {
            assert!(sentence.contains(part), "{part:?} is not in: {sentence}");
        }
        assert!(!sentence.contains('\n'), "{sentence}");
        assert!(
            !folder.join("cache/ort").exists(),
            "a refused file leaves nothing in the cache"
        );
    }

    #[test]
    fn a_wheel_is_unpacked_once_and_found_again() {
        let temp = tempfile::tempdir().unwrap();
        let wheel = good_wheel(temp.path());
        let library = resolve(&wheel, "x86_64", || Ok(temp.path().join("cache"))).unwrap();
        let folder = library.parent().unwrap();
        assert_eq!(
            folder,
            temp.path()
                .join("cache/ort")
                .join(&digest(&wheel).unwrap()[..16])
        );
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        let expected = [
            "LICENSE",
            "MANIFEST",
            "ThirdPartyNotices.txt",
            "libonnxruntime.so.1.31.1",
            "libonnxruntime_providers_cuda.so",
            "libonnxruntime_providers_shared.so",
        ];
        assert_eq!(names, expected);
        assert_eq!(fs::read(&library).unwrap(), elf(62, 5000));
        assert_eq!(unpacked(folder, "x86_64"), Some(library.clone()));
        fs::remove_file(&wheel).unwrap();
        assert_eq!(
            unpack(&wheel, folder, "x86_64").unwrap(),
            library,
            "the wheel is not opened again"
        );
    }

    #[test]
    fn a_damaged_copy_is_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let wheel = good_wheel(temp.path());
        let folder = temp.path().join("ort/copy");
        let library = unpack(&wheel, &folder, "x86_64").unwrap();
        fs::write(&library, "short").unwrap();
        fs::remove_file(folder.join("LICENSE")).unwrap();
        assert_eq!(unpacked(&folder, "x86_64"), None);
        assert_eq!(unpack(&wheel, &folder, "x86_64").unwrap(), library);
        assert_eq!(fs::read(&library).unwrap(), elf(62, 5000));
        assert_eq!(
            fs::read_dir(temp.path().join("ort")).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn builds_that_unpack_at_once_all_get_a_whole_copy() {
        let temp = tempfile::tempdir().unwrap();
        let wheel = good_wheel(temp.path());
        let folder = temp.path().join("ort/copy");
        std::thread::scope(|scope| {
            let unpack_one = || unpack(&wheel, &folder, "x86_64");
            let all: Vec<_> = (0..8).map(|_| scope.spawn(unpack_one)).collect();
            for one in all {
                assert_eq!(
                    fs::read(one.join().unwrap().unwrap()).unwrap(),
                    elf(62, 5000)
                );
            }
        });
        assert_eq!(
            fs::read_dir(temp.path().join("ort")).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn a_file_that_is_no_wheel_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let page = temp.path().join("onnxruntime.whl");
        fs::write(&page, "<html>404</html>").unwrap();
        refused(
            &page,
            temp.path(),
            &[
                "is not a Python wheel",
                "download the onnxruntime wheel again",
            ],
        );
        let cut = temp.path().join("cut.whl");
        let whole = fs::read(good_wheel(temp.path())).unwrap();
        fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
        refused(&cut, temp.path(), &["is not a Python wheel"]);
        let zip = zip_of(&temp.path().join("some.zip"), &[("a/WHEEL", b"x")]);
        refused(
            &zip,
            temp.path(),
            &["is not a Python wheel", "dist-info/WHEEL"],
        );
    }

    #[test]
    fn a_wheel_for_another_platform_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        for tag in [
            "win_amd64",
            "macosx_14_0_arm64",
            "manylinux_2_28_aarch64",
            "musllinux_1_2_x86_64",
            "any",
        ] {
            let text = format!("Tag: cp312-cp312-{tag}\n");
            let entries: [(&str, &[u8]); 2] = [
                ("o-1.dist-info/WHEEL", text.as_bytes()),
                (LIBRARY, &elf(62, 0)),
            ];
            let wheel = zip_of(&temp.path().join("other.whl"), &entries);
            refused(&wheel, temp.path(), &[tag, "Linux on x86_64"]);
        }
    }

    #[test]
    fn a_wheel_with_a_library_for_another_machine_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        for (library, flaw) in [
            (elf(183, 0), "is a library for aarch64, not for x86_64"),
            (b"text".to_vec(), "(ELF)"),
        ] {
            let entries: [(&str, &[u8]); 2] =
                [("o-1.dist-info/WHEEL", TAG.as_bytes()), (LIBRARY, &library)];
            let wheel = zip_of(&temp.path().join("mislabelled.whl"), &entries);
            refused(&wheel, temp.path(), &[LIBRARY, flaw]);
        }
    }

    #[test]
    fn a_wheel_without_the_library_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let entries: [(&str, &[u8]); 2] = [
            ("numpy-2.dist-info/WHEEL", TAG.as_bytes()),
            (
                "onnxruntime/capi/libonnxruntime_providers_cuda.so",
                &elf(62, 0),
            ),
        ];
        let wheel = zip_of(&temp.path().join("numpy.whl"), &entries);
        refused(
            &wheel,
            temp.path(),
            &[
                "without onnxruntime/capi/libonnxruntime.so",
                "1.20 or newer",
            ],
        );
    }

    #[test]
    fn a_library_file_is_taken_as_it_is_and_a_wrong_one_refused() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("libonnxruntime.so");
        fs::write(&file, elf(62, 0)).unwrap();
        assert_eq!(
            resolve(&file, "x86_64", || Err("not asked for".to_owned())).unwrap(),
            file
        );
        let mut program = elf(62, 0);
        program[16] = 2;
        let mut cut = elf(62, 0);
        cut[41] = 1;
        let cases = [
            (elf(183, 0), "is a library for aarch64, not for x86_64"),
            (elf(21, 0), "is a library for another machine"),
            (program, "is an ELF file but not a shared library"),
            (cut, "is cut short"),
            (
                b"INPUT(libonnxruntime.so.1)".to_vec(),
                "is not a shared library (ELF)",
            ),
            (Vec::new(), "is not a shared library (ELF)"),
        ];
        for (bytes, flaw) in cases {
            fs::write(&file, bytes).unwrap();
            refused(&file, temp.path(), &[flaw, "Linux on x86_64"]);
        }
        refused(
            &temp.path().join("absent.so"),
            temp.path(),
            &["could not read", "No such file"],
        );
    }

    #[test]
    fn the_real_file_with_the_highest_version_is_found_in_each_place() {
        for place in ["", "lib", "onnxruntime/capi"] {
            let temp = tempfile::tempdir().unwrap();
            let folder = temp.path().join(place);
            fs::create_dir_all(&folder).unwrap();
            for name in [
                "libonnxruntime.so.1.9.1",
                "libonnxruntime.so.1.31.1",
                "libonnxruntime_providers_cuda.so",
            ] {
                fs::write(folder.join(name), elf(62, 0)).unwrap();
            }
            fs::write(folder.join("libonnxruntime.so.1.31.1.debug"), "symbols").unwrap();
            std::os::unix::fs::symlink(
                "libonnxruntime.so.1.9.1",
                folder.join("libonnxruntime.so.2"),
            )
            .unwrap();
            std::os::unix::fs::symlink("nowhere", folder.join("libonnxruntime.so.3")).unwrap();
            assert_eq!(
                find_library(temp.path(), "x86_64").unwrap(),
                folder.join("libonnxruntime.so.1.31.1"),
                "{place:?}"
            );
        }
    }

    #[test]
    fn a_folder_without_the_library_or_with_a_wrong_one_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        refused(
            temp.path(),
            temp.path(),
            &["holds no libonnxruntime.so", "Linux on x86_64"],
        );
        fs::write(temp.path().join("libonnxruntime.so.1.31.1"), elf(183, 0)).unwrap();
        refused(
            temp.path(),
            temp.path(),
            &["libonnxruntime.so.1.31.1", "is a library for aarch64"],
        );
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_said_so() {
        let temp = tempfile::tempdir().unwrap();
        let wheel = good_wheel(temp.path());
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        let sentence = unpack(&wheel, &file.join("ort/copy"), "x86_64").unwrap_err();
        assert!(
            sentence.contains("could not unpack") && sentence.contains("set XDG_CACHE_HOME"),
            "{sentence}"
        );
    }
}
