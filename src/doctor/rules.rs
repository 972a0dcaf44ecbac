//! What stands in the way of running: driver, device files, runtime, provider, CUDA libraries, kernels.

use super::gpu::Gpu;
use super::kernels::{Kernels, listed, pypi};
use super::{Facts, Finding, Severity};
use crate::protocol::FOUND_NOWHERE;
use crate::trial::DeviceChoice;

/// Findings in the order of cause and effect.
pub fn findings(facts: &Facts, gpu: &Gpu<'_>) -> Vec<Finding> {
    let wanted = match facts.device {
        DeviceChoice::Cpu => false,
        DeviceChoice::Cuda(_) => true,
        DeviceChoice::Auto => gpu.is_there(),
    };
    let severity = if wanted {
        Severity::Problem
    } else {
        Severity::Note
    };
    let rules = [
        no_files(facts),
        driver(facts, gpu, severity),
        device_files(facts, gpu, severity),
        nvml(facts, gpu),
        worker(facts),
        runtime(facts),
        provider(facts, gpu, severity),
        driver_age(gpu, severity),
        libraries(gpu, severity),
        kernels(facts, gpu, severity),
        cuda(facts, gpu, severity),
    ];
    rules.into_iter().flatten().collect()
}

/// A sentence of the form `what is wrong; what to do` in its two halves.
fn halves(sentence: &str) -> (String, Option<String>) {
    match sentence.rsplit_once("; ") {
        Some((what, remedy)) => (what.to_owned(), Some(remedy.to_owned())),
        None => (sentence.to_owned(), None),
    }
}

/// A finding out of such a sentence; `otherwise` is the remedy where it names none.
fn told(severity: Severity, code: &'static str, sentence: &str, otherwise: &str) -> Finding {
    let (what, remedy) = halves(sentence);
    Finding::new(severity, code, what, remedy.as_deref().unwrap_or(otherwise))
}

fn no_files(facts: &Facts) -> Option<Finding> {
    let machine = &facts.machine;
    let (kernel, memory) = (machine.kernel.as_ref().err()?, &machine.memory.total);
    memory.as_ref().err()?;
    Some(Finding::new(
        Severity::Warning,
        "no_system_files",
        format!("the kernel's files are missing ({kernel}), so little is known of this machine"),
        "mount them: mount -t proc proc /proc, and mount -t sysfs sysfs /sys",
    ))
}

fn driver(facts: &Facts, gpu: &Gpu<'_>, severity: Severity) -> Option<Finding> {
    let machine = &facts.machine;
    if gpu.has_driver() {
        return None;
    }
    if machine.jetson.is_some() {
        return Some(Finding::new(
            severity,
            "no_driver",
            "no NVIDIA driver: this Jetson shows none of its GPU's device files",
            "in a container, start it with --runtime nvidia; otherwise flash JetPack again, which brings the driver",
        ));
    }
    let what = match (machine.pci_gpus.is_empty(), machine.nouveau) {
        (false, true) => {
            "no NVIDIA driver: the GPU is driven by nouveau, which serves no CUDA".to_owned()
        }
        (false, false) => "no NVIDIA driver is loaded for the GPU of this machine".to_owned(),
        (true, _) => "no NVIDIA driver: none is loaded, and no NVIDIA GPU is seen".to_owned(),
    };
    let remedy = if machine.pci_gpus.is_empty() {
        "nothing, if this machine has no NVIDIA GPU; else install NVIDIA's driver (580 or newer for CUDA 13), and give a container or virtual machine its GPU (docker run --gpus all)"
    } else {
        "install NVIDIA's driver (580 or newer for CUDA 13; Debian and Ubuntu have packages of it), then restart"
    };
    Some(Finding::new(severity, "no_driver", what, remedy))
}

fn device_files(facts: &Facts, gpu: &Gpu<'_>, severity: Severity) -> Option<Finding> {
    let machine = &facts.machine;
    let version = &machine.kernel_driver.as_ref().ok()?.version;
    if !machine.device_files.is_empty() || gpu.used().is_some() {
        return None;
    }
    let remedy = if machine.container.is_some() {
        "start the container with its GPU: docker run --gpus all, with NVIDIA's container toolkit installed on the host"
    } else {
        "run nvidia-modprobe -c 0 -u as root, which makes them"
    };
    Some(Finding::new(
        severity,
        "no_device_files",
        format!("driver {version} is loaded, but there are no device files of a GPU in /dev"),
        remedy,
    ))
}

