//! Which blocks words of memory lead to: words in, blocks nobody points at out.
//!
//! A block counts as pointed at by any word, at any byte position, that holds an address of one of its bytes, or of the byte
//! behind its last where no other block begins (tried: always; then in a dense arena every block held the one before it); also
//! under a tag in the three low bits or the sixteen high ones. Words in no block are roots; a word in a block counts when a chain
//! of words leads from a root to that block. Where a block lies in another (an arena whose memory is a block), a word belongs to
//! the inner one.
//!
//! Relied on: pure; memory is 8 bytes for each word in a block that leads to another, at most [`MOST_EDGES`] of them. Absent:
//! whose memory it is, and what it means that nobody points somewhere.

/// Words between blocks that are kept; a process with more is not judged.
pub const MOST_EDGES: usize = 32 << 20;
/// Bits of an address that a program's memory can have.
const ADDRESS_BITS: u64 = (1 << 48) - 1;
/// Blocks around a block that are asked; deeper nesting is no arena's.
const DEEPEST: usize = 64;
const NONE: u32 = u32::MAX;

/// Blocks, and what leads to them.
pub struct Reach {
    /// First byte and one past the last, by start; of several with one start the longest first.
    blocks: Vec<(u64, u64)>,
    /// The block around each, or `NONE`.
    around: Vec<u32>,
    rooted: Vec<bool>,
    edges: Vec<(u32, u32)>,
    overfull: bool,
    low: u64,
    width: u64,
}

impl Reach {
    /// Nothing leads anywhere yet. `blocks`: first byte and one past the last of each, fewer than 2^32, sorted by
    /// [`Reach::order`]. O(n).
    pub fn new(blocks: Vec<(u64, u64)>) -> Reach {
        let mut around = Vec::with_capacity(blocks.len());
        let mut open: Vec<u32> = Vec::new();
        for &(start, _) in &blocks {
            while let Some(top) = open.last().and_then(|top| blocks.get(*top as usize))
                && (top.1 < start || top.1 == start && top.0 < start)
            {
                open.pop();
            }
            around.push(open.last().copied().unwrap_or(NONE));
            open.push((around.len() - 1) as u32);
        }
        let low = blocks.first().map_or(0, |block| block.0).saturating_sub(8);
        let high = blocks.iter().map(|block| block.1).max().unwrap_or(0).saturating_add(8);
        let rooted = vec![false; blocks.len()];
        Reach { width: high - low, blocks, around, rooted, edges: Vec::new(), overfull: false, low }
    }

    /// The order that `new` wants.
    pub fn order(block: &(u64, u64)) -> (u64, std::cmp::Reverse<u64>) {
        (block.0, std::cmp::Reverse(block.1))
    }

    /// `memory` lies at `base`. Pieces may come in any order; they should overlap by 7 bytes where memory goes on.
    /// O(bytes), and a search for each word that is an address among the blocks.
    pub fn read(&mut self, base: u64, memory: &[u8]) {
        for (at, word) in memory.windows(8).enumerate() {
            let Ok(word) = word.try_into() else { continue };
            let word = u64::from_le_bytes(word);
            if (word & ADDRESS_BITS).wrapping_sub(self.low) <= self.width {
                self.word(self.innermost(base.saturating_add(at as u64)), word);
            }
        }
    }

    /// A word that stands in no memory of the process (the kernel keeps it).
    pub fn root(&mut self, word: u64) {
        self.word(NONE, word);
    }

    fn word(&mut self, owner: u32, word: u64) {
        let address = word & ADDRESS_BITS;
        for target in [address, address & !7] {
            self.lead(owner, target);
        }
    }

