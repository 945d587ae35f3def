//! What happened, for whoever listens: a buffer of past events that is bounded in number and bytes.
//!
//! Publishing never waits. Who is too slow is told how many events it has missed.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::api::protocol::{Payload, StreamItem};
use crate::api::views::EventView;

/// Bytes of buffered events, about.
const MAX_BYTES: usize = 16 * 1024 * 1024;

struct Entry {
    seq: u64,
    group: String,
    event: EventView,
    weight: usize,
}

#[derive(Default)]
struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The sequence number of the last of them.
    dropped_to: u64,
}

/// The buffer.
pub(super) struct Bus {
    ring: Mutex<Ring>,
    latest: watch::Sender<u64>,
    max_events: usize,
}

impl Bus {
    /// An empty buffer of at most `max_events`; `latest` is the sequence number of the last event ever.
    pub(super) fn new(max_events: usize, latest: u64) -> Self {
        let ring = Ring { dropped_to: latest, ..Ring::default() };
        Self { ring: Mutex::new(ring), latest: watch::Sender::new(latest), max_events }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event of the group with this id in hex. Sequence numbers rise.
    pub(super) fn publish(&self, seq: u64, group: String, event: EventView) {
        let weight = weight(&event);
        {
            let mut ring = self.ring();
            ring.entries.push_back(Entry { seq, group, event, weight });
            ring.bytes += weight;
            while ring.entries.len() > self.max_events || (ring.bytes > MAX_BYTES && ring.entries.len() > 1) {
                let Some(gone) = ring.entries.pop_front() else { break };
                ring.bytes = ring.bytes.saturating_sub(gone.weight);
                ring.dropped_to = gone.seq;
            }
        }
        self.latest.send_replace(seq);
    }

    /// The sequence number of the last event, and news of later ones.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    /// Up to `limit` events after `after`, with their sequence numbers; before them, how many have been missed.
    pub(super) fn since(&self, after: u64, limit: usize) -> Vec<(u64, StreamItem)> {
        let ring = self.ring();
        let mut items = Vec::new();
        if after < ring.dropped_to {
            // Restarts skip numbers, so there may have been fewer.
            items.push((ring.dropped_to, StreamItem::Missed(ring.dropped_to - after)));
        }
        let later = ring.entries.iter().filter(|entry| entry.seq > after).take(limit);
        items.extend(later.map(|entry| {
            let (seq, group, event) = (entry.seq, entry.group.clone(), entry.event.clone());
            (seq, StreamItem::Event { seq, group, event })
        }));
        items
    }
}

fn weight(event: &EventView) -> usize {
    let body = match event {
        EventView::Message(message) => match &message.payload {
            Payload::Text(text) | Payload::Hex(text) => text.len(),
        },
        EventView::Head { left, .. } => left.len() * 80,
        EventView::Split { away: many, .. } | EventView::RemovalPending { members: many } => many.len() * 80,
        EventView::Membership { added: one, removed: other, .. }
        | EventView::MembershipUndone { added: one, removed: other, .. }
        | EventView::Merged { carried: one, deferred: other, .. }
        | EventView::MergeMismatch { missing: one, extra: other, .. } => (one.len() + other.len()) * 80,
        EventView::Epoch { operations, .. } | EventView::BranchLost { operations, .. } => {
            operations.len() * 80
        }
        _ => 0,
    };
    body + 512
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> EventView {
        EventView::Final { epoch: text.into() }
    }

    #[test]
    fn late_listeners_get_what_is_left_and_are_told_what_is_not() {
        let bus = Bus::new(3, 10);
        assert!(bus.since(10, 9).is_empty());
        for seq in 11..=15 {
            bus.publish(seq, "g".into(), event(&seq.to_string()));
        }
        assert_eq!(*bus.watch().borrow(), 15);
        let items = bus.since(11, 9);
        assert_eq!(items[0], (12, StreamItem::Missed(1)));
        assert_eq!(items.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [12, 13, 14, 15]);
        assert_eq!(bus.since(12, 9).len(), 3);
        assert_eq!(bus.since(13, 1).len(), 1);
        assert!(bus.since(15, 9).is_empty());
        assert_eq!(bus.since(0, 0), [(12, StreamItem::Missed(12))], "also those of earlier runs");
    }

    #[test]
    fn the_buffer_is_bounded_in_bytes() {
        let bus = Bus::new(1000, 0);
        let large = "x".repeat(MAX_BYTES / 4);
        for seq in 1..=20 {
            let operations = Vec::new();
            let message = crate::api::views::MessageView {
                seq,
                id: String::new(),
                epoch: String::new(),
                sender: String::new(),
                fingerprint: String::new(),
                own: false,
                on_head: true,
                unhealed: false,
                at_ms: 0,
                payload: Payload::Text(large.clone()),
            };
            bus.publish(seq, "g".into(), EventView::Message(message));
            bus.publish(seq, "g".into(), EventView::BranchLost { tip: String::new(), operations });
        }
        assert!(bus.ring().bytes <= MAX_BYTES);
        assert!(bus.ring().entries.len() < 10);
    }
}
