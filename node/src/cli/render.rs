//! The API's answers as text for people.

use crate::api::protocol::Payload;
use crate::api::retention::{ProfileView, ProofView, RetainedView};
use crate::api::views::{
    GroupView, HistoryView, InvitationView, InvitedView, MessageView, PeerView, StandingView, StatusView,
};
use crate::graph::{self, short};
use crate::store::types::deceives;

/// The daemon as a whole.
pub(super) fn status(view: &StatusView) -> String {
    let mut lines = vec![
        format!(
            "{} (dmls {}, process {}, up {})",
            view.name,
            view.version,
            view.pid,
            duration(view.uptime_ms)
        ),
        format!("  fingerprint  {}", view.fingerprint),
        format!("  peer id      {}", view.peer),
    ];
    lines.extend(view.listen.iter().map(|address| format!("  listens at   {address}")));
    lines.push(format!("  connected    to {}", count(view.connected, "peer")));
    if let Some(failure) = &view.store_failure {
        lines.push(format!("  STORE        {failure} Nothing is taken until it can be written."));
    }
    lines.extend(view.damaged.iter().map(|damaged| format!("  DAMAGED      {damaged}")));
    if view.invitations > 0 {
        lines.push(format!("  {} waiting: dmls join", count(view.invitations, "invitation")));
    }
    if view.undelivered > 0 {
        lines.push(format!("  {} on the way", count(view.undelivered, "Welcome")));
    }
    if view.dropped > 0 {
        lines.push(format!("  {} dropped, left to catch-up", count(view.dropped as usize, "item")));
    }
    lines.push(groups(&view.groups));
    lines.join("\n")
}

