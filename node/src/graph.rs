//! The tree of epochs as text, newest first, like `git log --graph`. The branch of the head is the leftmost lane.

use std::collections::HashMap;

use crate::api::views::{ChildView, EpochView, ForkView, HistoryView};

/// How many characters of an id are shown.
pub const SHORT: usize = 8;

/// The beginning of an id.
pub fn short(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}

/// What one row shows: an epoch, or a commit whose epoch cannot be entered.
struct Row<'a> {
    id: &'a str,
    parent: Option<&'a str>,
    number: u64,
    on_head: bool,
    mark: char,
    lines: Vec<String>,
}

/// The lines of the graph.
pub fn render(history: &HistoryView) -> Vec<String> {
    let mut rows = rows(history);
    // A child's number is always higher than its parent's.
    rows.sort_by(|a, b| b.number.cmp(&a.number).then(b.on_head.cmp(&a.on_head)).then(a.id.cmp(b.id)));
    let mut lanes = Lanes { waiting: vec![Some(history.head.as_str())], head_seen: false };
    let mut out = Vec::new();
    for row in &rows {
        lanes.draw(row, &history.head, &mut out);
    }
    out
}

/// Each lane waits for the epoch that it leads down to.
struct Lanes<'a> {
    waiting: Vec<Option<&'a str>>,
    /// The leftmost lane is kept free for the head, which need not be the highest epoch.
    head_seen: bool,
}

impl<'a> Lanes<'a> {
    fn draw(&mut self, row: &Row<'a>, head: &str, out: &mut Vec<String>) {
        let lane = self.lane_of(row, out);
        self.head_seen |= row.id == head;
        for (index, line) in row.lines.iter().enumerate() {
            let graph =
                self.cells(|at| if at == lane { if index == 0 { row.mark } else { '|' } } else { '.' });
            out.push(format!("{graph}{line}"));
            if index == 0 {
                self.set(lane, row.parent);
            }
        }
    }

    /// The lane of a row; further lanes that lead to it end here.
    fn lane_of(&mut self, row: &Row<'a>, out: &mut Vec<String>) -> usize {
        let mut found = (0..self.waiting.len()).filter(|at| self.waiting.get(*at) == Some(&Some(row.id)));
        let Some(lane) = found.next() else {
            let free = (1..self.waiting.len()).find(|at| self.waiting.get(*at) == Some(&None));
            let lane = free.unwrap_or(self.waiting.len());
            self.set(lane, Some(row.id));
            return lane;
        };
        let joining: Vec<usize> = found.collect();
        for from in joining.into_iter().rev() {
            self.set(from, None);
            out.push(self.join(lane, from));
        }
        lane
    }

    fn set(&mut self, lane: usize, waits_for: Option<&'a str>) {
        while self.waiting.len() <= lane {
            self.waiting.push(None);
        }
        if let Some(slot) = self.waiting.get_mut(lane) {
            *slot = waits_for;
        }
        while self.waiting.len() > 1 && self.waiting.last() == Some(&None) {
            self.waiting.pop();
        }
    }

    fn is_drawn(&self, at: usize) -> bool {
        self.waiting.get(at).is_some_and(Option::is_some) && (at > 0 || self.head_seen)
    }

    /// One cell and a space for each lane; `mark` says `.` where the lane decides for itself.
    fn cells(&self, mark: impl Fn(usize) -> char) -> String {
        let mut text = String::new();
        for at in 0..self.waiting.len() {
            let cell = match mark(at) {
                '.' if self.is_drawn(at) => '|',
                '.' => ' ',
                '|' if !self.is_drawn(at) => ' ',
                other => other,
            };
            text.push(cell);
            text.push(' ');
        }
        text
    }

    /// The line in which the lane `from` bends into the lane `to`, left of it.
    fn join(&self, to: usize, from: usize) -> String {
        let mut text = String::new();
        for at in 0..self.waiting.len().max(from) {
            text.push(if at == to || self.is_drawn(at) {
                '|'
            } else if at > to && at < from {
                '_'
            } else {
                ' '
            });
            text.push(match at {
                _ if at + 1 == from => '/',
                _ if at >= to && at < from => '_',
                _ => ' ',
            });
        }
        text.trim_end().to_owned()
    }
}

