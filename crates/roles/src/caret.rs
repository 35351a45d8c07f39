//! A line of text and a caret under one of its columns, as a terminal shows them.

use unicode_width::UnicodeWidthChar;

/// Drawn for a character that would move the cursor or change the terminal.
const REPLACEMENT: char = '\u{fffd}';

/// Both lines of [`under`], indented, nothing trailing.
pub(crate) fn lines(text: &str, column: usize) -> String {
    let (line, caret) = under(text, column);
    format!("{}\n  {caret}", format!("  {line}").trim_end())
}

/// `text` on one line, and a second line with `^` under the character at `column` (from 1; behind the last one, the
/// caret stands at the end). Tabs stay tabs in both lines, so that they agree whatever the tab stops are.
fn under(text: &str, column: usize) -> (String, String) {
    let mut line = String::with_capacity(text.len());
    let mut caret = String::new();
    for (index, char) in text.chars().enumerate() {
        let shown = match char {
            '\t' => '\t',
            '\n' | '\r' => ' ',
            _ if char.is_control() || is_invisible(char) => REPLACEMENT,
            _ => char,
        };
        line.push(shown);
        if index + 1 < column {
            match shown {
                '\t' => caret.push('\t'),
                _ => caret.extend(std::iter::repeat_n(' ', shown.width().unwrap_or(0))),
            }
        }
    }
    caret.push('^');
    (line, caret)
}

/// Marks that reorder or hide what follows them: shown, so that the line cannot lie about its columns.
fn is_invisible(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::under;

    #[test]
    fn the_caret_stands_under_its_character() {
        for (text, column, expected) in [
            ("abc", 1, "^"),
            ("abc", 3, "  ^"),
            ("abc", 4, "   ^"),
            ("abc", 99, "   ^"),
            ("", 1, "^"),
            ("\tab", 3, "\t ^"),
            ("日本x", 3, "    ^"),
            ("e\u{301}x", 3, " ^"),
        ] {
            assert_eq!(under(text, column).1, expected, "{text:?} column {column}");
        }
    }

    #[test]
    fn what_would_steer_the_terminal_is_replaced() {
        assert_eq!(under("a\x1b[31m\nb\u{202e}c", 1).0, "a\u{fffd}[31m b\u{fffd}c");
    }
}
