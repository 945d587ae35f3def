//! Full disks and damaged databases.

use super::harness::{Node, wait};

#[test]
fn on_a_full_disk_nothing_runs_ahead() {
    let mut a = Node::new("ann");
    // Files of at most half a MiB: the database's log is full after a few messages.
    a.start_on_a_small_disk(1024);
    a.ask(&["group", "create", "g"]);
    let body = "x".repeat(100_000);
    let (mut stored, mut failed) = (Vec::new(), Vec::new());
    for number in 0..14 {
        let message = format!("{number} {body}");
        let out = a.run(&["--json", "send", "g", &message]);
        if out.status.success() {
            stored.push(message);
        } else {
            assert_eq!(out.status.code(), Some(7), "{}", super::harness::text(&out.stderr));
            failed.push(message);
            assert_eq!(a.messages("g"), stored, "memory and disk after a failed write");
            // It recovers by itself once the database can be written again.
            wait("the database", || a.ask(&["status"])["store_failure"].is_null());
        }
    }
    assert!(!failed.is_empty(), "the disk never was full");
    assert!(stored.len() > 3, "{} stored, {} failed", stored.len(), failed.len());
    assert_eq!(a.messages("g"), stored);
    a.kill();
    a.start();
    assert_eq!(a.messages("g"), stored);
    a.ask(&["send", "g", "there is room"]);
    assert_eq!(a.messages("g").len(), stored.len() + 1);
}

#[test]
fn a_damaged_database_is_an_error_not_a_crash() {
    let mut a = Node::started("ann");
    a.stop("-TERM");
    let database = a.home().join("db");
    for name in ["CURRENT", "MANIFEST"] {
        let damaged = tempfile::tempdir().unwrap();
        let entries: Vec<_> =
            std::fs::read_dir(&database).unwrap().map(|entry| entry.unwrap().path()).collect();
        for path in &entries {
            std::fs::copy(path, damaged.path().join(path.file_name().unwrap())).unwrap();
        }
        let victim =
            entries.iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with(name));
        let victim = victim.unwrap();
        std::fs::write(victim, b"rubbish").unwrap();
        a.fails(7, &["run"]);
        std::fs::copy(damaged.path().join(victim.file_name().unwrap()), victim).unwrap();
    }
    a.start();
}
