//! Writes what the fuzzers start from.

use std::path::PathBuf;
use std::process::ExitCode;

// The crates below report their coverage to it.
use libfuzzer_sys as _;

fn main() -> ExitCode {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [into, official, ours] = &paths[..] else {
        eprintln!("Say where the seeds go, where the official vectors are, and where ours are.");
        return ExitCode::from(2);
    };
    match dmls_tests::fuzz::seeds::write_all(into, official, ours) {
        Ok(count) => {
            println!("{count} seeds are in {}.", into.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("The seeds were not written: {error}");
            ExitCode::FAILURE
        }
    }
}
