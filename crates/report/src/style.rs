//! How text may look: width, colour, and whether anything beyond ASCII may be used.
//!
//! Whoever owns the terminal decides (`cli`); this only obeys. Colour never carries meaning alone: each coloured word
//! is a word that says the same without colour.

use unicode_width::UnicodeWidthStr;

/// What a text view may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    /// Columns of the screen; lines that can choose their length keep to it.
    pub width: usize,
    /// ANSI colours may be used.
    pub colour: bool,
    /// ASCII only.
    pub plain: bool,
}

impl Style {
    /// 100 columns, no colour, full Unicode: what a pipe gets.
    pub const PIPE: Style = Style { width: 100, colour: false, plain: false };
    /// The narrowest screen that layouts are made for; smaller widths are taken as this.
    pub const NARROWEST: usize = 20;

    /// `width`, never below [`Style::NARROWEST`].
    pub fn columns(&self) -> usize {
        self.width.max(Style::NARROWEST)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A heading.
    pub fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Something wrong.
    pub fn red(&self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Something to look at.
    pub fn yellow(&self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Something in the background.
    pub fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    /// "…" or "...".
    pub fn ellipsis(&self) -> &'static str {
        if self.plain { "..." } else { "…" }
    }

    /// Separates items of one line: " · " or ", ".
    pub fn dot(&self) -> &'static str {
        if self.plain { ", " } else { " · " }
    }

    /// "→" or "->".
    pub fn arrow(&self) -> &'static str {
        if self.plain { "->" } else { "→" }
    }
}

/// Columns that `text` takes on a terminal (without ANSI sequences).
pub fn columns(text: &str) -> usize {
    text.width()
}

/// `text` cut to `width` columns, with the style's ellipsis in place of what was cut.
pub fn cut(text: &str, width: usize, style: &Style) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mark = style.ellipsis();
    let room = width.saturating_sub(columns(mark));
    let mut kept = String::new();
    let mut used = 0;
    for character in text.chars() {
        let wide = unicode_width::UnicodeWidthChar::width(character).unwrap_or(0);
        if used + wide > room {
            break;
        }
        used += wide;
        kept.push(character);
    }
    kept.push_str(mark);
    kept
}

/// `text` broken at spaces into lines of at most `width` columns; a longer word stands alone on its line.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let wide = columns(word);
        if used > 0 && used + 1 + wide > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += wide;
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// Items with `gap` between them, in lines of at most `width` columns; further lines are indented. An item that is too
/// long for a line is broken at spaces.
pub fn flow(items: &[String], gap: &str, width: usize) -> Vec<String> {
    const INDENT: &str = "  ";
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        match lines.last_mut() {
            Some(line) if columns(line) + columns(gap) + columns(item) <= width => {
                line.push_str(gap);
                line.push_str(item);
            }
            None => lines.extend(wrap(item, width)),
            Some(_) => {
                let broken = wrap(item, width.saturating_sub(INDENT.len()));
                lines.extend(broken.iter().map(|line| format!("{INDENT}{line}")));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_keeps_to_the_width_and_says_so() {
        let style = Style::PIPE;
        assert_eq!(cut("abcdef", 6, &style), "abcdef");
        assert_eq!(cut("abcdef", 5, &style), "abcd…");
        assert_eq!(cut("📦📦📦", 5, &style), "📦📦…");
        assert_eq!(cut("abcdef", 5, &Style { plain: true, ..style }), "ab...");
    }

    #[test]
    fn wrapping_breaks_at_spaces_only() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("averylongword x", 4), ["averylongword", "x"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("  indented", 40), ["  indented".trim_start()]);
    }

    #[test]
    fn items_flow_into_lines_of_the_width() {
        let items: Vec<String> = ["one", "two", "three and more"].map(str::to_owned).to_vec();
        assert_eq!(flow(&items, " · ", 40), ["one · two · three and more"]);
        assert_eq!(flow(&items, " · ", 16), ["one · two", "  three and more"]);
        assert_eq!(flow(&items, " · ", 8), ["one", "  two", "  three", "  and", "  more"]);
    }

    #[test]
    fn colour_is_only_there_when_asked_for() {
        assert_eq!(Style::PIPE.red("x"), "x");
        assert_eq!(Style { colour: true, ..Style::PIPE }.red("x"), "\x1b[1;31mx\x1b[0m");
    }
}
