//! Set reconciliation of one topic: the pure part, over a snapshot of the ids.

use negentropy::{Id, Negentropy, NegentropyStorageBase, NegentropyStorageVector};
use thiserror::Error;

use crate::{Item, MessageId, MessageStore, StoreError, Topic};

/// Why a step could not be made.
#[derive(Debug, Error)]
pub(crate) enum ReconcileError {
    /// The peer's frame is not one.
    #[error("The frame cannot be decoded: {0}.")]
    Frame(negentropy::Error),
    /// Our own floor is above the one that the peer named.
    #[error("The floor has risen to {floor}.")]
    FloorMoved { floor: u64 },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<negentropy::Error> for ReconcileError {
    fn from(error: negentropy::Error) -> Self {
        Self::Frame(error)
    }
}

/// The ids of one topic from a floor upwards, at one moment.
pub(crate) struct Snapshot {
    items: NegentropyStorageVector,
    floor: u64,
}

/// What one round told the side that started the session.
pub(crate) struct Step {
    /// The next frame to send; `None` when the session is over.
    pub(crate) next: Option<Vec<u8>>,
    /// Ids that the peer has and the snapshot has not.
    pub(crate) missing: Vec<MessageId>,
    /// How many these were at first.
    pub(crate) found: usize,
    /// What the snapshot has and the peer has not.
    pub(crate) surplus: Surplus,
}

impl Step {
    /// Leaves out what the store has by now or refuses. However much of that there is, it takes up no room of a session,
    /// which thus gets to what lies behind it.
    pub(crate) fn without_known(
        mut self,
        store: &dyn MessageStore,
        topic: &Topic,
    ) -> Result<Self, StoreError> {
        let mut missing = Vec::with_capacity(self.missing.len());
        for id in self.missing {
            if !store.has(topic, &id)? && !store.unwanted(topic, &id)? {
                missing.push(id);
            }
        }
        self.missing = missing;
        Ok(self)
    }
}

/// A set of ids, as far as it matters: how many, and a mark that tells one set from another.
#[derive(Clone, Copy, Default)]
pub(crate) struct Surplus {
    pub(crate) count: usize,
    pub(crate) mark: [u8; 32],
}

impl Surplus {
    fn of(ids: &[Id]) -> Self {
        ids.iter().fold(Self::default(), |mut all, id| {
            all.add(&Self { count: 1, mark: id.to_bytes() });
            all
        })
    }

    /// Adds a set that has nothing in common with this one.
    pub(crate) fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.mark.iter_mut().zip(other.mark).for_each(|(own, other)| *own ^= other);
    }
}

/// The items that take part, and the floor: the store's, or above if there are more than `max_items` items.
fn items(store: &dyn MessageStore, topic: &Topic, max_items: usize) -> Result<(Vec<Item>, u64), StoreError> {
    let floor = store.floor(topic)?;
    let mut items = store.ids(topic, floor)?;
    if items.len() <= max_items {
        return Ok((items, floor));
    }
    items.sort_unstable_by(|a, b| b.cmp(a));
    // Of an order that straddles the bound nothing takes part: both sides must be able to name the same cut.
    let floor = items.get(max_items).map_or(floor, |item| item.order.saturating_add(1));
    Ok((items, floor))
}

/// The floor of a topic, as it is told to peers.
pub(crate) fn floor(store: &dyn MessageStore, topic: &Topic, max_items: usize) -> Result<u64, StoreError> {
    Ok(items(store, topic, max_items)?.1)
}

impl Snapshot {
    /// Takes the items of an order of at least `floor`, which must not be below the store's own.
    pub(crate) fn take(
        store: &dyn MessageStore,
        topic: &Topic,
        floor: u64,
        max_items: usize,
    ) -> Result<Self, ReconcileError> {
        let (items, own) = items(store, topic, max_items)?;
        if own > floor {
            return Err(ReconcileError::FloorMoved { floor: own });
        }
        Ok(Self::of(&items, floor)?)
    }

    fn of(items: &[Item], floor: u64) -> Result<Self, negentropy::Error> {
        let mut storage = NegentropyStorageVector::with_capacity(items.len());
        for item in items.iter().filter(|item| item.order >= floor) {
            // The highest number stands for infinity in negentropy.
            storage.insert(item.order.min(u64::MAX - 1), Id::from_byte_array(item.id.0))?;
        }
        storage.seal()?;
        Ok(Self { items: storage, floor })
    }

    /// The floor it was taken at.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Number of items.
    pub(crate) fn len(&self) -> usize {
        self.items.size().unwrap_or(0)
    }

    /// The first frame of a session.
    pub(crate) fn initiate(&self, max_frame: usize) -> Result<Vec<u8>, ReconcileError> {
        Ok(self.negentropy(max_frame)?.initiate()?)
    }

    /// The other side's answer to a frame.
    pub(crate) fn answer(&self, frame: &[u8], max_frame: usize) -> Result<Vec<u8>, ReconcileError> {
        Ok(self.negentropy(max_frame)?.reconcile(frame)?)
    }

