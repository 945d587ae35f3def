//! Writes the DMLS test vectors: `cargo run -p dmls-tests --example dmls_vectors -- docs/vectors`.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(dir) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("Say into which directory the vectors go.");
        return ExitCode::from(2);
    };
    match dmls_tests::dmls_vectors::write_all(&dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The vectors were not written: {error}");
            ExitCode::FAILURE
        }
    }
}
