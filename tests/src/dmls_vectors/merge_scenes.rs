//! The histories of branches to be merged. What each must give is written beside it by hand and compared when they are
//! written out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::compute;

/// An id of 32 bytes out of a short name. Ids of commits sort as their names do.
fn id(name: &str) -> String {
    hex::encode(name.bytes().chain([0; 32]).take(32).collect::<Vec<_>>())
}

fn epoch(name: &str) -> String {
    id(&format!("epoch {name}"))
}

fn name(value: &Value) -> String {
    String::from_utf8(hex::decode(value.as_str().unwrap()).unwrap()).unwrap()
}

/// Members of an epoch, by leaf.
type Roster = BTreeMap<u32, String>;

/// A history that grows from the anchor "p", in which the members sit in order. A commit "x" makes the epoch "x".
#[derive(Clone)]
struct Scene {
    rosters: BTreeMap<String, Roster>,
    admins: Vec<String>,
    commits: Vec<Value>,
}

/// What a merge says of itself: the fork point, and the clients that it puts off.
struct Says<'a> {
    fork: &'a str,
    deferred: &'a [&'a str],
}

impl Scene {
    fn of(members: &[&str]) -> Self {
        let roster = (0..).zip(members.iter().map(|name| name.to_string())).collect();
        Self { rosters: [("p".into(), roster)].into(), admins: Vec::new(), commits: Vec::new() }
    }

    fn admins(mut self, admins: &[&str]) -> Self {
        self.admins = admins.iter().map(hex::encode).collect();
        self
    }

    /// A commit. What it does: "+e" adds, "-e" removes, "~e" removes and adds at its request, "*e" commits an update;
    /// "c:-e": as c has proposed.
    fn commit(self, at: &str, by: &str, name: &str, what: &[&str]) -> Self {
        self.made(at, by, name, what, Value::Null)
    }

    fn made(mut self, at: &str, by: &str, name: &str, what: &[&str], merge: Value) -> Self {
        let before = self.rosters[at].clone();
        let member = |client: &str, roster: &Roster| {
            let leaf = roster
                .iter()
                .find(|(_, other)| *other == client)
                .unwrap_or_else(|| panic!("{client} at {at}"))
                .0;
            json!({ "leaf": leaf, "client": hex::encode(client) })
        };
        let parsed: Vec<(&str, &str, &str)> = what
            .iter()
            .map(|word| {
                let (author, done) = word.split_once(':').unwrap_or((by, word));
                (author, &done[..1], &done[1..])
            })
            .collect();
        let mut roster = before.clone();
        roster.retain(|_, client| {
            !parsed.iter().any(|(_, sign, other)| "-~".contains(sign) && other == client)
        });
        let mut deeds = Vec::new();
        for (author, sign, client) in parsed {
            if "+~".contains(sign) {
                let leaf = (0..).find(|leaf| !roster.contains_key(leaf)).unwrap();
                roster.insert(leaf, client.into());
            }
            let author = member(author, &before);
            deeds.push(match sign {
                "+" => json!({ "author": author, "operation": "add", "member": member(client, &roster) }),
                "-" => json!({ "author": author, "operation": "remove", "member": member(client, &before) }),
                "*" => json!({ "author": author, "operation": "update", "member": member(client, &before) }),
                _ => json!({
                    "author": author, "operation": "rejoin", "member": member(client, &before),
                    "to": member(client, &roster),
                }),
            });
        }
        let members: Vec<_> = roster
            .iter()
            .map(|(leaf, client)| json!({ "leaf": leaf, "client": hex::encode(client) }))
            .collect();
        self.commits.push(json!({
            "at": epoch(at), "commit": id(name), "epoch": epoch(name), "committer": member(by, &before),
            "width": roster.keys().max().map_or(1, |leaf| leaf + 1), "members": members, "deeds": deeds,
            "merge": merge,
        }));
        self.rosters.insert(name.into(), roster);
        self
    }

    fn input(&self, onto: &str) -> Value {
        let roster = &self.rosters["p"];
        let members: Vec<_> = roster
            .iter()
            .map(|(leaf, client)| json!({ "leaf": leaf, "client": hex::encode(client) }))
            .collect();
        json!({
            "cipher_suite": 1,
            "anchor": { "epoch": epoch("p"), "number": 0, "width": roster.len(), "members": members },
            "commits": self.commits, "onto": epoch(onto), "admins": self.admins,
        })
    }

