//! The `edgebench` program. Everything lives in the library; this file only hands over the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    edgebench::main()
}
