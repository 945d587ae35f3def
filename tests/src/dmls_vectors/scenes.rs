//! The histories themselves. What each must give is written beside it by hand and compared when they are written out.

use serde_json::{Value, json};

use super::compute;

/// An id of 32 bytes out of a short name. Ids of commits sort as their names do.
fn commit(name: &str) -> String {
    hex::encode(name.bytes().chain([0; 32]).take(32).collect::<Vec<_>>())
}

fn epoch(name: &str) -> String {
    hex::encode(b"epoch ".iter().copied().chain(name.bytes()).chain([0; 32]).take(32).collect::<Vec<_>>())
}

/// A history that grows from the anchor "p". A commit "a" makes the epoch "a".
struct Scene {
    members: Vec<u32>,
    anchor: Value,
    evidence: Vec<Value>,
}

impl Scene {
    fn numbered(number: u64, width: u32) -> Self {
        let members: Vec<u32> = (0..width).collect();
        let anchor = json!({ "epoch": epoch("p"), "number": number, "width": width, "members": members });
        Self { members, anchor, evidence: Vec::new() }
    }

    fn new(width: u32) -> Self {
        Self::numbered(0, width)
    }

    fn raw(mut self, at: &str, by: u32, name: &str, class: u8, makes: Value, since: &str) -> Self {
        self.evidence.push(json!({
            "kind": "commit", "at": epoch(at), "by": by, "commit": commit(name), "class": class,
            "since": since, "makes": makes,
        }));
        self
    }

    fn makes(&self, name: &str, members: &[u32], blanked: &[u32]) -> Value {
        json!({ "epoch": epoch(name), "width": self.members.len(), "members": members, "blanked": blanked })
    }

    /// A commit that changes no member.
    fn commit(self, at: &str, by: u32, name: &str) -> Self {
        let makes = self.makes(name, &self.members, &[]);
        self.raw(at, by, name, 1, makes, "")
    }

    /// A commit that removes a member.
    fn removing(self, at: &str, by: u32, name: &str, class: u8, removed: u32) -> Self {
        let left: Vec<u32> = self.members.iter().copied().filter(|leaf| *leaf != removed).collect();
        let makes = self.makes(name, &left, &[removed]);
        self.raw(at, by, name, class, makes, "")
    }

    /// A commit after which a leaf is somebody else's.
    fn replacing(self, at: &str, by: u32, name: &str, replaced: u32) -> Self {
        let makes = self.makes(name, &self.members, &[replaced]);
        self.raw(at, by, name, 1, makes, "")
    }

    /// A commit that this client cannot enter.
    fn blocked(self, at: &str, by: u32, name: &str, why: &str) -> Self {
        self.raw(at, by, name, 1, json!({ "blocked": why }), "")
    }

    fn vote(mut self, at: &str, by: u32, name: &str) -> Self {
        self.evidence
            .push(json!({ "kind": "vote", "at": epoch(at), "by": by, "commit": commit(name), "since": "" }));
        self
    }

    fn ack(self, at: &str, by: u32) -> Self {
        self.ack_since(at, by, None)
    }

    fn ack_since(mut self, at: &str, by: u32, since: Option<&str>) -> Self {
        let since = since.map(epoch).unwrap_or_default();
        self.evidence.push(json!({ "kind": "acknowledgement", "at": epoch(at), "by": by, "since": since }));
        self
    }

    fn application(mut self, at: &str, by: u32) -> Self {
        self.evidence.push(json!({ "kind": "application", "at": epoch(at), "by": by }));
        self
    }

    fn written_off(mut self, at: &str, name: &str) -> Self {
        self.evidence.push(json!({ "kind": "written_off", "at": epoch(at), "commit": commit(name) }));
        self
    }

