//! Text that came from the watched program, made safe to print.
//!
//! A terminal obeys what is printed on it: an escape sequence in an arena's name could rewrite the screen, a
//! right-to-left override could reverse a path. Everything that came from the program, its trace or its files goes
//! through one of these functions before it reaches a text view. JSON views have their own escaping and do not.

use std::borrow::Cow;
use std::fmt::Write as _;

/// True for characters that change how the characters around them are shown, or show nothing at all.
fn is_unruly(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Control and direction characters as `\n`, `\x1b`, `\u{202e}`; with `ascii` also every character beyond ASCII.
/// Borrows when nothing had to change.
pub fn text(raw: &str, ascii: bool) -> Cow<'_, str> {
    let passes = |character: char| !is_unruly(character) && (!ascii || character.is_ascii());
    if raw.chars().all(passes) {
        return Cow::Borrowed(raw);
    }
    let mut safe = String::with_capacity(raw.len() + 8);
    for character in raw.chars() {
        match character {
            c if passes(c) => safe.push(c),
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            '\r' => safe.push_str("\\r"),
            c => {
                let code = u32::from(c);
                let _ = if code < 0x100 { write!(safe, "\\x{code:02x}") } else { write!(safe, "\\u{{{code:x}}}") };
            }
        }
    }
    Cow::Owned(safe)
}

/// The same for a line of source code, where a tab is a space.
pub fn source(raw: &str, ascii: bool) -> String {
    text(raw.trim().replace('\t', " ").as_str(), ascii).into_owned()
}

/// Bytes as the seed's dump shows them: printable ASCII as it is, anything else as `.`.
pub fn dump(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| if (32..127).contains(&byte) { char::from(byte) } else { '.' }).collect()
}

/// A word for a POSIX shell: quoted only where needed.
pub fn shell_word(raw: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,+=@%^".contains(c);
    if !raw.is_empty() && raw.chars().all(plain) {
        return Cow::Borrowed(raw);
    }
    if raw.chars().any(is_unruly) {
        // printf in octal, which every POSIX shell has: the command stays both printable and exact (but for newlines at
        // the very end, which the shell cuts off).
        let mut word = String::from("\"$(printf '");
        for character in raw.chars() {
            match character {
                '\\' => word.push_str("\\\\"),
                '%' => word.push_str("%%"),
                c if is_unruly(c) || c == '\'' => {
                    let mut bytes = [0; 4];
                    for byte in c.encode_utf8(&mut bytes).bytes() {
                        let _ = write!(word, "\\{byte:03o}");
                    }
                }
                c => word.push(c),
            }
        }
        word.push_str("')\"");
        return Cow::Owned(word);
    }
    Cow::Owned(format!("'{}'", raw.replace('\'', "'\\''")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_program_cannot_speak_to_the_terminal() {
        for (raw, ascii, safe) in [
            ("arena", false, "arena"),
            ("\x1b[2Jgone", false, "\\x1b[2Jgone"),
            ("a\nb\tc\rd", false, "a\\nb\\tc\\rd"),
            ("\u{9b}31m", false, "\\x9b31m"),
            ("evil\u{202e}cod.exe", false, "evil\\u{202e}cod.exe"),
            ("größe", false, "größe"),
            ("größe", true, "gr\\xf6\\xdfe"),
            ("📦", true, "\\u{1f4e6}"),
        ] {
            assert_eq!(text(raw, ascii), safe, "{raw:?}");
        }
        assert_eq!(source("\tp = get(\t3);\n", false), "p = get( 3);");
        assert_eq!(dump(b"ok\0\xff\x1b~"), "ok...~");
    }

    #[test]
    fn shell_words_are_quoted_only_when_needed() {
        for (raw, word) in [
            ("a.4711.ascope", "a.4711.ascope"),
            ("#5", "'#5'"),
            ("my trace", "'my trace'"),
            ("it's", "'it'\\''s'"),
            ("", "''"),
            ("a\x1bb'%c", "\"$(printf 'a\\033b\\047%%c')\""),
            ("\u{202e}\\", "\"$(printf '\\342\\200\\256\\\\')\""),
            ("~x", "'~x'"),
        ] {
            assert_eq!(shell_word(raw), word, "{raw:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_unruly_comes_out(raw in "\\PC*|[\\x00-\\xff]*|.*", ascii: bool) {
            let safe = text(&raw, ascii);
            prop_assert!(!safe.chars().any(is_unruly));
            prop_assert!(!ascii || safe.is_ascii());
            prop_assert!(!shell_word(&raw).chars().any(is_unruly));
        }
    }
}