fn rows(history: &HistoryView) -> Vec<Row<'_>> {
    let forks: HashMap<&str, &ForkView> =
        history.epochs.iter().filter_map(|epoch| Some((epoch.id.as_str(), epoch.fork.as_ref()?))).collect();
    let mut decided: HashMap<&str, bool> = HashMap::new();
    let mut rows = Vec::new();
    for epoch in &history.epochs {
        let above = epoch.parent.as_deref();
        let fork = above.and_then(|parent| forks.get(parent).copied());
        let place = fork.and_then(|fork| place_of(fork, |child| child.epoch.as_deref() == Some(&epoch.id)));
        let ancestors = above.is_none_or(|parent| decided.get(parent).copied().unwrap_or(true));
        let is_final =
            ancestors && fork.zip(place).is_none_or(|(fork, place)| place == 0 && is_decided(fork));
        decided.insert(&epoch.id, is_final);
        rows.push(Row {
            id: &epoch.id,
            parent: above,
            number: epoch.number,
            on_head: epoch.on_head,
            mark: '*',
            lines: lines(epoch, &history.head, fork.zip(place), is_final),
        });
        rows.extend(epoch.fork.iter().flat_map(|fork| blocked(epoch, fork)));
    }
    rows
}

/// Children that this client cannot enter.
fn blocked<'a>(epoch: &'a EpochView, fork: &'a ForkView) -> impl Iterator<Item = Row<'a>> {
    let children = fork.children.iter().enumerate().filter(|(_, child)| child.epoch.is_none());
    children.map(|(place, child)| Row {
        id: &child.commit,
        parent: Some(&epoch.id),
        number: epoch.number.saturating_add(1),
        on_head: false,
        mark: 'x',
        lines: vec![
            format!("{} commit", short(&child.commit)),
            format!(
                "    {}, {}",
                votes(fork, place),
                child.blocked.as_deref().unwrap_or("this client has not seen the commit")
            ),
        ],
    })
}

fn place_of(fork: &ForkView, is_it: impl Fn(&ChildView) -> bool) -> Option<usize> {
    fork.children.iter().position(is_it)
}

fn is_decided(fork: &ForkView) -> bool {
    fork.hard_final || fork.closed
}

fn lines(epoch: &EpochView, head: &str, place: Option<(&ForkView, usize)>, is_final: bool) -> Vec<String> {
    let mut first = format!("{} epoch {}", short(&epoch.id), epoch.number);
    if let Some(committer) = &epoch.committer {
        first.push_str(&format!(" by {committer}"));
    }
    if !epoch.operations.is_empty() {
        first.push_str(&format!(": {}", epoch.operations.join(", ")));
    }
    let mut labels = Vec::new();
    if epoch.id == head {
        labels.push("HEAD");
    }
    if epoch.parent.is_none() {
        labels.push("anchor");
    }
    match place {
        _ if is_final && place.is_some() => labels.push("final"),
        Some((fork, 0)) if fork.soft_final => labels.push("soft-final"),
        Some((fork, place)) if place > 0 => labels.push(if fork.soft_final { "lost" } else { "behind" }),
        _ => {}
    }
    if !labels.is_empty() {
        first.push_str(&format!(" ({})", labels.join(", ")));
    }
    let mut facts = Vec::new();
    if let Some((fork, place)) = place {
        facts.push(votes(fork, place));
    }
    facts.push(count(epoch.members as u64, "member"));
    if epoch.messages > 0 {
        facts.push(count(epoch.messages, "message"));
    }
    if epoch.punctures > 0 {
        facts.push(count(epoch.punctures as u64, "puncture"));
    }
    if let Some(fork) = epoch.fork.as_ref().filter(|fork| fork.children.len() > 1) {
        let void = if fork.void > 0 { format!(", {} void", fork.void) } else { String::new() };
        facts.push(format!("fork of {}, {} silent{void}", fork.children.len(), fork.silent));
    }
    vec![first, format!("    {}", facts.join(", "))]
}

fn votes(fork: &ForkView, place: usize) -> String {
    let weight = fork.children.get(place).map_or(0, |child| child.weight);
    format!("{weight} of {}", count(fork.electors as u64, "vote"))
}

fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(id: &str, parent: Option<&str>, number: u64, by: &str, on_head: bool) -> EpochView {
        EpochView {
            id: id.into(),
            parent: parent.map(Into::into),
            commit: parent.map(|_| format!("c-{id}")),
            number,
            committer: parent.map(|_| by.to_owned()),
            operations: Vec::new(),
            members: 3,
            on_head,
            punctures: 0,
            messages: 0,
            fork: None,
        }
    }

    fn fork(children: &[(Option<&str>, usize)], electors: usize) -> ForkView {
        let spoken: usize = children.iter().map(|(_, weight)| weight).sum();
        ForkView {
            electors,
            silent: electors - spoken,
            void: 0,
            soft_final: children[0].1 > children.get(1).map_or(0, |c| c.1) + electors - spoken,
            hard_final: children[0].1 > 2 * electors / 3,
            closed: false,
            children: children
                .iter()
                .map(|(id, weight)| ChildView {
                    commit: format!("c-{}", id.unwrap_or("gone")),
                    epoch: id.map(Into::into),
                    blocked: id.is_none().then(|| "it removes this client".into()),
                    weight: *weight,
                })
                .collect(),
        }
    }

    fn text(head: &str, epochs: Vec<EpochView>) -> String {
        let anchor = epochs[0].id.clone();
        let history = HistoryView { group: "g".into(), name: "g".into(), anchor, head: head.into(), epochs };
        render(&history).join("\n")
    }

    #[test]
    fn one_line_of_epochs() {
        let mut a = epoch("aaaaaaaaaa", None, 0, "", true);
        a.fork = Some(fork(&[(Some("bbbbbbbbbb"), 1)], 1));
        a.punctures = 1;
        let mut b = epoch("bbbbbbbbbb", Some("aaaaaaaaaa"), 1, "alice", true);
        b.operations = vec!["adds bob".into()];
        b.messages = 2;
        let golden = "\
* bbbbbbbb epoch 1 by alice: adds bob (HEAD, final)
|     1 of 1 vote, 3 members, 2 messages
* aaaaaaaa epoch 0 (anchor)
      3 members, 1 puncture";
        assert_eq!(text("bbbbbbbbbb", vec![a, b]), golden);
    }

    #[test]
    fn a_fork_whose_longer_branch_lost() {
        let mut a = epoch("a", None, 4, "", true);
        a.fork = Some(fork(&[(Some("b"), 3), (Some("c"), 2)], 5));
        let b = epoch("b", Some("a"), 5, "ann", true);
        let mut c = epoch("c", Some("a"), 5, "dan", false);
        c.fork = Some(fork(&[(Some("d"), 2)], 5));
        let d = epoch("d", Some("c"), 6, "eve", false);
        let golden = "
  * d epoch 6 by eve
  |     2 of 5 votes, 3 members
* | b epoch 5 by ann (HEAD, soft-final)
| |     3 of 5 votes, 3 members
| * c epoch 5 by dan (lost)
| |     2 of 5 votes, 3 members
|/
* a epoch 4 (anchor)
      3 members, fork of 2, 0 silent";
        assert_eq!(format!("\n{}", text("b", vec![a, b, c, d])), golden);
    }

    #[test]
    fn three_branches_and_one_that_cannot_be_entered() {
        let mut a = epoch("a", None, 0, "", true);
        a.fork = Some(fork(&[(Some("b"), 2), (Some("c"), 1), (Some("e"), 1), (None, 0)], 4));
        let b = epoch("b", Some("a"), 1, "ann", true);
        let c = epoch("c", Some("a"), 1, "bob", false);
        let e = epoch("e", Some("a"), 1, "cat", false);
        let golden = "
* b epoch 1 by ann (HEAD, soft-final)
|     2 of 4 votes, 3 members
| * c epoch 1 by bob (lost)
| |     1 of 4 votes, 3 members
| | x c-gone commit
| | |     0 of 4 votes, it removes this client
| | | * e epoch 1 by cat (lost)
| | | |     1 of 4 votes, 3 members
|_|_|/
|_|/
|/
* a epoch 0 (anchor)
      3 members, fork of 4, 0 silent";
        assert_eq!(format!("\n{}", text("b", vec![a, b, c, e])), golden);
    }

    #[test]
    fn a_history_that_makes_no_sense_is_drawn_all_the_same() {
        let orphan = epoch("b", Some("nowhere"), 7, "x", false);
        let anchor = epoch("a", None, 9, "", false);
        let lines = text("gone", vec![anchor, orphan]);
        assert!(lines.contains("epoch 7") && lines.contains("epoch 9"), "{lines}");
    }
}
