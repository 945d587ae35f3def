//! Finding many secrets in many bytes.

use std::collections::BTreeMap;

/// How many of a needle's first bytes are looked up.
const HEAD: usize = 8;

/// Byte strings that are looked for, each with a name.
pub(super) struct Needles {
    /// Which first two bytes any needle has: most places are passed over by this.
    begins: Vec<bool>,
    needles: BTreeMap<[u8; HEAD], Vec<(String, Vec<u8>)>>,
}

impl Default for Needles {
    fn default() -> Self {
        Self { begins: vec![false; 1 << 16], needles: BTreeMap::new() }
    }
}

fn first_two(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

impl Needles {
    pub(super) fn add(&mut self, name: &str, needle: &[u8]) {
        let head = needle[..HEAD].try_into().expect("a long needle");
        self.begins[first_two(needle)] = true;
        self.needles.entry(head).or_default().push((name.to_owned(), needle.to_vec()));
    }

    pub(super) fn extend(&mut self, others: &Self) {
        for (name, needle) in others.needles.values().flatten() {
            self.add(name, needle);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.needles.values().map(Vec::len).sum()
    }

    /// The names of the needles that are in `bytes`.
    pub(super) fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let mut found = Vec::new();
        for (at, window) in bytes.windows(HEAD).enumerate() {
            if !self.begins[first_two(window)] {
                continue;
            }
            let head: [u8; HEAD] = window.try_into().expect("a window");
            let here = self.needles.get(&head).into_iter().flatten();
            let here = here.filter(|(_, needle)| bytes[at..].starts_with(needle));
            found.extend(here.map(|(name, _)| name.as_str()));
        }
        found
    }
}

#[test]
fn needles_are_found_wherever_they_are() {
    let mut needles = Needles::default();
    needles.add("one", b"0123456789");
    needles.add("two", b"01234567xx");
    needles.add("three", b"\0\0\0\0\0\0\0\0");
    assert_eq!(needles.len(), 3);
    assert_eq!(needles.found_in(b"0123456789"), ["one"]);
    assert_eq!(needles.found_in(b"..01234567xx0123456789"), ["two", "one"]);
    assert_eq!(needles.found_in(b"012345678"), Vec::<&str>::new());
    assert_eq!(needles.found_in(b"\x01\0\0\0\0\0\0\0\0"), ["three"]);
    assert_eq!(needles.found_in(b""), Vec::<&str>::new());
}
