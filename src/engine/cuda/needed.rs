//! What the CUDA provider needs, and which packages have it.

use super::super::EngineError;
use crate::elf;
use std::path::Path;

/// A CUDA library that providers may need.
struct Known {
    /// Its file name without the version.
    stem: &'static str,
    /// The pip package that has it, without the suffix that names the CUDA release.
    pip: &'static str,
    /// Whether the pip package names the CUDA release even where it is 13 or later.
    pip_suffix: bool,
    /// The package of NVIDIA's apt repository that has it, without the release.
    apt: &'static str,
}

const fn known(stem: &'static str, pip: &'static str, apt: &'static str) -> Known {
    Known {
        stem,
        pip,
        pip_suffix: false,
        apt,
    }
}

/// A part of cuDNN. They find each other, since they lie in one folder.
const fn cudnn(stem: &'static str) -> Known {
    Known {
        stem,
        pip: "nvidia-cudnn",
        pip_suffix: true,
        apt: "libcudnn9-cuda",
    }
}

/// In the order in which they must be loaded. The first is the runtime. Current providers need four of them; that of ONNX
/// Runtime 1.20 needs them all.
const KNOWN: [Known; 14] = [
    known("libcudart.so", "nvidia-cuda-runtime", "cuda-cudart"),
    known("libnvrtc.so", "nvidia-cuda-nvrtc", "cuda-nvrtc"),
    known("libcublasLt.so", "nvidia-cublas", "libcublas"),
    known("libcublas.so", "nvidia-cublas", "libcublas"),
    known("libcurand.so", "nvidia-curand", "libcurand"),
    known("libcufft.so", "nvidia-cufft", "libcufft"),
    cudnn("libcudnn.so"),
    cudnn("libcudnn_graph.so"),
    cudnn("libcudnn_ops.so"),
    cudnn("libcudnn_cnn.so"),
    cudnn("libcudnn_adv.so"),
    cudnn("libcudnn_heuristic.so"),
    cudnn("libcudnn_engines_precompiled.so"),
    cudnn("libcudnn_engines_runtime_compiled.so"),
];

/// A library to load.
pub struct Wanted {
    /// Its file name, with the version.
    pub name: String,
    known: &'static Known,
    /// Major number of the CUDA release, from the runtime's file name.
    release: Option<u32>,
}

impl Wanted {
    /// Whether this is the CUDA runtime.
    pub fn is_runtime(&self) -> bool {
        self.known.stem == KNOWN[0].stem
    }

    /// The packages that have it, for a sentence.
    pub fn packages(&self) -> String {
        let Known {
            pip,
            pip_suffix,
            apt,
            ..
        } = self.known;
        match self.release {
            Some(release) if release >= 13 && !pip_suffix => {
                format!("pip package {pip}, or {apt}-{release}-* of NVIDIA's apt repository")
            }
            Some(release) if *pip_suffix => {
                format!(
                    "pip package {pip}-cu{release}, or {apt}-{release} of NVIDIA's apt repository"
                )
            }
            Some(release) => {
                format!(
                    "pip package {pip}-cu{release}, or {apt}-{release}-* of NVIDIA's apt repository"
                )
            }
            None => format!("pip package {pip}, or {apt} of NVIDIA's apt repository"),
        }
    }
}

/// The CUDA libraries among `names`, in the order in which they must be loaded.
pub fn cuda_libraries(names: &[String]) -> Vec<Wanted> {
    let find = |stem: &str| {
        let version = |name: &&String| name.strip_prefix(stem).is_some_and(is_version);
        names.iter().find(version)
    };
    let runtime = find(KNOWN[0].stem);
    let release = runtime.and_then(|name| {
        let version = name.strip_prefix(KNOWN[0].stem)?.strip_prefix('.')?;
        version.split('.').next()?.parse().ok()
    });
    let wanted = KNOWN.iter().filter_map(|known| {
        let name = find(known.stem)?.clone();
        Some(Wanted {
            name,
            known,
            release,
        })
    });
    wanted.collect()
}

fn is_version(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('.')
}

/// Names among the `DT_NEEDED` entries of a library.
pub fn libraries(path: &Path) -> Result<Vec<String>, EngineError> {
    match elf::read_path(path) {
        Ok(facts) => Ok(facts.needed),
        Err(cause) => Err(EngineError::Runtime(format!(
            "could not read the CUDA provider {}: {cause}; install ONNX Runtime again",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(names: &[&str]) -> Vec<Wanted> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        cuda_libraries(&names)
    }

    #[test]
    fn libraries_come_in_load_order_and_others_are_left_to_the_loader() {
        let wanted = wanted(&[
            "libcublas.so.13",
            "libcublasLt.so.13",
            "libcurand.so.10",
            "libcudart.so.13",
            "libcuda.so.1",
            "libc.so.6",
        ]);
        let names: Vec<&str> = wanted.iter().map(|wanted| wanted.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "libcudart.so.13",
                "libcublasLt.so.13",
                "libcublas.so.13",
                "libcurand.so.10"
            ]
        );
        assert!(wanted[0].is_runtime() && !wanted[1].is_runtime());
    }

    #[test]
    fn a_provider_for_cuda_12_needs_more_of_them_and_every_part_of_cudnn() {
        let wanted = wanted(&[
            "libcudnn_adv.so.9",
            "libcudnn.so.9",
            "libcufft.so.11",
            "libnvrtc.so.12",
            "libcudart.so.12",
        ]);
        let names: Vec<&str> = wanted.iter().map(|wanted| wanted.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "libcudart.so.12",
                "libnvrtc.so.12",
                "libcufft.so.11",
                "libcudnn.so.9",
                "libcudnn_adv.so.9"
            ]
        );
        assert!(wanted[4].packages().contains("nvidia-cudnn-cu12"));
    }

    #[test]
    fn packages_are_those_of_the_cuda_release_and_not_of_the_library_version() {
        let of = |runtime: &str, name: &str| {
            wanted(&[name, runtime])
                .into_iter()
                .find(|wanted| wanted.name == name)
                .unwrap()
                .packages()
        };
        assert_eq!(
            of("libcudart.so.13", "libcublasLt.so.13"),
            "pip package nvidia-cublas, or libcublas-13-* of NVIDIA's apt repository"
        );
        assert_eq!(
            of("libcudart.so.12", "libcurand.so.10"),
            "pip package nvidia-curand-cu12, or libcurand-12-* of NVIDIA's apt repository"
        );
        assert_eq!(
            of("libcudart.so.11.0", "libcudart.so.11.0"),
            "pip package nvidia-cuda-runtime-cu11, or cuda-cudart-11-* of NVIDIA's apt repository"
        );
        assert_eq!(
            of("libcudart.so.13", "libcudnn.so.9"),
            "pip package nvidia-cudnn-cu13, or libcudnn9-cuda-13 of NVIDIA's apt repository"
        );
    }

    #[test]
    fn a_file_that_is_no_library_gives_a_sentence() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("provider.so");
        std::fs::write(&path, b"text").unwrap();
        let error = libraries(&path).unwrap_err().to_string();
        assert!(
            error.contains("provider.so") && error.contains("install ONNX Runtime again"),
            "{error}"
        );
    }
}
