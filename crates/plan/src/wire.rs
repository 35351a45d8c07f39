//! Little-endian numbers and length-prefixed bytes, over fixed buffers.
//!
//! A [`Writer`] past its end remembers that it overflowed; a [`Reader`] past its end returns `None`. Neither panics.

/// Writes numbers into a caller's buffer.
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    used: usize,
    overflowed: bool,
}

impl<'a> Writer<'a> {
    /// Starts at the beginning of `buffer`.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Writer { buffer, used: 0, overflowed: false }
    }

    /// Appends raw bytes.
    pub fn raw(&mut self, bytes: &[u8]) {
        let end = self.used.saturating_add(bytes.len());
        match self.buffer.get_mut(self.used..end) {
            Some(place) => {
                for (to, from) in place.iter_mut().zip(bytes) {
                    *to = *from;
                }
                self.used = end;
            }
            None => self.overflowed = true,
        }
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) {
        self.raw(&[value]);
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    /// Appends a length and the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.raw(bytes);
    }

    /// Appends a number in decimal digits.
    pub fn decimal(&mut self, value: u32) {
        let mut digits = [0u8; 10];
        let mut rest = value;
        let mut first = digits.len();
        while first > 0 {
            first = first.wrapping_sub(1);
            if let Some(digit) = digits.get_mut(first) {
                *digit = b'0'.wrapping_add((rest % 10) as u8);
            }
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.raw(digits.get(first..).unwrap_or(&[]));
    }

    /// Bytes written, or `None` when the buffer was too small.
    pub fn finish(self) -> Option<usize> {
        if self.overflowed { None } else { Some(self.used) }
    }
}

/// Reads what a [`Writer`] wrote, from any bytes.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// The next `len` bytes.
    pub fn raw(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(len)?;
        self.rest = tail;
        Some(head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.raw(1)?.first().copied()
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.raw(4)?.try_into().ok()?))
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.raw(8)?.try_into().ok()?))
    }

    /// A length and that many bytes.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.raw(len as usize)
    }

    /// True when nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
