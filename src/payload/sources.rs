//! Where the files of a bundle come from: folders and wheels, and the licences that belong to them. Read only.

use super::wheel;
use crate::elf;
use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};

/// The library that loads ONNX Runtime's providers.
pub const PROVIDERS_SHARED: &str = "libonnxruntime_providers_shared.so";
/// The CUDA provider.
pub const PROVIDERS_CUDA: &str = "libonnxruntime_providers_cuda.so";

/// Content of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A whole file.
    File(PathBuf),
    /// The beginning of a file.
    Start(PathBuf, u64),
    /// A text.
    Bytes(Vec<u8>),
}

impl Source {
    /// The file behind it; an empty path for a text.
    pub fn path(&self) -> &Path {
        match self {
            Source::File(path) | Source::Start(path, _) => path,
            Source::Bytes(_) => Path::new(""),
        }
    }

    /// Its length.
    pub fn len(&self) -> io::Result<u64> {
        match self {
            Source::File(path) => Ok(fs::metadata(path)?.len()),
            Source::Start(_, bytes) => Ok(*bytes),
            Source::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// Reads it.
    pub fn open(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match self {
            Source::File(path) => Box::new(File::open(path)?),
            Source::Start(path, bytes) => Box::new(File::open(path)?.take(*bytes)),
            Source::Bytes(bytes) => Box::new(Cursor::new(bytes)),
        })
    }
}

/// Whether a needed library belongs to CUDA and may be packed: everything of it but the driver's part, which only the driver has.
pub fn is_cuda(name: &str) -> bool {
    let families = [
        "libcudart.",
        "libcublas",
        "libcurand.",
        "libcufft.",
        "libcudnn",
        "libnvrtc.",
    ];
    !name.contains('/') && families.iter().any(|family| name.starts_with(family))
}

/// The pip package that has a library. Packages for CUDA 12 and older carry its number in their name.
fn package(name: &str) -> String {
    let packages = [
        ("libcudart", "nvidia-cuda-runtime", true),
        ("libcublas", "nvidia-cublas", true),
        ("libnvrtc", "nvidia-cuda-nvrtc", true),
        ("libcurand", "nvidia-curand", false),
        ("libcufft", "nvidia-cufft", false),
    ];
    if name.starts_with("libcudnn") {
        return "nvidia-cudnn-cu13 (nvidia-cudnn-cu12 for CUDA 12)".into();
    }
    let found = packages.iter().find(|(stem, ..)| name.starts_with(stem));
    let Some((_, package, numbered_as_cuda)) = found else {
        return "of the CUDA toolkit".into();
    };
    let number = name
        .rsplit(".so.")
        .next()
        .and_then(|version| version.parse::<u32>().ok());
    match number {
        Some(cuda) if *numbered_as_cuda && cuda < 13 => format!("{package}-cu{cuda}"),
        _ if *numbered_as_cuda => (*package).to_owned(),
        _ => format!("{package} ({package}-cu12 for CUDA 12)"),
    }
}

/// The file of a CUDA library in one of `places` (folders, wheels); what comes from a wheel is unpacked into `scratch`.
pub fn cuda_library(name: &str, places: &[PathBuf], scratch: &Path, arch: &str) -> Result<PathBuf> {
    for place in places {
        let found = if place.is_dir() {
            in_folder(place, name, arch)
        } else {
            in_wheel(place, name, scratch)?
        };
        let Some(path) = found else { continue };
        let facts = elf::read_path(&path).map_err(|cause| {
            Error::Usage(format!(
                "--with-cuda-libs {}: {name} cannot be used: {cause}; name the folder or wheel of another",
                place.display()
            ))
        })?;
        if facts.machine == Some(static_name(arch)) {
            return Ok(path);
        }
    }
    let list: Vec<String> = places
        .iter()
        .map(|place| place.display().to_string())
        .collect();
    Err(Error::Usage(format!(
        "--with-cuda-libs: {name} for {arch} is in none of {}; add the folder that holds it, or the wheel of the pip package {}",
        list.join(", "),
        package(name)
    )))
}

fn static_name(arch: &str) -> &'static str {
    if arch == "aarch64" {
        "aarch64"
    } else {
        "x86_64"
    }
}

