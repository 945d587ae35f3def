//! What users do, and what they are told when it cannot be done.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use super::harness::{Node, PATIENCE, pair, text, wait};

#[test]
fn two_daemons_form_a_group_and_talk() {
    let (a, b) = pair();
    a.ask(&["send", "g", "from ann"]);
    b.ask(&["send", "g", "from ben"]);
    for node in [&a, &b] {
        wait("both messages", || node.messages("g").len() == 2);
        let mut messages = node.messages("g");
        messages.sort();
        assert_eq!(messages, ["from ann", "from ben"]);
    }
    let refreshed = b.ask(&["group", "refresh", "g"]);
    assert_eq!(refreshed["number"], 2);
    wait("the refresh", || a.head("g") == b.head("g"));
    let drawn = text(&a.run(&["history", "g"]).stdout);
    assert!(drawn.contains("epoch 2 by ben") && drawn.contains("HEAD"), "{drawn}");
    let status = a.ask(&["status"]);
    assert_eq!((status["connected"].clone(), status["undelivered"].clone()), (1.into(), 0.into()));
}

#[test]
fn whoever_follows_misses_nothing_and_sees_what_comes() {
    let (a, b) = pair();
    a.ask(&["send", "g", "before"]);
    wait("the message", || b.messages("g").len() == 1);
    let mut follow = Command::new(env!("CARGO_BIN_EXE_dmls"))
        .env_clear()
        .arg("--home")
        .arg(b.home())
        .args(["read", "g", "--follow"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().ends_with("before"));
    a.ask(&["send", "g", "after"]);
    assert!(lines.next().unwrap().unwrap().ends_with("after"));
    follow.kill().unwrap();
    follow.wait().unwrap();
}

#[test]
fn subscribers_are_told_what_happens_and_late_ones_what_happened() {
    let (a, b) = pair();
    let subscribe = |params: &str| {
        let mut stream = UnixStream::connect(b.home().join("dmls.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        writeln!(stream, "{{\"v\":1,\"id\":5,\"method\":\"subscribe\",\"params\":{params}}}").unwrap();
        BufReader::new(stream).lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            assert_eq!((line["v"].clone(), line["id"].clone()), (1.into(), 5.into()));
            line["event"]["event"].clone()
        })
    };
    let is_message = |event: &serde_json::Value| event["event"]["type"] == "message";
    let mut live = subscribe("{}");
    // The daemon must have taken the request before the message comes.
    std::thread::sleep(std::time::Duration::from_millis(300));
    a.ask(&["send", "g", "news"]);
    let heard = live.find(is_message).unwrap();
    assert_eq!(heard["event"]["text"], "news");
    let late: Vec<_> = subscribe("{\"after\":0}").take_while(|event| !is_message(event)).collect();
    assert!(late.iter().any(|event| event["event"]["type"] == "joined"), "{late:?}");
    let numbers: Vec<u64> = late.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(
        numbers.is_sorted() && numbers.iter().all(|seq| *seq < heard["seq"].as_u64().unwrap()),
        "{numbers:?}"
    );
}

#[test]
fn leaving_is_committed_by_another_member() {
    let (a, b) = pair();
    let left = b.ask(&["group", "leave", "g", "--wait", "30"]);
    assert_eq!(left["standing"], "removed");
    wait("the roster", || a.ask(&["group", "show", "g"])["size"] == 1);
    b.fails(9, &["send", "g", "still here?"]);
    a.fails(9, &["group", "leave", "g"]);
    b.ask(&["group", "delete", "g"]);
    b.fails(8, &["group", "show", "g"]);
    // Once forgotten, the group can be joined again.
    a.ask(&["group", "invite", "g", &b.ticket()]);
    b.ask(&["join", "--wait", "20"]);
    wait("one head", || a.head("g") == b.head("g"));
    a.ask(&["send", "g", "welcome back"]);
    wait("the message", || b.messages("g") == ["welcome back"]);
}

#[test]
fn who_was_removed_can_be_invited_again_and_joins_without_more_ado() {
    let (a, b) = pair();
    let first = a.ask(&["group", "show", "g"])["id"].clone();
    b.ask(&["send", "g", "first life"]);
    wait("the message", || a.messages("g") == ["first life"]);
    a.ask(&["group", "remove", "g", "ben"]);
    wait("the removal", || b.ask(&["group", "show", "g"])["standing"] == "removed");
    let refused = b.fails(9, &["send", "g", "still here?"]);
    assert!(refused["hint"].as_str().unwrap().contains("invite you again"), "{refused}");
    a.ask(&["group", "invite", "g", &b.ticket()]);
    let joined = b.ask(&["join", "--wait", "20"]);
    assert_eq!((joined["id"].clone(), joined["name"].clone()), (first, "g".into()), "the group it knows");
    wait("one head", || a.head("g") == b.head("g"));
    a.ask(&["send", "g", "welcome back"]);
    wait("the message", || b.messages("g") == ["first life", "welcome back"]);
    b.ask(&["send", "g", "second life"]);
    wait("the answer", || a.messages("g") == ["first life", "welcome back", "second life"]);
    assert_eq!(b.ask(&["group", "refresh", "g"])["size"], 2);
    wait("the refresh", || a.head("g") == b.head("g"));
}

#[test]
fn a_second_daemon_is_refused_and_told_of_the_first() {
    let a = Node::started("ann");
    let error = a.fails(6, &["run"]);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(&a.pid().to_string()), "{message}");
    assert!(message.contains("dmls.sock"), "{message}");
    assert_eq!(a.ask(&["status"])["name"], "ann", "the first is unharmed");
}

#[test]
fn nobody_else_can_read_anything() {
    let (a, _b) = pair();
    fn check(path: &std::path::Path) {
        let mode = std::fs::symlink_metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
        if path.is_dir() {
            std::fs::read_dir(path).unwrap().for_each(|entry| check(&entry.unwrap().path()));
        }
    }
    // The test wrote the configuration itself.
    std::fs::remove_file(a.home().join("config.toml")).unwrap();
    check(&a.home());
}

#[test]
fn a_clean_stop_and_a_restart_keep_ticket_and_group() {
    let (mut a, b) = pair();
    let (ticket, head) = (a.ticket(), a.head("g"));
    for signal in ["-TERM", "-INT"] {
        assert!(a.stop(signal), "{}", a.log());
        assert!(!a.home().join("dmls.sock").exists());
        assert!(a.fails(5, &["status"])["hint"].as_str().unwrap().contains("dmls run"));
        a.start();
        assert_eq!((a.ticket(), a.head("g")), (ticket.clone(), head.clone()));
    }
    a.ask(&["send", "g", "back"]);
    wait("the message", || b.messages("g") == ["back"]);
}

#[test]
fn the_log_names_nobody() {
    let (mut a, b) = pair();
    a.ask(&["send", "g", "sesame"]);
    wait("the message", || b.messages("g").len() == 1);
    let peers = [a.ask(&["id"]), b.ask(&["id"])];
    a.stop("-TERM");
    let log = a.log();
    assert!(log.contains("ready"), "{log}");
    for id in &peers {
        for field in ["peer", "fingerprint", "name"] {
            let value = id[field].as_str().unwrap();
            assert!(!log.contains(value), "the log has the {field} {value}: {log}");
        }
    }
    assert!(!log.contains("sesame"));
}

#[test]
fn errors_have_their_exit_codes_and_say_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let dmls = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dmls"));
        command.env_clear().arg("--home").arg(home.path().join("h")).args(args).output().unwrap()
    };
    let cases: [(&[&str], i32, &str); 4] = [
        (&["status"], 4, "dmls init"),
        (&["run"], 4, "dmls init"),
        (&["frobnicate"], 2, "Usage"),
        (&["init", "--name", ""], 2, "--name"),
    ];
    for (args, code, hint) in cases {
        let out = dmls(args);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {}", text(&out.stderr));
        assert!(text(&out.stderr).contains(hint), "{args:?}: {}", text(&out.stderr));
    }
    assert!(dmls(&["init", "--name", "ann"]).status.success());
    assert_eq!(dmls(&["init", "--name", "ann"]).status.code(), Some(3));
    assert_eq!(dmls(&["status"]).status.code(), Some(5));
    std::fs::write(home.path().join("h/config.toml"), "colour = 1").unwrap();
    let out = dmls(&["run"]);
    assert_eq!(out.status.code(), Some(3));
    assert!(text(&out.stderr).contains("colour"), "{}", text(&out.stderr));

    let a = Node::started("ann");
    a.fails(8, &["send", "nowhere", "x"]);
    a.fails(2, &["group", "create", " "]);
    a.fails(8, &["join"]);
    a.ask(&["group", "create", "g"]);
    a.fails(2, &["group", "create", "g"]);
    a.fails(2, &["group", "invite", "g", "dmls1AAAA"]);
    a.fails(8, &["group", "invite", "g", "nobody"]);
    a.fails(8, &["group", "remove", "g", "nobody"]);
    a.fails(9, &["group", "remove", "g", "ann"]);
    let mut b = Node::started("ben");
    let ticket = b.ticket();
    b.kill();
    a.fails(10, &["group", "invite", "g", &ticket]);
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let home = tempfile::tempdir().unwrap();
    let filter = |env: Option<&str>, flag: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dmls"));
        command.env_clear().arg("--home").arg(home.path()).args(["--json", "config"]);
        command.envs(env.map(|value| ("DMLS_LOG", value)));
        command.args(flag.iter().flat_map(|value| ["--log", value]));
        let out = command.output().unwrap();
        let config: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        config["log"]["filter"].as_str().unwrap().to_owned()
    };
    assert_eq!(filter(None, None), "info");
    std::fs::write(home.path().join("config.toml"), "[log]\nfilter = \"warn\"").unwrap();
    assert_eq!(filter(None, None), "warn");
    assert_eq!(filter(Some("error"), None), "error");
    assert_eq!(filter(Some("error"), Some("trace")), "trace");
}

