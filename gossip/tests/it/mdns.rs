//! Multicast DNS, in two network namespaces of its own that are joined by one virtual cable and by nothing else.
//! The test runs itself once in each: no packet can leave the host.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dmls_gossip::{Config, Multiaddr};

use crate::support::{Node, Over, config, until};

const CHILD: &str = "DMLS_GOSSIP_MDNS_CHILD";

fn ip(args: &str) -> Result<(), String> {
    let run = Command::new("ip").args(args.split_whitespace()).output().map_err(|e| format!("ip: {e}"))?;
    if run.status.success() {
        Ok(())
    } else {
        Err(format!("ip {args}: {}", String::from_utf8_lossy(&run.stderr).trim()))
    }
}

/// Two namespaces, removed on drop; the cable goes with them.
struct Namespaces([String; 2]);

impl Namespaces {
    fn new() -> Result<Self, String> {
        let pid = std::process::id();
        let made = Self([format!("dmls{pid}a"), format!("dmls{pid}b")]);
        let [a, b] = &made.0;
        ip(&format!("netns add {a}"))?;
        ip(&format!("netns add {b}"))?;
        ip(&format!("-n {a} link add cable type veth peer name cable netns {b}"))?;
        for (n, name) in made.0.iter().enumerate() {
            ip(&format!("-n {name} addr add 10.213.7.{}/24 dev cable", n + 1))?;
            ip(&format!("-n {name} link set lo up"))?;
            ip(&format!("-n {name} link set cable up"))?;
            ip(&format!("-n {name} route add 224.0.0.0/4 dev cable"))?;
        }
        Ok(made)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

fn run(namespaces: &Namespaces, mdns: bool) -> [bool; 2] {
    let me = std::env::current_exe().unwrap();
    let start = |n: usize| {
        Command::new("ip")
            .args(["netns", "exec", &namespaces.0[n]])
            .arg(&me)
            .args(["--exact", "mdns::in_a_namespace", "--ignored", "--nocapture"])
            .env(CHILD, format!("{} {mdns}", n + 1))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    [start(0), start(1)].map(|child| {
        let output = child.wait_with_output().unwrap();
        output.status.success()
            && String::from_utf8_lossy(&output.stdout).contains("the two have found each other")
    })
}

#[test]
fn peers_find_each_other_by_mdns_and_only_if_it_is_on() {
    let namespaces = match Namespaces::new() {
        Ok(namespaces) => namespaces,
        Err(reason) => {
            println!("SKIPPED: no network namespace can be made here, so mDNS is not tested: {reason}");
            return;
        }
    };
    assert_eq!(run(&namespaces, true), [true, true]);
    assert_eq!(run(&namespaces, false), [false, false], "the control: without mDNS nobody is found");
}

#[test]
#[ignore = "is run by the test above, inside a network namespace"]
fn in_a_namespace() {
    let Ok(task) = std::env::var(CHILD) else { panic!("this is no namespace of the mDNS test") };
    let (number, mdns) = task.split_once(' ').unwrap();
    let number: u8 = number.parse().unwrap();
    let listen: Multiaddr = format!("/ip4/10.213.7.{number}/udp/0/quic-v1").parse().unwrap();
    let config = Config { listen: vec![listen], mdns: mdns == "true", ..config(Over::Quic) };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let node = Node::start(config, 200 + number, Arc::default()).await;
        node.publish(1, &format!("of {number}")).await;
        let seconds = if mdns == "true" { 10 } else { 3 };
        until("both messages are here", seconds, async || node.count() == 2).await;
        println!("the two have found each other");
        // The other one may still be fetching.
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        node.handle.shutdown().await.unwrap();
    });
}
