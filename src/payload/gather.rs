//! Finds everything that goes into a bundle: worker, runtime, CUDA libraries, and the licences of each. Nothing is written but
//! scratch copies.

use super::fatbin::{self, Arch};
use super::format::{self, Kernels, Kind, Package};
use super::sources::{self, Notice, Source};
use super::{BUILD_LIBRARY, BundleRequest, install, own_program, wheel};
use crate::elf::{self, Elf};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A program file and what its headers say.
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// What its headers say.
    pub facts: Elf,
}

/// The function that ONNX Runtime gives and a worker asks it for.
const INTERFACE: &[u8] = b"OrtGetApiBase";

/// What a program to pack is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Users start it.
    Front,
    /// It loads ONNX Runtime.
    Worker,
}

impl Role {
    fn flag(self) -> &'static str {
        match self {
            Role::Front => "--front",
            Role::Worker => "--worker",
        }
    }

    /// A name that stands in every program for this role, because it asks the system for it, and in few others.
    fn mark(self) -> &'static [u8] {
        match self {
            Role::Front => b"EDGEBENCH_RUNTIME_DIR",
            Role::Worker => INTERFACE,
        }
    }
}

/// The program that was named for a role, or this one.
pub fn program(given: Option<&Path>, role: Role) -> Result<Program> {
    let Some(path) = given else {
        let path = own_program()?;
        let facts = elf::read_path(&path).map_err(|cause| unreadable(&path, &cause))?;
        return Ok(Program { path, facts });
    };
    let refuse = |cause: &dyn std::fmt::Display| {
        Error::Usage(format!(
            "{} {} cannot be used: {cause}; name a build of edgebench",
            role.flag(),
            path.display()
        ))
    };
    let facts = elf::read_path(path).map_err(|cause| refuse(&cause))?;
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(facts.end).read_to_end(&mut bytes))
        .map_err(|cause| refuse(&cause))?;
    if memchr::memmem::find(&bytes, role.mark()).is_none() {
        return Err(refuse(&"it is another program"));
    }
    Ok(Program {
        path: path.to_owned(),
        facts,
    })
}

/// An error for a file that an option names.
pub fn unreadable(path: &Path, cause: &io::Error) -> Error {
    Error::Usage(format!(
        "could not read {}: {cause}; name another file",
        path.display()
    ))
}

/// Refuses another library, or a program, in the place of ONNX Runtime. It may be for another machine, so it is not loaded.
fn refuse_what_is_no_runtime(library: &Path) -> Result<()> {
    let bytes = fs::read(library).map_err(|cause| unreadable(library, &cause))?;
    // A name of its own, as symbols have it: edgebench has these letters too, amid others.
    let symbol = [b"\0", INTERFACE, b"\0"].concat();
    if memchr::memmem::find(&bytes, &symbol).is_some() {
        return match minor_version(&bytes) {
            Some(minor) if minor < OLDEST_MINOR => Err(Error::Runtime(format!(
                "--ort: {} is ONNX Runtime 1.{minor}, and workers need 1.{OLDEST_MINOR} or newer; give a newer one",
                library.display()
            ))),
            _ => Ok(()),
        };
    }
    Err(Error::Runtime(format!(
        "--ort: {} is not ONNX Runtime; give its wheel, its folder or its libonnxruntime.so",
        library.display()
    )))
}

/// The oldest release that a worker can load, 1.20.
const OLDEST_MINOR: u32 = 20;

/// The 31 in the version `VERS_1.31.1` that ONNX Runtime gives its symbols; `None` where a build leaves it out.
fn minor_version(library: &[u8]) -> Option<u32> {
    const NODE: &[u8] = b"\0VERS_1.";
    let at = memchr::memmem::find(library, NODE)? + NODE.len();
    let digits = library[at..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let digits: String = digits.take(4).map(|byte| char::from(*byte)).collect();
    digits.parse().ok()
}

/// A part to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is for.
    pub kind: Kind,
    /// Its name in the payload.
    pub name: String,
    /// Its content.
    pub source: Source,
}