    /// What an answer means to the side that started the session.
    pub(crate) fn advance(&self, frame: &[u8], max_frame: usize) -> Result<Step, ReconcileError> {
        let mut negentropy = self.negentropy(max_frame)?;
        negentropy.set_initiator();
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let next = negentropy.reconcile_with_ids(frame, &mut have, &mut need)?;
        let missing: Vec<_> = need.into_iter().map(|id| MessageId(id.to_bytes())).collect();
        Ok(Step { next, found: missing.len(), missing, surplus: Surplus::of(&have) })
    }

    fn negentropy(
        &self,
        max_frame: usize,
    ) -> Result<Negentropy<'_, NegentropyStorageVector>, negentropy::Error> {
        Negentropy::borrowed(&self.items, max_frame as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::MemoryStore;

    /// Bytes by which a frame may exceed the bound that it is made under: one range is never split.
    const FRAME_SLACK: usize = 4096;
    const TOPIC: Topic = Topic([7; 32]);

    fn item(order: u64, n: u64) -> Item {
        Item { order, id: MessageId::of(&n.to_be_bytes()) }
    }

    /// Runs a session and returns what the starting side found missing and how much it has more.
    fn run(ours: &[Item], theirs: &[Item], max_frame: usize) -> (BTreeSet<MessageId>, usize, usize) {
        let (ours, theirs) = (Snapshot::of(ours, 0).unwrap(), Snapshot::of(theirs, 0).unwrap());
        let (mut missing, mut surplus, mut rounds) = (BTreeSet::new(), 0, 0);
        let mut frame = Some(ours.initiate(max_frame).unwrap());
        while let Some(question) = frame {
            rounds += 1;
            assert!(question.len() <= max_frame + FRAME_SLACK && rounds < 1000);
            let answer = theirs.answer(&question, max_frame).unwrap();
            assert!(answer.len() <= max_frame + FRAME_SLACK);
            let step = ours.advance(&answer, max_frame).unwrap();
            missing.extend(step.missing);
            surplus += step.surplus.count;
            frame = step.next;
        }
        (missing, surplus, rounds)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_session_finds_exactly_the_difference(
            picks in prop::collection::vec((0u64..40, any::<bool>(), any::<bool>()), 0..600),
            narrow in any::<bool>(),
        ) {
            let items = picks.iter().enumerate();
            let items: Vec<_> = items.map(|(n, (order, a, b))| (item(*order, n as u64), *a, *b)).collect();
            let ours: Vec<_> = items.iter().filter(|i| i.1).map(|i| i.0).collect();
            let theirs: Vec<_> = items.iter().filter(|i| i.2).map(|i| i.0).collect();
            let expected: BTreeSet<_> = items.iter().filter(|i| i.2 && !i.1).map(|i| i.0.id).collect();
            let more = items.iter().filter(|i| i.1 && !i.2).count();
            let (missing, surplus, _) = run(&ours, &theirs, if narrow { 4096 } else { 60_000 });
            prop_assert_eq!(missing, expected);
            prop_assert_eq!(surplus, more);
        }

        /// Neither side fails otherwise than by an error, whatever the frame.
        #[test]
        fn garbage_frames_are_errors_or_bounded(mut garbage in prop::collection::vec(any::<u8>(), 0..400)) {
            let items: Vec<_> = (0..200).map(|n| item(n / 9, n)).collect();
            let snapshot = Snapshot::of(&items, 0).unwrap();
            for versioned in [false, true] {
                if let (true, Some(first)) = (versioned, garbage.first_mut()) {
                    *first = 0x61;
                }
                if let Ok(answer) = snapshot.answer(&garbage, 4096) {
                    prop_assert!(answer.len() <= 4096 + FRAME_SLACK);
                }
                if let Ok(step) = snapshot.advance(&garbage, 4096) {
                    prop_assert!(step.missing.len() * 32 <= garbage.len());
                }
            }
        }
    }

    #[test]
    fn ten_thousand_from_nothing_take_a_handful_of_rounds() {
        let theirs: Vec<_> = (0..10_000).map(|n| item(n / 10, n)).collect();
        let (missing, surplus, rounds) = run(&[], &theirs, 60_000);
        assert_eq!((missing.len(), surplus), (10_000, 0));
        assert!(rounds < 12, "{rounds} rounds");
    }

    #[test]
    fn the_highest_order_is_not_lost() {
        let theirs = [item(u64::MAX, 1), item(u64::MAX - 1, 2), item(0, 3)];
        assert_eq!(run(&[], &theirs, 4096).0.len(), 3);
    }

    #[test]
    fn the_floor_follows_the_store_and_the_bound() {
        let store = MemoryStore::new();
        for n in 0..10u64 {
            store.insert(TOPIC, n / 2, n.to_be_bytes().to_vec());
        }
        assert_eq!(floor(&store, &TOPIC, 100).unwrap(), 0);
        store.prune(TOPIC, 1);
        assert_eq!(floor(&store, &TOPIC, 100).unwrap(), 1);
        assert_eq!(floor(&store, &TOPIC, 5).unwrap(), 3, "five would split order 2");
        assert!(matches!(
            Snapshot::take(&store, &TOPIC, 0, 100),
            Err(ReconcileError::FloorMoved { floor: 1 })
        ));
        assert_eq!(Snapshot::take(&store, &TOPIC, 3, 100).unwrap().len(), 4);
    }
}
