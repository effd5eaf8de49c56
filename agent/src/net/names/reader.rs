//! Foreign bytes read one after another; every step is checked.

/// The bytes end too early: at least so many are needed, counted from their beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short(pub usize);

/// A place in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes lie behind.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Goes on at this place.
    pub(super) fn jump(&mut self, at: usize) {
        self.at = at;
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Short> {
        let end = self.at.saturating_add(len);
        let bytes = self.bytes.get(self.at..end).ok_or(Short(end))?;
        self.at = end;
        Ok(bytes)
    }

    /// Passes over `len` bytes, whether they are there or not: what is read next is found short.
    pub(super) fn skip(&mut self, len: usize) {
        self.at = self.at.saturating_add(len);
    }

    pub(super) fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let short = Short(self.at.saturating_add(N));
        self.take(N)?.first_chunk().copied().ok_or(short)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Short> {
        self.chunk().map(u8::from_be_bytes)
    }

    pub(super) fn be16(&mut self) -> Result<u16, Short> {
        self.chunk().map(u16::from_be_bytes)
    }

    pub(super) fn be24(&mut self) -> Result<usize, Short> {
        let [high, middle, low] = self.chunk()?;
        Ok(usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low))
    }

    /// A length in one byte, and so many bytes passed over.
    pub(super) fn skip_u8(&mut self) -> Result<(), Short> {
        let len = self.u8()?;
        self.skip(len.into());
        Ok(())
    }

    /// A length in two bytes, and so many bytes passed over.
    pub(super) fn skip_be16(&mut self) -> Result<(), Short> {
        let len = self.be16()?;
        self.skip(len.into());
        Ok(())
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }
}
