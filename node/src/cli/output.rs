//! What commands print: text for people or JSON for programs, and progress for whoever waits.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde::Serialize;

use crate::error::{ErrorCode, Failure};

/// Where a command's output goes.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// JSON, one value a line.
    pub json: bool,
}

impl Output {
    /// Prints `value` as JSON, or the text that `text` makes of it.
    ///
    /// # Errors
    /// [`ErrorCode::Failed`] if standard output cannot be written; a pipe that was closed is no error.
    pub fn print<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        let line = if self.json {
            serde_json::to_string(value).map_err(|error| Failure::new(ErrorCode::Failed, error))?
        } else {
            text(value)
        };
        let mut out = std::io::stdout().lock();
        match writeln!(out, "{}", line.trim_end_matches('\n')).and_then(|()| out.flush()) {
            // Whoever read this has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
            other => Ok(other?),
        }
    }
}

/// Prints a failure where errors go: text, or JSON with `--json`.
pub(super) fn print_failure(failure: &Failure, json: bool) {
    let text = if json {
        serde_json::to_string(&serde_json::json!({ "error": failure })).unwrap_or_default()
    } else {
        format!("error: {failure}")
    };
    // There is nowhere left to say that this failed.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Waits for `work` and says on a terminal what is being waited for, once that takes more than a second.
pub(super) async fn waiting<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let mut shown = false;
    let mut seconds = 0u64;
    loop {
        tokio::select! {
            done = &mut work => {
                if shown {
                    progress("\r\x1b[K");
                }
                return done;
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                seconds += 1;
                shown = std::io::stderr().is_terminal();
                if shown {
                    progress(&format!("\r\x1b[K{what} ... {seconds} s"));
                }
            }
        }
    }
}

fn progress(text: &str) {
    let mut err = std::io::stderr().lock();
    // Progress is a courtesy.
    let _ = write!(err, "{text}").and_then(|()| err.flush());
}
