//! Reading and writing length-prefixed bytes, for tickets and for what nodes tell each other directly.

/// The bytes end before what they announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Early;

/// Takes bytes off the front.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What has not been taken.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Early> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Early)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Early> {
        self.take(N)?.try_into().map_err(|_| Early)
    }

    /// Bytes behind one byte of length.
    pub(crate) fn short(&mut self) -> Result<&'a [u8], Early> {
        let [len] = self.array()?;
        self.take(len.into())
    }

    /// Bytes behind two bytes of length.
    pub(crate) fn long(&mut self) -> Result<&'a [u8], Early> {
        let len = u16::from_be_bytes(self.array()?);
        self.take(len.into())
    }
}

/// Writes at most 255 bytes behind one byte of length; what is longer is cut.
pub(crate) fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    out.push(len);
    out.extend(bytes.iter().take(len.into()));
}

/// Writes at most 65,535 bytes behind two bytes of length; what is longer is cut.
pub(crate) fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend(bytes.iter().take(len.into()));
}
