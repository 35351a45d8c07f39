//! Text: copied strings, formatted ones, and C strings.
//!
//! May be relied on: strings up to 31 bytes are copied without a call. Formatting writes straight into the arena. Deliberately absent: a
//! growing string; a vector or string of an allocator-aware crate does that.
#![allow(unsafe_code)] // Bytes of a str stay a str.
#![allow(clippy::mut_from_ref)] // Each call returns a block of its own: I3.

use crate::growing::Growing;
use crate::{Arena, Error, short_copy};
use core::ffi::CStr;
use core::fmt;
use core::ptr::NonNull;

/// Why a C string could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CStrError {
    /// The text has a NUL of its own at this byte: what follows it would be lost to every reader.
    Nul(usize),
    /// The block could not be had.
    Memory(Error),
}

impl fmt::Display for CStrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CStrError::Nul(at) => write!(f, "the text has a NUL at byte {at}, so it cannot be a C string"),
            CStrError::Memory(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl core::error::Error for CStrError {}

/// Writes text into a growing block; keeps the refusal, for which `fmt::Error` has no room.
struct Writer<'a> {
    bytes: Growing<'a, u8>,
    refused: Option<Error>,
}

impl fmt::Write for Writer<'_> {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes.try_extend(text.as_bytes()).map_err(|error| {
            self.refused = Some(error);
            fmt::Error
        })
    }
}

impl Arena {
    /// Copies a string into the arena. O(bytes).
    ///
    /// # Panics
    /// When the block cannot be had.
    ///
    /// ```
    /// let arena = arenascope::Arena::growing()?;
    /// let name = arena.alloc_str("ferris");
    /// name.make_ascii_uppercase();
    /// assert_eq!(name, "FERRIS");
    /// # Ok::<(), arenascope::Error>(())
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn alloc_str(&self, text: &str) -> &mut str {
        self.granted(self.try_alloc_str(text))
    }

    /// As [`alloc_str`](Self::alloc_str).
    ///
    /// # Errors
    /// As [`try_alloc_layout`](Self::try_alloc_layout).
    #[inline(always)]
    #[track_caller]
    pub fn try_alloc_str(&self, text: &str) -> Result<&mut str, Error> {
        let bytes = self.try_alloc_slice_copy(text.as_bytes())?;
        // SAFETY: the bytes of a str.
        Ok(unsafe { core::str::from_utf8_unchecked_mut(bytes) })
    }

    /// Formats straight into the arena. O(bytes); the block grows in place while the values formatted do not allocate here
    /// themselves.
    ///
    /// # Panics
    /// When the memory cannot be had, and when a `Display` of the values formatted gives an error of its own, as `format!` does.
    ///
    /// ```
    /// let arena = arenascope::Arena::growing()?;
    /// assert_eq!(arena.alloc_fmt(format_args!("{}-{:03}", "a", 7)), "a-007");
    /// # Ok::<(), arenascope::Error>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn alloc_fmt(&self, text: fmt::Arguments<'_>) -> &mut str {
        self.granted(self.try_alloc_fmt(text))
    }

    /// As [`alloc_fmt`](Self::alloc_fmt). On an error the memory is given back.
    ///
    /// # Errors
    /// As [`try_alloc_layout`](Self::try_alloc_layout).
    ///
    /// # Panics
    /// When a `Display` of the values formatted gives an error of its own.
    #[inline]
    #[track_caller]
    pub fn try_alloc_fmt(&self, text: fmt::Arguments<'_>) -> Result<&mut str, Error> {
        if let Some(text) = text.as_str() {
            return self.try_alloc_str(text);
        }
        let mut bytes = self.try_format(text)?;
        // SAFETY: I3 — a block of its own, borrowed from `self`, of strs written one after another.
        Ok(unsafe { core::str::from_utf8_unchecked_mut(bytes.as_mut()) })
    }

    #[inline(never)]
    #[track_caller]
    fn try_format(&self, text: fmt::Arguments<'_>) -> Result<NonNull<[u8]>, Error> {
        let mut writer = Writer { bytes: Growing::try_new(self, 0)?, refused: None };
        match (fmt::write(&mut writer, text), writer.refused) {
            (Ok(()), _) => Ok(writer.bytes.finish()),
            (Err(_), Some(error)) => Err(error),
            (Err(_), None) => panic!("a formatting trait implementation returned an error of its own"),
        }
    }

    /// Copies a C string into the arena. O(bytes).
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline]
    #[track_caller]
    pub fn alloc_cstr(&self, text: &CStr) -> &CStr {
        self.granted(self.try_alloc_cstr(text))
    }

    /// As [`alloc_cstr`](Self::alloc_cstr).
    ///
    /// # Errors
    /// As [`try_alloc_layout`](Self::try_alloc_layout).
    #[inline]
    #[track_caller]
    pub fn try_alloc_cstr(&self, text: &CStr) -> Result<&CStr, Error> {
        let bytes = self.try_alloc_slice_copy(text.to_bytes_with_nul())?;
        // SAFETY: the bytes of a CStr.
        Ok(unsafe { CStr::from_bytes_with_nul_unchecked(bytes) })
    }

    /// Copies a string into the arena as a C string: with a NUL behind it. O(bytes).
    ///
    /// # Panics
    /// When the block cannot be had, and when the text has a NUL of its own.
    ///
    /// ```
    /// let arena = arenascope::Arena::growing()?;
    /// assert_eq!(arena.alloc_cstr_from_str("path"), c"path");
    /// # Ok::<(), arenascope::Error>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn alloc_cstr_from_str(&self, text: &str) -> &CStr {
        match self.try_alloc_cstr_from_str(text) {
            Err(CStrError::Memory(error)) => self.granted(Err(error)),
            Err(error @ CStrError::Nul(_)) => panic!("{error}"),
            Ok(text) => text,
        }
    }

    /// As [`alloc_cstr_from_str`](Self::alloc_cstr_from_str).
    ///
    /// # Errors
    /// [`CStrError::Nul`] for a text with a NUL of its own, else as [`try_alloc_layout`](Self::try_alloc_layout).
    #[inline]
    #[track_caller]
    pub fn try_alloc_cstr_from_str(&self, text: &str) -> Result<&CStr, CStrError> {
        if let Some(at) = text.bytes().position(|byte| byte == 0) {
            return Err(CStrError::Nul(at));
        }
        let bytes = self.try_items::<u8>(text.len() + 1).map_err(CStrError::Memory)?;
        // SAFETY: I3 — a block of its own with room for the text and a NUL; the text has none inside, as found above.
        unsafe {
            short_copy::copy(text.as_ptr(), bytes.as_ptr(), text.len());
            bytes.add(text.len()).write(0);
            Ok(CStr::from_bytes_with_nul_unchecked(NonNull::slice_from_raw_parts(bytes, text.len() + 1).as_ref()))
        }
    }
}
