//! The command line as clap reads it. Flags beat environment variables.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use dmls_gossip::Multiaddr;

use crate::error::EXIT_CODES;

/// The longest that a command can be told to wait, in seconds: a year.
const MAX_WAIT: u64 = 366 * 24 * 3600;

/// Groups without a server: decentralised MLS.
#[derive(Debug, Parser)]
#[command(
    name = "dmls",
    version,
    about = "Encrypted groups without a server: decentralised MLS",
    long_about = "Encrypted groups without a server: MLS (RFC 9420) without a delivery service. Members commit \
                  concurrently, groups fork, and heal.\n\n\
                  First:   dmls init --name alice, then dmls run (the daemon; leave it running)\n\
                  Then:    dmls group create friends\n\
                  Invite:  dmls group invite friends TICKET   (the other side's `dmls id`; there: `dmls join --wait`)\n\
                  Talk:    dmls send friends hello, dmls read friends --follow\n\
                  See:     dmls demo",
    after_help = EXIT_CODES,
    propagate_version = true
)]
pub(super) struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub(super) global: Global,
    /// The command.
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What holds for every command.
#[derive(Debug, Clone, Args)]
pub(super) struct Global {
    /// The directory with identity, database, socket and configuration [default: the XDG directories]
    #[arg(long, global = true, env = "DMLS_HOME", value_name = "DIR")]
    pub(super) home: Option<PathBuf>,
    /// The configuration file [default: config.toml in the home or XDG configuration directory]
    #[arg(long, global = true, env = "DMLS_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Answer in JSON, one value a line
    #[arg(long, global = true, env = "DMLS_JSON")]
    pub(super) json: bool,
    /// What to log: error, warn, info, debug, trace, or a filter such as dmls_node=debug,warn
    #[arg(long, global = true, env = "DMLS_LOG", value_name = "FILTER")]
    pub(super) log: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an identity, once
    #[command(after_help = "Example:\n  dmls init --name alice")]
    Init {
        /// Who you say you are, to every group you join [default: the login name]
        #[arg(long, env = "DMLS_NAME")]
        name: Option<String>,
    },
    /// Run the daemon in the foreground until ctrl-c
    #[command(
        after_help = "Examples:\n  dmls run\n  dmls run --listen /ip4/0.0.0.0/udp/4001/quic-v1 --mdns true"
    )]
    Run(RunArgs),
    /// Show this node's ticket, to hand to others
    #[command(after_help = "Examples:\n  dmls id\n  dmls id --json | jq -r .ticket")]
    Id,
    /// Show the daemon, its network and its groups
    #[command(after_help = "Example:\n  dmls status")]
    Status,
    /// Stop the daemon
    #[command(after_help = "Example:\n  dmls stop")]
    Stop,
    /// Create, change and look at groups
    #[command(subcommand)]
    Group(GroupCommand),
    /// Accept an invitation to a group
    #[command(
        after_help = "An invitation comes when a member runs `dmls group invite` with your ticket. It waits until you \
                      accept it, unless the configuration says auto_join = true.\n\n\
                      Examples:\n  dmls join              the only invitation\n  \
                      dmls join friends      the one to that group\n  dmls join --wait 60    wait for one\n  \
                      dmls join --list       show them"
    )]
    Join {
        /// The group's name or the beginning of the invitation's id
        #[arg(default_value = "")]
        invitation: String,
        /// Wait for an invitation, this many seconds
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "3600",
              value_parser = clap::value_parser!(u64).range(..=MAX_WAIT))]
        wait: Option<u64>,
        /// Only show the invitations
        #[arg(long, conflicts_with = "wait")]
        list: bool,
    },
    /// Send a message to a group
    #[command(
        after_help = "Examples:\n  dmls send friends \"hello, all\"\n  echo hello | dmls send friends -"
    )]
    Send {
        /// The group's name or the beginning of its id
        group: String,
        /// The message; - reads it from standard input
        message: String,
    },
    /// Show the messages of a group
    #[command(after_help = "Examples:\n  dmls read friends\n  dmls read friends --follow")]
    Read {
        /// The group's name or the beginning of its id
        group: String,
        /// Go on with messages as they come, until ctrl-c
        #[arg(long, short)]
        follow: bool,
        /// Only messages after this sequence number (seq in --json)
        #[arg(long, default_value_t = 0)]
        after: u64,
    },
    /// Draw the tree of epochs: commits, votes, forks, the head, what is final, what is punctured
    #[command(
        after_help = "Newest first. `*` is an epoch, `x` a commit that this node cannot enter; the leftmost branch is \
                      the head's.\n\nExample:\n  dmls history friends"
    )]
    History {
        /// The group's name or the beginning of its id
        group: String,
    },
    /// Know, forget and cut off peers
    #[command(subcommand)]
    Peer(PeerCommand),
    /// Print the configuration in force, every key with its value
    #[command(after_help = "Example:\n  dmls config > config.toml")]
    Config(RunArgs),
    /// Show everything on this machine: five daemons, a network cut in two, a fork that heals
    #[command(
        after_help = "Needs nothing and leaves nothing behind.\n\nExamples:\n  dmls demo\n  dmls demo --json"
    )]
    Demo {
        /// Keep the daemons' directories and logs, and say where they are
        #[arg(long)]
        keep: bool,
    },
}

