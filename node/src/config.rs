//! The configuration: flags beat the environment, which beats the file, which beats the defaults.
//!
//! clap puts flags before the environment; [`Config::load`] reads the file over the defaults; [`Overrides`] go on
//! top. An unknown key is an error, in the file as on the command line.

use std::path::Path;

use dmls_core::group::GroupOptions;
use dmls_gossip::Multiaddr;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::error::{ErrorCode, Failure};

/// The largest configuration file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Everything that can be configured.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the daemon logs: a level (`error`, `warn`, `info`, `debug`, `trace`) or a filter such as
    /// `dmls_node=debug,warn`. Secrets are never logged; peers and names only at `debug` and below.
    pub log: Log,
    /// Accept every invitation as it comes.
    pub auto_join: bool,
    /// Addresses, peers, discovery, limits and times of the network.
    pub network: dmls_gossip::Config,
    /// Local policy and times of all groups.
    pub group: GroupOptions,
    /// The API's socket.
    pub api: ApiConfig,
    /// Direct deliveries: Welcomes.
    pub delivery: DeliveryConfig,
}

/// What is logged and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level, or a filter of `tracing_subscriber::EnvFilter`.
    pub filter: String,
    /// One JSON object a line instead of text.
    pub json: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".into(), json: false }
    }
}

/// Bounds of the API's socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// Clients at one time; further ones are told so and disconnected.
    pub max_clients: usize,
    /// Past events that a late subscriber can still get.
    pub event_buffer: usize,
    /// A client that does not read for this long is disconnected, in milliseconds.
    pub write_timeout_ms: u64,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self { max_clients: 64, event_buffer: 4096, write_timeout_ms: 30_000 }
    }
}

/// When Welcomes are tried again, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryConfig {
    /// First delay after a failure; it doubles.
    pub retry_min_ms: u64,
    /// Longest delay.
    pub retry_max_ms: u64,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self { retry_min_ms: 500, retry_max_ms: 60_000 }
    }
}

/// What flags and environment variables say; `None` and empty leave the file's value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Replaces [`Log::filter`].
    pub log: Option<String>,
    /// Replaces the addresses to listen on.
    pub listen: Vec<Multiaddr>,
    /// Replaces the bootstrap peers.
    pub bootstrap: Vec<Multiaddr>,
    /// Replaces the switch of multicast DNS.
    pub mdns: Option<bool>,
    /// Replaces [`Config::auto_join`].
    pub auto_join: Option<bool>,
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("The configuration file {path} cannot be read: {source}.")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than any configuration.
    #[error("The configuration file {path} has more than {MAX_FILE} bytes.")]
    TooLarge {
        /// The file.
        path: String,
    },
    /// The file is not TOML, or has an unknown key, or a value of the wrong kind.
    #[error("The configuration file {path} is wrong: {message}")]
    Parse {
        /// The file.
        path: String,
        /// Where and what.
        message: String,
    },
    /// A value is out of its range.
    #[error("The configuration cannot be used: {rule}")]
    Value {
        /// The rule that is broken.
        rule: String,
    },
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let hint = match &error {
            ConfigError::Read { .. } => "Check its permissions, or give another one with --config FILE.",
            _ => "`dmls config` prints every key with its default.",
        };
        Self::new(ErrorCode::Config, error).hint(hint)
    }
}

