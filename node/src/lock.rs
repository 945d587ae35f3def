//! One process per home directory: an advisory lock on a file that names who holds it.
//!
//! The lock is the kernel's and ends with the process, however that ends; the text in the file is only for people.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use thiserror::Error;

use crate::error::{ErrorCode, Failure};

/// Who holds a home directory. The lock ends when this is dropped.
#[derive(Debug)]
pub struct HomeLock {
    _file: File,
}

/// Why the lock could not be taken.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process has it.
    #[error("Another dmls, process {pid}, is using this home directory; its socket is {socket}.")]
    Held {
        /// Its process id as it wrote it, `?` if it has not yet.
        pid: String,
        /// Its socket as it wrote it.
        socket: String,
    },
    /// The file system refused.
    #[error("The lock file {path} cannot be used: {source}.")]
    Io {
        /// The lock file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        match &error {
            LockError::Held { pid, .. } => {
                let hint = format!("Stop it with `kill {pid}`, or choose another --home for a second node.");
                Self::new(ErrorCode::AlreadyRunning, error).hint(hint)
            }
            LockError::Io { .. } => Self::new(ErrorCode::Config, error)
                .hint("Check that you may write there, or choose another --home."),
        }
    }
}

impl HomeLock {
    /// Takes the lock and writes this process's id and `socket` into the file.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn acquire(path: &Path, socket: &Path) -> Result<Self, LockError> {
        let fail = |source| LockError::Io { path: path.display().to_string(), source };
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(holder(&mut file)),
            Err(TryLockError::Error(source)) => return Err(fail(source)),
        }
        file.set_len(0).map_err(fail)?;
        file.rewind().map_err(fail)?;
        writeln!(file, "{}\n{}", std::process::id(), socket.display()).map_err(fail)?;
        Ok(Self { _file: file })
    }
}

fn holder(file: &mut File) -> LockError {
    let mut text = String::new();
    // What cannot be read is shown as unknown: that the lock is held is what matters.
    let _ = file.take(4096).read_to_string(&mut text);
    let mut lines = text.lines().map(str::to_owned);
    let mut next = || lines.next().filter(|line| !line.is_empty()).unwrap_or_else(|| "?".into());
    LockError::Held { pid: next(), socket: next() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_told_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = HomeLock::acquire(&path, Path::new("/run/one.sock")).unwrap();
        match HomeLock::acquire(&path, Path::new("/run/two.sock")) {
            Err(LockError::Held { pid, socket }) => {
                assert_eq!(pid, std::process::id().to_string());
                assert_eq!(socket, "/run/one.sock");
            }
            other => panic!("{other:?}"),
        }
        drop(first);
        HomeLock::acquire(&path, Path::new("/run/two.sock")).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("/run/two.sock\n"));
    }

    #[test]
    fn a_damaged_lock_file_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::fs::write(&path, [0xff; 10_000]).unwrap();
        let _held = HomeLock::acquire(&path, Path::new("/s")).unwrap();
        std::fs::write(&path, [0xff; 10]).unwrap();
        match HomeLock::acquire(&path, Path::new("/s")) {
            Err(LockError::Held { pid, .. }) => assert_eq!(pid, "?"),
            other => panic!("{other:?}"),
        }
    }
}
