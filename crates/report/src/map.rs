//! The map of one extent: its blocks in order, their sizes, and the free space, on one line of the screen.
//!
//! ```text
//! +0 │1▒▒ 32 ▒▒│2▒▒ 32 ▒▒│3 nobody's │4▒▒ 32 ▒▒│········ 128 free ········│ +256
//! ```
//!
//! May be relied on: a line is never wider than asked for, keeps the order of addresses, and each block is in exactly
//! one cell. Where blocks are too many for the width, neighbours share a cell, and the cell says how many or which.
//! Works in O(n log n) for n blocks. Absent: colour of whole lines, several extents (one call each), escaping (flags
//! come from us, not from the program).

use crate::quantity;
use crate::style::{Style, columns};

/// One block as the map needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// The block's number within its arena; 0: a stretch of blocks that nobody knows.
    pub number: u64,
    /// Offset in the extent, bytes.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// A word to be said about it, such as "nobody's".
    pub flag: Option<&'static str>,
}

/// A stretch of the extent that is drawn between two separators.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cell {
    /// Bytes it stands for, including padding.
    pub span: u64,
    /// Bytes of it that belong to blocks.
    pub used: u64,
    /// How many blocks.
    pub blocks: u64,
    /// Number of its first block in address order; 0 when it has none.
    pub first: u64,
    /// Number of its last block in address order; 0 when it has none.
    pub last: u64,
    /// True when the numbers count up by one from `first` to `last`.
    pub consecutive: bool,
    /// How many of its blocks carry a flag.
    pub flagged: u64,
    /// The flag of the first flagged one.
    pub flag: Option<&'static str>,
    /// True for free space behind the last block.
    pub tail: bool,
}

/// A drawn extent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Map {
    /// The line, without indentation and newline.
    pub line: String,
    /// What the cells hold, in order.
    pub cells: Vec<Cell>,
    /// True when each block has its own cell with its size written in it.
    pub sizes_shown: bool,
}

/// Gaps between blocks up to this many bytes are padding and drawn as part of the block before: malloc, C and C++ align to 16.
const PADDING_BYTES: u64 = 15;

/// Draws `pieces` (any order) of an extent of `len` bytes into at most `width` columns.
pub fn draw(pieces: &[Piece], len: u64, width: usize, style: &Style) -> Map {
    paint(pieces, len, width, false, style)
}

/// The same of an extent whose end nobody knows: no wall stands behind its last block.
pub fn draw_open(pieces: &[Piece], width: usize, style: &Style) -> Map {
    paint(pieces, 0, width, true, style)
}

fn paint(pieces: &[Piece], len: u64, width: usize, open: bool, style: &Style) -> Map {
    let end = pieces.iter().map(|piece| piece.start.saturating_add(piece.len)).max().unwrap_or(0).max(len);
    let left = "+0 ";
    let right = format!(" +{end}");
    let wall = if open {
        ' '
    } else if style.plain {
        '|'
    } else {
        '│'
    };
    let fixed = left.len() + right.len();
    // Offsets are a courtesy; the map itself comes first on very narrow screens.
    let (left, right, inner) =
        if width >= fixed + 10 { (left, right.as_str(), width - fixed) } else { ("", "", width.max(3)) };

    let mut cells = segments(pieces, end);
    if cells.len() * 3 + 1 > inner {
        cells = merge(cells, end, (inner.saturating_sub(1) / 10).max(1));
    }
    let room = inner.saturating_sub(cells.len() + 1);
    let (widths, sizes_fit) = widths(&cells, end, room);

    let bar = if style.plain { '|' } else { '│' };
    let mut line = String::with_capacity(inner * 3 + fixed);
    line.push_str(left);
    line.push(bar);
    for (index, (cell, &columns)) in cells.iter().zip(&widths).enumerate() {
        let text = cell.draw(columns, style);
        if cell.flagged > 0 {
            line.push_str(&style.yellow(&text))
        } else {
            line.push_str(&text)
        }
        line.push(if index + 1 < cells.len() { bar } else { wall });
    }
    line.push_str(right);
    let sizes_shown = sizes_fit && cells.iter().all(|cell| cell.blocks <= 1);
    Map { line, cells, sizes_shown }
}

impl Cell {
    fn gap(span: u64, tail: bool) -> Cell {
        Cell { span, used: 0, blocks: 0, first: 0, last: 0, consecutive: true, flagged: 0, flag: None, tail }
    }

    fn block(piece: &Piece, span: u64) -> Cell {
        Cell {
            span,
            used: piece.len,
            blocks: 1,
            first: piece.number,
            last: piece.number,
            consecutive: true,
            flagged: u64::from(piece.flag.is_some()),
            flag: piece.flag,
            tail: false,
        }
    }

