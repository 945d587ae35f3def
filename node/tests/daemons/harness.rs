//! Homes, daemons and commands.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const CONFIG: &str = "\
[network.timing]
heartbeat_ms = 300
reconcile_ms = 300
redial_min_ms = 50
redial_max_ms = 300

[group]
ack_span_ms = 300
turn_slot_ms = 100

[delivery]
retry_min_ms = 50
retry_max_ms = 300
";

/// A home directory with an identity, and its daemon while it runs.
pub(crate) struct Node {
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Node {
    /// Makes an identity.
    pub(crate) fn new(name: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("dmls").tempdir().unwrap();
        let node = Self { dir, child: None };
        let made = node.run(&["init", "--name", name]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        std::fs::write(node.home().join("config.toml"), CONFIG).unwrap();
        node
    }

    /// Makes an identity and starts its daemon.
    pub(crate) fn started(name: &str) -> Self {
        let mut node = Self::new(name);
        node.start();
        node
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dmls"));
        command.env_clear().arg("--home").arg(self.home()).stdin(Stdio::null());
        command
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn start(&mut self) {
        let command = self.command();
        self.start_as(command);
    }

    /// The same with files of at most so many blocks of 512 bytes.
    pub(crate) fn start_on_a_small_disk(&mut self, blocks: u32) {
        let mut command = Command::new("sh");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        command.env_clear().args(["-c", &script, env!("CARGO_BIN_EXE_dmls"), "--home"]).arg(self.home());
        self.start_as(command);
    }

    fn start_as(&mut self, mut command: Command) {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        command.args(["run", "--until-stdin-closes"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        wait("the daemon", || self.run(&["id"]).status.success());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks the daemon to stop with `signal` and waits for it. Returns whether it ended cleanly.
    pub(crate) fn stop(&mut self, signal: &str) -> bool {
        let mut child = self.child.take().unwrap();
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status.success();
            }
            if Instant::now() > until {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("it does not stop: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Runs a command.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    /// Runs a command that must succeed; its JSON answers, one a line.
    pub(crate) fn lines(&self, args: &[&str]) -> Vec<Value> {
        let out = self.run(&[&["--json"], args].concat());
        assert!(out.status.success(), "{args:?}: {} {}", text(&out.stderr), self.log());
        text(&out.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs a command that must succeed and gives one answer.
    pub(crate) fn ask(&self, args: &[&str]) -> Value {
        let mut lines = self.lines(args);
        assert_eq!(lines.len(), 1, "{args:?}");
        lines.remove(0)
    }

    /// Runs a command that must fail with this exit code; the error's object.
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> Value {
        let out = self.run(&[&["--json"], args].concat());
        assert_eq!(out.status.code(), Some(code), "{args:?}: {} {}", text(&out.stdout), text(&out.stderr));
        let error: Value = serde_json::from_str(text(&out.stderr).trim()).unwrap();
        assert!(error["error"]["message"].as_str().unwrap().len() > 5);
        error["error"].clone()
    }

    pub(crate) fn ticket(&self) -> String {
        self.ask(&["id"])["ticket"].as_str().unwrap().to_owned()
    }

    /// The texts of a group's messages, in order.
    pub(crate) fn messages(&self, group: &str) -> Vec<String> {
        let lines = self.lines(&["read", group]);
        lines.iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn head(&self, group: &str) -> (String, String, String) {
        let view = self.ask(&["group", "show", group]);
        let field = |name: &str| view[name].as_str().unwrap().to_owned();
        (field("head"), field("tree_hash"), field("epoch_authenticator"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("log of {}:\n{}", self.home().display(), self.log());
        }
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until `done`.
pub(crate) fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// Two daemons in one group `g`.
pub(crate) fn pair() -> (Node, Node) {
    let (a, b) = (Node::started("ann"), Node::started("ben"));
    a.ask(&["group", "create", "g"]);
    let invited = a.ask(&["group", "invite", "g", &b.ticket()]);
    assert_eq!(invited["delivered"], 1);
    b.ask(&["join"]);
    assert_eq!(a.head("g"), b.head("g"));
    (a, b)
}