/// What goes into the payload, on its way.
pub struct Gathered<'a> {
    request: &'a BundleRequest,
    /// The payload to take from: that of the program in front, or of this one.
    own: Option<&'a Package>,
    scratch: &'a Path,
    arch: &'static str,
    /// That payload, extracted.
    unpacked: Option<PathBuf>,
    /// The parts.
    pub parts: Vec<Entry>,
    /// GPU kernels kept and blanked, by library.
    pub kernels: Vec<Kernels>,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl<'a> Gathered<'a> {
    /// Nothing yet. Scratch copies go to `scratch`.
    pub fn new(
        request: &'a BundleRequest,
        own: Option<&'a Package>,
        scratch: &'a Path,
        arch: &'static str,
    ) -> Gathered<'a> {
        Gathered {
            request,
            own,
            scratch,
            arch,
            unpacked: None,
            parts: Vec::new(),
            kernels: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn add(&mut self, kind: Kind, name: &str, source: Source) -> Result<()> {
        if !format::may_be_called(kind, name) || self.has(name) {
            return Err(Error::Usage(format!(
                "{} cannot be packed under the name {name:?}; give it another name",
                source.path().display()
            )));
        }
        let name = name.to_owned();
        self.parts.push(Entry { kind, name, source });
        Ok(())
    }

    /// The scratch copies lie beside the file that is made: where one has no place, neither has the file.
    fn unwritable(&self, cause: io::Error) -> Error {
        Error::output(&self.request.output, cause, " with -o")
    }

    /// This program's own payload as files.
    fn unpack(&mut self, own: &Package) -> Result<PathBuf> {
        if let Some(folder) = &self.unpacked {
            return Ok(folder.clone());
        }
        own.verify()?;
        let folder = self.scratch.join("own");
        fs::create_dir(&folder)
            .and_then(|()| install::extract(own, &folder))
            .map_err(|cause| self.unwritable(cause))?;
        self.unpacked = Some(folder.clone());
        Ok(folder)
    }

    /// The worker: named, or carried by this program, or the program in front itself.
    pub fn worker(&mut self, front: &Program) -> Result<()> {
        let (path, said) = match (&self.request.worker, self.own) {
            (Some(path), _) => (path.clone(), format!("--worker {}", path.display())),
            (None, Some(own)) => (
                self.unpack(own)?.join(format::WORKER),
                "the worker that edgebench carries".to_owned(),
            ),
            (None, None) if front.facts.interpreted => {
                (front.path.clone(), "the program".to_owned())
            }
            (None, None) => {
                return Err(Error::Usage(
                    "there is no worker to pack: this edgebench is linked statically and carries none; name a dynamically linked build with --worker"
                        .to_owned(),
                ));
            }
        };
        let worker = program(Some(&path), Role::Worker)?;
        if worker.facts.machine != Some(self.arch) {
            return Err(Error::Usage(format!(
                "{said} is for {}, and the program in front is for {}; name a worker for that machine with --worker",
                worker.facts.machine.unwrap_or("another machine"),
                self.arch
            )));
        }
        if !worker.facts.interpreted {
            return Err(Error::Usage(format!(
                "{said} is linked statically and could load no library; name a dynamically linked build of edgebench with --worker"
            )));
        }
        // Only the program itself: one that carries a payload gives its front.
        let source = Source::Start(path, worker.facts.end);
        self.add(Kind::Worker, format::WORKER, source)
    }

    /// ONNX Runtime's libraries and licences; returns the name of where they came from.
    pub fn runtime(&mut self) -> Result<String> {
        let (library, origin) = self.find_runtime()?;
        self.add(
            Kind::Runtime,
            &name_of(&library),
            Source::File(library.clone()),
        )?;
        for name in [sources::PROVIDERS_SHARED, sources::PROVIDERS_CUDA] {
            let path = library.with_file_name(name);
            if path.exists() {
                let source = self.cut(name, &path)?;
                self.add(Kind::Provider, name, source)?;
            } else if let Some(flag) = self.wants_cuda() {
                return Err(Error::Runtime(format!(
                    "{flag} is for an ONNX Runtime with a CUDA provider, and {origin} has no {name}; name one that has with --ort (the onnxruntime-gpu wheel, or a build for your board)"
                )));
            }
        }
        Ok(origin)
    }

    /// The option that makes no sense without a CUDA provider, if one was given.
    fn wants_cuda(&self) -> Option<&'static str> {
        match self.request {
            request if !request.cuda_archs.is_empty() => Some("--cuda-arch"),
            request if !request.cuda_libs.is_empty() => Some("--with-cuda-libs"),
            _ => None,
        }
    }

    /// What to do about a runtime for another machine than the program in front.
    fn elsewhere(&self) -> &'static str {
        match self.request.front {
            None => "; to pack for another machine, name a released file for it with --front",
            Some(_) => "",
        }
    }

    fn find_runtime(&mut self) -> Result<(PathBuf, String)> {
        if let Some(given) = &self.request.ort {
            let library = wheel::resolve(given, self.arch, || Ok(self.scratch.to_owned()))
                .map_err(|sentence| {
                    Error::Runtime(format!("--ort: {sentence}{}", self.elsewhere()))
                })?;
            refuse_what_is_no_runtime(&library)?;
            self.notice(sources::notices_beside(&library), "ONNX Runtime", &library)?;
            return Ok((library, name_of(given)));
        }
        if let Some(own) = self.own {
            if own.index.arch != self.arch {
                return Err(Error::Runtime(format!(
                    "this edgebench carries an ONNX Runtime for {}, and the program in front is for {}; name one for that machine with --ort",
                    own.index.arch, self.arch
                )));
            }
            let folder = self.unpack(own)?;
            let runtime = own
                .index
                .parts
                .iter()
                .find(|part| part.kind == Kind::Runtime);
            let Some(runtime) = runtime else {
                return Err(Error::Runtime(
                    "this edgebench carries no ONNX Runtime to pack; name one with --ort".into(),
                ));
            };
            return Ok((folder.join(&runtime.name), own.index.runtime_source.clone()));
        }
        if BUILD_LIBRARY.is_empty() {
            return Err(Error::Runtime(
                "this edgebench was built without an ONNX Runtime; name one with --ort".into(),
            ));
        }
        let none = || Err("no cache is needed".to_owned());
        let library =
            wheel::resolve(Path::new(BUILD_LIBRARY), self.arch, none).map_err(|sentence| {
                Error::Runtime(format!("the ONNX Runtime of this build: {sentence}"))
            })?;
        self.notice(sources::notices_beside(&library), "ONNX Runtime", &library)?;
        let name = name_of(&library);
        Ok((library, name))
    }

    /// The CUDA libraries that the provider names, with their licences.
    pub fn cuda(&mut self) -> Result<()> {
        let carried = match self.own {
            Some(own) if self.request.ort.is_none() => self.unpack(own).map(Some)?,
            _ => None,
        };
        let provider = self
            .parts
            .iter()
            .find(|part| part.name == sources::PROVIDERS_CUDA);
        let Some(provider) = provider.map(|part| part.source.path().to_owned()) else {
            return Ok(());
        };
        if self.request.cuda_libs.is_empty() && carried.is_none() {
            return Ok(());
        }
        let needed = elf::read_path(&provider)
            .map_err(|cause| unreadable(&provider, &cause))?
            .needed;
        for name in needed.iter().filter(|name| sources::is_cuda(name)) {
            let path = match &carried {
                Some(folder) if folder.join(name).exists() => folder.join(name),
                _ if self.request.cuda_libs.is_empty() => continue,
                _ => {
                    let path = sources::cuda_library(
                        name,
                        &self.request.cuda_libs,
                        self.scratch,
                        self.arch,
                    )?;
                    self.notice(sources::cuda_notices(&path), "CUDA's libraries", &path)?;
                    path
                }
            };
            let source = self.cut(name, &path)?;
            self.add(Kind::Cuda, name, source)?;
        }
        Ok(())
    }

    /// A library, kept to the architectures that are asked for.
    fn cut(&mut self, name: &str, path: &Path) -> Result<Source> {
        let mut bytes = fs::read(path).map_err(|cause| unreadable(path, &cause))?;
        let keep: BTreeSet<Arch> = self.request.cuda_archs.iter().copied().collect();
        if keep.is_empty() {
            let holdings = fatbin::holdings(&bytes);
            if !holdings.is_empty() {
                self.kernels.push(Kernels {
                    library: name.to_owned(),
                    architectures: holdings.architectures(),
                    blanked_bytes: 0,
                    modules_without: BTreeMap::new(),
                });
            }
            return Ok(Source::File(path.to_owned()));
        }
        let cut = fatbin::cut(&mut bytes, &keep).map_err(|refusal| {
            Error::Usage(format!(
                "--cuda-arch: {name}: {refusal}{}",
                tegra_remedy(&keep)
            ))
        })?;
        if cut.found_nothing() {
            return Ok(Source::File(path.to_owned()));
        }
        if cut.unknown_regions > 0 {
            self.notes.push(format!(
                "{name} has {} fat binaries of an unknown layout, which are kept whole",
                cut.unknown_regions
            ));
        }
        let unserved = cut.served.iter().filter(|(_, served)| served.nothing > 0);
        let unserved = unserved.map(|(arch, served)| (arch.to_string(), served.nothing));
        self.kernels.push(Kernels {
            library: name.to_owned(),
            architectures: fatbin::holdings(&bytes).architectures(),
            blanked_bytes: cut.blanked_bytes(),
            modules_without: unserved.collect(),
        });
        let kept = self.scratch.join(format!("cut-{name}"));
        fs::write(&kept, bytes).map_err(|cause| self.unwritable(cause))?;
        Ok(Source::File(kept))
    }

    /// edgebench's own licence, the notices that were named, and those that came with what this program carries.
    pub fn own_texts(&mut self) -> Result<()> {
        self.add(
            Kind::Notice,
            "edgebench/LICENSE",
            Source::Bytes(super::LICENSE.into()),
        )?;
        for path in &self.request.notices {
            let refuse = |cause: &dyn std::fmt::Display| {
                Error::Usage(format!(
                    "--notice {} cannot be used: {cause}; name a text file",
                    path.display()
                ))
            };
            if !fs::metadata(path)
                .map_err(|cause| refuse(&cause))?
                .is_file()
            {
                return Err(refuse(&"it is not a file"));
            }
            let name = self.free_name(&format!("edgebench/{}", name_of(path)));
            self.add(Kind::Notice, &name, Source::File(path.clone()))?;
        }
        let Some(own) = self.own else { return Ok(()) };
        for (part, at) in own.located() {
            // What was taken from the payload keeps its licences; a runtime that was named brings its own.
            let wanted = part.name.starts_with("edgebench/") || self.request.ort.is_none();
            if part.kind != Kind::Notice || !wanted || self.has(&part.name) {
                continue;
            }
            let mut text = Vec::new();
            own.content(part, at)
                .and_then(|mut content| content.read_to_end(&mut text))
                .map_err(|cause| unreadable(own.path(), &cause))?;
            self.add(Kind::Notice, &part.name, Source::Bytes(text))?;
        }
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.parts.iter().any(|part| part.name == name)
    }

    /// The name, with a number behind it where it is taken: two texts called LICENSE both travel.
    fn free_name(&self, name: &str) -> String {
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        std::iter::once(name.to_owned())
            .chain(numbered)
            .find(|name| !self.has(name))
            .unwrap_or_default()
    }

    /// Takes licences in, or a note that there are none.
    fn notice(&mut self, found: Vec<Notice>, what: &str, file: &Path) -> Result<()> {
        if found.is_empty() {
            self.notes.push(format!(
                "no licence of {what} was found near {}; add it with --notice",
                file.display()
            ));
        }
        for notice in found {
            if !self.has(&notice.name) {
                self.add(Kind::Notice, &notice.name, Source::File(notice.path))?;
            }
        }
        Ok(())
    }

    /// The newest glibc that anything packed needs.
    pub fn glibc(&self) -> Option<(u32, u32)> {
        let programs = self.parts.iter().filter(|part| part.kind != Kind::Notice);
        programs
            .filter_map(|part| elf::read_path(part.source.path()).ok()?.glibc)
            .max()
    }
}