impl Config {
    /// Reads `path` over the defaults. A missing file is no error unless it was asked for by name (`required`).
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path, required: bool) -> Result<Self, ConfigError> {
        let fail = |source| ConfigError::Read { path: path.display().to_string(), source };
        match std::fs::metadata(path) {
            Ok(meta) if meta.len() > MAX_FILE => {
                return Err(ConfigError::TooLarge { path: path.display().to_string() });
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => {
                return Ok(Self::default());
            }
            Err(source) => return Err(fail(source)),
        }
        let text = std::fs::read_to_string(path).map_err(fail)?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads `text`, which came from `path`.
    ///
    /// # Errors
    /// [`ConfigError::Parse`].
    pub fn parse(text: &str, path: &str) -> Result<Self, ConfigError> {
        toml::from_str(text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), message: error.to_string() })
    }

    /// Puts flags and environment on top, then checks what can be checked without a network.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn with(mut self, overrides: Overrides) -> Result<Self, ConfigError> {
        if let Some(filter) = overrides.log {
            self.log.filter = filter;
        }
        if !overrides.listen.is_empty() {
            self.network.listen = overrides.listen;
        }
        if !overrides.bootstrap.is_empty() {
            self.network.bootstrap = overrides.bootstrap;
        }
        self.network.mdns = overrides.mdns.unwrap_or(self.network.mdns);
        self.auto_join = overrides.auto_join.unwrap_or(self.auto_join);
        self.check()?;
        Ok(self)
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.network.validate().map_err(|error| ConfigError::Value { rule: error.to_string() })?;
        let rules = [
            (self.api.max_clients > 0, "api.max_clients must not be 0."),
            (self.api.max_clients <= 10_000, "api.max_clients must be at most 10000."),
            (self.api.event_buffer > 0, "api.event_buffer must not be 0."),
            (self.api.event_buffer <= 1_000_000, "api.event_buffer must be at most 1000000."),
            (self.api.write_timeout_ms > 0, "api.write_timeout_ms must not be 0."),
            (self.delivery.retry_max_ms <= 86_400_000, "delivery.retry_max_ms must be at most 86400000."),
            (self.delivery.retry_min_ms > 0, "delivery.retry_min_ms must not be 0."),
            (
                self.delivery.retry_min_ms <= self.delivery.retry_max_ms,
                "delivery.retry_min_ms must not exceed delivery.retry_max_ms.",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ConfigError::Value { rule: (*rule).to_owned() }),
            None => Ok(()),
        }
    }

    /// The whole configuration as TOML.
    ///
    /// # Errors
    /// [`ConfigError::Value`] if it cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string_pretty(self).map_err(|error| ConfigError::Value { rule: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_beat_file_beat_defaults() {
        let file = "auto_join = true\n[log]\nfilter = \"warn\"\n[network]\nmdns = true\n";
        let plain = Config::parse(file, "f").unwrap().with(Overrides::default()).unwrap();
        assert!(plain.auto_join && plain.network.mdns);
        assert_eq!(plain.log.filter, "warn");
        assert_eq!(plain.network.listen, dmls_gossip::Config::default().listen);

        let address: Multiaddr = "/ip4/127.0.0.1/tcp/4001".parse().unwrap();
        let flags = Overrides {
            log: Some("debug".into()),
            listen: vec![address.clone()],
            mdns: Some(false),
            auto_join: Some(false),
            ..Overrides::default()
        };
        let flagged = Config::parse(file, "f").unwrap().with(flags).unwrap();
        assert!(!flagged.auto_join && !flagged.network.mdns);
        assert_eq!(flagged.log.filter, "debug");
        assert_eq!(flagged.network.listen, vec![address]);
    }

    #[test]
    fn unknown_keys_are_errors_at_every_level() {
        for text in
            ["colour = 1", "[network]\nmnds = true", "[group]\nnope = 1", "[api]\nx = 1", "[log]\nlevel = 1"]
        {
            match Config::parse(text, "the-file") {
                Err(ConfigError::Parse { path, message }) => {
                    assert_eq!(path, "the-file");
                    assert!(message.contains("unknown field"), "{message}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn values_out_of_range_are_errors() {
        for text in [
            "[api]\nmax_clients = 0",
            "[api]\nmax_clients = 9000000000000000000",
            "[delivery]\nretry_min_ms = 10\nretry_max_ms = 9",
            "[delivery]\nretry_max_ms = 9000000000000000000",
        ] {
            let config = Config::parse(text, "f").unwrap();
            assert!(matches!(config.with(Overrides::default()), Err(ConfigError::Value { .. })), "{text}");
        }
    }

    #[test]
    fn a_missing_file_matters_only_if_it_was_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none.toml");
        assert!(Config::load(&path, false).is_ok());
        assert!(matches!(Config::load(&path, true), Err(ConfigError::Read { .. })));
    }

    #[test]
    fn what_is_printed_can_be_read_back() {
        let text = Config::default().to_toml().unwrap();
        let back = Config::parse(&text, "f").unwrap();
        assert_eq!(back.to_toml().unwrap(), text);
    }
}
