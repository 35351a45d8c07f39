//! Names of arenas by pattern, as the agent asks while the program runs.
//!
//! May be relied on: the same names fit here as in the views' patterns with wildcards (a test in `cli` compares the two); no allocation,
//! no panic, any bytes. Absent on purpose: numbers of arenas, and words without wildcards, which the launcher makes patterns of.

/// True when `name` fits a pattern of `used` bytes: `*` stands for any run of characters, `?` for one. Texts are UTF-8; where one is not,
/// bytes are compared. O(pattern × name).
pub fn name_fits(used: usize, pattern: impl Fn(usize) -> u8, name: &[u8]) -> bool {
    let (mut p, mut n) = (0usize, 0usize);
    // Where the last star stood, and the name's place that it has swallowed up to.
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = name.get(n) {
        if p < used && pattern(p) == b'*' {
            star = Some((p, n));
            p = p.wrapping_add(1);
        } else if p < used && pattern(p) == b'?' {
            p = p.wrapping_add(1);
            n = after_character(name, n);
        } else if p < used && pattern(p) == byte {
            p = p.wrapping_add(1);
            n = n.wrapping_add(1);
        } else if let Some((at, swallowed)) = star {
            let more = after_character(name, swallowed);
            star = Some((at, more));
            p = at.wrapping_add(1);
            n = more;
        } else {
            return false;
        }
    }
    (p..used).all(|rest| pattern(rest) == b'*')
}

/// One past the character at `at`: its first byte and those that continue it (10xxxxxx).
fn after_character(name: &[u8], at: usize) -> usize {
    let mut next = at.wrapping_add(1);
    while name.get(next).is_some_and(|byte| byte & 0xc0 == 0x80) {
        next = next.wrapping_add(1);
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, name: &str) -> bool {
        name_fits(pattern.len(), |at| pattern.as_bytes()[at], name.as_bytes())
    }

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name) in [
            ("", ""),
            ("*", ""),
            ("*", "parser"),
            ("par*", "parser"),
            ("*ser", "parser"),
            ("p*r*r", "parser"),
            ("*a*a*b", "aaaaab"),
            ("l?yer", "läyer"),
            ("?*", "ä"),
            ("p?rser", "parser"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("", "a"), ("par", "parser"), ("l??yer", "läyer"), ("*b", "abc"), ("?", ""), ("p*x", "parser")]
        {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
        // Bytes that are no text.
        assert!(name_fits(1, |_| b'*', &[0xff, 0x80]) && !name_fits(1, |_| b'a', &[0x80]));
    }
}
