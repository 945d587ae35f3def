//! SIGKILL at any point loses nothing that was reported, and delivers nothing twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::harness::{pair, wait};

#[test]
fn what_was_sent_while_one_was_dead_arrives_once() {
    let (a, mut b) = pair();
    b.ask(&["send", "g", "one"]);
    b.kill();
    a.ask(&["send", "g", "two"]);
    a.ask(&["group", "refresh", "g"]);
    a.ask(&["send", "g", "three"]);
    b.start();
    for node in [&a, &b] {
        wait("the messages", || node.messages("g").len() == 3);
        assert_eq!(
            BTreeSet::from_iter(node.messages("g")),
            BTreeSet::from(["one", "two", "three"].map(String::from))
        );
    }
    wait("one head", || a.head("g") == b.head("g"));
}

#[test]
fn an_invitation_survives_its_receiver() {
    let (a, mut b) = (super::harness::Node::started("ann"), super::harness::Node::started("ben"));
    a.ask(&["group", "create", "g"]);
    a.ask(&["group", "invite", "g", &b.ticket()]);
    b.kill();
    b.start();
    b.ask(&["join"]);
    wait("one head", || a.head("g") == b.head("g"));
}

/// xorshift64*: the points of the kills depend on the seed and on how fast the machine is.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

#[test]
fn killed_at_random_points() {
    let seed = std::process::id().into();
    println!("seed {seed}");
    let mut random = Random(seed);
    let (a, mut b) = pair();
    let mut reported = BTreeSet::new();
    let mut tried = BTreeSet::new();
    let until = Instant::now() + Duration::from_secs(20);
    let mut kills = 0;
    while kills < 12 && Instant::now() < until {
        let home = b.home();
        // Somebody uses the daemon while it dies.
        let user = std::thread::spawn(move || {
            let mut said = Vec::new();
            for number in 0..40 {
                let message = format!("{kills} {number}");
                let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dmls"));
                command.env_clear().arg("--home").arg(&home);
                match number % 8 {
                    7 => command.args(["group", "refresh", "g"]),
                    _ => command.args(["send", "g", &message]),
                };
                let done = command.output().unwrap().status.success();
                if number % 8 != 7 {
                    said.push((message, done));
                }
                if !done && number % 8 != 7 {
                    break;
                }
            }
            said
        });
        std::thread::sleep(Duration::from_millis(random.below(400)));
        b.kill();
        for (message, done) in user.join().unwrap() {
            if done {
                reported.insert(message.clone());
            }
            tried.insert(message);
        }
        kills += 1;
        b.start();
        // What was reported is there at once.
        let here = BTreeSet::from_iter(b.messages("g"));
        assert!(reported.is_subset(&here), "seed {seed}: lost {:?}", reported.difference(&here));
    }
    assert!(reported.len() >= kills, "seed {seed}: only {} messages in {kills} lives", reported.len());
    for (name, node) in [("b", &b), ("a", &a)] {
        wait(&format!("the messages at {name}, seed {seed}"), || {
            let messages = node.messages("g");
            reported.is_subset(&BTreeSet::from_iter(messages))
        });
        let messages = node.messages("g");
        let distinct = BTreeSet::from_iter(messages.clone());
        assert_eq!(distinct.len(), messages.len(), "seed {seed}: something was delivered twice to {name}");
        assert!(distinct.is_subset(&tried), "seed {seed}");
    }
    wait("the same messages", || {
        BTreeSet::from_iter(a.messages("g")) == BTreeSet::from_iter(b.messages("g"))
    });
    wait("one head", || a.head("g") == b.head("g"));
    assert!(a.ask(&["status"])["damaged"].as_array().unwrap().is_empty());
}
