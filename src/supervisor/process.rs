//! A child process with deadlines: its lines, the tail of its stderr, and an end that always comes. Knows no metrics.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How to start a worker.
#[derive(Debug, Clone)]
pub struct WorkerCommand {
    /// The program, usually this one.
    pub program: PathBuf,
    /// Its arguments, usually the hidden subcommand.
    pub args: Vec<OsString>,
}

/// The longest line a worker may say.
pub const LONGEST_LINE: usize = 4 << 20;
/// What is kept of stderr.
const STDERR_TAIL: usize = 16 << 10;
/// What a worker gets to leave by itself once its stdin is closed.
const GRACE: Duration = Duration::from_millis(500);
/// How often a silent child is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// cuBLAS takes this for each of its handles, outside the runtime's arena.
const CUBLAS_WORKSPACE: &str = "CUBLAS_WORKSPACE_CONFIG";
/// cuBLAS's own default for GPUs before Hopper: two buffers of 4 MiB and eight of 16 KiB. On Hopper it takes 32 MiB, twice, which
/// is 56 MiB more on an H100 for decode speeds within 5 % there; the small cards that a budget stands for would not take it.
const SMALL_WORKSPACE: &str = ":4096:2:16:8";

/// The MoE operator chooses its kernels by timing them, once for each number of tokens, on copies of the experts' weights that
/// the arena then keeps: on an H100 granite-1b-a400m took 8,812 MiB so at 4,096 prompt tokens (512 of each of 8 sequences), and
/// takes 3,484 with the fixed choice. Decode is not slower with it (1.03 to 1.05 times as fast, means of three); prefill is,
/// from some hundred tokens at once (up to 1.8 times).
const FIXED_MOE_KERNELS: &str = "ORT_FORCE_DETERMINISTIC_MOE";

/// Settings of glibc; one from 2.35 on knows this one, others pass it over.
const ALLOCATOR: &str = "GLIBC_TUNABLES";
/// Asks for large pages for large pieces of the heap, where the system gives them to who asks (as Debian's does). Reading all
/// weights for every token then misses fewer address translations: on one core of an AMD EPYC dense-120m in fp32 decoded 1.09 to
/// 1.14 times as fast in four pairs of runs; in int8 and int4 the gain is within the noise. It takes up to 4 MiB more.
const LARGE_PAGES: &str = "glibc.malloc.hugetlb=1";

/// What was heard of a child.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A line, without its end.
    Line(Vec<u8>),
    /// The start of a line longer than [`LONGEST_LINE`].
    TooLong(Vec<u8>),
    /// Nothing more will come.
    Closed,
    /// Nothing came in time.
    Nothing,
}

/// A running child. Dropping it kills and reaps it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    // Dropping it closes the child's stdin.
    stdin: Option<Sender<()>>,
    lines: Receiver<Heard>,
    stderr: Arc<Mutex<Vec<u8>>>,
    stderr_ended: Receiver<()>,
}