    /// The case, if it gives this head, these weights at the anchor, these void leaves, and this finality there.
    fn gives(
        self,
        what: &str,
        head: &str,
        weights: &[(&str, u64)],
        void: &[u32],
        finality: &str,
    ) -> (String, Value) {
        let input = json!({ "anchor": self.anchor, "evidence": self.evidence });
        let result = compute(&input).unwrap_or_else(|why| panic!("{what}: {why}"));
        let (inside, outside) = match head.split_once(" outside ") {
            Some((at, by)) => (at, json!(commit(by))),
            None => (head, Value::Null),
        };
        assert_eq!((&result["head"], &result["outside"]), (&json!(epoch(inside)), &outside), "{what}");
        let at_anchor = result["decisions"].as_array().unwrap().iter().find(|d| d["at"] == json!(epoch("p")));
        let ranked = at_anchor.map_or(Vec::new(), |decision| {
            let pair = |child: &Value| (child["commit"].clone(), child["weight"].as_u64().unwrap());
            decision["ranked"].as_array().unwrap().iter().map(pair).collect()
        });
        let expected: Vec<_> = weights.iter().map(|(name, weight)| (json!(commit(name)), *weight)).collect();
        assert_eq!(ranked, expected, "{what}");
        if let Some(decision) = at_anchor {
            assert_eq!(decision["void"], json!(void), "{what}");
            let reached = match (&decision["soft_final"], &decision["hard_final"]) {
                (Value::Bool(_), Value::Bool(true)) => "hard",
                (Value::Bool(true), _) => "soft",
                _ => "open",
            };
            assert_eq!(reached, finality, "{what}");
        }
        (what.into(), input)
    }
}

/// Two commits on the anchor, by leaves 0 and 1.
fn fork(width: u32) -> Scene {
    Scene::new(width).commit("p", 0, "a").commit("p", 1, "b")
}

pub(super) fn all() -> Vec<(String, Value)> {
    let mut cases = weights();
    cases.extend(ties());
    cases.extend(voids());
    cases.extend(removals());
    cases
}

fn weights() -> Vec<(String, Value)> {
    // a - aa on one side, b on the other; leaf 4 has voted for b.
    let moved = || fork(5).commit("a", 0, "aa").vote("p", 4, "b");
    vec![
        Scene::new(3).gives("nothing happened", "p", &[], &[], "open"),
        Scene::new(3).commit("p", 0, "a").gives(
            "an only child is entered unconfirmed",
            "a",
            &[("a", 1)],
            &[],
            "open",
        ),
        fork(5).vote("p", 2, "b").vote("p", 3, "b").gives(
            "three of five are soft-final over one",
            "b",
            &[("b", 3), ("a", 1)],
            &[],
            "soft",
        ),
        fork(4).vote("p", 2, "a").ack("a", 3).gives(
            "three of four are hard-final",
            "a",
            &[("a", 3), ("b", 1)],
            &[],
            "hard",
        ),
        fork(5).commit("a", 0, "aa").ack("aa", 2).ack("aa", 3).gives(
            "an acknowledgement speaks for all ancestors",
            "aa",
            &[("a", 3), ("b", 1)],
            &[],
            "soft",
        ),
        fork(5).commit("a", 2, "aa").commit("a", 3, "ab").commit("b", 4, "bb").vote("a", 0, "ab").gives(
            "a fork below a fork",
            "ab",
            &[("a", 3), ("b", 2)],
            &[],
            "soft",
        ),
        fork(3).application("b", 2).gives(
            "application messages do not vote",
            "a",
            &[("a", 1), ("b", 1)],
            &[],
            "open",
        ),
        fork(3).commit("a", 0, "aa").commit("aa", 0, "aaa").vote("p", 2, "b").gives(
            "depth weighs nothing",
            "b",
            &[("b", 2), ("a", 1)],
            &[],
            "soft",
        ),
        moved().ack_since("aa", 4, Some("p")).gives(
            "since: who moved does not contradict its vote",
            "b",
            &[("b", 2), ("a", 1)],
            &[],
            "open",
        ),
        moved().ack_since("aa", 4, Some("a")).gives(
            "since names a newer ancestor: what is above is not named either",
            "b",
            &[("b", 2), ("a", 1)],
            &[],
            "open",
        ),
        moved().ack_since("aa", 4, Some("b")).gives(
            "since that is no ancestor counts as none: void",
            "aa",
            &[("a", 1), ("b", 1)],
            &[4],
            "open",
        ),
    ]
}

fn ties() -> Vec<(String, Value)> {
    let two = |number| Scene::numbered(number, 4).commit("p", 2, "a").commit("p", 1, "b");
    vec![
        two(0).gives(
            "a tie goes by rank: leaf 1 before leaf 2 at epoch 0",
            "b",
            &[("b", 1), ("a", 1)],
            &[],
            "open",
        ),
        two(2).gives(
            "rank turns with the epoch: leaf 2 is first at epoch 2",
            "a",
            &[("a", 1), ("b", 1)],
            &[],
            "open",
        ),
        Scene::new(4).commit("p", 0, "a").removing("p", 3, "b", 0, 2).gives(
            "class goes before rank",
            "b",
            &[("b", 1), ("a", 1)],
            &[],
            "open",
        ),
        Scene::new(4).commit("p", 0, "a").removing("p", 3, "b", 0, 2).vote("p", 1, "a").gives(
            "weight goes before class",
            "a",
            &[("a", 2), ("b", 1)],
            &[],
            "open",
        ),
        fork(2).gives("a group of two: soft-final by rank", "a", &[("a", 1), ("b", 1)], &[], "soft"),
    ]
}