    fn absorb(&mut self, next: &Cell) {
        self.span = self.span.saturating_add(next.span);
        self.used = self.used.saturating_add(next.used);
        if next.blocks > 0 {
            if self.blocks == 0 {
                self.first = next.first;
                self.consecutive = next.consecutive;
            } else {
                self.consecutive &= next.consecutive && next.first == self.last.saturating_add(1);
            }
            self.last = next.last;
        }
        self.blocks += next.blocks;
        self.flagged += next.flagged;
        self.flag = self.flag.or(next.flag);
        self.tail &= next.tail;
    }

    fn name(&self) -> String {
        match (self.blocks, self.consecutive) {
            (0, _) => String::new(),
            (1, _) if self.first == 0 => String::new(),
            (1, _) => self.first.to_string(),
            (_, true) => format!("{}-{}", self.first, self.last),
            (blocks, false) => format!("{blocks} blocks"),
        }
    }

    fn size(&self) -> String {
        let size = if self.blocks == 1 { self.used } else { self.span };
        let figure = if size < 10_000 { size.to_string() } else { quantity::bytes(size) };
        if self.tail { format!("{figure} free") } else { figure }
    }

    /// Fewest columns with everything said, and with the name only.
    fn wishes(&self) -> (usize, usize) {
        match (self.blocks, self.flag) {
            (0, _) => (self.size().len() + 2, if self.tail { self.size().len() } else { 1 }),
            (1, Some(flag)) => (self.name().len() + flag.len() + 2, self.name().len() + 1),
            (1, None) => (self.name().len() + self.size().len() + 4, self.name().len()),
            _ => (self.name().len() + 2, self.name().len()),
        }
    }

    /// Exactly `width` columns of text.
    fn draw(&self, width: usize, style: &Style) -> String {
        let (full, thin, free) = if style.plain { ('#', ':', '.') } else { ('▒', '░', '·') };
        let name = self.name();
        if self.blocks == 0 {
            let label = format!(" {} ", self.size());
            let bare = self.size();
            let label = if label.len() <= width { label } else { bare };
            return if label.len() <= width { centred(&label, width, free) } else { filled("", width, free) };
        }
        if let Some(flag) = self.flag {
            let said =
                if self.blocks == 1 { format!("{name} {flag}") } else { format!("{name} {} {flag}", self.flagged) };
            let choices = [said, format!("{name}!"), "!".to_owned()];
            let label = choices.iter().find(|label| label.len() <= width);
            return filled(label.map_or("", String::as_str), width, ' ');
        }
        let fill = if self.used < self.span / 2 { thin } else { full };
        if self.blocks == 1 {
            let size = format!(" {} ", self.size());
            if name.len() + size.len() + 2 <= width {
                return name.clone() + &centred(&size, width - name.len(), fill);
            }
        }
        let choices = [name, format!("x{}", self.blocks)];
        let label = choices.iter().find(|label| label.len() <= width);
        filled(label.map_or("", String::as_str), width, fill)
    }
}

fn filled(label: &str, width: usize, fill: char) -> String {
    let mut text = label.to_owned();
    text.extend(std::iter::repeat_n(fill, width.saturating_sub(columns(label))));
    text
}

fn centred(label: &str, width: usize, fill: char) -> String {
    let spare = width.saturating_sub(columns(label));
    let mut text = String::new();
    text.extend(std::iter::repeat_n(fill, spare / 2));
    text.push_str(label);
    text.extend(std::iter::repeat_n(fill, spare - spare / 2));
    text
}

/// Blocks and gaps in address order. Overlapping blocks each keep a cell; their spans count each byte once.
fn segments(pieces: &[Piece], end: u64) -> Vec<Cell> {
    let mut sorted: Vec<&Piece> = pieces.iter().collect();
    sorted.sort_by_key(|piece| (piece.start, piece.number));
    let mut cells: Vec<Cell> = Vec::with_capacity(sorted.len() * 2 + 1);
    let mut cursor = 0u64;
    for piece in sorted {
        let gap = piece.start.saturating_sub(cursor);
        match cells.last_mut() {
            Some(before) if gap <= PADDING_BYTES && before.blocks > 0 => before.span += gap,
            _ if gap > 0 => cells.push(Cell::gap(gap, false)),
            _ => {}
        }
        let piece_end = piece.start.saturating_add(piece.len);
        let span = piece_end.saturating_sub(cursor.max(piece.start));
        cells.push(Cell::block(piece, span));
        cursor = cursor.max(piece_end);
    }
    if cursor < end || cells.is_empty() {
        cells.push(Cell::gap(end - cursor, true));
    }
    cells
}

