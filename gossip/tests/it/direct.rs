//! Direct requests.

use std::time::{Duration, Instant};

use dmls_gossip::{Config, DialError, PeerId, RequestError, Timing};

use crate::support::{Node, Over, REFUSE, REVERSE, SILENCE, config, until};

fn quick(over: Over) -> Config {
    let config = config(over);
    let timing = Timing { request_timeout_ms: 700, ..config.timing.clone() };
    Config { timing, ..config }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_dials_and_is_answered_refused_or_times_out() {
    for over in [Over::Quic, Over::Tcp] {
        let (a, b) = (
            Node::start(quick(over), 90, Default::default()).await,
            Node::start(quick(over), 91, Default::default()).await,
        );
        assert!(!a.is_connected(b.id).await);
        let answer = a.handle.request(b.id, b.addresses.clone(), REVERSE, vec![1, 2, 3]).await;
        assert_eq!(answer, Ok(vec![3, 2, 1]));
        let large: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
        let mut expected = large.clone();
        expected.reverse();
        assert_eq!(a.handle.request(b.id, vec![], REVERSE, large).await, Ok(expected));
        let refused = a.handle.request(b.id, vec![], REFUSE, vec![]).await;
        assert_eq!(refused, Err(RequestError::Refused { code: 7 }));
        let start = Instant::now();
        let silence = a.handle.request(b.id, vec![], SILENCE, vec![]).await;
        assert_eq!(silence, Err(RequestError::Timeout));
        assert!(start.elapsed() < Duration::from_secs(3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_made_is_a_typed_error() {
    let a = Node::start(quick(Over::Tcp), 92, Default::default()).await;
    let nobody = PeerId::random();
    // A port that was free a moment ago: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let closed = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    let unreachable = Err(RequestError::Unreachable { peer: nobody });
    assert_eq!(a.handle.request(nobody, vec![closed], REVERSE, vec![]).await, unreachable);
    assert_eq!(a.handle.request(nobody, vec![], REVERSE, vec![]).await, unreachable);
    let max = config(Over::Tcp).limits.max_direct;
    let large = a.handle.request(nobody, vec![], REVERSE, vec![0; max + 1]).await;
    assert_eq!(large, Err(RequestError::TooLarge { size: max + 1, max }));
    let nameless: dmls_gossip::Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
    assert_eq!(a.handle.dial(nameless.clone()).await, Err(DialError::NoPeerId { address: nameless }));
    assert_eq!(a.handle.add_peer(a.id, vec![]).await, Err(DialError::Myself { peer: a.id }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_peer_at_an_address_is_not_talked_to() {
    let (a, b) = (
        Node::start(quick(Over::Quic), 93, Default::default()).await,
        Node::start(quick(Over::Quic), 94, Default::default()).await,
    );
    let other = PeerId::random();
    let answer = a.handle.request(other, b.addresses.clone(), REVERSE, vec![1]).await;
    assert_eq!(answer, Err(RequestError::Unreachable { peer: other }));
    assert_eq!(b.counters(a.id).await.bytes_in, 0);
    until("the failed connection is gone at the other end", 5, async || !b.is_connected(a.id).await).await;
    // The control: the right name at the same address.
    let answer = a.handle.request(b.id, b.addresses.clone(), REVERSE, vec![1]).await;
    assert_eq!(answer, Ok(vec![1]));
    until("they are connected", 5, async || b.counters(a.id).await.bytes_in > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_open_requests_are_refused_at_once() {
    let mut narrow = quick(Over::Quic);
    narrow.limits.max_direct_pending = 4;
    let (a, b) = (
        Node::start(quick(Over::Quic), 95, Default::default()).await,
        Node::start(narrow, 96, Default::default()).await,
    );
    assert!(a.handle.request(b.id, b.addresses.clone(), REVERSE, vec![]).await.is_ok());
    let asks: Vec<_> = (0..8)
        .map(|_| {
            let (handle, peer) = (a.handle.clone(), b.id);
            tokio::spawn(async move { handle.request(peer, vec![], SILENCE, vec![]).await })
        })
        .collect();
    let mut answers = Vec::new();
    for ask in asks {
        answers.push(ask.await.unwrap());
    }
    let busy = answers.iter().filter(|a| **a == Err(RequestError::Busy)).count();
    let late = answers.iter().filter(|a| **a == Err(RequestError::Timeout)).count();
    assert_eq!((busy, late), (4, 4), "{answers:?}");
    until("there is room again", 5, async || {
        a.handle.request(b.id, vec![], REVERSE, vec![5]).await == Ok(vec![5])
    })
    .await;
}
