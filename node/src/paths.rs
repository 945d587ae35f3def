//! Where things are: one home directory, or the places that the XDG base directory specification names.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::error::{ErrorCode, Failure};

/// The longest path of a Unix socket on Linux, in bytes, without its terminating zero (`unix(7)`).
pub const MAX_SOCKET_PATH: usize = 107;

/// Every path of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The data directory, mode 0700.
    pub data: PathBuf,
    /// The configuration file; it may be missing.
    pub config: PathBuf,
    /// The API's socket, mode 0600.
    pub socket: PathBuf,
}

/// Why the paths cannot be used.
#[derive(Debug, Error)]
pub enum PathError {
    /// Neither `--home` nor `HOME` says where to put things.
    #[error("There is no home directory: neither --home nor HOME is set.")]
    NoHome,
    /// The socket's path does not fit the system's limit.
    #[error("The socket path {path} has {len} bytes; the system allows {MAX_SOCKET_PATH}.")]
    SocketTooLong {
        /// The path.
        path: String,
        /// Its length in bytes.
        len: usize,
    },
    /// Others could enter the data directory.
    #[error("The directory {path} has mode {mode:o}: others can enter it.")]
    TooOpen {
        /// The directory.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// The directory has contents that are not a node's.
    #[error("The directory {path} is not empty and is not a home of dmls.")]
    Occupied {
        /// The directory.
        path: String,
    },
    /// The file system refused.
    #[error("The directory {path} cannot be used: {source}.")]
    Io {
        /// The directory.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        let hint = match &error {
            PathError::NoHome => "Give a directory with --home DIR.".to_owned(),
            PathError::SocketTooLong { .. } => "Choose a shorter --home.".to_owned(),
            PathError::TooOpen { path, .. } => format!("Run: chmod 700 {path}"),
            PathError::Occupied { .. } => {
                "Choose a directory that is empty or does not exist yet.".to_owned()
            }
            PathError::Io { .. } => "Check that you may write there, or choose another --home.".to_owned(),
        };
        Self::new(ErrorCode::Config, error).hint(hint)
    }
}

impl Paths {
    /// Everything in one directory.
    pub fn in_home(home: &Path) -> Self {
        Self { data: home.to_owned(), config: home.join("config.toml"), socket: home.join("dmls.sock") }
    }

    /// `home` if given, else the XDG places as `env` knows them.
    ///
    /// # Errors
    /// [`PathError::NoHome`], [`PathError::SocketTooLong`].
    pub fn resolve(home: Option<&Path>, env: impl Fn(&str) -> Option<PathBuf>) -> Result<Self, PathError> {
        let paths = match home {
            Some(home) => Self::in_home(&std::path::absolute(home).map_err(|source| io(home, source))?),
            None => {
                // The specification: a value that is not absolute is ignored.
                let xdg = |name: &str| env(name).filter(|path| path.is_absolute());
                let user = || env("HOME").filter(|path| path.is_absolute()).ok_or(PathError::NoHome);
                let data = xdg("XDG_DATA_HOME").map_or_else(|| Ok(user()?.join(".local/share")), Ok)?;
                let config = xdg("XDG_CONFIG_HOME").map_or_else(|| Ok(user()?.join(".config")), Ok)?;
                let data = data.join("dmls");
                let socket = xdg("XDG_RUNTIME_DIR").unwrap_or_else(|| data.clone()).join("dmls.sock");
                Self { config: config.join("dmls/config.toml"), socket, data }
            }
        };
        let len = paths.socket.as_os_str().len();
        if len > MAX_SOCKET_PATH {
            return Err(PathError::SocketTooLong { path: paths.socket.display().to_string(), len });
        }
        Ok(paths)
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.data.join("db")
    }

    /// The lock file.
    pub fn lock(&self) -> PathBuf {
        self.data.join("lock")
    }

    /// Whether something was initialised here.
    pub fn is_initialised(&self) -> bool {
        self.database().is_dir()
    }

    /// Makes the data directory, or takes an empty one, and closes it to others. A directory with other contents is
    /// left alone: `--home /tmp` must not lock everybody out of `/tmp`.
    ///
    /// # Errors
    /// [`PathError::Occupied`], [`PathError::Io`].
    pub fn create(&self) -> Result<(), PathError> {
        let path = self.data.as_path();
        let fail = |source| io(path, source);
        if path.exists() {
            // What an interrupted `init` leaves does not count.
            let ours = ["config.toml", "lock", "db", "db.new", "dmls.sock"];
            for entry in fs::read_dir(path).map_err(fail)? {
                let name = entry.map_err(fail)?.file_name();
                if !ours.iter().any(|known| name == *known) {
                    return Err(PathError::Occupied { path: path.display().to_string() });
                }
            }
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(fail)
        } else {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail)
        }
    }

    /// Checks that nobody else can enter the data directory.
    ///
    /// # Errors
    /// [`PathError::TooOpen`], [`PathError::Io`].
    pub fn check(&self) -> Result<(), PathError> {
        let path = self.data.as_path();
        let mode = fs::metadata(path).map_err(|source| io(path, source))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(PathError::TooOpen { path: path.display().to_string(), mode });
        }
        Ok(())
    }
}

fn io(path: &Path, source: std::io::Error) -> PathError {
    PathError::Io { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xdg_places() {
        let env = |name: &str| match name {
            "HOME" => Some(PathBuf::from("/h")),
            "XDG_CONFIG_HOME" => Some(PathBuf::from("relative")),
            "XDG_RUNTIME_DIR" => Some(PathBuf::from("/run/user/1")),
            _ => None,
        };
        let paths = Paths::resolve(None, env).unwrap();
        assert_eq!(paths.data, Path::new("/h/.local/share/dmls"));
        assert_eq!(paths.config, Path::new("/h/.config/dmls/config.toml"), "a relative value is ignored");
        assert_eq!(paths.socket, Path::new("/run/user/1/dmls.sock"));
        assert!(matches!(Paths::resolve(None, |_| None), Err(PathError::NoHome)));
    }

    #[test]
    fn a_long_socket_path_is_refused() {
        let long = PathBuf::from(format!("/{}", "x".repeat(MAX_SOCKET_PATH)));
        assert!(matches!(Paths::resolve(Some(&long), |_| None), Err(PathError::SocketTooLong { .. })));
        let fits = PathBuf::from(format!("/{}", "x".repeat(MAX_SOCKET_PATH - "//dmls.sock".len())));
        assert!(Paths::resolve(Some(&fits), |_| None).is_ok());
    }

    #[test]
    fn a_directory_with_other_contents_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let paths = Paths::in_home(dir.path());
        fs::write(dir.path().join("letter"), "dear").unwrap();
        assert!(matches!(paths.create(), Err(PathError::Occupied { .. })));
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o755);
        assert!(matches!(paths.check(), Err(PathError::TooOpen { mode: 0o755, .. })));

        fs::remove_file(dir.path().join("letter")).unwrap();
        paths.create().unwrap();
        paths.check().unwrap();
    }

    #[test]
    fn a_new_directory_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::in_home(&dir.path().join("a/b"));
        paths.create().unwrap();
        paths.check().unwrap();
        assert!(!paths.is_initialised());
    }
}
