//! The whole on one machine: real daemons form a group, fork, heal, and forget.
//!
//! Five daemons as separate processes on loopback. The network is cut into three and two; both sides commit and talk;
//! one daemon is killed; the cut ends. Then every claim is checked and its figures are shown.

mod checks;
mod fleet;
mod report;
mod scenario;

use std::io::Write;
use std::time::Instant;

use crate::error::{ErrorCode, Failure};
use fleet::Scratch;
use report::Report;
use scenario::Scenario;

/// What the demo's group is called.
const GROUP: &str = "demo";

/// How the demo runs.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// One JSON object at the end instead of text.
    pub json: bool,
    /// Keep directories and logs.
    pub keep: bool,
}

/// Runs the demo. Whatever happens, no process and, unless asked for, no file is left behind.
///
/// # Errors
/// [`ErrorCode::Failed`] if a check does not hold; what went wrong otherwise.
pub async fn run(options: Options) -> Result<(), Failure> {
    let scratch = Scratch::new(options.keep)?;
    let begun = Instant::now();
    let mut report = Report { tell: !options.json, ..Report::default() };
    let mut scenario = Scenario::new(&scratch.path);
    let played = tokio::select! {
        played = scenario.play(&mut report) => played,
        () = interrupted() => Err(Failure::new(ErrorCode::Failed, "The demo was interrupted.")),
        // No single wait below takes this long; together they must not either.
        () = tokio::time::sleep(std::time::Duration::from_secs(150)) => {
            Err(Failure::new(ErrorCode::Timeout, "The demo did not end in time."))
        }
    };
    scenario.stop().await;
    report.total_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let failed: Vec<&str> =
        report.checks.iter().filter(|c| !c.holds).map(|check| check.name.as_str()).collect();
    let outcome = match played {
        Err(failure) => Err(failure),
        Ok(()) if failed.is_empty() => Ok(()),
        Ok(()) => {
            Err(Failure::new(ErrorCode::Failed, format!("These checks do not hold: {}.", failed.join("; "))))
        }
    };
    report.passed = outcome.is_ok();
    if options.json {
        print(&serde_json::to_string(&report).map_err(|error| Failure::new(ErrorCode::Failed, error))?);
    } else if report.passed {
        let seconds = report.total_ms as f64 / 1000.0;
        print(&format!("\nAll {} checks hold. {seconds:.1} s in all.", report.checks.len()));
    }
    if options.keep {
        let text = format!("The daemons' directories and logs are in {}", scratch.path.display());
        // There is nowhere left to say that this failed.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
    outcome.map_err(|failure| match options.keep {
        true => failure,
        false => failure.hint("`dmls demo --keep` keeps the daemons' logs."),
    })
}

/// Ends on ctrl-c or SIGTERM.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        },
        // Without handlers the signals end the process, and the daemons stop when their standard input closes.
        _ => std::future::pending().await,
    }
}

fn print(text: &str) {
    // A reader that has gone must not leave processes behind.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
