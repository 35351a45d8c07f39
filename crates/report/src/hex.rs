//! Bytes as rows of offset, hex and text, the ones that matter marked.
//!
//! May be relied on: marks are signs below the bytes, colour only repeats them; rows keep to the width as long as four
//! bytes fit; rows that show nothing marked are folded into a line that counts them. Absent: which bytes matter.

use crate::style::Style;
use crate::{escape, quantity};
use std::fmt::{self, Write};
use std::ops::Range;

/// Bytes to be shown.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// The offset that the first one is called by.
    pub first: i64,
    /// The ones that matter: ascending, disjoint indices into `bytes`.
    pub marked: &'a [Range<usize>],
}

/// Rows around a marked one that are shown too.
const CONTEXT: usize = 1;

/// Writes at most `most` rows, each behind `indent` spaces.
pub fn write(out: &mut dyn Write, shown: Bytes<'_>, indent: usize, most: usize, style: &Style) -> fmt::Result {
    let grid = Grid::new(shown, indent, style);
    let rows = shown.bytes.len().div_ceil(grid.per_row);
    let marked: Vec<usize> = (0..rows).filter(|row| grid.has_mark(*row)).collect();
    let near = |row: usize| marked.iter().any(|other| row.abs_diff(*other) <= CONTEXT);
    let wanted = |row: usize| if marked.is_empty() { true } else { near(row) };
    let (mut told, mut row) = (0, 0);
    while row < rows {
        let unwanted = (row..rows).take_while(|row| !wanted(*row)).count();
        // A fold of one row would take as much room as the row.
        let left = rows - row;
        let hidden = if told >= most && left > 1 { left } else { unwanted };
        if hidden > 1 {
            grid.fold(out, row..row + hidden, style)?;
            row += hidden;
            continue;
        }
        grid.row(out, row, style)?;
        told += 1;
        row += 1;
    }
    Ok(())
}

/// The bytes laid out for a width.
struct Grid<'a> {
    shown: Bytes<'a>,
    indent: usize,
    label: usize,
    per_row: usize,
    text: bool,
}

impl<'a> Grid<'a> {
    fn new(shown: Bytes<'a>, indent: usize, style: &Style) -> Grid<'a> {
        let last = shown.first.saturating_add_unsigned(shown.bytes.len() as u64);
        let label = offset(shown.first).len().max(offset(last).len());
        let columns = |per_row: usize, text: bool| {
            let hex = per_row * 3 - 1 + per_row / 16;
            indent + label + 2 + hex + if text { 2 + per_row } else { 0 }
        };
        let fitting = [16, 8, 4].into_iter().find(|per_row| columns(*per_row, true) <= style.columns());
        Grid { shown, indent, label, per_row: fitting.unwrap_or(4), text: fitting.is_some() }
    }

    fn bytes(&self, row: usize) -> &'a [u8] {
        let start = row * self.per_row;
        let end = (start + self.per_row).min(self.shown.bytes.len());
        self.shown.bytes.get(start..end).unwrap_or_default()
    }

    fn is_marked(&self, index: usize) -> bool {
        self.shown.marked.iter().any(|range| range.contains(&index))
    }

    fn has_mark(&self, row: usize) -> bool {
        let (start, end) = (row * self.per_row, (row + 1) * self.per_row);
        self.shown.marked.iter().any(|range| range.start < end && start < range.end)
    }

    /// Spaces before byte `column` of the hex part, beyond those of the byte before it.
    fn gap(&self, column: usize) -> &'static str {
        match column {
            0 => "",
            8 if self.per_row == 16 => "  ",
            _ => " ",
        }
    }

    fn row(&self, out: &mut dyn Write, row: usize, style: &Style) -> fmt::Result {
        let label = offset(self.shown.first.saturating_add_unsigned((row * self.per_row) as u64));
        let bytes = self.bytes(row);
        let (mut hex, mut text) = (String::new(), String::new());
        let (mut below_hex, mut below_text) = (String::new(), String::new());
        for column in 0..self.per_row {
            let gap = self.gap(column);
            let byte = bytes.get(column);
            let marked = byte.is_some() && self.is_marked(row * self.per_row + column);
            let paint = |text: &str| if marked { style.red(text) } else { text.to_owned() };
            hex.push_str(gap);
            hex.push_str(&byte.map_or_else(|| "  ".to_owned(), |byte| paint(&format!("{byte:02x}"))));
            text.push_str(&byte.map_or_else(String::new, |byte| paint(&escape::dump(&[*byte]))));
            below_hex.push_str(gap);
            below_hex.push_str(if marked { "^^" } else { "  " });
            below_text.push(if marked { '^' } else { ' ' });
        }
        let (indent, width) = (self.indent, self.label);
        let line = if self.text { format!("{hex}  {text}") } else { hex };
        writeln!(out, "{:indent$}{label:>width$}  {}", "", line.trim_end_matches(' '))?;
        if self.has_mark(row) {
            let below = if self.text { format!("{below_hex}  {below_text}") } else { below_hex };
            writeln!(out, "{:indent$}{:width$}  {}", "", "", style.red(below.trim_end()))?;
        }
        Ok(())
    }

    fn fold(&self, out: &mut dyn Write, rows: Range<usize>, style: &Style) -> fmt::Result {
        let end = (rows.end * self.per_row).min(self.shown.bytes.len());
        let span = rows.start * self.per_row..end;
        let marked: usize = self.shown.marked.iter().map(|range| overlap(range, &span)).sum();
        let more = quantity::counted(span.len() as u64, "byte");
        let which =
            if marked > 0 { format!(", {} of them marked", quantity::count(marked as u64)) } else { String::new() };
        let (indent, width) = (self.indent, self.label);
        writeln!(out, "{:indent$}{:>width$}  {}", "", style.ellipsis(), style.dim(&format!("{more} more{which}")))
    }
}

