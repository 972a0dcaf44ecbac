use super::super::needed::cuda_libraries;
use super::super::places::{AARCH64, X86_64};
use super::*;
use std::fs;

const NAMES: [&str; 4] = [
    "libcudart.so.13",
    "libcublasLt.so.13",
    "libcublas.so.13",
    "libcurand.so.10",
];

/// A machine made of folders.
struct Tree {
    temp: tempfile::TempDir,
    around: Surroundings,
}

impl Tree {
    fn new(machine: Machine) -> Tree {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().to_owned();
        let around = Surroundings {
            machine,
            provider: root.join("ort/libonnxruntime_providers_cuda.so"),
            root,
            folders: Vec::new(),
            loader_path: Vec::new(),
            toolkits: Vec::new(),
            environments: Vec::new(),
            path: Vec::new(),
            home: None,
        };
        Tree { temp, around }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.temp.path().join(path)
    }

    fn put(&self, folder: &str, name: &str, bytes: &[u8]) -> PathBuf {
        fs::create_dir_all(self.at(folder)).unwrap();
        let path = self.at(folder).join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn library(&self, folder: &str, name: &str) -> PathBuf {
        self.put(folder, name, &header(self.around.machine.number))
    }

    fn all(&self, folder: &str) {
        for name in NAMES {
            self.library(folder, name);
        }
    }

    /// Folders, relative to the root, in which a search without the loader finds the four libraries.
    fn found(&self) -> Vec<String> {
        self.found_with(&mut |_| None)
    }

    fn found_with(&self, loader: &mut dyn FnMut(&str) -> Option<PathBuf>) -> Vec<String> {
        let mut search = Search::new(&self.around);
        let mut folder = |name| {
            let Some(path) = search.find(name, loader) else {
                return "nowhere".to_owned();
            };
            assert!(path.ends_with(name));
            let folder = path.parent().unwrap();
            let below = folder.strip_prefix(self.temp.path()).unwrap_or(folder);
            below.display().to_string()
        };
        NAMES.map(&mut folder).to_vec()
    }
}

/// The head of an ELF file.
fn header(machine: u16) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(18, 0);
    bytes.extend(machine.to_le_bytes());
    bytes.resize(64, 0);
    bytes
}

#[test]
fn each_place_is_looked_at_and_in_order() {
    let mut tree = Tree::new(X86_64);
    tree.around.folders = vec![tree.at("named")];
    tree.around.loader_path = vec![tree.at("variable")];
    tree.around.toolkits = vec![tree.at("toolkit")];
    tree.around.environments = vec![tree.at("venv"), tree.at("conda")];
    tree.around.home = Some(tree.at("home/me"));
    tree.around.path = vec![tree.at("empty/bin"), tree.at("python/bin")];
    tree.put("python/bin", "python3", b"");
    let order = [
        "ort",
        "named",
        "variable",
        "toolkit/lib64",
        "usr/local/cuda/lib64",
        "usr/local/cuda/targets/x86_64-linux/lib",
        "usr/local/cuda-13.10/lib64",
        "usr/local/cuda-13.9/lib64",
        "usr/lib/x86_64-linux-gnu",
        "usr/lib64",
        "opt/cuda/lib64",
        "venv/lib/python3.12/site-packages/nvidia/cu13/lib",
        "venv/lib/python3.12/site-packages/nvidia/cublas/lib",
        "conda/lib/python3.11/site-packages/nvidia/cu13/lib",
        "conda/lib",
        "python/lib/python3.13/site-packages/nvidia/cu13/lib",
        "python/versions/3.11.4/lib/python3.11/site-packages/nvidia/cu13/lib",
        "home/me/.local/lib/python3.10/site-packages/nvidia/cu13/lib",
        "usr/lib/python3/dist-packages/nvidia/cu13/lib",
        "usr/local/lib/python3.12/dist-packages/nvidia/cu13/lib",
    ];
    for folder in order {
        tree.all(folder);
    }
    for (at, folder) in order.iter().enumerate() {
        let later = &order[at..];
        assert!(
            tree.found().iter().all(|found| found == folder),
            "{:?} among {later:?}",
            tree.found()
        );
        fs::remove_dir_all(tree.at(folder)).unwrap();
    }
    assert_eq!(tree.found(), ["nowhere"; 4]);
}

#[test]
fn a_jetson_and_an_arm_server_have_folders_of_their_own() {
    for folder in [
        "usr/lib/aarch64-linux-gnu/tegra",
        "usr/lib/aarch64-linux-gnu/nvidia",
        "usr/local/cuda-12.6/targets/aarch64-linux/lib",
        "usr/local/cuda-13.0/targets/sbsa-linux/lib",
        "usr/lib/aarch64-linux-gnu",
    ] {
        let tree = Tree::new(AARCH64);
        tree.all(folder);
        assert_eq!(tree.found(), [folder; 4]);
    }
    let tree = Tree::new(X86_64);
    tree.all("usr/local/cuda-13.0/targets/sbsa-linux/lib");
    assert_eq!(tree.found(), ["nowhere"; 4]);
}

#[test]
fn the_loader_is_asked_before_the_usual_places_and_its_folder_serves_the_rest() {
    let tree = Tree::new(X86_64);
    tree.all("cached");
    tree.all("usr/local/cuda/lib64");
    let mut asked = Vec::new();
    let found = tree.found_with(&mut |name| {
        asked.push(name.to_owned());
        Some(tree.at("cached").join(name))
    });
    assert_eq!(found, ["cached"; 4]);
    assert_eq!(asked, ["libcudart.so.13"], "the others lie beside it");
}

