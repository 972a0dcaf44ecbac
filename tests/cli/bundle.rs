//! One file that carries its worker and ONNX Runtime: made from the program under test, run, moved about, damaged.

use crate::sandbox::{Ran, Sandbox, names, program, statuses, until};
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The folder of unpacked runtimes in a sandbox.
fn unpacked(sandbox: &Sandbox) -> PathBuf {
    sandbox.path().join("cache/edgebench/runtime")
}

/// The runtimes in a folder, without the files that are locked there.
fn runtimes(root: &Path) -> Vec<String> {
    let mut names = names(root);
    names.retain(|name| ![".lock", ".extracting"].contains(&name.as_str()));
    names
}

/// Copies a program in a process of its own: no other test that starts one meanwhile holds the copy open, which would then be
/// busy.
fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg(from).arg(to).status();
    assert!(done.unwrap().success());
}

/// Makes these bytes a program, in the way of [`copy`].
fn place(bytes: &[u8], path: &Path) {
    let mut staged = tempfile::NamedTempFile::new().unwrap();
    staged.write_all(bytes).unwrap();
    copy(staged.path(), path);
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

/// The program without what only a debugger reads, where there is a `strip`: less to pack, to hash and to copy.
fn slim(folder: &Path) -> PathBuf {
    let slim = folder.join("edgebench");
    let strip = Command::new("strip")
        .arg("-o")
        .arg(&slim)
        .arg(program())
        .status();
    if !strip.is_ok_and(|status| status.success()) {
        copy(program(), &slim);
    }
    slim
}

/// The program under test and a file that it made of itself, shared by all tests; removed when the last of them is done.
struct Shared {
    plain: PathBuf,
    bundle: PathBuf,
    made: Ran,
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        // Kept in the build's folder for such files, where the next run replaces it: a static is never dropped.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bundle");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let plain = slim(&folder);
        let bundle = folder.join("bundled");
        let sandbox = Sandbox::new();
        let output = bundle.to_str().unwrap();
        let made = run(&sandbox, &plain, &["bundle", "-o", output, "--level", "1"]);
        Shared {
            plain,
            bundle,
            made,
        }
    })
}

fn bundled() -> &'static Path {
    &shared().bundle
}

/// A command line for a file other than the program under test.
fn command(sandbox: &Sandbox, file: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(file);
    command.args(args);
    sandbox.settle(&mut command);
    command
}

fn run(sandbox: &Sandbox, file: &Path, args: &[&str]) -> Ran {
    sandbox.finish(command(sandbox, file, args))
}

/// A trial on the CPU, by the ONNX Runtime of the payload.
const TRIAL: [&str; 10] = [
    "--device",
    "cpu",
    "--model",
    "tiny-llama",
    "-r",
    "1",
    "--vram-budget",
    "1G",
    "--format",
    "json",
];

/// Checks that a trial went well.
#[track_caller]
fn assert_ran(ran: Ran) {
    let ran = ran.left_with(0);
    let report = ran.json();
    assert_eq!(statuses(&report), ["ok"], "{ran}");
    assert_eq!(report["trials"][0]["check"]["passed"], true, "{ran}");
}