/// A library in a folder itself, or where CUDA's own installers and pip keep libraries below it.
fn in_folder(folder: &Path, name: &str, arch: &str) -> Option<PathBuf> {
    let mut places = vec![
        folder.to_owned(),
        folder.join("lib64"),
        folder.join("lib"),
        folder.join(format!("targets/{arch}-linux/lib")),
        folder.join("targets/sbsa-linux/lib"),
    ];
    for parent in [folder.to_owned(), folder.join("nvidia")] {
        let children = fs::read_dir(parent).into_iter().flatten().flatten();
        places.extend(children.map(|child| child.path().join("lib")));
    }
    places
        .into_iter()
        .map(|place| place.join(name))
        .find(|path| path.is_file())
}

/// A library in a wheel, unpacked together with the wheel's licence.
fn in_wheel(wheel: &Path, name: &str, scratch: &Path) -> Result<Option<PathBuf>> {
    let refuse = |cause: String| {
        Error::Usage(format!(
            "--with-cuda-libs {}: {cause}; name a folder or a wheel that holds CUDA's libraries",
            wheel.display()
        ))
    };
    let mut archive = wheel::open(wheel).map_err(&refuse)?;
    let names = wheel::names(&archive);
    let Some(member) = names.iter().find(|member| base(member) == name) else {
        return Ok(None);
    };
    let licence = names
        .iter()
        .find(|member| member.contains(".dist-info/") && is_licence(base(member)));
    let stem = wheel.file_name().map(|name| name.to_string_lossy());
    let stem = stem
        .as_deref()
        .and_then(|name| name.split('-').next())
        .unwrap_or("cuda");
    let folder = scratch.join(stem);
    for (member, file) in [
        Some((member, name)),
        licence.map(|member| (member, "LICENSE")),
    ]
    .into_iter()
    .flatten()
    {
        let unpack = fs::create_dir_all(&folder).and_then(|()| {
            let mut entry = archive.by_name(member).map_err(io::Error::other)?;
            let mut out = File::create(folder.join(file))?;
            io::copy(&mut entry, &mut out)?;
            out.flush()
        });
        unpack.map_err(|cause| refuse(format!("{member} could not be unpacked ({cause})")))?;
    }
    Ok(Some(folder.join(name)))
}

fn base(member: &str) -> &str {
    member.rsplit('/').next().unwrap_or(member)
}

/// Whether a file name is that of a licence or a list of them.
fn is_licence(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let stems = [
        "license",
        "licence",
        "eula",
        "thirdpartynotices",
        "third_party",
        "notice",
        "copying",
    ];
    stems.iter().any(|stem| name.starts_with(stem))
}

/// A licence file and the name it gets in the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The thing it is about and the file's name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// Licences of ONNX Runtime beside its library, or above it where the library lies in `lib` or `capi`.
pub fn notices_beside(library: &Path) -> Vec<Notice> {
    let name = |file: &str| format!("onnxruntime/{file}");
    licences_near(library, 2)
        .into_iter()
        .map(|path| Notice {
            name: name(base(&path.to_string_lossy())),
            path,
        })
        .collect()
}

/// Licences of the CUDA libraries that were found in `folder`.
pub fn cuda_notices(library: &Path) -> Vec<Notice> {
    let folder = library.parent().and_then(Path::file_name);
    let about = folder.map(|name| name.to_string_lossy().into_owned());
    let about = match about.as_deref() {
        None | Some("lib" | "lib64") => "cuda".to_owned(),
        Some(name) => name.replace('_', "-"),
    };
    licences_near(library, 4)
        .into_iter()
        .map(|path| Notice {
            name: format!("{about}/{}", base(&path.to_string_lossy())),
            path,
        })
        .collect()
}

