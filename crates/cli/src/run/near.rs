//! Where code can be placed within reach of a module: a free gap of the target's memory map.
//!
//! Pure over the text of `/proc/PID/maps`. The agent maps the gap with MAP_FIXED_NOREPLACE, so a gap that fills in
//! between is refused, never overwritten. Gaps above the program are avoided: its heap (brk) grows there, and a page in
//! its way makes sbrk fail.

/// Furthest distance of a 5-byte jump, less a margin for the sizes involved, bytes.
const REACH: u64 = (1 << 31) - (64 << 20);
/// Lowest address that user space may map by default (vm.mmap_min_addr).
const LOWEST: u64 = 0x1_0000;
const PAGE: u64 = 4096;
/// Distance kept from other mappings: stacks may grow into a gap.
const MARGIN: u64 = 16 * PAGE;

/// Mapped ranges, ascending.
pub fn ranges(maps: &str) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = maps
        .lines()
        .filter_map(|line| {
            let (range, _) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
        })
        .collect();
    ranges.sort_unstable();
    ranges
}

/// Page-aligned start of a free gap of `bytes`, within reach of all of `module` (`start..end`). Gaps below the module
/// first, the nearest first; then gaps above it, except right above the program (`is_program`), the furthest first.
pub fn gap(taken: &[(u64, u64)], module: (u64, u64), bytes: u64, is_program: bool) -> Option<u64> {
    let bytes = bytes.checked_next_multiple_of(PAGE)?;
    let (start, end) = module;
    let lowest = end.saturating_sub(REACH).max(LOWEST);
    let highest = start.saturating_add(REACH).min(0x7fff_ffff_0000).saturating_sub(bytes);
    // A gap lies between the end of one mapping and the start of the next.
    let ends = std::iter::once(0).chain(taken.iter().map(|range| range.1));
    let starts = taken.iter().map(|range| range.0).chain(std::iter::once(u64::MAX));
    let gaps: Vec<(u64, u64)> = ends.zip(starts).filter(|(low, high)| low < high).collect();
    let below = gaps.iter().rev().filter(|gap| gap.0 < start).find_map(|(low, high)| {
        let place = (*high).min(start).checked_sub(bytes)? & !(PAGE - 1);
        let room = place.checked_sub(*low)?;
        // Tight gaps are used too when nothing can grow there: between modules there is no stack.
        let place = if room > 2 * MARGIN { place - MARGIN } else { place };
        (place >= lowest && place >= *low && place.saturating_add(bytes) <= *high).then_some(place)
    });
    if below.is_some() {
        return below;
    }
    let first_above = if is_program { end.saturating_add(1 << 30) } else { end };
    gaps.iter().rev().find_map(|(low, high)| {
        let from = (*low).max(first_above).checked_next_multiple_of(PAGE)?;
        let last = (*high).min(highest.saturating_add(bytes)).checked_sub(bytes)? & !(PAGE - 1);
        (from <= last && last <= highest).then_some(last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
555555554000-555555558000 r--p 00000000 08:01 1 /bin/prog
555555558000-555555579000 rw-p 00000000 00:00 0 [heap]
7ffff7dc0000-7ffff7fb0000 r-xp 00000000 08:01 2 /lib/libc.so.6
7ffff7fc0000-7ffff7fff000 r-xp 00000000 08:01 3 /lib/ld.so
7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0 [stack]
";

    fn free(taken: &[(u64, u64)], place: u64, bytes: u64) -> bool {
        taken.iter().all(|(start, end)| place + bytes <= *start || *end <= place)
    }

    #[test]
    fn the_gap_lies_below_the_module_and_in_reach() {
        let taken = ranges(MAPS);
        for (module, program) in [((0x555555554000, 0x555555558000), true), ((0x7ffff7dc0000, 0x7ffff7fb0000), false)] {
            let place = gap(&taken, module, 8192, program).expect("there is room");
            assert!(place < module.0 && module.1 - place < REACH && free(&taken, place, 8192));
        }
    }

    #[test]
    fn a_program_at_a_fixed_low_address_is_served_from_below() {
        let taken = vec![(0x400000, 0x405000), (0x405000, 0x426000)];
        let place = gap(&taken, (0x400000, 0x405000), 4096, true).expect("there is room");
        assert!((LOWEST..0x400000).contains(&place));
    }

    #[test]
    fn without_room_below_the_heap_is_left_alone() {
        let taken = vec![(0, 0x405000), (0x405000, 0x426000)];
        let place = gap(&taken, (0x400000, 0x405000), 4096, true).expect("there is room");
        assert!(place > 0x426000 + (1 << 29) && place < 0x400000 + REACH);
        assert_eq!(gap(&[(0, 0x7fff_ffff_f000)], (0x400000, 0x405000), 4096, true), None);
    }

    #[test]
    fn lines_that_are_no_ranges_are_passed_over() {
        assert!(ranges("nonsense\n\n12 34\nzz-1 r\n").is_empty());
    }
}