impl Process {
    /// Starts the program and hands it `input`; its stdin stays open. `library_dirs` are put before its loader path, and its
    /// environment has the `variables`, of which the later hold, where the user has not set them. One that is `apart` gets no
    /// signal from the terminal.
    pub fn spawn(
        command: &WorkerCommand,
        library_dirs: &[PathBuf],
        variables: &[(&str, &str)],
        input: Vec<u8>,
        apart: bool,
    ) -> std::io::Result<Process> {
        let mut builder = Command::new(&command.program);
        if apart {
            builder.process_group(0);
        }
        builder
            .args(&command.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // The official packages of ONNX Runtime 1.31 collect telemetry: threads, a database in the cache folder and
            // network calls in a process that is being measured.
            .env("ORT_DISABLE_TELEMETRY", "1");
        let preset = [
            (CUBLAS_WORKSPACE, SMALL_WORKSPACE),
            (FIXED_MOE_KERNELS, "1"),
        ];
        for (name, value) in preset.iter().chain(variables) {
            if std::env::var_os(name).is_none() {
                builder.env(name, value);
            }
        }
        if std::env::var_os(ALLOCATOR).is_none() {
            builder.env(ALLOCATOR, LARGE_PAGES);
        }
        if !library_dirs.is_empty() {
            builder.env(
                "LD_LIBRARY_PATH",
                loader_path(library_dirs, std::env::var_os("LD_LIBRARY_PATH")),
            );
        }
        let mut child = builder.spawn()?;
        let (line, lines) = sync_channel(256);
        let (ended, stderr_ended) = channel();
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let (close, closed) = channel();
        if let Some(mut pipe) = child.stdin.take() {
            // On a thread: a child that does not read must not hold us. A child that is gone shows elsewhere.
            std::thread::spawn(move || {
                let _ = pipe.write_all(&input).and_then(|()| pipe.flush());
                let _ = closed.recv();
            });
        }
        if let Some(pipe) = child.stdout.take() {
            std::thread::spawn(move || read_lines(BufReader::with_capacity(64 << 10, pipe), &line));
        }
        if let Some(pipe) = child.stderr.take() {
            let tail = Arc::clone(&stderr);
            std::thread::spawn(move || {
                keep_tail(pipe, &tail);
                drop(ended);
            });
        }
        Ok(Process {
            child,
            stdin: Some(close),
            lines,
            stderr,
            stderr_ended,
        })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next thing heard until `deadline`.
    pub fn hear(&mut self, deadline: Instant) -> Heard {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left.min(LOOK)) {
                Ok(heard) => return heard,
                Err(RecvTimeoutError::Disconnected) => return Heard::Closed,
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Heard::Nothing,
                // A child of the child may hold stdout open; once ours is gone, only what is under way still counts.
                Err(RecvTimeoutError::Timeout) if self.status().is_some() => {
                    return self.lines.recv_timeout(LOOK).unwrap_or(Heard::Closed);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Waits for the child to leave by itself.
    pub fn wait(&mut self, deadline: Instant) -> Option<ExitStatus> {
        let mut pause = Duration::from_millis(1);
        loop {
            let status = self.status();
            let left = deadline.saturating_duration_since(Instant::now());
            if status.is_some() || left.is_zero() {
                return status;
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends the child: closes its stdin, gives it a moment, kills it, and reaps it.
    pub fn stop(&mut self) {
        self.stdin.take();
        if self.wait(Instant::now() + GRACE).is_none() {
            self.kill();
        }
    }

    /// Closes its stdin and waits for it to leave by itself.
    pub fn leave(&mut self, deadline: Instant) -> Option<ExitStatus> {
        self.stdin.take();
        self.wait(deadline)
    }

    /// Kills and reaps the child. One that is gone already is only reaped.
    pub fn kill(&mut self) {
        self.stdin.take();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The last of what it said on stderr. Call it when the child is gone.
    pub fn stderr_tail(&self) -> String {
        // The pipe's end may lag behind the process's; a grandchild may keep it open for ever.
        let _ = self.stderr_ended.recv_timeout(GRACE);
        let tail = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&tail).trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The loader takes ':' between folders; a folder whose name has one cannot be said at all.
fn loader_path(first: &[PathBuf], inherited: Option<OsString>) -> OsString {
    let inherited = inherited.filter(|path| !path.is_empty()).map(PathBuf::from);
    let mut joined = OsString::new();
    for folder in first.iter().chain(&inherited) {
        if !joined.is_empty() {
            joined.push(":");
        }
        joined.push(folder);
    }
    joined
}

/// Hands on lines until the pipe ends, a line is too long, or nobody listens.
fn read_lines(mut pipe: impl BufRead, lines: &SyncSender<Heard>) {
    loop {
        let mut line = Vec::new();
        let heard = match pipe
            .by_ref()
            .take(LONGEST_LINE as u64 + 1)
            .read_until(b'\n', &mut line)
        {
            Ok(0) | Err(_) => return,
            Ok(_) if line.ends_with(b"\n") => {
                line.pop();
                Heard::Line(line)
            }
            Ok(length) if length > LONGEST_LINE => {
                line.truncate(1024);
                Heard::TooLong(line)
            }
            Ok(_) => Heard::Line(line),
        };
        let ends = matches!(heard, Heard::TooLong(_));
        if lines.send(heard).is_err() || ends {
            return;
        }
    }
}

/// Drains the pipe and keeps its last bytes.
fn keep_tail(mut pipe: impl Read, tail: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = pipe.read(&mut buffer) {
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(&buffer[..length]);
        let excess = tail.len().saturating_sub(STDERR_TAIL);
        tail.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let command = WorkerCommand {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
        };
        Process::spawn(
            &command,
            &["/first".into()],
            &[],
            b"hello\n".to_vec(),
            false,
        )
        .unwrap()
    }

    #[test]
    fn a_variable_of_a_trial_holds_over_a_preset_one_and_never_over_the_users() {
        let command = WorkerCommand {
            program: "/bin/sh".into(),
            args: vec![
                "-c".into(),
                "echo $ORT_FORCE_DETERMINISTIC_MOE $CUBLAS_WORKSPACE_CONFIG; echo $PATH".into(),
            ],
        };
        let variables = [(FIXED_MOE_KERNELS, "0"), ("PATH", "/nowhere")];
        let mut process = Process::spawn(&command, &[], &variables, Vec::new(), false).unwrap();
        let Heard::Line(both) = process.hear(soon()) else {
            panic!("nothing said")
        };
        assert_eq!(both, format!("0 {SMALL_WORKSPACE}").into_bytes());
        let Heard::Line(path) = process.hear(soon()) else {
            panic!("nothing said")
        };
        assert_eq!(path, std::env::var("PATH").unwrap().into_bytes());
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn lines_come_one_by_one_and_stdin_stays_open() {
        let mut process = shell(
            "read x; echo $x; echo $LD_LIBRARY_PATH; echo $GLIBC_TUNABLES; read y; echo closed",
        );
        assert_eq!(process.hear(soon()), Heard::Line(b"hello".to_vec()));
        let Heard::Line(path) = process.hear(soon()) else {
            panic!("no path")
        };
        assert!(path.starts_with(b"/first"));
        let given = std::env::var("GLIBC_TUNABLES");
        assert_eq!(
            process.hear(soon()),
            Heard::Line(given.unwrap_or(LARGE_PAGES.to_owned()).into_bytes())
        );
        assert_eq!(
            process.hear(Instant::now() + Duration::from_millis(150)),
            Heard::Nothing
        );
        process.stop();
        assert_eq!(process.hear(soon()), Heard::Line(b"closed".to_vec()));
        assert_eq!(process.hear(soon()), Heard::Closed);
    }

    #[test]
    fn stderr_is_drained_and_its_tail_kept() {
        let mut process = shell(
            "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789 >&2; i=$((i+1)); done; echo last >&2",
        );
        assert_eq!(process.hear(soon()), Heard::Closed);
        assert!(process.wait(soon()).is_some_and(|status| status.success()));
        let tail = process.stderr_tail();
        assert!(
            tail.ends_with("last") && tail.len() <= STDERR_TAIL,
            "{}",
            tail.len()
        );
    }

    #[test]
    fn a_line_without_end_is_cut_off() {
        let mut process = shell("head -c 5000000 /dev/zero | tr '\\0' x; exec sleep 600");
        let Heard::TooLong(start) = process.hear(soon()) else {
            panic!("not too long")
        };
        assert!(start.starts_with(b"xxx"));
        process.stop();
    }

    #[test]
    fn one_that_ignores_the_end_of_its_stdin_is_killed() {
        let mut process = shell("exec sleep 600");
        let start = Instant::now();
        process.stop();
        assert!(start.elapsed() >= GRACE && start.elapsed() < Duration::from_secs(60));
        assert!(process.status().is_some());
    }

    #[test]
    fn a_grandchild_that_holds_stdout_does_not_hold_us() {
        let mut process = shell("sleep 20 & echo hi; exit 3");
        assert_eq!(process.hear(soon()), Heard::Line(b"hi".to_vec()));
        assert_eq!(
            process.hear(Instant::now() + Duration::from_secs(10)),
            Heard::Closed
        );
        assert_eq!(
            process.wait(soon()).and_then(|status| status.code()),
            Some(3)
        );
    }

    #[test]
    fn a_child_that_never_reads_does_not_block_a_long_request() {
        let command = WorkerCommand {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), "exec sleep 600".into()],
        };
        let mut process = Process::spawn(&command, &[], &[], vec![b'x'; 1 << 20], false).unwrap();
        assert_eq!(
            process.hear(Instant::now() + Duration::from_millis(50)),
            Heard::Nothing
        );
        drop(process);
    }

    #[test]
    fn the_loader_path_keeps_what_was_there() {
        let dirs = [PathBuf::from("/a"), PathBuf::from("/b")];
        assert_eq!(loader_path(&dirs, Some("/c:/d".into())), "/a:/b:/c:/d");
        assert_eq!(loader_path(&dirs, Some("".into())), "/a:/b");
        assert_eq!(loader_path(&dirs, None), "/a:/b");
    }
}