#[test]
fn the_provider_inside_a_python_installation_finds_the_packages_beside_it() {
    let mut tree = Tree::new(X86_64);
    let site = "odd/place/site-packages";
    tree.around.provider = tree
        .at(site)
        .join("onnxruntime/capi/libonnxruntime_providers_cuda.so");
    let folders = ["cuda_runtime", "cublas", "cublas", "curand"]
        .map(|part| format!("{site}/nvidia/{part}/lib"));
    for (name, folder) in NAMES.iter().zip(&folders) {
        tree.library(folder, name);
    }
    assert_eq!(tree.found(), folders);
}

#[test]
fn the_rest_comes_from_where_the_runtime_was_found() {
    let mut tree = Tree::new(X86_64);
    tree.around.environments = vec![tree.at("venv")];
    let nvidia = "venv/lib/python3.12/site-packages/nvidia";
    tree.library(&format!("{nvidia}/cuda_runtime/lib"), NAMES[0]);
    tree.library(&format!("{nvidia}/cublas/lib"), NAMES[1]);
    tree.library(&format!("{nvidia}/cublas/lib"), NAMES[2]);
    for name in &NAMES[1..] {
        tree.library("usr/lib/x86_64-linux-gnu", name);
    }
    assert_eq!(
        tree.found(),
        [
            format!("{nvidia}/cuda_runtime/lib"),
            format!("{nvidia}/cublas/lib"),
            format!("{nvidia}/cublas/lib"),
            "usr/lib/x86_64-linux-gnu".to_owned()
        ]
    );
    tree.around.folders = vec![tree.at("mine")];
    tree.library("mine", NAMES[2]);
    assert_eq!(tree.found()[2], "mine", "a named folder wins all the same");
}

#[test]
fn a_file_for_another_machine_or_of_another_kind_is_passed_over_and_named() {
    let mut tree = Tree::new(X86_64);
    tree.around.folders = ["arm", "text", "short"].map(|name| tree.at(name)).to_vec();
    tree.put("arm", NAMES[0], &header(AARCH64.number));
    tree.put("text", NAMES[0], &[b' '; 64]);
    tree.put("short", NAMES[0], b"\x7fELF");
    let mut search = Search::new(&tree.around);
    assert_eq!(search.find(NAMES[0], &mut |_| None), None);
    let wanted = cuda_libraries(&[NAMES[0].to_owned()]);
    let sentence = search.missing(&wanted[0]);
    for part in [
        "arm/libcudart.so.13 was passed over: it is built for another machine than x86_64; ",
        "text/libcudart.so.13 was passed over: it is no 64-bit ELF library; ",
        "short/libcudart.so.13 was passed over: it is cut short; ",
    ] {
        assert!(sentence.contains(part), "{part:?} is not in: {sentence}");
    }
    let good = tree.library("usr/lib64", NAMES[0]);
    assert_eq!(search.find(NAMES[0], &mut |_| None), Some(good));
}

#[test]
fn a_missing_library_is_named_with_every_place_once_and_its_package() {
    let mut tree = Tree::new(AARCH64);
    tree.around.folders = vec![tree.at("named"), tree.at("ort")];
    tree.around.home = Some(tree.at("home"));
    tree.library("usr/local/cuda-12.6/lib64", "libcudart.so.12");
    fs::create_dir_all(tree.at("usr/local/lib/python3.12/dist-packages")).unwrap();
    let mut search = Search::new(&tree.around);
    let wanted = cuda_libraries(&["libcublas.so.12".to_owned(), "libcudart.so.12".to_owned()]);
    assert!(search.find(&wanted[0].name, &mut |_| None).is_some());
    assert_eq!(search.find(&wanted[1].name, &mut |_| None), None);
    let sentence = search.missing(&wanted[1]);
    let root = tree.temp.path().display().to_string();
    let sentence = sentence.replace(&format!("{root}/"), "/");
    assert!(
        sentence.starts_with(
            "libcublas.so.12, which the CUDA provider needs, was found neither by the system's loader nor in /ort, /named, "
        ),
        "{sentence}"
    );
    for part in [
        "/usr/local/cuda/lib64, ",
        "/usr/local/cuda-12.6/targets/sbsa-linux/lib, ",
        "/usr/lib/aarch64-linux-gnu, ",
        "/home/.local/lib*/python3*/*-packages/nvidia/*/lib, ",
        "/usr/local/lib/python3.12/dist-packages/nvidia/*/lib, ",
        "/usr/lib/aarch64-linux-gnu/tegra, ",
        "install it (pip package nvidia-cublas-cu12, or libcublas-12-* of NVIDIA's apt repository)",
        "--cuda-dir",
    ] {
        assert!(sentence.contains(part), "{part:?} is not in: {sentence}");
    }
    let mut places: Vec<&str> = sentence.split(", ").collect();
    let count = places.len();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), count, "{sentence}");
}

#[test]
fn the_file_that_the_loader_took_is_read_from_the_memory_map() {
    let map = "\
7f00-7f01 r--p 00000000 08:01 1 /usr/lib/libcublasLt.so.13.0.1
7f01-7f02 r-xp 00000000 08:01 2 /usr/lib/a folder/libcublas.so.13.0.1
7f02-7f03 rw-p 00000000 00:00 0 [heap]
7f03-7f04 rw-p 00000000 08:01 3 /usr/lib/libcudart.so.130
";
    let found = |name| file_in_map(map, name);
    assert_eq!(
        found("libcublas.so.13"),
        Some(PathBuf::from("/usr/lib/a folder/libcublas.so.13.0.1"))
    );
    assert_eq!(
        found("libcublasLt.so.13"),
        Some(PathBuf::from("/usr/lib/libcublasLt.so.13.0.1"))
    );
    assert_eq!(found("libcudart.so.13"), None);
}
