use super::*;

fn addr(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

fn known() -> Known {
    let timing = Timing { redial_min_ms: 100, redial_max_ms: 1_000, ..Timing::default() };
    let limits = Limits { max_known_peers: 2, max_addresses_per_peer: 2, ..Limits::default() };
    Known::new(&limits, &timing)
}

#[test]
fn a_configured_peer_is_dialled_for_ever_with_growing_bounded_delays() {
    let (mut known, mut jitter, now, peer) = (known(), Jitter::new(), Instant::now(), PeerId::random());
    assert!(known.add(peer, [addr("/ip4/127.0.0.1/tcp/1")], true, Some(now)));
    assert_eq!(known.due(now), [peer]);
    assert!(known.due(now).is_empty(), "it is being dialled");
    for attempt in 1..60 {
        let (attempts, delay) = known.failed(&peer, now, &mut jitter).unwrap();
        assert_eq!(attempts, attempt);
        assert!(delay <= Duration::from_millis(1_000));
        assert!(attempt < 6 || delay >= Duration::from_millis(500));
        assert!(known.due(now + delay) == [peer]);
    }
    known.connected(&peer);
    assert!(known.due(now + Duration::from_secs(9)).is_empty());
    known.lost(&peer, Duration::ZERO, now, &mut jitter);
    assert!(
        known.due(now + Duration::from_millis(400)).is_empty(),
        "a connection that ends at once is a failure"
    );
    known.lost(&peer, GOOD, now, &mut jitter);
    assert_eq!(known.due(now + Duration::from_millis(150)), [peer]);
}

#[test]
fn a_learned_peer_is_given_up_and_makes_room_for_a_configured_one() {
    let (mut known, mut jitter, now) = (known(), Jitter::new(), Instant::now());
    let peers = [PeerId::random(), PeerId::random(), PeerId::random()];
    assert!(known.add(peers[0], [], false, Some(now)) && known.add(peers[1], [], true, Some(now)));
    assert!(!known.add(peers[2], [], false, Some(now)), "no room for a further learned one");
    assert!(known.add(peers[2], [], true, Some(now)));
    assert!(known.failed(&peers[0], now, &mut jitter).is_none(), "evicted");
    known.remove(&peers[2]);
    assert!(known.add(peers[0], [], false, None));
    let tries = (1..100).take_while(|_| known.failed(&peers[0], now, &mut jitter).is_some()).count();
    assert_eq!(tries as u32, LEARNED_ATTEMPTS - 1);
}

#[test]
fn the_newest_addresses_are_kept() {
    let (mut known, peer) = (known(), PeerId::random());
    let all = ["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2", "/ip4/127.0.0.1/tcp/3"].map(addr);
    known.add(peer, all.clone(), true, None);
    assert_eq!(known.addresses(&peer), [all[2].clone(), all[1].clone()]);
}

#[test]
fn claimed_addresses_do_not_displace_configured_ones() {
    let (mut known, peer) = (known(), PeerId::random());
    let all = ["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2", "/ip4/127.0.0.1/tcp/3"].map(addr);
    known.add(peer, [all[0].clone()], false, None);
    known.add(peer, [all[1].clone()], true, None);
    known.add(peer, [all[2].clone()], false, None);
    assert_eq!(known.addresses(&peer), [all[1].clone(), all[2].clone()], "the oldest claim made room");
    known.add(peer, [all[0].clone(), all[1].clone()], false, None);
    assert_eq!(known.addresses(&peer), [all[1].clone(), all[0].clone()]);
    // A claimed address that is configured later stays too.
    known.add(peer, [all[0].clone()], true, None);
    known.add(peer, [all[2].clone()], false, None);
    assert_eq!(known.addresses(&peer), [all[0].clone(), all[1].clone()]);
}

#[test]
fn points_ban_and_fade() {
    let (limits, timing) = (Limits::default(), Timing { ban_ms: 1_000, ..Timing::default() });
    let mut standing = Standing::new(&limits, &timing);
    let (now, peer) = (Instant::now(), PeerId::random());
    assert_eq!(standing.fault(peer, Fault::Malformed, now), (50, false));
    let later = now + ms(timing.forgive_ms);
    assert_eq!(standing.points(&peer, later), 25);
    assert_eq!(standing.fade(later), [(peer, 25)]);
    assert_eq!(standing.fault(peer, Fault::Malformed, later), (75, false));
    assert!(!standing.is_out(&peer));
    assert_eq!(standing.fault(peer, Fault::Malformed, later), (125, true));
    assert!(standing.is_banned(&peer) && standing.is_out(&peer) && !standing.is_blocked(&peer));
    standing.end_bans(later + Duration::from_millis(1_000));
    assert!(!standing.is_out(&peer) && standing.points(&peer, later) == 0);
}

#[test]
fn who_has_been_forgiven_is_told_once_more_and_forgotten() {
    let (limits, timing) = (Limits::default(), Timing::default());
    let mut standing = Standing::new(&limits, &timing);
    let (now, peer) = (Instant::now(), PeerId::random());
    standing.fault(peer, Fault::UnknownTopic, now);
    let later = now + 2 * ms(timing.forgive_ms);
    assert_eq!(standing.fade(now), [(peer, 2)]);
    assert_eq!(standing.fade(later), [(peer, 0)]);
    assert_eq!(standing.fade(later), []);
}

#[test]
fn only_plain_addresses_of_the_right_scope_are_learned() {
    let (local, far) = (addr("/ip4/127.0.0.1/tcp/9"), addr("/ip4/198.51.100.7/tcp/9"));
    assert!(plausible(&addr("/ip4/127.0.0.1/tcp/1"), &local));
    assert!(plausible(&addr("/ip4/127.0.0.1/udp/1/quic-v1"), &local));
    assert!(plausible(&addr("/ip4/198.51.100.8/udp/1/quic-v1"), &far));
    assert!(plausible(&addr(&format!("/ip4/127.0.0.1/tcp/1/p2p/{}", PeerId::random())), &local));
    assert!(!plausible(&addr("/ip4/127.0.0.1/tcp/1"), &far), "a stranger names our own host");
    assert!(!plausible(&addr("/ip4/198.51.100.8/tcp/1"), &local), "a local peer names a far one");
    for odd in
        ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/1", "/dns4/example.org/tcp/1", "/ip4/127.0.0.1/tcp/1/ws"]
    {
        assert!(!plausible(&addr(odd), &local), "{odd}");
    }
    assert!(!plausible(&addr("/ip4/0.0.0.0/tcp/1"), &far) && !plausible(&addr("/ip4/224.0.0.1/tcp/1"), &far));
}

#[test]
fn a_window_counts_requests_and_bytes() {
    let limits =
        Limits { max_requests_per_window: 2, max_served_per_window: 10, window_ms: 100, ..Limits::default() };
    let now = Instant::now();
    let mut window = Window::new(now, 0);
    assert!(window.request(&limits) && window.request(&limits) && !window.request(&limits));
    window.serve(9);
    assert!(window.may_serve(&limits));
    window.serve(1);
    assert!(!window.may_serve(&limits));
    assert!(!window.is_over(now, &limits) && window.is_over(now + Duration::from_millis(100), &limits));
}
