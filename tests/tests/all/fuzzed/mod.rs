//! Inputs that a fuzzer found, kept as tests, and proof that what the fuzzers check can fail (`tests/fuzz/run --help`).
//!
//! An input is a file in the directory of its target. Its name says what it does.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use dmls_core::group::{Changes, Disposition, Effect, Event, Step};
use dmls_tests::World;
use dmls_tests::fuzz::{TARGETS, decode, receive, seeds};
use dmls_tests::oracle::{Judge, Said, fingerprint};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn all_seeds() -> Vec<seeds::Seed> {
    let ours = root().join("../docs/vectors");
    // Ours are always there; the official ones need not be.
    seeds::all(Path::new("no such directory"), &ours)
}

#[test]
fn kept_inputs_pass() {
    for target in TARGETS {
        let dir = root().join("tests/all/fuzzed").join(target.name);
        let mut files: Vec<PathBuf> =
            fs::read_dir(&dir).expect("a directory").map(|entry| entry.expect("a file").path()).collect();
        files.sort();
        assert!(!files.is_empty(), "nothing is kept for {}", target.name);
        for file in files {
            println!("{}", file.display());
            (target.run)(&fs::read(&file).expect("an input"));
        }
    }
}

#[test]
fn seeds_reach_what_lies_behind_each_decoder() {
    let seeds = all_seeds();
    let mut reached = std::collections::BTreeSet::new();
    for seed in seeds.iter().filter(|seed| seed.target == "decode") {
        let decoder = decode::decoder(seed.bytes[0]).expect("a decoder");
        assert!((decoder.run)(&seed.bytes[1..]), "{} is refused", seed.name);
        reached.insert(decoder.name);
    }
    println!("{} decoders have seeds of their own: {reached:?}", reached.len());
    for name in ["DmlsMessage", "DmlsMeta", "DmlsProfile", "Commit", "tree", "record", "key package"] {
        assert!(reached.contains(name), "no seed reaches {name}");
    }
}

#[test]
fn each_decoder_refuses_something_and_panics_at_nothing_short() {
    let decoders = (0..=u8::MAX).map_while(decode::decoder);
    for decoder in decoders {
        let refused = (0..=u8::MAX).filter(|byte| !(decoder.run)(&[*byte; 3]));
        assert!(refused.count() > 0, "{} takes everything", decoder.name);
    }
}

/// Whether judging panics.
fn fails(judge: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(judge)).is_err()
}

#[test]
fn the_convergence_statement_fails_where_it_is_untrue() {
    let mut world = World::new(8, 4);
    world.form();
    let said =
        |world: &World| Said { payload: b"said".to_vec(), by: 0, roster: fingerprint(world, 0).members };
    let judge = |world: &World, said: &[Said]| {
        Judge { world, founders: 4, said, intents: &[], name: "control" }.judge();
    };
    let message = said(&world);
    assert!(!fails(|| judge(&world, &[])), "a group at rest");
    assert!(fails(|| judge(&world, std::slice::from_ref(&message))), "a message that nobody got");
    world.send(0, "said");
    world.spread();
    assert!(!fails(|| judge(&world, std::slice::from_ref(&message))), "everybody has got it");
    let again = world.peers[1].events.iter().find(|event| matches!(event, Event::Message { .. })).cloned();
    let mut twice = world.clone();
    twice.peers[1].events.extend(again);
    assert!(fails(|| judge(&twice, &[message])), "a message that somebody got twice");
    world.cut(&[0, 0, 1, 1]);
    world.refresh(0);
    world.refresh(2);
    world.run(20_000);
    assert!(fails(|| judge(&world, &[])), "two heads");
    world.heal();
    world.run(60_000);
    assert!(!fails(|| judge(&world, &[])), "one head");
}

#[test]
fn a_refusal_that_does_something_is_noticed() {
    let mut world = World::new(9, 2);
    world.form();
    let step = |effects: Vec<Effect>, disposition| Step {
        group: world.peers[0].group().clone(),
        changes: Changes::default(),
        effects,
        disposition: Some(disposition),
    };
    let effect = || vec![Effect::Event(Event::Joined { epoch: world.peers[0].group().head().clone() })];
    let rejected = || Disposition::Rejected { rule: "control".into() };
    assert!(!fails(|| receive::judge_step(&step(Vec::new(), rejected()))));
    assert!(fails(|| receive::judge_step(&step(effect(), rejected()))));
    assert!(!fails(|| receive::judge_step(&step(effect(), Disposition::Applied))));
}
