//! The `edgebench-worker` program, which released files carry: the worker of `edgebench` alone, so that it is small.

#[cfg(target_feature = "crt-static")]
compile_error!(
    "the worker loads native libraries, so it cannot be linked statically; build --bin edgebench alone"
);

use std::process::ExitCode;

fn main() -> ExitCode {
    edgebench::worker()
}