/// The licence files in the first of a file's folders, from its own upwards, that has any.
fn licences_near(file: &Path, folders: usize) -> Vec<PathBuf> {
    for folder in file.ancestors().skip(1).take(folders) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| path.is_file() && is_licence(base(&path.to_string_lossy())))
            .collect();
        if !found.is_empty() {
            found.sort();
            return found;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, told};
    use super::*;

    #[test]
    fn a_missing_library_is_named_with_the_package_of_its_cuda() {
        assert_eq!(package("libcublasLt.so.13"), "nvidia-cublas");
        assert_eq!(package("libcublas.so.12"), "nvidia-cublas-cu12");
        assert_eq!(
            package("libcurand.so.10"),
            "nvidia-curand (nvidia-curand-cu12 for CUDA 12)"
        );
        assert!(package("libcudnn.so.9").contains("nvidia-cudnn-cu13"));
    }

    use crate::error::exit;

    #[test]
    fn a_library_is_found_wherever_cuda_s_installers_and_pip_put_it() {
        for place in [
            "",
            "lib64",
            "lib",
            "targets/x86_64-linux/lib",
            "cublas/lib",
            "nvidia/cublas/lib",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(place).join("libcublas.so.12");
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, samples::program()).unwrap();
            let places = [PathBuf::from("/nonexistent"), folder.path().to_owned()];
            let find = |arch| cuda_library("libcublas.so.12", &places[1..], folder.path(), arch);
            assert_eq!(find("x86_64").unwrap(), path, "{place}");
            told(
                &find("aarch64").unwrap_err(),
                exit::USAGE,
                &["aarch64", "nvidia-cublas"],
            );
        }
    }

    #[test]
    fn what_is_no_library_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let places = [folder.path().to_owned()];
        let find = || cuda_library("libcurand.so.10", &places, folder.path(), "x86_64");
        let absent = find().unwrap_err();
        told(
            &absent,
            exit::USAGE,
            &[
                "libcurand.so.10",
                "nvidia-curand",
                folder.path().to_str().unwrap(),
            ],
        );
        fs::write(folder.path().join("libcurand.so.10"), "text").unwrap();
        told(
            &find().unwrap_err(),
            exit::USAGE,
            &["--with-cuda-libs", "libcurand.so.10", "ELF"],
        );
        let nowhere = [PathBuf::from("/nonexistent")];
        let error = cuda_library("libcurand.so.10", &nowhere, folder.path(), "x86_64").unwrap_err();
        told(&error, exit::USAGE, &["--with-cuda-libs", "/nonexistent"]);
    }

    #[test]
    fn the_driver_s_part_and_names_with_folders_are_never_packed() {
        for name in [
            "libcudart.so.12",
            "libcublasLt.so.13",
            "libcurand.so.10",
            "libcudnn.so.9",
        ] {
            assert!(is_cuda(name), "{name}");
        }
        for name in [
            "libcuda.so.1",
            "libnvidia-ml.so.1",
            "libc.so.6",
            "libcublas/../../escaped",
        ] {
            assert!(!is_cuda(name), "{name}");
        }
    }

    #[test]
    fn licences_are_those_of_the_nearest_folder_that_has_any() {
        let folder = tempfile::tempdir().unwrap();
        let lib = folder.path().join("lib");
        fs::create_dir(&lib).unwrap();
        let library = lib.join("libonnxruntime.so");
        fs::write(folder.path().join("LICENSE"), "above").unwrap();
        fs::write(folder.path().join("README"), "no licence").unwrap();
        let names = || -> Vec<String> {
            let found = notices_beside(&library).into_iter();
            found.map(|notice| notice.name).collect()
        };
        assert_eq!(names(), ["onnxruntime/LICENSE"]);
        fs::write(lib.join("ThirdPartyNotices.txt"), "beside").unwrap();
        fs::create_dir(lib.join("licenses")).unwrap();
        assert_eq!(names(), ["onnxruntime/ThirdPartyNotices.txt"]);
        assert_eq!(cuda_notices(&library)[0].name, "cuda/ThirdPartyNotices.txt");
    }
}
