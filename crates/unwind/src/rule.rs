//! How the caller's registers are found from a place in the code, in four bytes.
//!
//! ```text
//!   31            20 19                 4 3    0
//!   | saved rbp     | offset / 8, signed | kind |
//! ```
//! The canonical frame address (CFA, System V ABI AMD64, 3.7 and DWARF 5, 6.4) is the caller's stack pointer after the call
//! has returned; the return address lies right below it. Absent: any rule that needs other registers; it is [`Kind::Unknown`].

/// What a rule is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Nothing is known of this place: hand-written code. It may keep a frame pointer.
    Gap = 0,
    /// It is described, in a way that only a full interpreter can follow.
    Unknown = 1,
    /// CFA = rsp + offset.
    Stack = 2,
    /// CFA = rbp + offset.
    Frame = 3,
    /// The procedure linkage table: CFA = rsp + 8, and 8 more from byte `offset / 8` of each 16-byte entry on.
    Plt = 4,
    /// The return from a signal handler: the interrupted registers lie at rsp.
    Signal = 5,
    /// The outermost frame.
    End = 6,
    /// A realigned stack: CFA = the word at rbp + offset, the caller's rbp = the word at rbp.
    Realigned = 7,
}

/// Where the caller's rbp is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SavedFrame {
    /// In rbp still.
    Same,
    /// So many bytes below the CFA.
    Below(u64),
    /// Nobody can say.
    Lost,
}

/// A rule.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(transparent)]
pub struct Rule(u32);

const LOST: u32 = 0xfff;

impl Rule {
    /// Nothing is known.
    pub const GAP: Rule = Rule(Kind::Gap as u32);
    /// Known to be out of reach.
    pub const UNKNOWN: Rule = Rule(Kind::Unknown as u32);
    /// The outermost frame.
    pub const END: Rule = Rule(Kind::End as u32);
    /// The return from a signal handler.
    pub const SIGNAL: Rule = Rule(Kind::Signal as u32);

    /// A rule of a kind with an offset in bytes; [`Rule::UNKNOWN`] when a number does not fit: offsets are multiples of 8 within
    /// ± 256 KiB, a saved rbp lies up to 32 KiB below the CFA.
    pub fn new(kind: Kind, offset: i64, saved: SavedFrame) -> Rule {
        let words = offset / 8;
        let slot = match saved {
            SavedFrame::Same => Some(0),
            SavedFrame::Below(bytes) if bytes % 8 == 0 && bytes >= 8 && bytes / 8 < u64::from(LOST) => {
                u32::try_from(bytes / 8).ok()
            }
            SavedFrame::Below(_) => None,
            SavedFrame::Lost => Some(LOST),
        };
        match (i16::try_from(words), slot) {
            (Ok(words), Some(slot)) if offset % 8 == 0 => Rule(kind as u32 | u32::from(words as u16) << 4 | slot << 20),
            _ => Rule::UNKNOWN,
        }
    }

    /// As [`Rule::bits`] gave it. Bits of no kind are [`Kind::Unknown`].
    #[inline]
    pub const fn from_bits(bits: u32) -> Rule {
        Rule(bits)
    }

    /// The four bytes.
    #[inline]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// What it is about.
    #[inline]
    pub const fn kind(self) -> Kind {
        match self.0 & 15 {
            0 => Kind::Gap,
            2 => Kind::Stack,
            3 => Kind::Frame,
            4 => Kind::Plt,
            5 => Kind::Signal,
            6 => Kind::End,
            7 => Kind::Realigned,
            _ => Kind::Unknown,
        }
    }

    /// Its offset, bytes.
    #[inline]
    pub const fn offset(self) -> i64 {
        (self.0 >> 4) as u16 as i16 as i64 * 8
    }

    /// Where the caller's rbp is.
    #[inline]
    pub const fn saved(self) -> SavedFrame {
        match self.0 >> 20 {
            0 => SavedFrame::Same,
            LOST => SavedFrame::Lost,
            words => SavedFrame::Below(words as u64 * 8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_and_what_does_not_fit_is_unknown() {
        let kinds = [Kind::Stack, Kind::Frame, Kind::Plt, Kind::Realigned, Kind::Signal, Kind::End, Kind::Gap];
        let saved = [SavedFrame::Same, SavedFrame::Lost, SavedFrame::Below(8), SavedFrame::Below(4094 * 8)];
        for kind in kinds {
            for offset in [0, 8, -8, 16, 32767 * 8, -32768 * 8] {
                for saved in saved {
                    let rule = Rule::new(kind, offset, saved);
                    assert_eq!((rule.kind(), rule.offset(), rule.saved()), (kind, offset, saved));
                    assert_eq!(Rule::from_bits(rule.bits()), rule);
                }
            }
        }
        for (offset, saved) in [
            (4, SavedFrame::Same),
            (32768 * 8, SavedFrame::Same),
            (i64::MIN, SavedFrame::Same),
            (8, SavedFrame::Below(0)),
            (8, SavedFrame::Below(12)),
            (8, SavedFrame::Below(4095 * 8)),
            (8, SavedFrame::Below(u64::MAX)),
        ] {
            assert_eq!(Rule::new(Kind::Stack, offset, saved), Rule::UNKNOWN, "{offset} {saved:?}");
        }
        assert!((8..16).all(|bits| Rule::from_bits(bits).kind() == Kind::Unknown));
    }
}
