//! `--arena PATTERN` and `--only PATTERN`: which arenas are meant.
//!
//! A pattern is an arena's number (`3`, `#` not needed) or a name in which `*` stands for any run of characters and
//! `?` for one; a pattern without either matches names that contain it. Absent: regular expressions.

/// Which arenas are meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArenaPattern {
    raw: String,
    id: Option<u64>,
    glob: Vec<char>,
}

impl ArenaPattern {
    /// Every text is a pattern.
    pub fn new(raw: &str) -> ArenaPattern {
        let has_wildcard = raw.contains(['*', '?']);
        let glob = if has_wildcard { raw.to_owned() } else { format!("*{raw}*") };
        ArenaPattern { raw: raw.to_owned(), id: raw.parse().ok(), glob: glob.chars().collect() }
    }

    /// As the user wrote it.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The pattern with its wildcards, for names; `None` when a number is meant.
    pub fn for_names(&self) -> Option<String> {
        self.id.is_none().then(|| self.glob.iter().collect())
    }

    /// True when the arena with this id and name is meant. A number means the id first and never part of a name.
    pub fn matches(&self, id: u64, name: &str) -> bool {
        match self.id {
            Some(wanted) => wanted == id,
            None => glob_matches(&self.glob, name),
        }
    }
}

/// Greedy matching with one point to come back to: linear in practice, at worst pattern × name.
pub(crate) fn glob_matches(glob: &[char], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let (mut g, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match glob.get(g) {
            Some('*') => {
                retry = Some((g + 1, n));
                g += 1;
            }
            Some(&c) if c == '?' || Some(&c) == name.get(n) => {
                g += 1;
                n += 1;
            }
            _ => match retry {
                Some((after_star, at)) => {
                    retry = Some((after_star, at + 1));
                    g = after_star;
                    n = at + 1;
                }
                None => return false,
            },
        }
    }
    glob.iter().skip(g).all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pattern_is_a_number_a_part_or_a_glob() {
        for (pattern, id, name, expected) in [
            ("3", 3, "x", true),
            ("3", 4, "arena3", false),
            ("are", 1, "my arena", true),
            ("are*", 1, "my arena", false),
            ("my*a", 1, "my arena", true),
            ("p??l", 1, "pool", true),
            ("p?l", 1, "pool", false),
            ("*", 1, "", true),
            ("", 1, "anything", true),
        ] {
            assert_eq!(ArenaPattern::new(pattern).matches(id, name), expected, "{pattern} {name}");
        }
    }

    /// Obviously right and exponential: the oracle for short inputs.
    fn slow(glob: &[char], name: &[char]) -> bool {
        match (glob.split_first(), name.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => slow(rest, name) || name.split_first().is_some_and(|(_, tail)| slow(glob, tail)),
            (Some((&g, rest)), Some((&n, tail))) => (g == '?' || g == n) && slow(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn globs_agree_with_the_plain_definition(glob in "[ab*?]{0,6}", name in "[ab]{0,8}") {
            let glob: Vec<char> = glob.chars().collect();
            let chars: Vec<char> = name.chars().collect();
            prop_assert_eq!(glob_matches(&glob, &name), slow(&glob, &chars));
        }
    }
}