/// Neighbours that begin in the same of `most` equal stretches share a cell; a tail of free space stays alone.
fn merge(cells: Vec<Cell>, end: u64, most: usize) -> Vec<Cell> {
    let mut merged: Vec<Cell> = Vec::with_capacity(most + 1);
    let mut cursor = 0u64;
    let mut last_bucket = None;
    let most = most.max(1) as u128;
    for cell in cells {
        let bucket = u128::from(cursor) * most / u128::from(end.max(1));
        cursor = cursor.saturating_add(cell.span);
        match merged.last_mut() {
            Some(open) if last_bucket == Some(bucket) && !cell.tail => open.absorb(&cell),
            _ => merged.push(cell),
        }
        last_bucket = Some(bucket);
    }
    merged
}

/// Columns for each cell, `room` in all: in proportion to bytes, but with what each cell wants to say where possible.
/// Also tells whether everything could be said.
fn widths(cells: &[Cell], end: u64, room: usize) -> (Vec<usize>, bool) {
    let sum = |wishes: &[usize]| wishes.iter().sum::<usize>();
    let full: Vec<usize> = cells.iter().map(|cell| cell.wishes().0).collect();
    let names: Vec<usize> = cells.iter().map(|cell| cell.wishes().1).collect();
    let (least, all_said) = if sum(&full) <= room {
        (full, true)
    } else if sum(&names) <= room {
        (names, false)
    } else {
        (vec![usize::from(room >= cells.len()); cells.len()], false)
    };

    let share = |cell: &Cell| {
        let exact = room as u128 * u128::from(cell.span) / u128::from(end.max(1));
        usize::try_from(exact).unwrap_or(room).min(room)
    };
    let mut widths: Vec<usize> = cells.iter().zip(&least).map(|(cell, &least)| share(cell).max(least)).collect();
    // Take what is too much from those that have most to spare; give what is left to the widest.
    let mut total = sum(&widths);
    while total > room {
        let widest = (0..widths.len()).max_by_key(|&i| widths[i].saturating_sub(least[i]));
        let Some(widest) = widest else { break };
        if widths[widest] == 0 {
            break;
        }
        let spare = widths[widest].saturating_sub(least[widest]).max(1);
        let take = (total - room).min(spare.div_ceil(2));
        widths[widest] -= take;
        total -= take;
    }
    // Rounding leaves less than one column per cell: hand them out evenly, from the left.
    let spare = room.saturating_sub(total);
    let cells = widths.len();
    for (index, width) in widths.iter_mut().enumerate() {
        *width += spare * (index + 1) / cells - spare * index / cells;
    }
    (widths, all_said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn row(sizes: &[u64]) -> Vec<Piece> {
        let mut start = 0;
        let mut pieces = Vec::new();
        for (index, &len) in sizes.iter().enumerate() {
            pieces.push(Piece { number: index as u64 + 1, start, len, flag: None });
            start += len;
        }
        pieces
    }

    fn check(pieces: &[Piece], len: u64, width: usize, expected: Expect) {
        let fancy = draw(pieces, len, width, &Style::PIPE);
        let plain = draw(pieces, len, width, &Style { plain: true, ..Style::PIPE });
        expected.assert_eq(&format!("{}\n{}\n", fancy.line, plain.line));
    }

    #[test]
    fn the_seeds_arena_looks_like_this() {
        let mut pieces = row(&[32, 32, 32, 32]);
        pieces[2].flag = Some("nobody's");
        check(
            &pieces,
            256,
            96,
            expect![[r#"
            +0 │1▒▒ 32 ▒▒▒│2▒▒ 32 ▒▒▒│3 nobody's │4▒▒ 32 ▒▒▒│··············· 128 free ················│ +256
            +0 |1## 32 ###|2## 32 ###|3 nobody's |4## 32 ###|............... 128 free ................| +256
        "#]],
        );
        check(
            &row(&[64, 64, 64]),
            4096,
            96,
            expect![[r#"
            +0 │1▒ 64 ▒│2▒ 64 ▒│3▒ 64 ▒│························· 3904 free ·························│ +4096
            +0 |1# 64 #|2# 64 #|3# 64 #|......................... 3904 free .........................| +4096
        "#]],
        );
        check(
            &[],
            4096,
            60,
            expect![[r#"
            +0 │··················· 4096 free ···················│ +4096
            +0 |................... 4096 free ...................| +4096
        "#]],
        );
        check(
            &row(&[256]),
            256,
            60,
            expect![[r#"
            +0 │1▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ 256 ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│ +256
            +0 |1###################### 256 ######################| +256
        "#]],
        );
    }

    #[test]
    fn gaps_overlaps_and_crowds() {
        let gappy = [
            Piece { number: 1, start: 32, len: 60, flag: None },
            Piece { number: 2, start: 96, len: 32, flag: None },
            Piece { number: 9, start: 100, len: 64, flag: Some("overlaps") },
            Piece { number: 4, start: 400, len: 100, flag: None },
        ];
        check(
            &gappy,
            512,
            90,
            expect![[r#"
            +0 │ 32 │1▒▒ 60 ▒▒│2▒ 32 ▒│9 overlaps │······· 236 ········│4▒▒▒▒ 100 ▒▒▒▒│ 12 free │ +512
            +0 | 32 |1## 60 ##|2# 32 #|9 overlaps |....... 236 ........|4#### 100 ####| 12 free | +512
        "#]],
        );
        check(
            &row(&[16; 64]),
            2048,
            80,
            expect![[r#"
            +0 │1-19▒▒▒▒▒│20-37▒▒▒▒│38-55▒▒▒▒│56-64▒▒│·········· 1024 free ··········│ +2048
            +0 |1-19#####|20-37####|38-55####|56-64##|.......... 1024 free ..........| +2048
        "#]],
        );
        check(
            &row(&[24; 20]),
            480,
            80,
            expect![[r#"
            +0 │1▒│2▒▒│3▒│4▒▒│5▒│6▒▒│7▒│8▒▒│9▒│10▒│11▒│12│13▒│14│15▒│16│17▒│18│19▒│20▒│ +480
            +0 |1#|2##|3#|4##|5#|6##|7#|8##|9#|10#|11#|12|13#|14|15#|16|17#|18|19#|20#| +480
        "#]],
        );
        let mut crowd = row(&[8; 100_000]);
        crowd[70_000].flag = Some("nobody's");
        check(
            &crowd,
            1 << 20,
            100,
            expect![[r#"
            +0 │1-16384▒▒│x16384▒▒▒▒│x16384▒▒▒▒│x16384▒▒▒▒│!        │x16384▒▒▒▒│▒▒│· 242.8 KiB free ··│ +1048576
            +0 |1-16384##|x16384####|x16384####|x16384####|!        |x16384####|##|. 242.8 KiB free ..| +1048576
        "#]],
        );
        check(
            &row(&[1; 10]),
            10,
            20,
            expect![[r#"
            +0 │1-10▒▒▒▒▒▒▒│ +10
            +0 |1-10#######| +10
        "#]],
        );
    }

    #[test]
    fn no_wall_stands_where_the_end_is_unknown() {
        let open = draw_open(&row(&[40, 44]), 60, &Style::PIPE);
        assert!(open.line.starts_with("+0 │1") && open.line.ends_with("▒  +84"), "{}", open.line);
        assert_eq!(columns(&open.line), 60);
    }

    proptest! {
        #[test]
        fn never_wider_than_asked_order_kept_every_block_counted(
            blocks in prop::collection::vec((0u64..5000, 0u64..300, prop::bool::weighted(0.1)), 0..300),
            len in 0u64..8000, width in 20usize..=400, plain: bool, huge in prop::bool::weighted(0.05),
        ) {
            let scale = if huge { u64::MAX / 8000 } else { 1 };
            let pieces: Vec<Piece> = blocks.iter().enumerate().map(|(i, &(start, len, flag))| Piece {
                number: i as u64 + 1, start: start * scale, len: len * scale, flag: flag.then_some("nobody's"),
            }).collect();
            let style = Style { plain, ..Style::PIPE };
            let map = draw(&pieces, len, width, &style);
            prop_assert!(columns(&map.line) <= width, "{} > {width}: {}", columns(&map.line), map.line);
            prop_assert_eq!(map.cells.iter().map(|c| c.blocks).sum::<u64>(), pieces.len() as u64);
            prop_assert_eq!(map.cells.iter().map(|c| c.flagged).sum::<u64>(),
                pieces.iter().filter(|p| p.flag.is_some()).count() as u64);
            prop_assert!(!plain || map.line.is_ascii());
            let bar = if plain { '|' } else { '│' };
            prop_assert_eq!(map.line.chars().filter(|&c| c == bar).count(), map.cells.len() + 1);
            // Order: first blocks of the cells stand in address order.
            let start_of = |number: u64| pieces[number as usize - 1].start;
            let starts: Vec<u64> = map.cells.iter().filter(|c| c.blocks > 0).map(|c| start_of(c.first)).collect();
            prop_assert!(starts.is_sorted());
        }
    }

    #[test]
    fn a_hundred_thousand_blocks_fit_every_width() {
        let pieces = row(&[16; 100_000]);
        for width in 20..=400 {
            let map = draw(&pieces, 1_600_000, width, &Style::PIPE);
            assert!(columns(&map.line) <= width);
            assert_eq!(map.cells.iter().map(|cell| cell.blocks).sum::<u64>(), 100_000);
        }
    }
}