    /// What a merge says that carries what is to be carried at a fork point.
    fn record(&self, at: &str, says: &Says<'_>) -> Value {
        let result = compute(&self.input(at)).unwrap();
        let sets = result["carried"].as_array().unwrap();
        let set = sets.iter().find(|set| set["fork_epoch"] == json!(epoch(says.fork))).expect("a fork point");
        let deferred: Vec<String> = says.deferred.iter().map(hex::encode).collect();
        json!({
            "fork_epoch": set["fork_epoch"], "tips": set["tips"], "carried_hash": set["carried_hash"],
            "deferred": deferred,
        })
    }

    fn merge(self, at: &str, by: &str, name: &str, what: &[&str], says: &Says<'_>) -> Self {
        let record = self.record(at, says);
        self.made(at, by, name, what, record)
    }

    /// The case of what is carried to an epoch, if the sets are these, oldest fork point first, as "+e -c", put-off
    /// clients in brackets; and these debts, by client; and these merges, in order of their epochs: "right", "unknown",
    /// or what is wrong.
    fn gives(
        &self,
        what: &str,
        onto: &str,
        carried: &[&str],
        debts: &[&str],
        checks: &[&str],
    ) -> (String, Value) {
        let input = self.input(onto);
        let result = compute(&input).unwrap_or_else(|why| panic!("{what}: {why}"));
        let sets: Vec<String> = result["carried"].as_array().unwrap().iter().map(set_words).collect();
        assert_eq!(sets, carried, "{what}");
        let roster = &self.rosters[onto];
        let debtors = result["heal_debts"].as_array().unwrap().iter();
        let debtors: Vec<&String> = debtors.map(|leaf| &roster[&(leaf.as_u64().unwrap() as u32)]).collect();
        assert_eq!(debtors, debts, "{what}");
        let found: Vec<String> = result["checks"].as_array().unwrap().iter().map(check_words).collect();
        assert_eq!(found, checks, "{what}");
        (what.into(), input)
    }
}

fn word(operation: &Value) -> String {
    let sign = match operation["operation"].as_str().unwrap() {
        "add" => "+",
        "remove" => "-",
        _ => "~",
    };
    format!("{sign}{}", name(&operation["client"]))
}