#[test]
fn making_one_is_told_part_by_part() {
    let made = &shared().made;
    assert_eq!(made.code, Some(0), "{made}");
    for part in [
        "program",
        "edgebench-worker",
        "libonnxruntime.so",
        "licences and notices",
        "glibc",
    ] {
        assert!(made.stdout.contains(part), "{part:?} is not in: {made}");
    }
    let packing = |line: &str| line.starts_with("packing ");
    assert!(made.stderr.lines().all(packing), "{made}");
    let folder = bundled().parent().unwrap();
    assert!(
        names(folder).iter().all(|name| !name.starts_with('.')),
        "a scratch copy stayed"
    );
    let mode = fs::metadata(bundled()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
}

#[test]
fn it_runs_a_trial_with_the_runtime_that_it_carries() {
    let sandbox = Sandbox::new();
    // A broken runtime of the build would be noticed: none is given, none is named.
    assert_ran(run(&sandbox, bundled(), &TRIAL));
    let ids = runtimes(&unpacked(&sandbox));
    let [id] = ids.as_slice() else {
        panic!("{ids:?}")
    };
    let folder = unpacked(&sandbox).join(id);
    let times = || -> Vec<_> {
        let time = |name: &String| fs::metadata(folder.join(name)).unwrap().modified().unwrap();
        names(&folder).iter().map(time).collect()
    };
    let before = times();
    let doctor = run(
        &sandbox,
        bundled(),
        &["doctor", "--json", "--device", "cpu"],
    );
    let told = doctor.left_with(0).stdout;
    assert!(
        told.contains("edgebench-worker") && told.contains(folder.to_str().unwrap()),
        "{told}"
    );
    assert_eq!(times(), before, "the second start wrote something");
    let listed = run(&sandbox, bundled(), &["cache", "list"]).left_with(0);
    assert!(listed.stdout.contains(&format!("runtime/{id}")), "{listed}");
    let cleared = run(&sandbox, bundled(), &["cache", "clear"]).left_with(0);
    assert!(
        cleared.stdout.starts_with("removed 2 of 2 entries") && !folder.exists(),
        "{cleared}"
    );
}

#[test]
fn what_needs_no_worker_unpacks_nothing() {
    let sandbox = Sandbox::new();
    for args in [
        &["--help"][..],
        &["--version"],
        &["models"],
        &["cache"],
        &["licenses"],
        &["--dry-run", "--device", "cpu", "--vram-budget", "1G"],
    ] {
        run(&sandbox, bundled(), args).left_with(0);
    }
    assert!(names(&sandbox.path().join("cache")).is_empty());
    let licences = run(&sandbox, bundled(), &["licenses"]).stdout;
    for name in [
        "edgebench/LICENSE",
        "onnxruntime/LICENSE",
        "onnxruntime/ThirdPartyNotices.txt",
    ] {
        assert_eq!(
            licences.matches(&format!("{name}\n===")).count(),
            1,
            "{name}"
        );
    }
    // Nobody who reads, or nobody any more.
    let mut full = command(&sandbox, bundled(), &["licenses"]);
    full.stdout(fs::File::create("/dev/full").unwrap());
    let full = full.output().unwrap();
    assert_eq!(full.status.code(), Some(8));
    let told = String::from_utf8(full.stderr).unwrap();
    assert!(
        told.contains("standard output") && told.lines().count() == 1,
        "{told}"
    );
    let shell = format!("exec '{}' licenses >&-", bundled().display());
    run(&sandbox, Path::new("/bin/sh"), &["-c", &shell]).left_with(0);
}

#[test]
fn a_runtime_in_use_is_not_cleared() {
    let sandbox = Sandbox::new();
    let hang = serde_json::json!({"at": "load", "nth": 1, "what": "hang"});
    let script = serde_json::json!({"models": {"tiny-llama": {"fault": hang}}});
    let engine = sandbox.script(&script);
    let mut args = vec!["--engine", engine.as_str(), "--timeout", "1h"];
    args.extend(TRIAL);
    let mut command = command(&sandbox, bundled(), &args);
    let mut running = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let folder = until("a worker", || {
        let id = names(&unpacked(&sandbox))
            .into_iter()
            .find(|name| !name.starts_with('.'))?;
        (sandbox.processes().len() > 1).then(|| unpacked(&sandbox).join(id))
    });
    let cleared = run(&sandbox, bundled(), &["cache", "clear"]).left_with(0);
    assert!(
        cleared.stdout.contains("kept runtime/") && folder.is_dir(),
        "{cleared}"
    );
    running.kill().unwrap();
    running.wait().unwrap();
    run(&sandbox, bundled(), &["cache", "clear"]).left_with(0);
    assert!(!folder.exists());
}

#[test]
fn it_unpacks_where_it_is_told_to() {
    let sandbox = Sandbox::new();
    let doctor = ["doctor", "--device", "cpu"];
    let by_flag = [&doctor[..], &["--runtime-dir", "here"]].concat();
    run(&sandbox, bundled(), &by_flag).left_with(0);
    assert_eq!(runtimes(&sandbox.work().join("here")).len(), 1);
    let there = sandbox.path().join("there/deep");
    let mut by_variable = command(&sandbox, bundled(), &doctor);
    by_variable.env("EDGEBENCH_RUNTIME_DIR", &there);
    sandbox.finish(by_variable).left_with(0);
    assert_eq!(runtimes(&there).len(), 1);
    assert!(!unpacked(&sandbox).exists());
    let mut empty = command(&sandbox, bundled(), &doctor);
    empty.env("EDGEBENCH_RUNTIME_DIR", "");
    sandbox.finish(empty).left_with(0);
    assert!(
        unpacked(&sandbox).exists(),
        "an empty variable counts as unset"
    );
}

#[test]
fn it_runs_renamed_read_only_and_through_a_link() {
    let sandbox = Sandbox::new();
    let renamed = sandbox.path().join("another name");
    copy(bundled(), &renamed);
    fs::set_permissions(&renamed, Permissions::from_mode(0o555)).unwrap();
    assert_ran(run(&sandbox, &renamed, &TRIAL));
    let link = sandbox.path().join("link");
    symlink(&renamed, &link).unwrap();
    assert_ran(run(&sandbox, &link, &TRIAL));
    let mut by_path = command(&sandbox, Path::new("link"), &TRIAL);
    by_path.env("PATH", sandbox.path());
    assert_ran(sandbox.finish(by_path));
    assert_eq!(
        runtimes(&unpacked(&sandbox)).len(),
        1,
        "all share one folder"
    );
}

#[test]
fn one_is_made_of_another() {
    let sandbox = Sandbox::new();
    let again = run(
        &sandbox,
        bundled(),
        &["bundle", "-o", "again", "--level", "1", "--format", "json"],
    );
    let made = again.left_with(0).json();
    let again = sandbox.work().join("again");
    assert_eq!(made["bytes"], fs::metadata(&again).unwrap().len());
    assert!(
        fs::read(&again).unwrap() == fs::read(bundled()).unwrap(),
        "the same parts make the same file"
    );
    // In its own place, while it runs; and with a worker that is nothing else.
    let worker: &Path = assert_cmd::cargo::cargo_bin!("edgebench-worker");
    let args = ["bundle", "-o", "again", "--level", "1", "--worker"];
    let args = [&args[..], &[worker.to_str().unwrap()]].concat();
    run(&sandbox, &again, &args).left_with(0);
    assert_eq!(sandbox.written(), ["again"]);
    assert_ran(run(&sandbox, &again, &TRIAL));
}

#[test]
fn first_starts_at_once_all_succeed() {
    let sandbox = Sandbox::new();
    let start = |number: usize| {
        let output = format!("{number}.json");
        let args = [&TRIAL[..], &["-o", &output]].concat();
        let mut command = command(&sandbox, bundled(), &args);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let started: Vec<_> = (0..4).map(start).collect();
    for mut child in started {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(runtimes(&unpacked(&sandbox)).len(), 1);
    for number in 0..4 {
        let report = crate::sandbox::report(&sandbox.work().join(format!("{number}.json")));
        assert_eq!(statuses(&report), ["ok"]);
    }
}

#[test]
fn a_damaged_file_says_so_and_runs_nothing() {
    let sandbox = Sandbox::new();
    let good = fs::read(bundled()).unwrap();
    let front = fs::metadata(&shared().plain).unwrap().len() as usize;
    let path = sandbox.path().join("damaged");
    let damaged = |bytes: &[u8], parts: &[&str]| {
        place(bytes, &path);
        let parts = [parts, &["damaged", "copy it again"]].concat();
        run(&sandbox, &path, &TRIAL).refused(4, &parts);
        run(&sandbox, &path, &["bundle", "-o", "made"]).refused(4, &parts);
        let licences = run(&sandbox, &path, &["licenses"]);
        // What it prints has a checksum of its own, so that not every part is looked at for that.
        assert!(
            licences.code == Some(4) || parts[0].starts_with("altered"),
            "{licences}"
        );
        assert!(runtimes(&unpacked(&sandbox)).is_empty() && sandbox.written().is_empty());
        assert!(!sandbox.models().exists());
    };
    for length in [
        front + 1,
        front + 64,
        front + 100,
        good.len() / 3 * 2,
        good.len() - 1,
    ] {
        damaged(&good[..length], &["cut short"]);
    }
    damaged(&[&good[..], b"\n"].concat(), &["longer than it should be"]);
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    damaged(&flipped(front + 70), &["altered (its index)"]);
    damaged(
        &flipped(good.len() - 1),
        &["altered (onnxruntime/ThirdPartyNotices.txt)"],
    );
    damaged(&flipped(good.len() * 2 / 3), &["altered ("]);
}

#[test]
fn a_copy_altered_behind_the_back_of_an_unpacked_payload_is_noticed() {
    let sandbox = Sandbox::new();
    let altered = sandbox.path().join("altered");
    copy(bundled(), &altered);
    run(&sandbox, &altered, &["doctor", "--device", "cpu"]).left_with(0);
    let mut bytes = fs::read(&altered).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    place(&bytes, &altered);
    run(&sandbox, &altered, &TRIAL).refused(4, &["altered", "copy it again"]);
    assert_ran(run(&sandbox, bundled(), &TRIAL));
}

#[test]
fn an_onnx_runtime_that_cannot_be_packed() {
    let sandbox = Sandbox::new();
    let text = sandbox.file("onnxruntime.whl", "PK but not a wheel");
    let home = sandbox.path().join("home");
    let table: [(&[&str], i32, &[&str]); 9] = [
        (&["--ort", &text], 4, &["--ort", "not a Python wheel"]),
        (&["--ort", "/nonexistent"], 4, &["--ort", "/nonexistent"]),
        (
            &["--ort", home.to_str().unwrap()],
            4,
            &["--ort", "no libonnxruntime.so"],
        ),
        (
            &["--cuda-arch", "90"],
            4,
            &["--cuda-arch", "CUDA provider", "--ort"],
        ),
        (
            &["--with-cuda-libs", "/nonexistent"],
            4,
            &["--with-cuda-libs", "CUDA provider"],
        ),
        (&["--cuda-arch", "turbo"], 2, &["--cuda-arch", "turbo"]),
        (&["--cuda-arch", ""], 2, &["--cuda-arch"]),
        (&["--level", "23"], 2, &["--level"]),
        (
            &["--notice", "/nonexistent"],
            2,
            &["--notice", "/nonexistent"],
        ),
    ];
    for (more, code, parts) in table {
        let args = [&["bundle", "-o", "made"], more].concat();
        sandbox.run(&args).refused(code, parts);
    }
    assert!(sandbox.written().is_empty());
}

/// What passes for an ONNX Runtime for this machine number.
fn library(machine: u8) -> Vec<u8> {
    let mut library = vec![0; 5000];
    library[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (library[16], library[18]) = (3, machine);
    library[1000..1013].copy_from_slice(b"OrtGetApiBase");
    library
}

/// A wheel with an ONNX Runtime for this machine number and platform.
fn wheel(path: &Path, machine: u8, platform: &str) {
    let library = library(machine);
    let tag = format!("Wheel-Version: 1.0\nTag: cp312-cp312-{platform}\n");
    let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
    let entries = [
        ("onnxruntime-1.31.1.dist-info/WHEEL", tag.as_bytes()),
        ("onnxruntime/capi/libonnxruntime.so.1.31.1", &library),
    ];
    for (name, bytes) in entries {
        zip.start_file(name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

#[test]
fn an_onnx_runtime_for_another_machine_or_gpu() {
    let sandbox = Sandbox::new();
    let bundle = |ort: &Path, more: &[&str]| {
        let args = ["bundle", "-o", "made", "--ort", ort.to_str().unwrap()];
        sandbox.run(&[&args[..], more].concat())
    };
    let (own, number, other) = match std::env::consts::ARCH {
        "aarch64" => ("aarch64", 183, "x86_64"),
        own => (own, 62, "aarch64"),
    };
    let path = sandbox.path().join("onnxruntime-1.31.1-other.whl");
    wheel(&path, number, &format!("manylinux_2_28_{other}"));
    bundle(&path, &[]).refused(4, &["--ort", other, own, "--front"]);
    wheel(&path, number, "win_amd64");
    bundle(&path, &[]).refused(4, &["--ort", "win_amd64", own]);
    wheel(&path, number, &format!("manylinux_2_28_{own}"));
    bundle(&path, &["--cuda-arch", "86"]).refused(4, &["--cuda-arch", "CUDA provider"]);
    // A provider with GPU code for sm_86 alone: a fat binary of one entry.
    let folder = sandbox.path().join("ort");
    fs::create_dir(&folder).unwrap();
    fs::copy(program(), folder.join("libonnxruntime_providers_shared.so")).unwrap();
    let runtime = folder.join("libonnxruntime.so");
    fs::copy(program(), &runtime).unwrap();
    bundle(&folder, &[]).refused(4, &["--ort", "is not ONNX Runtime"]);
    fs::write(&runtime, library(number)).unwrap();
    let mut fat = vec![
        0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0, 128, 0, 0, 0, 0, 0, 0, 0,
    ];
    fat.resize(16 + 64, 0);
    (fat[16], fat[18], fat[19], fat[20], fat[24]) = (2, 1, 1, 64, 64);
    (fat[16 + 28], fat[16 + 40]) = (86, 0x11);
    fat.resize(16 + 128, 7);
    fs::write(folder.join("libonnxruntime_providers_cuda.so"), fat).unwrap();
    let none = ["--cuda-arch", "libonnxruntime_providers_cuda.so", "sm_86"];
    bundle(&folder, &["--cuda-arch", "90"]).refused(2, &none);
    bundle(&folder, &["--cuda-arch", "86,87"]).refused(2, &["sm_87", "Jetson"]);
    let libraries = ["--with-cuda-libs", sandbox.path().to_str().unwrap()];
    // That file is no library, so nobody can tell which libraries it needs.
    bundle(&folder, &libraries).refused(2, &["libonnxruntime_providers_cuda.so", "ELF"]);
    assert!(sandbox.written().is_empty());
}

#[test]
fn a_program_that_cannot_be_packed() {
    let sandbox = Sandbox::new();
    let text = sandbox.file("script", "#!/bin/sh\n");
    for flag in ["--worker", "--front"] {
        for (path, cause) in [
            (text.as_str(), "ELF"),
            ("/bin/sh", "another program"),
            ("/nonexistent", "No such file"),
        ] {
            let args = ["bundle", "-o", "made", flag, path];
            sandbox.run(&args).refused(2, &[flag, path, cause]);
        }
    }
    assert!(sandbox.written().is_empty());
}

#[test]
fn an_output_that_cannot_be_made() {
    let sandbox = Sandbox::new();
    let file = sandbox.file("file", "");
    let work = sandbox.work();
    for output in [
        &format!("{file}/made"),
        "/proc/made",
        "absent/made",
        work.to_str().unwrap(),
        "/dev/null",
    ] {
        sandbox
            .run(&["bundle", "-o", output])
            .refused(8, &[output, "-o"]);
    }
    assert!(sandbox.written().is_empty());
}

#[test]
fn without_a_home_the_remedy_is_named_and_runtime_dir_helps() {
    let sandbox = Sandbox::new();
    let homeless = |more: &[&str]| {
        let mut command = command(&sandbox, bundled(), more);
        command.env_remove("HOME").env_remove("XDG_CACHE_HOME");
        sandbox.finish(command)
    };
    homeless(&TRIAL).refused(2, &["XDG_CACHE_HOME"]);
    homeless(&["--dry-run", "--device", "cpu", "--vram-budget", "1G"]).left_with(0);
    homeless(&["--dry-run", "--runtime-dir", "there"]).left_with(0);
    assert_eq!(runtimes(&sandbox.work().join("there")).len(), 1);
}

#[test]
fn a_plan_needs_nothing_but_the_program() {
    let sandbox = Sandbox::new();
    let root = sandbox.path().join("root");
    // The program is linked dynamically here: its loader and libraries are all that is in the root beside it.
    let list = Command::new("ldd").arg(&shared().plain).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let libraries = list.split_whitespace().filter(|word| word.starts_with('/'));
    for library in libraries {
        let place = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        copy(Path::new(library), &place);
    }
    copy(bundled(), &root.join("edgebench"));
    use std::os::unix::fs::MetadataExt;
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return skipped("only root can change the root folder");
    }
    let within = |args: &[&str]| {
        let mut command = Command::new("chroot");
        command.arg(&root).arg("/edgebench").args(args).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap());
        sandbox.finish(command)
    };
    for args in [&["--help"][..], &["models"], &["licenses"]] {
        within(args).left_with(0);
    }
    for device in ["cpu", "cuda"] {
        let args = ["--dry-run", "--device", device, "--vram-budget", "3G"];
        let plan = within(&[&args[..], &["--format", "json"]].concat()).left_with(0);
        assert_eq!(plan.json()["budget"], 3_u64 << 30, "{plan}");
        assert_eq!(
            plan.stderr.contains("for granted"),
            device == "cuda",
            "{plan}"
        );
    }
    within(&["--dry-run", "--device", "cpu"]).refused(5, &["main memory", "/proc/meminfo"]);
}

#[test]
fn a_cache_that_may_not_hold_programs_is_told_and_memory_serves() {
    let sandbox = Sandbox::new();
    let Some(_disk) = Mount::new(&sandbox.path().join("cache"), "noexec,mode=0755") else {
        return;
    };
    let ran = run(&sandbox, bundled(), &TRIAL);
    assert!(
        ran.stderr.contains("unpacked into memory") && ran.stderr.contains("noexec"),
        "{ran}"
    );
    assert_ran(ran);
    assert!(names(&unpacked(&sandbox)).is_empty());
}

#[test]
fn a_full_cache_is_told_and_nothing_half_written_stays() {
    let sandbox = Sandbox::new();
    let Some(_disk) = Mount::new(&sandbox.path().join("cache"), "size=4m,mode=0755") else {
        return;
    };
    run(&sandbox, bundled(), &TRIAL).refused(8, &["No space left", "--runtime-dir"]);
    assert!(runtimes(&unpacked(&sandbox)).is_empty());
}

/// Says where nobody can overlook it that a test could not do its work.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED, nothing was tested: {why}");
}

/// A file system in memory, for as long as it lives.
struct Mount(PathBuf);

impl Mount {
    /// Mounts one on `place`; nothing where this user may not.
    fn new(place: &Path, options: &str) -> Option<Mount> {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(place);
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Mount(place.to_owned()));
        }
        skipped("no file system can be mounted here");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
