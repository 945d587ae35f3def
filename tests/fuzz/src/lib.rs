//! What the fuzzers have in common: an allocator that counts, so that "memory is bounded by the input" is checked and
//! not believed.

pub mod gossip;

// The modules of `gossip/` look for these at the root of their crate.
use gossip::store::{Item, MemoryStore, MessageId, MessageStore, StoreError, Topic};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, counting.
pub struct Meter {
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl Meter {
    /// Nothing allocated.
    pub const fn new() -> Self {
        Self { now: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    /// The bytes that were allocated at most at one time while `f` ran, beyond those before.
    pub fn peak_of(&self, f: impl FnOnce()) -> usize {
        let before = self.now.load(Ordering::Relaxed);
        self.peak.store(before, Ordering::Relaxed);
        f();
        self.peak.load(Ordering::Relaxed).saturating_sub(before)
    }

    fn grown(&self, by: usize) {
        let now = self.now.fetch_add(by, Ordering::Relaxed) + by;
        self.peak.fetch_max(now, Ordering::Relaxed);
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: every call goes to the system's allocator with the same arguments; the counters change nothing about it.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.grown(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.now.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the block came from `alloc` above, so from the system.
        unsafe { System.dealloc(block, layout) }
    }
}
