//! Reading decisions out of bytes.

/// Bytes that have not decided anything yet. Past their end everything is zero.
#[derive(Clone)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// A number below another; 0 if there is none.
    pub(super) fn below(&mut self, below: usize) -> usize {
        let number = if below > 256 { self.number() } else { usize::from(self.byte()) };
        number % below.max(1)
    }

    /// A number of two bytes.
    pub(super) fn number(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    /// Yes, with a chance of one in `of`; no at the end.
    pub(super) fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 1
    }

    /// One of several. There must be some.
    pub(super) fn pick<'b, T>(&mut self, from: &'b [T]) -> &'b T {
        &from[self.below(from.len())]
    }

    /// As many bytes as there are, up to `len`.
    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A byte string with its length in front.
    pub(super) fn string(&mut self) -> &'a [u8] {
        let len = self.number();
        self.take(len)
    }
}
