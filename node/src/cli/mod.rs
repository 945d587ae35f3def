//! The command line. Every command but `init`, `run`, `config` and `demo` only asks the daemon.

mod args;
mod groups;
mod messages;
mod output;
mod peers;
mod render;

use std::path::PathBuf;

use clap::Parser;

use crate::api::client::ApiClient;
use crate::api::protocol::Request;
use crate::api::views::{StatusView, TicketView};
use crate::config::{Config, Overrides};
use crate::error::{ErrorCode, Failure};
use crate::paths::Paths;
use crate::{daemon, demo};
use args::{Cli, Command, Global, RunArgs};
pub use output::Output;

/// Runs the command of this process's arguments. Returns its exit code (see [`crate::error::ErrorCode`]).
pub fn main() -> u8 {
    // No file of ours is for others, whoever creates it.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints help and errors itself; a closed pipe is nobody's problem.
            let _ = error.print();
            return if error.use_stderr() { ErrorCode::Usage.exit_code() } else { 0 };
        }
    };
    let json = cli.global.json;
    match execute(cli) {
        Ok(()) => 0,
        Err(failure) => {
            output::print_failure(&failure, json);
            failure.code.exit_code()
        }
    }
}

fn execute(cli: Cli) -> Result<(), Failure> {
    let global = cli.global;
    let output = Output { json: global.json };
    match cli.command {
        Command::Init { name } => init(&global, name, output),
        Command::Run(args) => run(&global, args),
        Command::Config(args) => config(&global, args, output),
        Command::Demo { keep } => {
            logs(&global.log.clone().unwrap_or_else(|| "warn".into()), false)?;
            runtime(2)?.block_on(demo::run(demo::Options { json: global.json, keep }))
        }
        command => runtime(1)?.block_on(ask(&global, command, output)),
    }
}

fn paths(global: &Global) -> Result<Paths, Failure> {
    let env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut paths = Paths::resolve(global.home.as_deref(), env)?;
    if let Some(config) = &global.config {
        paths.config.clone_from(config);
    }
    Ok(paths)
}

fn load_config(global: &Global, paths: &Paths, args: Option<RunArgs>) -> Result<Config, Failure> {
    let mut overrides = Overrides { log: global.log.clone(), ..Overrides::default() };
    if let Some(args) = args {
        let RunArgs { listen, bootstrap, mdns, auto_join, .. } = args;
        overrides = Overrides { listen, bootstrap, mdns, auto_join, ..overrides };
    }
    Ok(Config::load(&paths.config, global.config.is_some())?.with(overrides)?)
}

fn runtime(threads: usize) -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    runtime.map_err(|error| Failure::new(ErrorCode::Failed, error))
}

fn logs(filter: &str, json: bool) -> Result<(), Failure> {
    // A plain level is for our own crates: libraries name peers where we would not.
    let plain = ["error", "warn", "info"].contains(&filter);
    let own = format!("error,dmls_node={filter},dmls_gossip={filter},dmls_core={filter}");
    let filter = if plain { &own } else { filter };
    let filter = tracing_subscriber::EnvFilter::try_new(filter).map_err(|error| {
        Failure::new(ErrorCode::Config, format!("The log filter {filter} is wrong: {error}."))
            .hint("Use error, warn, info, debug or trace.")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = if json { builder.json().try_init() } else { builder.with_ansi(false).try_init() };
    set.map_err(|error| Failure::new(ErrorCode::Failed, error))
}

fn init(global: &Global, name: Option<String>, output: Output) -> Result<(), Failure> {
    let login = || std::env::var("USER").ok().filter(|name| !name.is_empty());
    let name = name.or_else(login).ok_or_else(|| {
        Failure::new(ErrorCode::Usage, "There is no name.").hint("Choose one: `dmls init --name alice`.")
    })?;
    let paths = paths(global)?;
    // A configuration that cannot be read is better noticed now.
    load_config(global, &paths, None)?;
    let (name, fingerprint) = daemon::init(&paths, &name)?;
    let made = serde_json::json!({
        "name": name,
        "fingerprint": hex::encode(fingerprint),
        "home": paths.data.display().to_string(),
    });
    output.print(&made, |_| {
        format!(
            "Made the identity of {name} in {}.\n  fingerprint  {}\nStart the daemon with `dmls run`.",
            paths.data.display(),
            hex::encode(fingerprint)
        )
    })
}

fn run(global: &Global, args: RunArgs) -> Result<(), Failure> {
    let paths = paths(global)?;
    let config = load_config(global, &paths, Some(args.clone()))?;
    logs(&config.log.filter, config.log.json)?;
    let watch_stdin = args.until_stdin_closes;
    runtime(2)?.block_on(daemon::run(paths, config, watch_stdin))
}

fn config(global: &Global, args: RunArgs, output: Output) -> Result<(), Failure> {
    let config = load_config(global, &paths(global)?, Some(args))?;
    let text = config.to_toml()?;
    output.print(&config, |_| text)
}

async fn ask(global: &Global, command: Command, output: Output) -> Result<(), Failure> {
    logs(global.log.as_deref().unwrap_or("warn"), false)?;
    let paths = paths(global)?;
    if !paths.is_initialised() {
        let text = format!("There is no identity in {}.", paths.data.display());
        return Err(
            Failure::new(ErrorCode::NotInitialised, text).hint("Run `dmls init` first, then `dmls run`.")
        );
    }
    let mut client = ApiClient::connect(&paths.socket).await?;
    match command {
        Command::Id => {
            let view: TicketView = client.get(&Request::Id {}).await?;
            output.print(&view, |view| view.ticket.clone())
        }
        Command::Status => {
            let view: StatusView = client.get(&Request::Status {}).await?;
            output.print(&view, render::status)
        }
        Command::Stop => {
            let done = client.ask(&Request::Shutdown {}).await?;
            output.print(&done, |_| "The daemon is stopping.".into())
        }
        Command::Group(command) => groups::run(&mut client, command, output).await,
        Command::Join { invitation, wait, list } => {
            groups::join(&mut client, invitation, wait, list, output).await
        }
        Command::Send { group, message } => messages::send(&mut client, group, message, output).await,
        Command::Read { group, follow, after } => messages::read(client, group, follow, after, output).await,
        Command::History { group } => messages::history(&mut client, group, output).await,
        Command::Peer(command) => peers::run(&mut client, command, output).await,
        // Handled before there was a daemon to ask.
        Command::Init { .. } | Command::Run(_) | Command::Config(_) | Command::Demo { .. } => Ok(()),
    }
}
