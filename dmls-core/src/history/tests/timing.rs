//! What looking at a large history costs. Run in release: `cargo test --release -p dmls-core history::tests::timing
//! -- --ignored --nocapture`.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this is what measures")]

use std::time::{Duration, Instant};

use super::*;

fn timed<T>(what: &str, limit: Duration, mut action: impl FnMut() -> T) {
    action();
    let runs = 50;
    let start = Instant::now();
    for _ in 0..runs {
        std::hint::black_box(action());
    }
    let each = start.elapsed() / runs;
    println!("{what}: {each:?}");
    assert!(each < limit, "{what}: {each:?}");
}

#[test]
#[ignore = "timing: run in release"]
fn sixty_four_epochs_of_a_thousand() {
    let members = 1000;
    let all = Made { width: 1024, electors: (0..members).collect(), blanked: BTreeSet::new() };
    let top = HistoryEpoch::new(None, 0, 1024, leaves(0..members), LeafSet::default());
    let mut history = History::new(epoch("p"), top);
    let mut tip = String::from("p");
    for depth in 0..63 {
        for by in [depth, depth + 1] {
            let (at, name) = (epoch(&tip), format!("{depth} of {by}"));
            let makes = if by == depth { Ok(all.clone()) } else { Err(REMOVED) };
            record(&mut history, &Message::Commit { at, by, name, class: 1, makes, since: None }).unwrap();
        }
        tip = format!("{depth} of {depth}");
    }
    let tip = epoch(&tip);
    for by in 0..members {
        history.record_handshake(&tip, LeafIndex(by), None).unwrap();
    }
    assert_eq!(history.head().epoch, tip);
    let above: Vec<EpochId> = history.ancestors(&tip).map(|(id, _)| id.clone()).collect();
    let ms = Duration::from_millis;
    timed("head", ms(1), || history.head());
    timed("decision", ms(1), || history.epoch(history.anchor()).map(HistoryEpoch::decision));
    timed("acknowledgement known already", ms(1), || {
        history.clone().record_handshake(&tip, LeafIndex(500), None)
    });
    timed("is_settled of each ancestor", ms(10), || {
        above.iter().filter(|at| history.is_settled(at, &tip, LeafIndex(0))).count()
    });
    timed("newest_final", ms(1), || history.newest_final(&tip, &|_| true));
    // Every third elector names as many children as are recorded.
    for by in (0..members).step_by(3) {
        for n in 0..3 {
            let child = commit(&format!("{by} {n}"));
            history.record_vote(&epoch("p"), LeafIndex(by), &child, None).unwrap();
        }
    }
    timed("decision with 334 equivocators", ms(1), || {
        history.epoch(history.anchor()).map(HistoryEpoch::decision)
    });
}
