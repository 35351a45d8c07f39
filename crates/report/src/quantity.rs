//! Numbers as people read them: bytes, counts, shares, times.
//!
//! Pure functions from numbers to short strings; ASCII only, except that nothing here ever needs more. Sizes below
//! 10,000 bytes stay exact unless a binary unit says the same. Absent: parsing (moments are parsed in `moment`).

/// Bytes with the largest binary unit that says it exactly, else with one decimal: `256 B`, `4 KiB`, `4,100 B`,
/// `1.5 MiB`.
pub fn bytes(value: u64) -> String {
    const UNITS: [(&str, u32); 6] = [("EiB", 60), ("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let mut larger = None;
    for (unit, shift) in UNITS {
        let one = 1u64 << shift;
        if value < one {
            larger = Some(unit);
            continue;
        }
        if value.is_multiple_of(one) && value / one < 10_000 {
            return format!("{} {unit}", count(value / one));
        }
        if value < 10_000 {
            break;
        }
        // Tenths in 128 bits: 10 × 2^64 does not fit in 64.
        let tenths = (u128::from(value) * 10 + u128::from(one) / 2) / u128::from(one);
        if let (10_240.., Some(larger)) = (tenths, larger) {
            // 1023.96 MiB would become 1024.0 MiB.
            return format!("1.0 {larger}");
        }
        return format!("{}.{} {unit}", tenths / 10, tenths % 10);
    }
    format!("{} B", count(value))
}

/// A number with thousands separated: `4,812`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count and its noun: `1 finding`, `0 notes`, `4,812 blocks`.
pub fn counted(value: u64, noun: &str) -> String {
    let ending = if value == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(value))
}

/// A share of a whole: `50 %`, `4.7 %`, `<0.1 %`. Empty when the whole is 0.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    let tenths = (u128::from(part) * 1000 + u128::from(whole) / 2) / u128::from(whole);
    if part > 0 && tenths == 0 {
        return "<0.1 %".to_owned();
    }
    if tenths >= 100 || tenths.is_multiple_of(10) {
        return format!("{} %", (tenths + 5) / 10);
    }
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// A span of time: `850 ns`, `12.5 us`, `12.5 ms`, `3.20 s`.
pub fn duration(ns: u64) -> String {
    let scaled = |unit: u64, name: &str| {
        let hundredths = ns / (unit / 100);
        format!("{}.{:02} {name}", hundredths / 100, hundredths % 100)
    };
    match ns {
        0..=999 => format!("{ns} ns"),
        1_000..=999_999 => scaled(1_000, "us"),
        1_000_000..=999_999_999 => scaled(1_000_000, "ms"),
        _ => scaled(1_000_000_000, "s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_exact_or_say_one_decimal() {
        for (value, text) in [
            (0, "0 B"),
            (256, "256 B"),
            (1024, "1 KiB"),
            (4096, "4 KiB"),
            (4100, "4,100 B"),
            (9999, "9,999 B"),
            (10_001, "9.8 KiB"),
            (3 << 19, "1.5 MiB"),
            (1 << 30, "1 GiB"),
            ((1 << 30) - 24_000, "1.0 GiB"),
            ((1 << 30) - 200_000, "1023.8 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(value), text, "{value}");
        }
    }

    #[test]
    fn counts_percents_and_durations() {
        assert_eq!(count(4812), "4,812");
        assert_eq!(count(812), "812");
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!(counted(1, "note"), "1 note");
        assert_eq!(counted(0, "note"), "0 notes");
        for (part, whole, text) in [
            (128, 256, "50 %"),
            (192, 4096, "4.7 %"),
            (1, 1 << 40, "<0.1 %"),
            (0, 5, "0 %"),
            (5, 5, "100 %"),
            (999, 1000, "100 %"),
            (123, 1000, "12 %"),
            (u64::MAX, u64::MAX, "100 %"),
            (5, 0, ""),
        ] {
            assert_eq!(percent(part, whole), text, "{part}/{whole}");
        }
        for (ns, text) in [
            (850, "850 ns"),
            (12_500, "12.50 us"),
            (12_500_000, "12.50 ms"),
            (3_200_000_000, "3.20 s"),
            (u64::MAX, "18446744073.70 s"),
        ] {
            assert_eq!(duration(ns), text);
        }
    }
}