/// What `run` takes.
#[derive(Debug, Clone, Args)]
pub(super) struct RunArgs {
    /// Where to listen, as multiaddresses [default: loopback, QUIC and TCP, ports chosen once]
    #[arg(long, env = "DMLS_LISTEN", value_delimiter = ',', value_name = "ADDR")]
    pub(super) listen: Vec<Multiaddr>,
    /// Peers to connect to first, as multiaddresses that end in /p2p/ID
    #[arg(long, env = "DMLS_BOOTSTRAP", value_delimiter = ',', value_name = "ADDR")]
    pub(super) bootstrap: Vec<Multiaddr>,
    /// Find peers on the local network by multicast DNS [default: false]
    #[arg(long, env = "DMLS_MDNS", value_name = "BOOL")]
    pub(super) mdns: Option<bool>,
    /// Accept every invitation as it comes [default: false]
    #[arg(long, env = "DMLS_AUTO_JOIN", value_name = "BOOL")]
    pub(super) auto_join: Option<bool>,
    /// Stop when standard input is closed: whoever started this process then leaves none behind
    #[arg(long, hide = true)]
    pub(super) until_stdin_closes: bool,
}

/// Commands about groups.
#[derive(Debug, Subcommand)]
pub(super) enum GroupCommand {
    /// Make a group with yourself as its only member
    #[command(
        after_help = "The name is only for this node, and a suggestion to whom you invite.\n\nA profile says how much of \
                      the past every member keeps, so that a side that was cut off can come over:\n  \
                      default    32 epochs behind the head, 64 in all, 7 days\n  \
                      high-fs    8, 16, 1 hour: less to steal, and less time to come back\n  \
                      partition  256, 512, 7 days: for networks that are often cut\n\n\
                      Examples:\n  dmls group create friends\n  dmls group create board --admins --profile high-fs"
    )]
    Create {
        /// What to call it
        name: String,
        /// How much of the past all members keep
        #[arg(long, value_parser = ["default", "high-fs", "partition"], default_value = "default")]
        profile: String,
        /// Only admins may add and remove members: you, to begin with
        #[arg(long)]
        admins: bool,
    },
    /// List the groups
    #[command(after_help = "Example:\n  dmls group list")]
    List,
    /// Show a group and its members
    #[command(after_help = "Example:\n  dmls group show friends")]
    Show {
        /// The group's name or the beginning of its id
        group: String,
    },
    /// Add somebody: fetch a key package from their node, commit, deliver the Welcome
    #[command(after_help = "Their daemon must be running. They accept with `dmls join`.\n\nExamples:\n  \
                            dmls group invite friends dmls1AAfQ...\n  dmls group invite friends bob carol")]
    Invite {
        /// The group's name or the beginning of its id
        group: String,
        /// Tickets (`dmls id` there), or names of known peers
        #[arg(required = true)]
        who: Vec<String>,
    },
    /// Remove a member
    #[command(after_help = "Examples:\n  dmls group remove friends bob\n  dmls group remove friends 3")]
    Remove {
        /// The group's name or the beginning of its id
        group: String,
        /// The member's name, leaf index, or the beginning of its fingerprint
        member: String,
    },
    /// Leave a group: another member commits your removal in its turn
    #[command(after_help = "Example:\n  dmls group leave friends")]
    Leave {
        /// The group's name or the beginning of its id
        group: String,
        /// How many seconds to wait until it has happened
        #[arg(long, default_value_t = 120, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=MAX_WAIT))]
        wait: u64,
    },
    /// Replace your keys in a group, so that a thief of the old ones is locked out
    #[command(after_help = "Example:\n  dmls group refresh friends")]
    Refresh {
        /// The group's name or the beginning of its id
        group: String,
    },
    /// Say who may add and remove members; nobody named: every member
    #[command(
        after_help = "Names, leaf indices, or the beginnings of fingerprints, as `dmls group show` lists them.\n\n\
                            Examples:\n  dmls group admins friends alice bob\n  dmls group admins friends"
    )]
    Admins {
        /// The group's name or the beginning of its id
        group: String,
        /// The admins
        members: Vec<String>,
    },
    /// Ask to be taken in again with fresh keys, where this node cannot follow the group any more
    #[command(
        after_help = "A node asks by itself when it cannot enter the decided branch.\n\nExample:\n  dmls group rejoin friends"
    )]
    Rejoin {
        /// The group's name or the beginning of its id
        group: String,
    },
    /// Show the proof that a member's key was misused, for anybody to verify
    #[command(after_help = "Example:\n  dmls group proof friends 4fae --json > proof.json")]
    Proof {
        /// The group's name or the beginning of its id
        group: String,
        /// The beginning of the proof's id, as `dmls group show` lists it
        proof: String,
    },
    /// Forget a group that you are no longer a member of: keys, messages, history
    #[command(after_help = "Example:\n  dmls group delete friends")]
    Delete {
        /// The group's name or the beginning of its id
        group: String,
    },
}

