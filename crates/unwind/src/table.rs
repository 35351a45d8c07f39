//! The rules of one module: places in its code, sorted, and the rule that holds from each to the next.

use crate::rule::Rule;

/// A table. Two slices of equal length, wherever they lie; the shorter one counts.
#[derive(Clone, Copy, Default, Debug)]
pub struct Table<'a> {
    starts: &'a [u32],
    rules: &'a [u32],
}

impl<'a> Table<'a> {
    /// `starts`: bytes from the module's first code byte, ascending; `rules`: the bits of a rule for each.
    pub const fn new(starts: &'a [u32], rules: &'a [u32]) -> Table<'a> {
        Table { starts, rules }
    }

    /// Places and rules, as they were given.
    pub const fn parts(&self) -> (&'a [u32], &'a [u32]) {
        (self.starts, self.rules)
    }

    /// How many rules there are.
    pub const fn len(&self) -> usize {
        self.starts.len()
    }

    /// True when there is none.
    pub const fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The rule at `offset` bytes from the module's first code byte. O(log rules).
    #[inline]
    pub fn rule(&self, offset: u64) -> Rule {
        let Ok(offset) = u32::try_from(offset) else { return Rule::GAP };
        let after = self.starts.partition_point(|start| *start <= offset);
        let bits = after.checked_sub(1).and_then(|index| self.rules.get(index));
        bits.map_or(Rule::GAP, |bits| Rule::from_bits(*bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_holds_to_the_next_and_before_the_first_there_is_none() {
        let table = Table::new(&[4, 9, 20], &[2, 3, 0]);
        for (offset, bits) in [(0, 0), (3, 0), (4, 2), (8, 2), (9, 3), (19, 3), (20, 0), (1 << 40, 0)] {
            assert_eq!(table.rule(offset).bits(), bits, "{offset}");
        }
        assert_eq!(Table::default().rule(7), Rule::GAP);
        // The shorter slice counts.
        assert_eq!(Table::new(&[0, 1], &[2]).rule(5), Rule::GAP);
    }
}
