//! Makes one file of a program, a worker and an ONNX Runtime. Needs no Rust and no network: any build of edgebench can.

use super::fatbin::Arch;
use super::format::{self, Index, Kernels, Kind, Package, Part};
use super::gather::{Entry, Gathered, Role, program, unreadable};
use super::parallel;
use super::scratch::Scratch;
use crate::error::{Error, Result};
use std::fs::{File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What to pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleRequest {
    /// The file to make.
    pub output: PathBuf,
    /// The program the payload is appended to; `None` for this one, without its own payload.
    pub front: Option<PathBuf>,
    /// The worker; `None` for the one that the program in front or this one carries, or this program where it is linked dynamically.
    pub worker: Option<PathBuf>,
    /// ONNX Runtime: a wheel, a folder or a library; `None` for the one the program in front or this one carries, or was built with.
    pub ort: Option<PathBuf>,
    /// GPU architectures to keep; empty for all.
    pub cuda_archs: Vec<Arch>,
    /// Folders and wheels to take CUDA's libraries from; empty to leave them out.
    pub cuda_libs: Vec<PathBuf>,
    /// More licences and notices to carry.
    pub notices: Vec<PathBuf>,
    /// Level of the compression, 1 to 22.
    pub level: i32,
}

/// What is being done, for whoever shows progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A part is being compressed.
    Packing(&'a str),
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The file.
    pub output: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Length of the program in front of the payload.
    pub front_bytes: u64,
    /// Whether that program is linked statically.
    pub static_front: bool,
    /// The machine it is for.
    pub arch: String,
    /// The newest version of glibc that worker and runtime need.
    pub glibc: Option<(u32, u32)>,
    /// The parts.
    pub parts: Vec<Part>,
    /// GPU kernels kept and blanked, by library.
    pub kernels: Vec<Kernels>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Packs a file.
pub fn bundle(request: &BundleRequest, tell: &mut dyn FnMut(Step)) -> Result<Summary> {
    let unwritable = |cause| Error::output(&request.output, cause, " with -o");
    let folder = match request.output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    refuse_what_is_no_file(&request.output).map_err(unwritable)?;
    let scratch = Scratch::new(folder, SCRATCH).map_err(unwritable)?;
    let front = program(request.front.as_deref(), Role::Front)?;
    let own = own_package_for(request)?;
    let arch = front.facts.machine.ok_or_else(|| {
        Error::Usage(format!(
            "--front {} is for a machine that edgebench does not run on; use a build for x86_64 or aarch64",
            front.path.display()
        ))
    })?;
    let mut gathered = Gathered::new(request, own.as_ref(), scratch.path(), arch);
    gathered.worker(&front)?;
    let runtime_source = gathered.runtime()?;
    gathered.cuda()?;
    gathered.own_texts()?;
    // The same parts make the same file, wherever they come from.
    gathered
        .parts
        .sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    let glibc = gathered.glibc();
    let (parts, mut packed) = compress(&gathered.parts, scratch.path(), request.level, tell)
        .map_err(|failed| match failed {
            Failed::Reading(path, cause) => unreadable(&path, &cause),
            Failed::Writing(cause) => unwritable(cause),
        })?;
    let mut program = File::open(&front.path).map_err(|cause| unreadable(&front.path, &cause))?;
    let front_sha256 = format::digest((&program).take(front.facts.end))
        .and_then(|digest| program.rewind().map(|()| digest))
        .map_err(|cause| unreadable(&front.path, &cause))?;
    let index = Index {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        arch: arch.to_owned(),
        front_bytes: front.facts.end,
        front_sha256,
        runtime_source,
        kernels: gathered.kernels,
        parts,
    };
    let mut staged = tempfile::NamedTempFile::new_in(scratch.path()).map_err(unwritable)?;
    let bytes = format::write(&mut program, &index, &mut packed, staged.as_file_mut())
        .and_then(|()| {
            let file = staged.as_file();
            file.set_permissions(Permissions::from_mode(0o755))?;
            file.sync_all()?;
            Ok(file.metadata()?.len())
        })
        .map_err(unwritable)?;
    prove(staged.path())?;
    staged
        .persist(&request.output)
        .map_err(|failed| unwritable(failed.error))?;
    Ok(Summary {
        output: request.output.clone(),
        bytes,
        front_bytes: index.front_bytes,
        static_front: !front.facts.interpreted,
        arch: index.arch,
        glibc,
        parts: index.parts,
        kernels: index.kernels,
        notes: gathered.notes,
    })
}

/// The payload to take from, unless the request names everything itself: that of the program in front, which may be for another
/// machine, else this program's.
fn own_package_for(request: &BundleRequest) -> Result<Option<Package>> {
    if request.worker.is_some() && request.ort.is_some() {
        return Ok(None);
    }
    if let Some(front) = &request.front
        && let Some(package) = Package::open(front)?
    {
        return Ok(Some(package));
    }
    super::own_package()
}

/// The folder beside the output that everything is prepared in.
const SCRATCH: &str = ".edgebench-bundle-";

/// A rename would put the file in the place of a device or a pipe, and cannot replace a folder.
fn refuse_what_is_no_file(output: &Path) -> io::Result<()> {
    let ends_in_slash = output.as_os_str().as_bytes().ends_with(b"/");
    let flaw = match std::fs::metadata(output) {
        Ok(facts) if facts.is_dir() => "it is a folder, not a file",
        Ok(facts) if !facts.is_file() => "it is not a regular file",
        _ if ends_in_slash || output.file_name().is_none() => "it does not name a file",
        _ => return Ok(()),
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, flaw))
}

/// Reads back what was written: no file is handed out that would refuse to start.
fn prove(path: &Path) -> Result<()> {
    let bug = |cause: String| Error::Bug(format!("the file that was packed is refused: {cause}"));
    match Package::open(path) {
        Ok(Some(package)) => package.verify().map_err(|cause| bug(cause.to_string())),
        Ok(None) => Err(bug("no payload is found in it".to_owned())),
        Err(cause) => Err(bug(cause.to_string())),
    }
}

/// What went wrong while a part was compressed.
enum Failed {
    Reading(PathBuf, io::Error),
    Writing(io::Error),
}

impl From<io::Error> for Failed {
    fn from(cause: io::Error) -> Failed {
        Failed::Writing(cause)
    }
}

/// Compresses every part, several at once, and returns them with the file that has one after the other.
fn compress(
    entries: &[Entry],
    scratch: &Path,
    level: i32,
    tell: &mut dyn FnMut(Step),
) -> Result<(Vec<Part>, File), Failed> {
    let mut work = Vec::new();
    for entry in entries {
        // Texts take no time worth telling of.
        if entry.kind != Kind::Notice {
            tell(Step::Packing(&entry.name));
        }
        let bytes = entry.source.len().map_err(|cause| unread(entry, cause))?;
        work.push((entry, bytes, tempfile::tempfile_in(scratch)?));
    }
    // The longest first, so that no thread is left alone with it at the end.
    let mut order: Vec<_> = work.iter().collect();
    order.sort_by_key(|(_, bytes, _)| std::cmp::Reverse(*bytes));
    parallel(&order, |(entry, bytes, out)| {
        let mut content = entry.source.open().map_err(|cause| unread(entry, cause))?;
        let mut encoder = zstd::Encoder::new(out, level)?;
        encoder.include_checksum(true)?;
        encoder.set_pledged_src_size(Some(*bytes))?;
        encoder.long_distance_matching(true)?;
        encoder.window_log(format::WINDOW_LOG)?;
        io::copy(&mut content, &mut encoder)?;
        Ok::<(), Failed>(encoder.finish()?.flush()?)
    })?;
    let mut all = tempfile::tempfile_in(scratch)?;
    let mut parts = Vec::new();
    for (entry, bytes, mut packed) in work {
        packed.rewind()?;
        let sha256 = format::digest(&packed)?;
        packed.rewind()?;
        let stored = io::copy(&mut packed, &mut all)?;
        parts.push(Part {
            name: entry.name.clone(),
            kind: entry.kind,
            bytes,
            stored,
            sha256,
        });
    }
    all.flush()?;
    Ok((parts, all))
}

fn unread(entry: &Entry, cause: io::Error) -> Failed {
    Failed::Reading(entry.source.path().to_owned(), cause)
}

#[cfg(test)]
mod tests {
    use super::super::fatbin::samples::{entry, region};
    use super::super::samples::{self, names, told};
    use super::super::sources::{PROVIDERS_CUDA, PROVIDERS_SHARED};
    use super::*;
    use crate::error::exit;
    use std::fs;
    use zip::write::{SimpleFileOptions, ZipWriter};

    /// A folder with everything that a bundle is made of, and one that it is made in.
    struct Bench {
        folder: tempfile::TempDir,
        request: BundleRequest,
    }

    /// A sample program that passes for a build of edgebench.
    fn edgebench(machine: u16, interpreted: bool) -> Vec<u8> {
        let mut bytes = samples::elf(machine, interpreted);
        let marks = b"EDGEBENCH_RUNTIME_DIR OrtGetApiBase";
        bytes[1000..1000 + marks.len()].copy_from_slice(marks);
        bytes
    }

    /// GPU code for three architectures; only one of them has PTX.
    fn gpu_code() -> Vec<u8> {
        region(&[
            entry(2, 75, 0, &[75; 4000]),
            entry(2, 86, 0, &[86; 4000]),
            entry(2, 90, 0, &[90; 4000]),
        ])
    }

    impl Bench {
        fn new() -> Bench {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            for name in ["out", "ort", "cuda"] {
                fs::create_dir(at(name)).unwrap();
            }
            fs::write(at("front"), edgebench(62, false)).unwrap();
            fs::write(at("worker"), edgebench(62, true)).unwrap();
            fs::write(at("ort/libonnxruntime.so.1.22.0"), samples::runtime()).unwrap();
            fs::write(at("ort/LICENSE"), "MIT").unwrap();
            fs::write(at("ort/ThirdPartyNotices.txt"), "many").unwrap();
            let request = BundleRequest {
                output: at("out/made"),
                front: Some(at("front")),
                worker: Some(at("worker")),
                ort: Some(at("ort")),
                cuda_archs: Vec::new(),
                cuda_libs: Vec::new(),
                notices: Vec::new(),
                level: 1,
            };
            Bench { folder, request }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Gives the ONNX Runtime a CUDA provider.
        fn with_provider(self) -> Bench {
            let needed = ["libcublasLt.so.12", "libcudart.so.12", "libc.so.6"];
            let provider = samples::provider(&needed, &gpu_code());
            fs::write(self.at("ort").join(PROVIDERS_CUDA), provider).unwrap();
            fs::write(self.at("ort").join(PROVIDERS_SHARED), samples::program()).unwrap();
            self
        }

        fn make(&self, change: impl FnOnce(&mut BundleRequest)) -> Result<Summary> {
            let mut request = self.request.clone();
            change(&mut request);
            bundle(&request, &mut |_| {})
        }

        /// The content of the parts of what was made.
        fn contents(&self) -> Vec<(String, Vec<u8>)> {
            let package = Package::open(&self.request.output).unwrap().unwrap();
            package.verify().unwrap();
            let content = |(part, at)| {
                let part: &Part = part;
                let mut content = Vec::new();
                let mut reader = package.content(part, at).unwrap();
                reader.read_to_end(&mut content).unwrap();
                (part.name.clone(), content)
            };
            package.located().map(content).collect()
        }

        /// Checks that a request is refused in one sentence, and that nothing is left of it.
        #[track_caller]
        fn refused(&self, code: u8, parts: &[&str], change: impl FnOnce(&mut BundleRequest)) {
            let error = self.make(change).unwrap_err();
            told(&error, code, parts);
            assert!(
                names(&self.at("out")).is_empty(),
                "{:?}",
                names(&self.at("out"))
            );
        }
    }

    fn archs(list: &[&str]) -> Vec<Arch> {
        list.iter().map(|arch| arch.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let bench = Bench::new();
        let mut steps = Vec::new();
        let made = bundle(&bench.request, &mut |Step::Packing(name)| {
            steps.push(name.to_owned())
        });
        let made = made.unwrap();
        assert_eq!(steps, [format::WORKER, "libonnxruntime.so.1.22.0"]);
        let bytes = fs::read(&bench.request.output).unwrap();
        assert!(bytes.starts_with(&edgebench(62, false)));
        assert_eq!((made.bytes, made.front_bytes), (bytes.len() as u64, 4096));
        assert!(made.static_front && made.notes.is_empty() && made.kernels.is_empty());
        assert_eq!(made.arch, "x86_64");
        let text = |name: &str, text: &str| (name.to_owned(), text.as_bytes().to_vec());
        let expected = [
            (format::WORKER.to_owned(), edgebench(62, true)),
            ("libonnxruntime.so.1.22.0".to_owned(), samples::runtime()),
            text("edgebench/LICENSE", super::super::LICENSE),
            text("onnxruntime/LICENSE", "MIT"),
            text("onnxruntime/ThirdPartyNotices.txt", "many"),
        ];
        assert!(bench.contents() == expected);
        let mode = fs::metadata(&made.output).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
        assert_eq!(names(&bench.at("out")), ["made"], "no scratch copy stays");
    }

    #[test]
    fn a_file_that_is_packed_again_gives_its_front_alone() {
        let bench = Bench::new();
        let first = bench.make(|_| {}).unwrap();
        let again = bench.at("out/again");
        let second = bench.make(|request| {
            request.front = Some(first.output.clone());
            request.output = again.clone();
        });
        assert_eq!(second.unwrap().front_bytes, 4096);
        assert!(fs::read(&again).unwrap() == fs::read(&first.output).unwrap());
        // What it carries is taken as well, where nothing else is named.
        bench
            .make(|request| {
                request.front = Some(first.output.clone());
                request.output = again.clone();
                (request.worker, request.ort) = (None, None);
            })
            .unwrap();
        assert!(fs::read(&again).unwrap() == fs::read(&first.output).unwrap());
        // In the place of a file that may be running.
        bench
            .make(|request| request.front = Some(first.output.clone()))
            .unwrap();
        assert!(fs::read(&again).unwrap() == fs::read(&first.output).unwrap());
    }

    #[test]
    fn a_program_that_is_none_of_ours_is_refused() {
        let bench = Bench::new();
        let file = |name: &str, bytes: &[u8]| {
            let path = bench.at(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let text = file("text", b"#!/bin/sh\n");
        let other = file("other", &samples::elf(62, true));
        let arm = file("arm", &edgebench(183, true));
        let riscv = file("riscv", &edgebench(243, true));
        let fixed = file("fixed", &edgebench(62, false));
        for (path, cause) in [
            (&text, "not a 64-bit ELF file"),
            (&other, "another program"),
            (&bench.at("absent"), "No such file"),
            (&bench.at("out"), "not a 64-bit ELF file"),
        ] {
            let path = path.to_str().unwrap();
            let name = |request: &mut Option<PathBuf>| *request = Some(path.into());
            bench.refused(exit::USAGE, &["--front", path, cause], |request| {
                name(&mut request.front)
            });
            bench.refused(exit::USAGE, &["--worker", path, cause], |request| {
                name(&mut request.worker)
            });
        }
        bench.refused(
            exit::USAGE,
            &["--worker", "fixed", "linked statically"],
            |request| {
                request.worker = Some(fixed);
            },
        );
        bench.refused(exit::USAGE, &["aarch64", "x86_64", "--worker"], |request| {
            request.worker = Some(arm.clone());
        });
        bench.refused(exit::USAGE, &["--front", "riscv", "aarch64"], |request| {
            request.front = Some(riscv);
        });
        bench.refused(
            exit::RUNTIME,
            &["--ort", "x86_64", "not for aarch64"],
            |request| {
                request.front = Some(arm.clone());
                request.worker = Some(arm);
            },
        );
    }

    #[test]
    fn an_output_that_is_no_file_is_refused_before_anything_is_packed() {
        let bench = Bench::new();
        let file = bench.at("front/made");
        for (output, cause) in [
            (bench.at("out"), "folder"),
            (bench.at("out/"), "folder"),
            (bench.at("out/new/"), "does not name a file"),
            (bench.at("absent/made"), "No such file"),
            (file, "Not a directory"),
            (PathBuf::from("/dev/null"), "not a regular file"),
            (PathBuf::from("/proc/made"), "-o"),
            (PathBuf::from(".."), "folder"),
            (PathBuf::new(), "does not name a file"),
        ] {
            let packed = |step: Step| panic!("{output:?}: {step:?}");
            let mut packed = packed;
            let mut request = bench.request.clone();
            request.output = output.clone();
            let error = bundle(&request, &mut packed).unwrap_err();
            told(&error, exit::OUTPUT, &[cause, "-o"]);
        }
        assert!(names(&bench.at("out")).is_empty());
        use std::os::unix::fs::FileTypeExt;
        let null = fs::metadata("/dev/null").unwrap();
        assert!(null.file_type().is_char_device());
    }

    #[test]
    fn what_a_killed_bundling_left_goes_with_the_next() {
        let bench = Bench::new();
        fs::create_dir(bench.at("out").join(format!("{SCRATCH}dead"))).unwrap();
        bench.make(|_| {}).unwrap();
        assert_eq!(names(&bench.at("out")), ["made"]);
    }

    #[test]
    fn texts_of_one_name_both_travel_and_bad_ones_are_refused() {
        let bench = Bench::new();
        fs::write(bench.at("cuda/LICENSE"), "another").unwrap();
        fs::write(bench.at("cuda/.hidden"), "text").unwrap();
        let named = |names: &[&str]| names.iter().map(|name| bench.at(name)).collect::<Vec<_>>();
        bench.refused(exit::USAGE, &["absent"], |request| {
            request.notices = named(&["absent"])
        });
        bench.refused(exit::USAGE, &["ort", "not a file"], |request| {
            request.notices = named(&["ort"])
        });
        bench.refused(exit::USAGE, &[".hidden", "another name"], |request| {
            request.notices = named(&["cuda/.hidden"]);
        });
        bench
            .make(|request| request.notices = named(&["ort/LICENSE", "cuda/LICENSE"]))
            .unwrap();
        let packed: Vec<(String, Vec<u8>)> = bench.contents();
        let of = |wanted: &str| {
            packed
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, text)| &text[..])
        };
        assert_eq!(of("edgebench/LICENSE-2"), Some(&b"MIT"[..]));
        assert_eq!(of("edgebench/LICENSE-3"), Some(&b"another"[..]));
    }

    #[test]
    fn a_library_whose_name_cannot_be_used_is_refused() {
        let bench = Bench::new();
        for name in [".hidden.so", "lock", "edgebench-worker"] {
            let path = bench.at("ort").join(name);
            fs::write(&path, samples::runtime()).unwrap();
            bench.refused(exit::USAGE, &[name, "another name"], |request| {
                request.ort = Some(path)
            });
        }
    }

    #[test]
    fn gpu_code_is_kept_to_the_architectures_that_are_named() {
        let bench = Bench::new().with_provider();
        let whole = bench.make(|_| {}).unwrap();
        assert_eq!(whole.kernels[0].architectures, ["sm_75", "sm_86", "sm_90"]);
        assert_eq!(whole.kernels[0].blanked_bytes, 0);
        let cut = bench
            .make(|request| request.cuda_archs = archs(&["86"]))
            .unwrap();
        assert_eq!(cut.kernels[0].architectures, ["sm_86"]);
        assert_eq!(cut.kernels[0].blanked_bytes, 8000);
        assert_eq!(cut.kernels[0].library, PROVIDERS_CUDA);
        let contents = bench.contents();
        let (_, kept) = contents
            .iter()
            .find(|(name, _)| name == PROVIDERS_CUDA)
            .unwrap();
        assert!(kept.windows(4000).any(|code| code == [86; 4000]));
        assert!(
            !kept
                .windows(10)
                .any(|code| code == [75; 10] || code == [90; 10])
        );
        let original = fs::read(bench.at("ort").join(PROVIDERS_CUDA)).unwrap();
        assert_eq!(kept.len(), original.len());
        assert!(
            original.windows(10).any(|code| code == [75; 10]),
            "the original was changed"
        );
    }

    #[test]
    fn an_architecture_with_nothing_left_is_refused_with_what_there_is() {
        let bench = Bench::new().with_provider();
        let refused = |arch: &str, parts: &[&str]| {
            let always = ["--cuda-arch", PROVIDERS_CUDA, "sm_75, sm_86, sm_90"];
            bench.refused(exit::USAGE, &[&always, parts].concat(), |request| {
                request.cuda_archs = archs(&[arch]);
            });
        };
        refused("70", &["sm_70"]);
        refused("120", &["sm_120"]);
        // Of a Jetson it says what to use instead.
        refused("87", &["sm_87", "Jetson AI Lab", "--ort"]);
        refused("110", &["sm_110", "Jetson AI Lab"]);
    }

    #[test]
    fn without_a_cuda_provider_cuda_s_options_are_refused() {
        let bench = Bench::new();
        bench.refused(
            exit::RUNTIME,
            &["--cuda-arch", "CUDA provider", "--ort"],
            |request| {
                request.cuda_archs = archs(&["86"]);
            },
        );
        bench.refused(
            exit::RUNTIME,
            &["--with-cuda-libs", "CUDA provider", "--ort"],
            |request| {
                request.cuda_libs = vec!["/nonexistent".into()];
            },
        );
    }

    #[test]
    fn cuda_s_libraries_come_from_folders_and_wheels_with_their_licences() {
        let bench = Bench::new().with_provider();
        fs::create_dir_all(bench.at("cuda/lib64")).unwrap();
        fs::write(bench.at("cuda/lib64/libcudart.so.12"), samples::program()).unwrap();
        fs::write(bench.at("cuda/EULA.txt"), "the terms").unwrap();
        let places = |places: &[PathBuf]| places.to_vec();
        let wheel = bench.at("nvidia_cublas_cu12-12.9-py3-none-manylinux_2_27_x86_64.whl");
        let parts = [
            "--with-cuda-libs",
            "libcublasLt.so.12",
            "x86_64",
            "nvidia-cublas",
        ];
        bench.refused(exit::USAGE, &parts, |request| {
            request.cuda_libs = places(&[bench.at("cuda")])
        });
        fs::write(&wheel, "PK no wheel").unwrap();
        bench.refused(
            exit::USAGE,
            &[
                "--with-cuda-libs",
                "nvidia_cublas_cu12",
                "not a Python wheel",
            ],
            |request| {
                request.cuda_libs = places(std::slice::from_ref(&wheel));
            },
        );
        let mut zip = ZipWriter::new(File::create(&wheel).unwrap());
        for (name, bytes) in [
            (
                "nvidia/cublas/lib/libcublasLt.so.12",
                samples::provider(&[], &gpu_code()),
            ),
            (
                "nvidia_cublas_cu12-12.9.dist-info/License.txt",
                b"more terms".to_vec(),
            ),
        ] {
            zip.start_file(name, SimpleFileOptions::default()).unwrap();
            zip.write_all(&bytes).unwrap();
        }
        zip.finish().unwrap();
        let made = bench.make(|request| {
            request.cuda_libs = places(&[wheel, bench.at("cuda")]);
            request.cuda_archs = archs(&["90"]);
        });
        let made = made.unwrap();
        let cut: Vec<&str> = made
            .kernels
            .iter()
            .map(|kernels| kernels.library.as_str())
            .collect();
        assert_eq!(cut, [PROVIDERS_CUDA, "libcublasLt.so.12"]);
        let packed = bench.contents();
        let of = |wanted: &str| {
            packed
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, text)| &text[..])
        };
        assert_eq!(of("libcudart.so.12"), Some(&samples::program()[..]));
        assert!(of("libcublasLt.so.12").is_some() && of("libc.so.6").is_none());
        assert_eq!(of("cuda/EULA.txt"), Some(&b"the terms"[..]));
        assert_eq!(of("nvidia-cublas-cu12/LICENSE"), Some(&b"more terms"[..]));
    }

    #[test]
    fn what_has_no_licence_near_it_is_told() {
        let bench = Bench::new();
        fs::remove_file(bench.at("ort/LICENSE")).unwrap();
        fs::remove_file(bench.at("ort/ThirdPartyNotices.txt")).unwrap();
        let made = bench.make(|_| {}).unwrap();
        assert_eq!(made.notes.len(), 1);
        assert!(
            made.notes[0].contains("no licence of ONNX Runtime")
                && made.notes[0].contains("--notice")
        );
    }
}