    /// Everything that holds `target`.
    fn lead(&mut self, owner: u32, target: u64) {
        let mut block = self.last_at_or_before(target);
        let begins = self.blocks.get(block as usize).is_some_and(|block| block.0 == target);
        for _ in 0..DEEPEST {
            let Some(&(start, end)) = self.blocks.get(block as usize) else { return };
            let holds = target < end || target == end && (start == end || !begins);
            if holds && block != owner {
                if owner == NONE {
                    if let Some(rooted) = self.rooted.get_mut(block as usize) {
                        *rooted = true;
                    }
                } else if self.edges.len() == MOST_EDGES {
                    self.overfull = true;
                } else if self.edges.last() != Some(&(owner, block)) {
                    self.edges.push((owner, block));
                }
            }
            block = self.around.get(block as usize).copied().unwrap_or(NONE);
        }
    }

    fn last_at_or_before(&self, address: u64) -> u32 {
        match self.blocks.partition_point(|block| block.0 <= address) {
            0 => NONE,
            after => (after - 1) as u32,
        }
    }

    /// The innermost block that this byte belongs to, or `NONE`.
    fn innermost(&self, address: u64) -> u32 {
        let mut block = self.last_at_or_before(address);
        for _ in 0..DEEPEST {
            let Some(&(_, end)) = self.blocks.get(block as usize) else { return NONE };
            if address < end {
                return block;
            }
            block = self.around.get(block as usize).copied().unwrap_or(NONE);
        }
        NONE
    }