/// Commands about peers.
#[derive(Debug, Subcommand)]
pub(super) enum PeerCommand {
    /// Remember a peer and connect to it, now and whenever it is lost
    #[command(after_help = "Example:\n  dmls peer add dmls1AAfQ...")]
    Add {
        /// Its ticket: the output of `dmls id` there
        ticket: String,
    },
    /// List peers with connections and bytes
    #[command(after_help = "Example:\n  dmls peer list")]
    List,
    /// Forget a peer
    #[command(after_help = "Example:\n  dmls peer remove bob")]
    Remove {
        /// Its name or peer id
        peer: String,
    },
    /// Cut this node off from exactly these peers, until unblock or a restart
    #[command(after_help = "Really cut: no byte passes. For tests.\n\nExample:\n  dmls peer block bob carol")]
    Block {
        /// Names or peer ids
        #[arg(required = true)]
        peers: Vec<String>,
    },
    /// End the cut
    #[command(after_help = "Example:\n  dmls peer unblock")]
    Unblock,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                let path = format!("{path} {}", sub.get_name());
                assert!(sub.get_about().is_some(), "{path}");
                if sub.has_subcommands() {
                    check(sub, &path);
                } else {
                    let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(help.contains(path.as_str()), "{path} has no example");
                }
            }
        }
        check(&Cli::command(), "dmls");
    }

    #[test]
    fn flags_may_stand_anywhere() {
        let cli = Cli::try_parse_from(["dmls", "group", "list", "--json", "--home", "/x"]).unwrap();
        assert!(cli.global.json);
        assert_eq!(cli.global.home, Some(PathBuf::from("/x")));
        assert!(Cli::try_parse_from(["dmls", "group", "lits"]).is_err());
        assert!(Cli::try_parse_from(["dmls", "join", "--wait"]).is_ok());
        let longest = u64::MAX.to_string();
        for wait in [
            ["dmls", "join", "--wait", &longest].as_slice(),
            &["dmls", "group", "leave", "g", "--wait", &longest],
        ] {
            assert!(Cli::try_parse_from(wait).is_err(), "{wait:?}");
        }
    }
}