#[test]
fn invitations_can_be_accepted_as_they_come() {
    let (a, mut b) = (Node::started("ann"), Node::new("ben"));
    let path = b.home().join("config.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("auto_join = true\n{config}")).unwrap();
    b.start();
    a.ask(&["group", "create", "g"]);
    a.ask(&["group", "invite", "g", &b.ticket()]);
    wait("the group", || b.lines(&["group", "list"])[0].as_array().unwrap().len() == 1);
    wait("one head", || a.head("g") == b.head("g"));
}

#[test]
fn a_cut_stops_every_byte_and_ends() {
    let (a, b) = pair();
    let other = b.ask(&["id"])["peer"].as_str().unwrap().to_owned();
    let seen = |field: &str| a.lines(&["peer", "list"])[0].as_array().unwrap()[0][field].clone();
    a.ask(&["peer", "block", &other]);
    wait("the cut", || seen("connections") == 0);
    assert_eq!(seen("blocked"), true);
    let before = (seen("bytes_in"), seen("bytes_out"));
    a.ask(&["send", "g", "over the wall"]);
    std::thread::sleep(std::time::Duration::from_millis(800));
    assert_eq!((seen("bytes_in"), seen("bytes_out")), before);
    assert!(b.messages("g").is_empty());
    a.ask(&["peer", "unblock"]);
    wait("the message", || b.messages("g") == ["over the wall"]);
}

#[test]
fn the_demo_leaves_nothing_behind_when_it_is_stopped() {
    let scratch = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_dmls"))
        .args(["demo", "--json"])
        .env("TMPDIR", scratch.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let homes = || std::fs::read_dir(scratch.path()).unwrap().count();
    wait("the demo", || homes() == 1);
    std::thread::sleep(std::time::Duration::from_millis(600));
    assert!(Command::new("kill").arg(demo.id().to_string()).status().unwrap().success());
    assert!(!demo.wait().unwrap().success());
    assert_eq!(homes(), 0);
    let marker = scratch.path().display().to_string();
    let ours = |pid: &std::ffi::OsStr| {
        let line = std::fs::read(std::path::Path::new("/proc").join(pid).join("cmdline")).unwrap_or_default();
        text(&line).contains(&marker)
    };
    wait("the daemons to end", || {
        !std::fs::read_dir("/proc").unwrap().any(|entry| ours(&entry.unwrap().file_name()))
    });
}

#[test]
fn the_demo_passes() {
    let out = Command::new(env!("CARGO_BIN_EXE_dmls")).args(["demo", "--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(out.status.success(), "{report:#} {}", text(&out.stderr));
    assert_eq!(report["passed"], true);
    assert_eq!(report["checks"].as_array().unwrap().len(), 11);
    let replay = report["checks"].as_array().unwrap().iter().find(|c| c["name"] == "replay refused").unwrap();
    for (name, tried) in replay["figures"]["by_daemon"].as_object().unwrap() {
        assert!(tried["refused"].as_u64().unwrap() > 0, "{name}: {tried}");
    }
}
