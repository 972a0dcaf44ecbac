//! A home, a cache and a working folder for one test, and what came of a command run in them.

use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Longest time for one command, and for anything that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The program under test.
pub fn program() -> &'static Path {
    assert_cmd::cargo::cargo_bin!("edgebench")
}

pub struct Sandbox {
    folder: tempfile::TempDir,
}

impl Sandbox {
    pub fn new() -> Sandbox {
        let folder = tempfile::tempdir().unwrap();
        for name in ["home", "cache", "work"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Sandbox { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder that commands run in; nothing is in it but what they write.
    pub fn work(&self) -> PathBuf {
        self.path().join("work")
    }

    /// The folder of cached models; absent until one is written.
    pub fn models(&self) -> PathBuf {
        self.path().join("cache/edgebench/models")
    }

    /// Names of what is in that folder. The lock file by which runs take turns is not counted: it stays.
    pub fn cached(&self) -> Vec<String> {
        let mut names = names(&self.models());
        names.retain(|name| name != ".lock");
        names
    }

    /// Writes a file beside the working folder.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path().join(name);
        // By a rename: several runs of one test may write and read the same script at once.
        let mut staged = tempfile::NamedTempFile::new_in(self.path()).unwrap();
        std::io::Write::write_all(&mut staged, content.as_ref()).unwrap();
        staged.persist(&path).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Writes a script; the value for `--engine`.
    pub fn script(&self, script: &Value) -> String {
        format!("scripted:{}", self.file("script.json", script.to_string()))
    }

    /// Gives a command this sandbox's folders and none of the caller's settings.
    pub fn settle(&self, command: &mut Command) {
        command
            .current_dir(self.work())
            .env("HOME", self.path().join("home"))
            .env("XDG_CACHE_HOME", self.path().join("cache"))
            .env("XDG_DATA_HOME", self.path().join("data"));
        for name in ["EDGEBENCH_ORT", "EDGEBENCH_CACHE_LIMIT", "NO_COLOR"] {
            command.env_remove(name);
        }
    }

    /// A command line to run; see [`run`](Sandbox::run).
    pub fn command(&self, args: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(program());
        command.args(args);
        self.settle(&mut command);
        command
    }

    /// Runs to the end.
    pub fn run(&self, args: &[impl AsRef<OsStr>]) -> Ran {
        self.finish(self.command(args))
    }

    pub fn finish(&self, command: Command) -> Ran {
        let said = format!("{command:?}");
        let output = assert_cmd::Command::from_std(command)
            .timeout(PATIENCE)
            .output()
            .unwrap();
        Ran {
            command: said,
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs two quick trials of test-size models by a script, with more arguments.
    pub fn scripted(&self, script: &Value, more: &[&str]) -> Ran {
        let engine = self.script(script);
        let mut args = vec!["--engine", &engine, "--device", "cpu"];
        args.extend(QUICK);
        args.extend(more);
        self.run(&args)
    }

    /// Names of everything in the working folder, folders included.
    pub fn written(&self) -> Vec<String> {
        names(&self.work())
    }

    /// Processes of this sandbox that are alive, the program and its workers.
    pub fn processes(&self) -> Vec<u32> {
        let marker = self.path().to_str().unwrap().as_bytes().to_owned();
        let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            // Empty for one that has died and is not reaped yet.
            let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
            let ours = environment.windows(marker.len()).any(|part| part == marker);
            ours.then_some(pid)
        });
        pids.collect()
    }
}

/// Lengths and repetitions of a scripted run. The seed is one that has no reference logits: a script computes nothing.
pub const QUICK: [&str; 10] = [
    "--seed", "1", "-p", "4", "-n", "3", "-r", "2", "--warmup", "1",
];

/// Names in a folder, sorted; none where it is absent.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Asks until there is an answer.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A result file.
pub fn report(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The statuses of a report's rows, in order.
pub fn statuses(report: &Value) -> Vec<&str> {
    let rows = report["trials"].as_array().unwrap().iter();
    rows.map(|row| row["status"].as_str().unwrap()).collect()
}

/// What came of a command.
pub struct Ran {
    command: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Checks the exit code, and that nothing looks like a panic.
    #[track_caller]
    pub fn left_with(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{self}");
        for sign in ["panicked", "RUST_BACKTRACE", "internal error"] {
            assert!(!self.stderr.contains(sign), "{self}");
        }
        self
    }

    /// Checks that it ended with this code, nothing on stdout, and one sentence on stderr that has all these parts.
    #[track_caller]
    pub fn refused(self, code: i32, parts: &[&str]) {
        let ran = self.left_with(code);
        assert_eq!(ran.stdout, "", "{ran}");
        let (errors, others): (Vec<&str>, Vec<&str>) = ran
            .stderr
            .lines()
            .partition(|line| line.starts_with("error: "));
        assert_eq!(errors.len(), 1, "{ran}");
        let expected = |line: &&str| {
            *line == "Try 'edgebench --help' for the options."
                || line.starts_with("running on the CPU, because CUDA cannot be used: ")
        };
        assert!(others.iter().all(expected), "{ran}");
        assert!(!errors[0].contains(". "), "more than one sentence: {ran}");
        for part in parts {
            assert!(errors[0].contains(part), "{part:?} is not in: {ran}");
        }
    }

    /// Stdout as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ran {
            command,
            code,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "{command} ended with {code:?}\n--- stdout\n{stdout}--- stderr\n{stderr}"
        )
    }
}
