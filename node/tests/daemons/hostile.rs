//! Garbage on the socket, and peers that do not keep to the rules.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use dmls_core::codec::Bytes;
use dmls_core::framing::DmlsProfile;
use dmls_core::group::{Client, Effect, GroupId, GroupOptions, MemoryStore};
use dmls_core::suite::CipherSuite;
use dmls_gossip::{Config, Gossip, Handle, IdentitySeed, RequestError};
use dmls_node::ticket::Ticket;
use rand_core::UnwrapErr;

use super::harness::{Node, wait};

#[test]
fn garbage_on_the_socket_hurts_nobody() {
    let a = Node::started("ann");
    let socket = a.home().join("dmls.sock");
    let mut answers = BTreeSet::new();
    for garbage in [
        &b"\0\xff\n"[..],
        b"{}\n",
        b"[[[[\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"{\"v\":1,\"id\":-1,\"method\":3}\n",
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(garbage).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        let answer: serde_json::Value = serde_json::from_str(&line).unwrap();
        answers.insert(answer["error"]["code"].as_str().unwrap().to_owned());
    }
    assert_eq!(answers, BTreeSet::from(["usage".to_owned(), "protocol".to_owned()]));
    // A line without end, and clients that say nothing.
    let mut endless = UnixStream::connect(&socket).unwrap();
    let _ = endless.write_all(&vec![b'x'; 5 * 1024 * 1024]);
    let idle: Vec<_> = (0..10).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    assert_eq!(a.ask(&["status"])["name"], "ann");
    drop(idle);
}

/// A peer that speaks the daemons' protocol by itself.
struct Stranger {
    handle: Handle,
    _events: dmls_gossip::Events,
    ticket: Ticket,
}

impl Stranger {
    async fn new(node: &Node) -> Self {
        let seed = IdentitySeed::new([42; 32]);
        let store = Arc::new(dmls_gossip::MemoryStore::new());
        let (handle, events) = Gossip::start(&seed, Config::default(), store).await.unwrap();
        let ticket = Ticket::decode(&node.ticket()).unwrap();
        Self { handle, _events: events, ticket }
    }

    async fn ask(&self, kind: u8, body: Vec<u8>) -> Result<Vec<u8>, RequestError> {
        // One of two simultaneous connections may be closed under the first request.
        loop {
            let answer =
                self.handle.request(self.ticket.peer, self.ticket.addresses.clone(), kind, body.clone());
            match answer.await {
                Err(RequestError::Disconnected) => {}
                other => return other,
            }
        }
    }
}

/// A Welcome for this key package, to a fresh group.
fn welcome_for(key_package: &[u8], group: u8) -> (Bytes, Vec<u8>) {
    let mut rng = UnwrapErr(getrandom::SysRng);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let now = u64::try_from(now).unwrap();
    let (client, _) = Client::new(CipherSuite::X25519_AES128GCM, b"stranger", &mut rng).unwrap();
    let id = GroupId(Bytes::from(vec![group; 16]));
    let options = GroupOptions::default();
    let step = client.create_group(id, &DmlsProfile::default(), &options, now, &mut rng).unwrap();
    let mut group = step.group.clone();
    step.commit(&mut MemoryStore::default(), &mut group).unwrap();
    let step = group.invite(&[key_package.to_vec()], now, &mut rng).unwrap();
    let welcome = step.effects.into_iter().find_map(|effect| match effect {
        Effect::Welcome { key_package, bytes } => Some((key_package, bytes)),
        _ => None,
    });
    welcome.unwrap()
}

fn delivery(reference: &[u8], welcome: &[u8]) -> Vec<u8> {
    let mut body = vec![1, u8::try_from(reference.len()).unwrap()];
    body.extend_from_slice(reference);
    body.extend_from_slice(&[1, b'g', 0]);
    body.extend_from_slice(welcome);
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_is_taken_once() {
    let a = Node::started("ann");
    let stranger = Stranger::new(&a).await;
    let refused = |answer: Result<Vec<u8>, RequestError>| match answer {
        Err(RequestError::Refused { code }) => code,
        other => panic!("{other:?}"),
    };
    let key_package = stranger.ask(1, vec![1]).await.unwrap();
    let (reference, welcome) = welcome_for(&key_package, 1);
    let (_, other) = welcome_for(&key_package, 2);
    let first = delivery(reference.as_slice(), &welcome);

    assert_eq!(refused(stranger.ask(2, delivery(&[9; 32], &welcome)).await), 2, "an unknown key package");
    assert_eq!(refused(stranger.ask(2, first[..20].to_vec()).await), 1, "a truncated delivery");
    assert_eq!(refused(stranger.ask(1, vec![1, 2]).await), 1);
    assert_eq!(refused(stranger.ask(77, vec![1]).await), 5);
    assert!(a.lines(&["join", "--list"])[0].as_array().unwrap().is_empty());

    assert_eq!(stranger.ask(2, first.clone()).await.unwrap(), Vec::<u8>::new());
    assert_eq!(
        stranger.ask(2, first.clone()).await.unwrap(),
        Vec::<u8>::new(),
        "the answer may have been lost"
    );
    assert_eq!(refused(stranger.ask(2, delivery(reference.as_slice(), &other)).await), 3, "a second Welcome");
    assert_eq!(a.lines(&["join", "--list"])[0].as_array().unwrap().len(), 1);
    assert_eq!(a.ask(&["join"])["size"], 2);

    assert_eq!(stranger.ask(2, first).await.unwrap(), Vec::<u8>::new());
    assert_eq!(
        refused(stranger.ask(2, delivery(reference.as_slice(), &other)).await),
        3,
        "after it was used"
    );
    assert_eq!(a.lines(&["group", "list"])[0].as_array().unwrap().len(), 1);

    // A Welcome that is none: it is noticed when it is accepted, and the key package stays good.
    let key_package = stranger.ask(1, vec![1]).await.unwrap();
    let (reference, mut welcome) = welcome_for(&key_package, 3);
    let last = welcome.len() - 1;
    welcome[last] ^= 1;
    stranger.ask(2, delivery(reference.as_slice(), &welcome)).await.unwrap();
    a.fails(9, &["join"]);
    assert!(a.lines(&["join", "--list"])[0].as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn key_packages_are_bounded_for_each_peer() {
    let a = Node::started("ann");
    let stranger = Stranger::new(&a).await;
    let mut packages = Vec::new();
    for _ in 0..6 {
        packages.push(stranger.ask(1, vec![1]).await.unwrap());
    }
    let distinct: BTreeSet<_> = packages.iter().collect();
    assert_eq!(distinct.len(), 6, "each is handed out once");
    let mut taken = Vec::new();
    for (number, package) in packages.iter().enumerate() {
        let (reference, welcome) = welcome_for(package, u8::try_from(number).unwrap());
        taken.push(stranger.ask(2, delivery(reference.as_slice(), &welcome)).await.is_ok());
    }
    assert_eq!(taken, [false, false, true, true, true, true], "the oldest made room");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_rejected_is_not_fetched_again_after_a_restart() {
    let mut a = Node::new("ann");
    let path = a.home().join("config.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{config}\n[log]\nfilter = \"dmls_node=debug\"\n")).unwrap();
    a.start();
    let view = a.ask(&["group", "create", "g"]);
    let topic = dmls_gossip::Topic::of(&hex::decode(view["id"].as_str().unwrap()).unwrap());

    let seed = IdentitySeed::new([43; 32]);
    let store = Arc::new(dmls_gossip::MemoryStore::new());
    let timing = dmls_gossip::Timing {
        reconcile_ms: 200,
        redial_min_ms: 50,
        redial_max_ms: 200,
        ..Default::default()
    };
    let config = Config { timing, ..Config::default() };
    let (handle, mut events) = Gossip::start(&seed, config, store.clone()).await.unwrap();
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    store.insert(topic, 0, b"rubbish".to_vec());
    handle.subscribe(topic).await.unwrap();
    let ticket = Ticket::decode(&a.ticket()).unwrap();
    handle.add_peer(ticket.peer, ticket.addresses).await.unwrap();

    let rejected = |a: &Node| a.log().matches("a message was rejected").count();
    wait("the first rejection", || rejected(&a) == 1);
    assert!(a.stop("-TERM"));
    a.start();
    // The control: the two talk, and what is new is fetched.
    wait("the peer", || a.ask(&["status"])["connected"] == 1);
    store.insert(topic, 0, b"more rubbish".to_vec());
    wait("the second rejection", || rejected(&a) >= 2);
    tokio::time::sleep(std::time::Duration::from_millis(1000)).await;
    assert_eq!(rejected(&a), 2, "{}", a.log());
}