/// NVML is missing although a driver is there. Readings are lost, CUDA is not.
fn nvml(facts: &Facts, gpu: &Gpu<'_>) -> Option<Finding> {
    let reason = facts.answers.driver.as_ref().err()?;
    let asked = facts.answers.asked && facts.answers.failure.is_none();
    if !asked || !gpu.has_driver() {
        return None;
    }
    let remedy = if facts.machine.jetson.is_some() {
        "nothing: JetPack before 6 has no NVML, and clocks, power and temperature are read from the board's files"
    } else if facts.machine.container.is_some() {
        "let the container have it: NVIDIA_DRIVER_CAPABILITIES=compute,utility (docker run --gpus all sets both)"
    } else {
        "install the driver's libnvidia-ml.so.1 (package libnvidia-ml1 on Debian, libnvidia-compute on Ubuntu)"
    };
    Some(Finding::new(
        Severity::Warning,
        "no_nvml",
        format!(
            "there is a driver, but not its NVML: {reason}; memory, clocks, power and temperature of the GPU are not told"
        ),
        remedy,
    ))
}

fn worker(facts: &Facts) -> Option<Finding> {
    let failure = facts.answers.failure.as_ref()?;
    // A damaged payload gives neither a runtime nor a worker: one finding is enough.
    if facts.runtime.as_ref().err() == Some(failure) {
        return None;
    }
    Some(told(
        Severity::Problem,
        "worker_failed",
        failure,
        "look at the message, and at whether --ort and --cuda-dir name files made for this machine; --device cpu leaves CUDA out",
    ))
}

fn runtime(facts: &Facts) -> Option<Finding> {
    let otherwise = "name an onnxruntime wheel, a folder or a libonnxruntime.so with --ort";
    if let Err(sentence) = &facts.runtime {
        return Some(told(Severity::Problem, "no_runtime", sentence, otherwise));
    }
    let answers = &facts.answers;
    let refused = answers.asked && answers.failure.is_none();
    let sentence = answers.probe.as_ref().err().filter(|_| refused)?;
    Some(told(
        Severity::Problem,
        "runtime_unusable",
        sentence,
        otherwise,
    ))
}

fn provider(facts: &Facts, gpu: &Gpu<'_>, severity: Severity) -> Option<Finding> {
    let probe = facts.answers.probe.as_ref().ok()?;
    let cuda = "CUDAExecutionProvider";
    if probe.providers.iter().any(|name| name == cuda) {
        return None;
    }
    let remedy = match gpu.soc() {
        Some(soc) => format!(
            "use an ONNX Runtime built for Jetson with sm_{} kernels: name it with --ort, or pack it with edgebench bundle --ort",
            soc.sm
        ),
        None if severity == Severity::Note => {
            "nothing, to run on the CPU; for a GPU name an onnxruntime-gpu wheel with --ort".into()
        }
        None => "name an onnxruntime-gpu wheel with --ort, or pack it with edgebench bundle --ort"
            .into(),
    };
    Some(Finding::new(
        severity,
        "no_cuda_provider",
        format!(
            "ONNX Runtime {} has no CUDA provider, so it runs on the CPU only",
            probe.runtime_version
        ),
        remedy,
    ))
}

/// The major number of a version.
fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

fn driver_age(gpu: &Gpu<'_>, severity: Severity) -> Option<Finding> {
    let serves = gpu.driver().ok()?.cuda_version.clone().ok()?;
    let needs = gpu.seen()?.version.as_deref()?;
    if gpu.used().is_some() || major(&serves)? >= major(needs)? {
        return None;
    }
    let major = major(needs)?;
    let least = match major {
        13 => " (580 or newer)",
        12 => " (525 or newer)",
        _ => "",
    };
    let version = gpu.driver_version().unwrap_or_else(|_| "in use".into());
    Some(Finding::new(
        severity,
        "driver_too_old",
        format!(
            "driver {version} serves CUDA {serves} at most, and the CUDA libraries are {needs}"
        ),
        format!(
            "install a driver for CUDA {major}{least}, or name an ONNX Runtime made for CUDA {serves} or older with --ort"
        ),
    ))
}

