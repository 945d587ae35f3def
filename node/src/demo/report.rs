//! What the demo has found: checks with their figures.

use serde::Serialize;

/// Something that must hold.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Check {
    /// What.
    pub(super) name: String,
    /// Whether it does.
    pub(super) holds: bool,
    /// The figures that say so.
    pub(super) figures: serde_json::Value,
    /// A sentence for people.
    pub(super) detail: String,
}

/// A message, where it was sent, and who read it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Spoken {
    /// The sender.
    pub(super) sender: String,
    /// What it says.
    pub(super) text: String,
    /// The message's id.
    pub(super) id: String,
    /// The epoch it was sent in.
    pub(super) epoch: String,
    /// Where: before the cut, one of the sides, after the heal.
    pub(super) branch: String,
    /// Who is a member of that epoch.
    pub(super) may_read: Vec<String>,
    /// Who has it.
    pub(super) has_read: Vec<String>,
}

/// Everything.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// The checks, in order.
    pub(super) checks: Vec<Check>,
    /// The messages, in order.
    pub(super) messages: Vec<Spoken>,
    /// The fork graph.
    pub(super) graph: Vec<String>,
    /// From the end of the cut to one head everywhere, in milliseconds.
    pub(super) healed_ms: u64,
    /// The whole demo, in milliseconds.
    pub(super) total_ms: u64,
    /// Whether every check holds.
    pub(super) passed: bool,
    /// Whether what happens is told as it happens.
    #[serde(skip)]
    pub(super) tell: bool,
}

impl Report {
    /// Says what happens, for people.
    pub(super) fn say(&self, text: &str) {
        if self.tell {
            super::print(text);
        }
    }

    /// Records a check.
    pub(super) fn check(&mut self, name: &str, holds: bool, figures: serde_json::Value, detail: String) {
        let mark = if holds { "ok  " } else { "FAIL" };
        self.say(&format!("  {mark} {name}: {detail}"));
        self.checks.push(Check { name: name.to_owned(), holds, figures, detail });
    }

    /// The messages as a table.
    pub(super) fn table(&self) -> Vec<String> {
        let row = |spoken: &Spoken| {
            let missing: Vec<&str> = spoken
                .may_read
                .iter()
                .filter(|name| !spoken.has_read.contains(name))
                .map(String::as_str)
                .collect();
            let readers = if missing.is_empty() {
                format!(
                    "read by all {} members of its epoch: {}",
                    spoken.may_read.len(),
                    spoken.may_read.join(" ")
                )
            } else {
                format!("NOT read by {}", missing.join(" "))
            };
            let epoch = crate::graph::short(&spoken.epoch);
            format!("  {:<6} {:<28} {epoch}  {:<10} {readers}", spoken.sender, spoken.text, spoken.branch)
        };
        self.messages.iter().map(row).collect()
    }
}