fn set_words(set: &Value) -> String {
    let deferred = set["deferred"].as_array().unwrap();
    let words = set["operations"].as_array().unwrap().iter().map(|operation| {
        let put_off = operation["operation"] != "remove" && deferred.contains(&operation["client"]);
        if put_off { format!("[{}]", word(operation)) } else { word(operation) }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn check_words(check: &Value) -> String {
    if check["known"] == false {
        return "unknown".into();
    }
    let words = |field: &str| {
        let words =
            check[field].as_array().unwrap().iter().map(|operation| format!("{field} {}", word(operation)));
        words.collect::<Vec<_>>()
    };
    let mut wrong = [words("missing"), words("extra")].concat();
    if check["other_hash"] == true {
        wrong.push("another hash".into());
    }
    if wrong.is_empty() { "right".into() } else { wrong.join(", ") }
}

pub(super) fn all() -> Vec<(String, Value)> {
    [carried(), added(), rejoins(), merges(), wrong(), cascades(), debts()].concat()
}

/// a wins with "w"; b has committed "x".
fn fork(w: &[&str], x: &[&str]) -> Scene {
    Scene::of(&["a", "b", "c", "d"]).commit("p", "a", "w", w).commit("p", "b", "x", x)
}

fn carried() -> Vec<(String, Value)> {
    vec![
        Scene::of(&["a", "b"]).commit("p", "a", "w", &["+e"]).gives("no fork", "w", &[], &[], &[]),
        fork(&[], &["+e", "-c"]).gives("an Add and a Remove", "w", &["+e -c"], &["b"], &[]),
        fork(&["+e", "-c"], &["+e", "-c", "+f"]).gives(
            "what the head has already",
            "w",
            &["+f"],
            &["b"],
            &[],
        ),
        fork(&["-b"], &["-a", "+e"]).gives("who is out has no say", "w", &[""], &[], &[]),
        fork(&["-c"], &["c:-d"]).gives("nor has what it proposed", "w", &[""], &["b"], &[]),
        fork(&["-c", "+e"], &["-c"]).gives("a leaf that was filled again", "w", &[""], &["b"], &[]),
        fork(&[], &["-c"]).commit("x", "b", "y", &["+c", "+e"]).commit("y", "b", "z", &["-e"]).gives(
            "removed on any branch: not added",
            "w",
            &["-c"],
            &["b"],
            &[],
        ),
        fork(&[], &["-c"]).commit("p", "c", "y", &["-b"]).gives(
            "two losing branches remove each other's authors",
            "w",
            &["-b -c"],
            &["b", "c"],
            &[],
        ),
        fork(&[], &["+e", "-d", "c:-c"]).admins(&["a"]).gives("the admin list", "w", &["-c"], &["b"], &[]),
        fork(&[], &["+e", "-d", "c:-c"]).admins(&["a", "b"]).gives(
            "the admin list, with the author on it",
            "w",
            &["+e -c -d"],
            &["b"],
            &[],
        ),
        fork(&[], &["+e"]).commit("w", "c", "v", &["+f"]).commit("w", "d", "y", &["-b"]).gives(
            "a fork below a fork, oldest first",
            "v",
            &["+e", "-b"],
            &["b", "d"],
            &[],
        ),
    ]
}

fn added() -> Vec<(String, Value)> {
    let acts = |w: &[&str]| fork(w, &["+e"]).commit("x", "e", "y", &["+f", "-c"]);
    let merged = || fork(&[], &["+e"]).merge("w", "a", "m", &["+e"], &Says { fork: "p", deferred: &[] });
    vec![
        acts(&[]).gives("who was added on the branch acts", "w", &["+e +f -c"], &["b"], &[]),
        acts(&["-b"]).gives("unless its Add is void", "w", &[""], &[], &[]),
        merged().commit("x", "b", "y", &["-e"]).gives(
            "a Remove of who has come by a merge",
            "m",
            &["-e"],
            &["b"],
            &["right"],
        ),
        fork(&["+e"], &["+e"]).commit("x", "b", "y", &["-e"]).gives(
            "a Remove of who was added on both sides",
            "w",
            &[""],
            &["b"],
            &[],
        ),
        merged()
            .merge("w", "c", "n", &["+e"], &Says { fork: "p", deferred: &[] })
            .commit("n", "c", "o", &["-e"])
            .gives(
                "two merges at once: who has come by both is one member",
                "m",
                &["", "-e"],
                &["b", "c"],
                &["right", "right"],
            ),
    ]
}

fn rejoins() -> Vec<(String, Value)> {
    let group = || Scene::of(&["d", "a", "b", "c"]);
    vec![
        group().commit("p", "a", "w", &[]).commit("p", "b", "x", &["~c"]).gives(
            "a rejoin",
            "w",
            &["~c"],
            &["b"],
            &[],
        ),
        group().commit("p", "a", "w", &["~c"]).commit("p", "b", "x", &["~c"]).gives(
            "a rejoin on both sides",
            "w",
            &[""],
            &["b"],
            &[],
        ),
        group()
            .commit("p", "a", "w", &[])
            .commit("p", "b", "x", &["~c"])
            .commit("p", "d", "y", &["-c"])
            .gives("a Remove is stronger than a rejoin", "w", &["-c"], &["d", "b"], &[]),
        group()
            .commit("p", "a", "v", &["-d"])
            .commit("v", "a", "w", &["~c"])
            .commit("p", "c", "x", &["+e"])
            .commit("p", "b", "y", &["-c"])
            .gives("who has rejoined on another leaf is the same", "w", &["+e -c"], &["b"], &[]),
    ]
}

fn merges() -> Vec<(String, Value)> {
    let done = Says { fork: "p", deferred: &[] };
    let merged = || fork(&[], &["+e", "-c"]).merge("w", "a", "m", &["+e", "-c"], &done);
    let put_off =
        || fork(&[], &["+e", "-c"]).merge("w", "a", "m", &["-c"], &Says { fork: "p", deferred: &["e"] });
    vec![
        merged().gives("a right merge", "m", &[""], &["b"], &["right"]),
        merged().commit("x", "b", "y", &["+f"]).gives("what comes later", "m", &["+f"], &["b"], &["right"]),
        merged().merge("w", "d", "n", &["+e", "-c"], &done).gives(
            "two merges: the loser has nothing to carry",
            "m",
            &["", ""],
            &["b", "d"],
            &["right", "right"],
        ),
        put_off().gives("an Add that is put off", "m", &["[+e]"], &["b"], &["right"]),
        put_off().merge("m", "b", "n", &["+e"], &done).gives(
            "and done by another merge",
            "n",
            &[""],
            &[],
            &["right", "right"],
        ),
        fork(&[], &["~c"]).merge("w", "a", "m", &[], &Says { fork: "p", deferred: &["c"] }).gives(
            "a rejoin that is put off",
            "m",
            &["[~c]"],
            &["b"],
            &["right"],
        ),
        fork(&[], &["-a", "-d", "+e"]).merge("w", "a", "m", &["-d", "+e"], &done).gives(
            "the committer leaves its own removal to another",
            "m",
            &["-a"],
            &["b"],
            &["right"],
        ),
        fork(&[], &["+e"]).merge("w", "a", "m", &["+e", "d:-d", "*c"], &done).gives(
            "what others have proposed is no part of a merge",
            "m",
            &[""],
            &["b"],
            &["right"],
        ),
    ]
}

fn wrong() -> Vec<(String, Value)> {
    let done = Says { fork: "p", deferred: &[] };
    let scene = || fork(&[], &["+e", "-c"]);
    let other = |field: &str, value: Value| {
        let mut record = scene().record("w", &done);
        record[field] = value;
        scene().made("w", "a", "m", &["+e", "-c"], record)
    };
    vec![
        scene().merge("w", "a", "m", &["+e"], &done).gives(
            "too little",
            "m",
            &["-c"],
            &["b"],
            &["missing -c"],
        ),
        scene().merge("w", "a", "m", &["+e", "-c", "-d", "+f"], &done).gives(
            "too much",
            "m",
            &[""],
            &["b"],
            &["extra -d, extra +f"],
        ),
        scene().merge("w", "a", "m", &[], &Says { fork: "p", deferred: &["c", "e"] }).gives(
            "a Remove cannot be put off",
            "m",
            &["[+e] -c"],
            &["b"],
            &["missing -c"],
        ),
        scene()
            .merge("w", "a", "m", &["+e", "-c"], &Says { fork: "p", deferred: &["f"] })
            .commit("x", "b", "y", &["+f"])
            .gives("what is put off before it is there is not", "m", &["+f"], &["b"], &["right"]),
        other("carried_hash", json!("00")).gives("another hash", "m", &[""], &["b"], &["another hash"]),
        other("tips", json!([id("?")])).gives("a tip that is not known", "m", &[""], &["b"], &["unknown"]),
        other("tips", json!([])).gives("no tip", "m", &[""], &["b"], &["unknown"]),
    ]
}

fn cascades() -> Vec<(String, Value)> {
    // Inside the losing side "y" loses to "x"; "m" merges it.
    let inner = |w: &[&str], y_by: &str, y: &[&str]| {
        let scene = Scene::of(&["a", "b", "c", "d"]).commit("p", "a", "w", w).commit("p", "b", "s", &[]);
        let scene = scene.commit("s", "b", "x", &[]).commit("s", y_by, "y", y);
        scene.merge("x", "b", "m", y, &Says { fork: "s", deferred: &[] })
    };
    vec![
        inner(&["-d"], "d", &["-a", "+e"]).gives(
            "a merge on a losing branch only repeats: who did it first is the author",
            "w",
            &[""],
            &["b"],
            &["right"],
        ),
        inner(&[], "d", &["-a", "+e"]).gives(
            "and counts where that one is in",
            "w",
            &["+e -a"],
            &["b", "d"],
            &["right"],
        ),
        inner(&[], "c", &["+e"]).commit("m", "e", "z", &["+f", "-d"]).gives(
            "who came by a merge on a losing branch acts",
            "w",
            &["+e +f -d"],
            &["b", "c"],
            &["right"],
        ),
    ]
}

fn debts() -> Vec<(String, Value)> {
    let owing = || fork(&[], &["*c", "+e"]);
    vec![
        owing().gives("who refreshed on the losing branch only", "w", &["+e"], &["b", "c"], &[]),
        owing().gives("seen from the other side", "x", &[""], &["a"], &[]),
        owing().commit("w", "b", "v", &[]).gives("an own commit pays", "v", &["+e"], &["c"], &[]),
        owing().commit("w", "d", "v", &["*b", "~c"]).gives(
            "so does an Update that is committed, and a rejoin",
            "v",
            &["+e"],
            &[],
            &[],
        ),
    ]
}