fn voids() -> Vec<(String, Value)> {
    let rumour = || Scene::new(4).commit("p", 0, "a").vote("p", 1, "x").vote("p", 2, "x");
    vec![
        Scene::new(3).commit("p", 0, "b").commit("p", 0, "a").gives(
            "two commits of one member: void, and the id decides",
            "a",
            &[("a", 0), ("b", 0)],
            &[0],
            "open",
        ),
        Scene::new(5).commit("p", 0, "a").commit("p", 0, "b").vote("p", 1, "a").commit("p", 3, "c").gives(
            "a void committer comes last among equals",
            "c",
            &[("c", 1), ("a", 1), ("b", 0)],
            &[0],
            "open",
        ),
        fork(4).vote("p", 3, "b").vote("p", 3, "a").gives(
            "two votes of one elector weigh nothing",
            "a",
            &[("a", 1), ("b", 1)],
            &[3],
            "open",
        ),
        fork(4).vote("p", 2, "a").vote("p", 3, "a").vote("p", 3, "b").gives(
            "an equivocator does not re-open what is hard-final",
            "a",
            &[("a", 2), ("b", 1)],
            &[3],
            "hard",
        ),
        fork(5).vote("p", 2, "b").vote("p", 3, "b").vote("p", 3, "a").vote("p", 4, "a").gives(
            "one equivocator makes a tie of a bare majority",
            "a",
            &[("a", 2), ("b", 2)],
            &[3],
            "soft",
        ),
        rumour().gives(
            "the best child is not known: nothing is decided, the known one is entered",
            "a",
            &[("x", 2), ("a", 1)],
            &[],
            "open",
        ),
        rumour().ack("a", 3).written_off("p", "x").gives(
            "a child that nobody can produce is written off",
            "a",
            &[("a", 2)],
            &[1, 2],
            "soft",
        ),
        fork(3).vote("p", 2, "x").vote("p", 2, "y").gives(
            "children named by void electors alone are rumours",
            "a",
            &[("a", 1), ("b", 1)],
            &[2],
            "soft",
        ),
    ]
}

fn removals() -> Vec<(String, Value)> {
    vec![
        Scene::new(4)
            .removing("p", 0, "a", 1, 3)
            .commit("p", 1, "b")
            .vote("p", 2, "b")
            .vote("p", 3, "b")
            .gives(
                "a removed member is an elector where it was one",
                "b",
                &[("b", 3), ("a", 1)],
                &[],
                "hard",
            ),
        Scene::new(4).replacing("p", 0, "a", 3).ack("a", 3).gives(
            "who is added at an old leaf has no vote above",
            "a",
            &[("a", 1)],
            &[],
            "open",
        ),
        Scene::new(4)
            .removing("p", 0, "a", 1, 3)
            .removing("p", 3, "b", 1, 0)
            .vote("p", 1, "b")
            .vote("p", 2, "b")
            .gives(
                "two members remove each other: the electors choose",
                "b",
                &[("b", 3), ("a", 1)],
                &[],
                "hard",
            ),
        Scene::new(4).blocked("p", 0, "a", "removed").vote("p", 1, "a").commit("p", 3, "b").gives(
            "a removal that is not decided is not followed",
            "b",
            &[("a", 2), ("b", 1)],
            &[],
            "open",
        ),
        Scene::new(4)
            .blocked("p", 0, "a", "removed")
            .vote("p", 1, "a")
            .vote("p", 2, "a")
            .commit("p", 3, "b")
            .gives(
                "a removal that is decided puts this client outside",
                "p outside a",
                &[("a", 3), ("b", 1)],
                &[],
                "hard",
            ),
        Scene::new(3).blocked("p", 0, "a", "unusable").vote("p", 1, "a").commit("p", 2, "b").gives(
            "an unusable child keeps its votes",
            "p outside a",
            &[("a", 2), ("b", 1)],
            &[],
            "soft",
        ),
    ]
}
