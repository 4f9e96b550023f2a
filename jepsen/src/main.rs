//! `keelson-jepsen`: the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    keelson_jepsen::cli::main()
}