fn overlap(left: &Range<usize>, right: &Range<usize>) -> usize {
    left.end.min(right.end).saturating_sub(left.start.max(right.start))
}

/// `+28`, `-4`.
pub fn offset(offset: i64) -> String {
    format!("{offset:+}")
}

/// Bytes as hex digits without spaces.
pub fn digits(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
        }
    }
    text
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "lists of ranges are what is tested")]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn check(bytes: &[u8], first: i64, marked: &[Range<usize>], most: usize, width: usize, expected: Expect) {
        // A line without indentation, so that goldens keep that of the others.
        let mut text = String::from("bytes\n");
        let style = Style { width, ..Style::PIPE };
        write(&mut text, Bytes { bytes, first, marked }, 2, most, &style).expect("a String takes everything");
        expected.assert_eq(&text);
    }

    #[test]
    fn what_is_marked_is_marked_below_and_the_rest_is_folded() {
        let mut bytes = vec![0xfd; 96];
        bytes[40..44].copy_from_slice(b"AB\0\x1b");
        check(
            &bytes,
            -8,
            &[40..44],
            16,
            100,
            expect![[r#"
                bytes
                   -8  fd fd fd fd fd fd fd fd  fd fd fd fd fd fd fd fd  ................
                   +8  fd fd fd fd fd fd fd fd  fd fd fd fd fd fd fd fd  ................
                  +24  fd fd fd fd fd fd fd fd  41 42 00 1b fd fd fd fd  ........AB......
                                                ^^ ^^ ^^ ^^                      ^^^^
                  +40  fd fd fd fd fd fd fd fd  fd fd fd fd fd fd fd fd  ................
                    …  32 bytes more
            "#]],
        );
    }

    #[test]
    fn a_narrow_screen_has_shorter_rows() {
        check(
            b"0123456789",
            0,
            &[9..10],
            16,
            44,
            expect![[r#"
                bytes
                   +0  30 31 32 33 34 35 36 37  01234567
                   +8  38 39                    89
                          ^^                     ^
            "#]],
        );
        check(
            b"01234",
            0,
            &[],
            16,
            20,
            expect![[r#"
                bytes
                  +0  30 31 32 33
                  +4  34
            "#]],
        );
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        check(
            &[1; 100],
            0,
            &[0..100],
            2,
            100,
            expect![[r#"
                bytes
                    +0  01 01 01 01 01 01 01 01  01 01 01 01 01 01 01 01  ................
                        ^^ ^^ ^^ ^^ ^^ ^^ ^^ ^^  ^^ ^^ ^^ ^^ ^^ ^^ ^^ ^^  ^^^^^^^^^^^^^^^^
                   +16  01 01 01 01 01 01 01 01  01 01 01 01 01 01 01 01  ................
                        ^^ ^^ ^^ ^^ ^^ ^^ ^^ ^^  ^^ ^^ ^^ ^^ ^^ ^^ ^^ ^^  ^^^^^^^^^^^^^^^^
                     …  68 bytes more, 68 of them marked
            "#]],
        );
        check(
            &[],
            0,
            &[],
            2,
            100,
            expect![[r#"
            bytes
        "#]],
        );
    }

    proptest! {
        #[test]
        fn any_bytes_keep_to_the_width(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            first in any::<i64>(),
            start in 0usize..300,
            len in 0usize..40,
            width in 64usize..120,
        ) {
            let mut text = String::new();
            let style = Style { width, ..Style::PIPE };
            let marked = [start..start + len];
            write(&mut text, Bytes { bytes: &bytes, first, marked: &marked }, 4, 8, &style).expect("a String");
            prop_assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
            prop_assert!(text.lines().count() <= 8 * 2 + 3, "{text}");
        }
    }
}