/// What to do about a board whose kernels no package of PyPI has.
fn tegra_remedy(keep: &BTreeSet<Arch>) -> &'static str {
    if keep.iter().any(|arch| arch.is_tegra()) {
        " (for a Jetson: a wheel of NVIDIA's Jetson AI Lab index, or a build from source with CMAKE_CUDA_ARCHITECTURES set to its number, named with --ort)"
    } else {
        ""
    }
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, told};
    use super::*;

    #[test]
    fn the_version_is_read_from_the_symbols() {
        assert_eq!(minor_version(b"x\0VERS_1.19.2\0"), Some(19));
        assert_eq!(minor_version(b"x\0VERS_1.31.1\0"), Some(31));
        assert_eq!(minor_version(b"x\0VERS_1.\0"), None);
        assert_eq!(minor_version(b"VERS_2"), None);
    }

    use crate::error::exit;

    /// A request that leaves everything to what this program carries.
    fn request() -> BundleRequest {
        BundleRequest {
            output: "made".into(),
            front: None,
            worker: None,
            ort: None,
            cuda_archs: Vec::new(),
            cuda_libs: Vec::new(),
            notices: Vec::new(),
            level: 1,
        }
    }

    fn front(machine: &'static str, interpreted: bool) -> Program {
        Program {
            path: "front".into(),
            facts: Elf {
                machine: Some(machine),
                interpreted,
                ..Elf::default()
            },
        }
    }

    #[test]
    fn what_this_program_carries_is_taken_with_its_licences() {
        let (place, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let own = samples::opened(place.path());
        let request = request();
        let mut gathered = Gathered::new(&request, Some(&own), scratch.path(), "x86_64");
        assert_eq!(gathered.runtime().unwrap(), "made up");
        gathered.cuda().unwrap();
        gathered.own_texts().unwrap();
        let library = samples::library();
        let [runtime, own_licence, licence] = gathered.parts.as_slice() else {
            panic!("{:?}", gathered.parts)
        };
        assert_eq!(runtime.name, "libonnxruntime.so.1.2.3");
        assert!(fs::read(runtime.source.path()).unwrap() == library);
        assert_eq!(own_licence.name, "edgebench/LICENSE");
        assert_eq!(licence.name, "onnxruntime/LICENSE");
        assert_eq!(licence.source.len().unwrap(), 440);
        // What is packed as the worker has to be a program that a loader starts: this one is a script.
        let error = gathered.worker(&front("x86_64", true)).unwrap_err();
        told(&error, exit::USAGE, &["edgebench-worker", "ELF"]);
    }

    #[test]
    fn a_runtime_that_is_named_brings_its_own_licences_instead() {
        let (place, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let own = samples::opened(place.path());
        let ort = place.path().join("libonnxruntime.so");
        fs::write(&ort, samples::program()).unwrap();
        let asked = BundleRequest {
            ort: Some(ort.clone()),
            ..request()
        };
        let mut other = Gathered::new(&asked, Some(&own), scratch.path(), "x86_64");
        let error = other.runtime().unwrap_err();
        told(&error, exit::RUNTIME, &["--ort", "is not ONNX Runtime"]);
        fs::write(&ort, samples::runtime()).unwrap();
        let request = BundleRequest {
            ort: Some(ort),
            ..request()
        };
        let mut gathered = Gathered::new(&request, Some(&own), scratch.path(), "x86_64");
        assert_eq!(gathered.runtime().unwrap(), "libonnxruntime.so");
        gathered.own_texts().unwrap();
        let names: Vec<&str> = gathered
            .parts
            .iter()
            .map(|part| part.name.as_str())
            .collect();
        assert_eq!(names, ["libonnxruntime.so", "edgebench/LICENSE"]);
        assert!(gathered.notes[0].contains("no licence"));
    }

    #[test]
    fn a_program_for_another_machine_needs_a_worker_and_a_runtime_for_it() {
        let (place, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let own = samples::opened(place.path());
        let request = request();
        let mut gathered = Gathered::new(&request, Some(&own), scratch.path(), "aarch64");
        let error = gathered.runtime().unwrap_err();
        told(&error, exit::RUNTIME, &["x86_64", "aarch64", "--ort"]);
        let mut gathered = Gathered::new(&request, None, scratch.path(), "aarch64");
        let error = gathered.worker(&front("aarch64", false)).unwrap_err();
        told(&error, exit::USAGE, &["no worker", "--worker"]);
    }
}