/// A list of groups.
pub(super) fn groups(views: &[GroupView]) -> String {
    if views.is_empty() {
        return "No groups. Make one with `dmls group create NAME`, or `dmls join` an invitation.".into();
    }
    let lines = views.iter().map(|view| {
        format!(
            "{:<16} {}  {}, epoch {} ({}), {}, {} connected",
            view.name,
            short(&view.id),
            count(view.size, "member"),
            view.number,
            decided(view),
            standing(&view.standing),
            view.peers
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn decided(view: &GroupView) -> &'static str {
    if view.is_final { "final" } else { "provisional" }
}

fn standing(standing: &StandingView) -> String {
    match standing {
        StandingView::Member => "member".into(),
        StandingView::Leaving => "leaving".into(),
        StandingView::Removed => "removed".into(),
        StandingView::Outside(why) => format!("outside: {why}"),
    }
}

/// A group with its members.
pub(super) fn group(view: &GroupView) -> String {
    let mut lines = vec![
        format!("{} ({})", view.name, view.id),
        format!("  standing   {}", standing(&view.standing)),
        format!("  head       {} epoch {} ({})", short(&view.head), view.number, decided(view)),
        format!("  tree hash  {}", short(&view.tree_hash)),
        format!(
            "  compare    {}  (epoch authenticator: the same on every member)",
            short(&view.epoch_authenticator)
        ),
        format!("  suite      {}", view.suite),
        format!(
            "  retained   {}, {} bytes of secrets, {}",
            count(view.retained, "epoch"),
            view.retained_bytes,
            count(view.punctures, "puncture")
        ),
        format!(
            "  log        {}, {} of them commits",
            count(view.log_messages, "ciphertext"),
            view.log_commits
        ),
        format!("  peers      {} connected", view.peers),
    ];
    lines.extend(view.profile.as_ref().map(profile));
    if view.waiting > 0 || view.pending_proposals > 0 {
        lines.push(format!(
            "  pending    {}, {} waiting for others",
            count(view.pending_proposals, "proposal"),
            count(view.waiting, "message")
        ));
    }
    if !view.unhealed.is_empty() {
        lines.push(format!(
            "  unhealed   {}: their new keys were on a branch that lost",
            view.unhealed.join(", ")
        ));
    }
    lines.extend(view.misused.iter().map(|misused| {
        format!(
            "  MISUSED    the key of {} named two children of epoch {}: dmls group proof {} {}",
            misused.member,
            misused.number,
            view.name,
            short(&misused.proof)
        )
    }));
    lines.extend(view.split.iter().map(|split| {
        format!(
            "  SPLIT      at epoch {}: {} went another way; who comes back has to be invited again",
            split.number,
            [split.away.as_slice(), &split.silent].concat().join(", ")
        )
    }));
    lines.push(format!("  {}", count(view.members.len(), "member")));
    lines.extend(view.members.iter().map(|member| {
        let own = if member.leaf == view.own_leaf { "  (you)" } else { "" };
        format!("    {:>3}  {:<16} {}{own}", member.leaf, member.name, member.fingerprint)
    }));
    if !view.epochs.is_empty() {
        lines.push("  if this device were taken now, a thief with all the traffic could".into());
        lines.extend(view.epochs.iter().map(exposure));
    }
    lines.join("\n")
}

fn profile(view: &ProfileView) -> String {
    let name = view.name.as_deref().unwrap_or("own bounds");
    let days = duration(view.max_age_seconds.saturating_mul(1000));
    let admins = if view.admins.is_empty() {
        "every member may add and remove".into()
    } else {
        format!("admins: {}", view.admins.join(", "))
    };
    format!(
        "  profile    {name}: {} epochs behind the head, {} in all, {days}; {admins}",
        view.max_behind, view.max_retained
    )
}

/// A proof.
pub(super) fn proof(view: &ProofView) -> String {
    format!(
        "The key of {} ({}) named two children of epoch {}, which no honest device does.\n{}",
        view.about.member, view.about.fingerprint, view.about.number, view.bytes
    )
}

/// What a thief could do with the keys of an epoch.
fn exposure(view: &RetainedView) -> String {
    let mut can: Vec<String> = Vec::new();
    if view.exposes_commits {
        can.push("enter what is committed next".into());
    }
    if view.exposes_handshakes {
        can.push("read commits and votes".into());
    }
    if !view.exposes_senders.is_empty() {
        can.push(format!("read late messages of {}", count(view.exposes_senders.len(), "member")));
    }
    let branch = if view.on_head { ' ' } else { '~' };
    let can = if can.is_empty() { "read nothing".into() } else { can.join(", ") };
    format!(
        "   {branch}{:>4}  {}  {}, {} old, {} bytes, {}",
        view.number,
        short(&view.epoch),
        can,
        duration(view.age_ms),
        view.bytes,
        count(view.punctures, "puncture")
    )
}

/// The result of an invitation.
pub(super) fn invited(view: &InvitedView) -> String {
    let mut text = format!("Added {} in epoch {}.", view.added.join(", "), view.group.number);
    if view.delivered == view.added.len() {
        text.push_str(" Invitation delivered; it is accepted there with `dmls join`.");
    } else {
        let waiting = view.added.len().saturating_sub(view.delivered);
        text.push_str(&format!(" {} on the way; the daemon keeps trying.", count(waiting, "invitation")));
    }
    text
}

/// Invitations that wait.
pub(super) fn invitations(views: &[InvitationView]) -> String {
    if views.is_empty() {
        return "No invitations. Give the output of `dmls id` to a member of a group.".into();
    }
    let lines = views.iter().map(|view| format!("{:<16} {}  from {}", view.name, short(&view.id), view.from));
    lines.collect::<Vec<_>>().join("\n")
}

/// A message.
pub(super) fn message(view: &MessageView) -> String {
    let branch = if view.on_head { "" } else { "  [lost branch]" };
    let unhealed = if view.unhealed { "  [unhealed]" } else { "" };
    let body = match &view.payload {
        Payload::Text(text) => text
            .chars()
            .map(|c| if deceives(c) && c != '\n' && c != '\t' { '\u{fffd}' } else { c })
            .collect::<String>()
            // No line of a message may look like the beginning of another's.
            .replace('\n', "\n    "),
        Payload::Hex(hex) => format!("({} bytes) {}", hex.len() / 2, hex.get(..64).unwrap_or(hex)),
    };
    let own = if view.own { " (you)" } else { "" };
    format!("{}{own} @{}{branch}{unhealed}: {body}", view.sender, short(&view.epoch))
}

/// Peers.
pub(super) fn peers(views: &[PeerView]) -> String {
    if views.is_empty() {
        return "No peers. Add one with `dmls peer add TICKET`.".into();
    }
    let lines = views.iter().map(|view| {
        let mut state = vec![if view.connections > 0 { "connected" } else { "not connected" }];
        state.extend(view.blocked.then_some("blocked"));
        state.extend(view.banned.then_some("banned"));
        let name = if view.name.is_empty() { "-" } else { &view.name };
        format!(
            "{name:<16} {}  {}, {} bytes in, {} out",
            view.peer,
            state.join(", "),
            view.bytes_in,
            view.bytes_out
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The history of a group.
pub(super) fn history(view: &HistoryView) -> String {
    graph::render(view).join("\n")
}

/// "1 peer", "2 peers".
pub(super) fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_message(payload: Payload) -> MessageView {
        MessageView {
            seq: 1,
            id: "00".into(),
            epoch: "0123456789".into(),
            sender: "ann".into(),
            fingerprint: "ff".into(),
            own: false,
            on_head: false,
            unhealed: false,
            at_ms: 0,
            payload,
        }
    }

    #[test]
    fn a_message_cannot_play_with_the_terminal() {
        let text = message(&a_message(Payload::Text("\u{1b}[2Jhello\nbob @89abcdef: \u{202e}there".into())));
        let shown = "ann @01234567  [lost branch]: \u{fffd}[2Jhello\n    bob @89abcdef: \u{fffd}there";
        assert_eq!(text, shown);
        assert_eq!(
            message(&a_message(Payload::Hex("00ff".into()))),
            "ann @01234567  [lost branch]: (2 bytes) 00ff"
        );
    }

    #[test]
    fn durations() {
        assert_eq!([duration(5_999), duration(61_000), duration(3_700_000)], ["5 s", "1 min", "1 h 1 min"]);
    }
}