/// Whether a sentence says that a CUDA library is missing.
fn lacks_library(sentence: &str) -> bool {
    sentence.contains(FOUND_NOWHERE)
}

fn libraries(gpu: &Gpu<'_>, severity: Severity) -> Option<Finding> {
    let sentence = gpu.unusable().filter(|text| lacks_library(text))?;
    Some(told(
        severity,
        "cuda_library_missing",
        sentence,
        "install it (the CUDA toolkit, or pip's nvidia packages), or name its folder with --cuda-dir",
    ))
}

/// The signs of a provider without code for the GPU, in the runtime's words and in ours.
fn lacks_kernels(sentence: &str) -> bool {
    let lower = sentence.to_lowercase();
    lower.contains("no kernel image") || lower.contains("no kernels for this gpu")
}

fn kernels(facts: &Facts, gpu: &Gpu<'_>, severity: Severity) -> Option<Finding> {
    if gpu.used().is_some() {
        return None;
    }
    let sm = gpu.sm();
    let target = sm.map_or_else(|| "this GPU".into(), |sm| format!("sm_{sm}"));
    let (severity, code, what) = match (&facts.kernels, sm) {
        (Ok(kernels), Some(sm)) if !kernels.run_on(sm) => {
            let held = listed(&kernels.cubins);
            let what = format!(
                "the CUDA provider has no kernels for {target}: it holds {held}, and no PTX that could become some"
            );
            (severity, "no_kernels", what)
        }
        _ if gpu.unusable().is_some_and(lacks_kernels) => {
            let held = usual_package(facts, sm);
            let held = held.map(|held| format!(" ({held})")).unwrap_or_default();
            let what = format!("the CUDA provider has no kernels for {target}{held}");
            (severity, "no_kernels", what)
        }
        // Nothing is known of the provider in use: what the usual package holds is a hint.
        (Err(_), Some(_)) if gpu.is_there() => {
            let held = usual_package(facts, sm)?;
            let what = format!("{held}: no kernels for {target}");
            (Severity::Note, "usual_package_lacks_kernels", what)
        }
        _ => return None,
    };
    let remedy = match gpu.soc() {
        Some(soc) => format!(
            "use an ONNX Runtime built for Jetson (from source: CMAKE_CUDA_ARCHITECTURES={0}) with --ort, or pack it with edgebench bundle --ort WHEEL --cuda-arch {0}",
            soc.sm
        ),
        None => format!(
            "use an ONNX Runtime whose CUDA provider is built for {target}, with --ort or edgebench bundle --ort"
        ),
    };
    Some(Finding::new(severity, code, what, remedy))
}

/// What the usual package holds, where that is nothing for this GPU.
fn usual_package(facts: &Facts, sm: Option<u32>) -> Option<String> {
    // A tree of a Jetson's files may be looked at on another machine.
    let arch = match facts.machine.jetson {
        Some(_) => "aarch64",
        None => facts.program.arch.as_str(),
    };
    let package = Kernels {
        cubins: pypi(arch)?.to_vec(),
        ptx: Vec::new(),
    };
    sm.is_none_or(|sm| !package.run_on(sm)).then(|| {
        format!(
            "PyPI's onnxruntime-gpu 1.31.1 for {arch} holds {} only, and no PTX",
            listed(&package.cubins)
        )
    })
}

/// Whatever else CUDA said, unless another finding says it already.
fn cuda(facts: &Facts, gpu: &Gpu<'_>, severity: Severity) -> Option<Finding> {
    let sentence = gpu.unusable()?;
    let explained = !gpu.has_driver()
        || lacks_library(sentence)
        || lacks_kernels(sentence)
        || provider(facts, gpu, severity).is_some()
        || driver_age(gpu, severity).is_some()
        || device_files(facts, gpu, severity).is_some();
    (!explained).then(|| {
        told(
            severity,
            "cuda_unusable",
            sentence,
            "look at the message; --device cpu runs without CUDA",
        )
    })
}
