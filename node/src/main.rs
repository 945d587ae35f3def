//! The `dmls` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(dmls_node::cli::main())
}