    /// For each block, in the order of `new`, whether something leads there; `None` when there was too much to keep.
    /// O(edges · log edges).
    pub fn finish(mut self) -> Option<Vec<bool>> {
        if self.overfull {
            return None;
        }
        self.edges.sort_unstable();
        self.edges.dedup();
        let mut reached = self.rooted;
        let mut todo: Vec<u32> =
            (0..reached.len() as u32).filter(|block| reached.get(*block as usize) == Some(&true)).collect();
        while let Some(block) = todo.pop() {
            let first = self.edges.partition_point(|edge| edge.0 < block);
            for &(_, to) in self.edges.iter().skip(first).take_while(|edge| edge.0 == block) {
                if let Some(reached) = reached.get_mut(to as usize).filter(|reached| !**reached) {
                    *reached = true;
                    todo.push(to);
                }
            }
        }
        Some(reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory from 0x1000 on: a word each 8 bytes. Blocks as (start, end). Which are reached.
    fn reached(blocks: &[(u64, u64)], words: &[(u64, u64)]) -> Vec<bool> {
        let mut sorted = blocks.to_vec();
        sorted.sort_by_key(Reach::order);
        let mut reach = Reach::new(sorted.clone());
        for (at, word) in words {
            reach.read(*at, &word.to_le_bytes());
        }
        let reached = reach.finish().expect("few edges");
        let of = |block| sorted.iter().position(|other| other == block).map(|at| reached[at]);
        blocks.iter().map(|block| of(block).expect("there")).collect()
    }

    const A: (u64, u64) = (0x1000, 0x1020);
    const B: (u64, u64) = (0x1020, 0x1040);
    const C: (u64, u64) = (0x1040, 0x1060);
    /// In no block.
    const ROOT: u64 = 0x9000;

    #[test]
    fn pointers_into_a_block_lead_there_in_every_form() {
        for word in [0x1020, 0x1027, 0x103f, 0x1021, 0xffff_0000_0000_1020, 0x7ff8_0000_0000_1028] {
            assert!(reached(&[A, B, C], &[(ROOT, word)])[1], "{word:#x}");
        }
        // The end belongs to the block, unless another begins there.
        assert_eq!(reached(&[A, C], &[(ROOT, 0x1020)]), [true, false]);
        assert_eq!(reached(&[A, B, C], &[(ROOT, 0x1020)]), [false, true, false]);
        assert_eq!(reached(&[A, B, C], &[(ROOT, 0x1010)]), [true, false, false]);
        assert_eq!(reached(&[A], &[(ROOT, 0x1021), (ROOT + 8, 0xfff)]), [true], "one past the end, tagged");
        assert_eq!(reached(&[A], &[(ROOT, 0x1029), (ROOT + 8, 0xff7)]), [false]);
        // A block of no bytes, and one that begins where it lies.
        assert_eq!(reached(&[(0x1020, 0x1020), B], &[(ROOT, 0x1023)]), [true, true]);
    }

    #[test]
    fn a_word_may_stand_at_any_byte() {
        let mut memory = [0xee_u8; 32];
        memory[5..13].copy_from_slice(&0x1048_u64.to_le_bytes());
        let mut reach = Reach::new(vec![A, B, C]);
        reach.read(ROOT, &memory);
        assert_eq!(reach.finish(), Some(vec![false, false, true]));
    }

    #[test]
    fn words_in_blocks_count_when_their_block_is_reached() {
        // A list: root, A, B, C.
        assert_eq!(reached(&[A, B, C], &[(ROOT, 0x1008), (0x1008, 0x1028), (0x1028, 0x1048)]), [true, true, true]);
        // The same without a root, each with its parent: a circle that nobody holds.
        let circle = [(0x1008, 0x1028), (0x1028, 0x1008), (0x1048, 0x1048)];
        assert_eq!(reached(&[A, B, C], &circle), [false, false, false]);
        // A block that points to itself alone.
        assert_eq!(reached(&[C], &[(0x1048, 0x1048)]), [false]);
    }

    #[test]
    fn a_word_belongs_to_the_innermost_block() {
        // An arena's chunk is a block of another arena, and has blocks of its own.
        let (chunk, one, two) = ((0x1000, 0x2000), (0x1100, 0x1120), (0x1200, 0x1220));
        assert_eq!(reached(&[chunk, one, two], &[(ROOT, 0x1000), (0x1108, 0x1208)]), [true, false, false]);
        assert_eq!(
            reached(&[chunk, one, two], &[(ROOT, 0x1000), (0x1048, 0x1108), (0x1108, 0x1208)]),
            [true, true, true]
        );
        // Pointing at an inner block is pointing into the outer one.
        assert_eq!(reached(&[chunk, one, two], &[(ROOT, 0x1208)]), [true, false, true]);
    }

    /// Against a stupid model: every byte position, every pair, until nothing changes.
    #[test]
    fn random_memory_is_judged_as_a_stupid_model_judges_it() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for round in 0..300 {
            let mut blocks: Vec<(u64, u64)> = Vec::new();
            let mut at = 0x1000;
            for _ in 0..next(12) {
                at += next(3) * 8;
                let end = at + next(5) * 8;
                blocks.push((at, end));
                // Sometimes one within.
                if end > at + 16 && next(3) == 0 {
                    blocks.push((at + 8, at + 16));
                }
                at = end.max(at + 8);
            }
            blocks.sort_by_key(Reach::order);
            blocks.dedup();
            let memory: Vec<(u64, u64)> =
                (0..80).map(|word| (0xf80 + word * 8, if next(4) == 0 { 0xf00 + next(0x300) } else { 0 })).collect();
            let inner = |address: u64| {
                let holds = |block: &&(u64, u64)| block.0 <= address && address < block.1;
                blocks.iter().filter(holds).max_by_key(|block| (block.0, std::cmp::Reverse(block.1))).copied()
            };
            let mut model = vec![false; blocks.len()];
            loop {
                let before = model.clone();
                for (at, word) in &memory {
                    let owner = inner(*at);
                    let counts = owner.is_none_or(|owner| {
                        blocks.iter().position(|block| *block == owner).is_some_and(|index| before[index])
                    });
                    for (index, block) in blocks.iter().enumerate() {
                        let hit = [*word, *word & !7].iter().any(|target| {
                            let begins = blocks.iter().any(|other| other.0 == *target);
                            let at_end = *target == block.1 && (block.0 == block.1 || !begins);
                            block.0 <= *target && (*target < block.1 || at_end)
                        });
                        if counts && hit && *word != 0 {
                            model[index] = true;
                        }
                    }
                }
                if model == before {
                    break;
                }
            }
            let mut reach = Reach::new(blocks.clone());
            for (at, word) in &memory {
                reach.read(*at, &word.to_le_bytes());
            }
            assert_eq!(reach.finish(), Some(model), "round {round}: {blocks:x?} {memory:x?}");
        }
    }
}
