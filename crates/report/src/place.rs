//! Where in the program: one frame of a site as `function  file:line`, with file names as short as they can be.
//!
//! A file is called by its last component as long as no other file of the same view shares it; otherwise by its path
//! from the current directory, which the caller hands in. Absent: reading source files.

use crate::escape;
use crate::style::Style;
use crate::view::Site;
use arenascope_event::Frame;
use std::collections::{BTreeMap, BTreeSet};

/// Short names for the files of one view.
#[derive(Clone, Debug, Default)]
pub struct FileNames {
    cwd: String,
    /// Last components that stand for more than one path.
    ambiguous: BTreeSet<String>,
}

fn last_component(path: &str) -> &str {
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path)
}

impl FileNames {
    /// Names for all `paths` that a view may show; `cwd` may be empty when not known.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>, cwd: &str) -> FileNames {
        let mut first: BTreeMap<&str, &str> = BTreeMap::new();
        let mut ambiguous = BTreeSet::new();
        for path in paths {
            let last = last_component(path);
            if *first.entry(last).or_insert(path) != path {
                ambiguous.insert(last.to_owned());
            }
        }
        FileNames { cwd: cwd.trim_end_matches('/').to_owned(), ambiguous }
    }

    /// The short name of `path`, not yet escaped.
    pub fn short<'a>(&self, path: &'a str) -> &'a str {
        let last = last_component(path);
        if !self.ambiguous.contains(last) {
            return last;
        }
        let inside = path.strip_prefix(self.cwd.as_str()).and_then(|rest| rest.strip_prefix('/'));
        match inside {
            Some(inside) if !self.cwd.is_empty() && !inside.is_empty() => inside,
            _ => path,
        }
    }

    /// `file.c:84`, escaped; the module and address when the line is not known; empty when nothing is.
    pub fn file_line(&self, frame: &Frame, style: &Style) -> String {
        let place = if !frame.file.is_empty() && frame.line > 0 {
            format!("{}:{}", self.short(&frame.file), frame.line)
        } else if !frame.file.is_empty() {
            self.short(&frame.file).to_owned()
        } else if frame.module.is_empty() {
            format!("{:#x}", frame.address.0)
        } else {
            format!("{} {:#x}", last_component(&frame.module), frame.address.0)
        };
        escape::text(&place, style.plain).into_owned()
    }

    /// `main  file.c:84`, escaped; "?" stands for an unknown function.
    pub fn frame(&self, frame: &Frame, style: &Style) -> String {
        let function = if frame.function.is_empty() { "?" } else { &frame.function };
        format!("{}  {}", escape::text(function, style.plain), self.file_line(frame, style))
    }

    /// The frame that stands for the whole site: the innermost one with a source line, else the innermost.
    pub fn site(&self, site: &Site, style: &Style) -> String {
        match telling_frame(site) {
            Some(frame) => self.frame(frame, style),
            None => "at an unknown place".to_owned(),
        }
    }

    /// `file.c:84` of that frame; empty when the site has no frames.
    pub fn site_line(&self, site: &Site, style: &Style) -> String {
        telling_frame(site).map(|frame| self.file_line(frame, style)).unwrap_or_default()
    }
}

/// The innermost frame with a source line, else the innermost.
pub fn telling_frame(site: &Site) -> Option<&Frame> {
    telling(&site.frames)
}

/// The same of bare frames.
pub fn telling(frames: &[Frame]) -> Option<&Frame> {
    frames.iter().find(|frame| frame.line > 0).or(frames.first())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arenascope_event::Address;

    fn frame(function: &str, file: &str, line: u32) -> Frame {
        Frame { function: function.into(), file: file.into(), line, address: Address(0x1234), ..Frame::default() }
    }

    #[test]
    fn a_file_is_called_by_its_last_component_unless_that_is_ambiguous() {
        let paths = ["/home/a/x/pool.c", "/home/a/y/pool.c", "/home/a/main.c", "/usr/z/pool.c"];
        let names = FileNames::new(paths, "/home/a/");
        let shorts: Vec<&str> = paths.iter().map(|path| names.short(path)).collect();
        assert_eq!(shorts, ["x/pool.c", "y/pool.c", "main.c", "/usr/z/pool.c"]);
        let nowhere = FileNames::new(paths, "");
        assert_eq!(nowhere.short(paths[0]), paths[0]);
    }

    #[test]
    fn a_site_is_told_by_its_innermost_line() {
        let names = FileNames::default();
        let style = Style::PIPE;
        let library = Frame { module: "/lib/libapr-1.so.0".into(), ..frame("apr_pstrdup", "", 0) };
        let site = Site { frames: vec![library.clone(), frame("main", "/a/m.c", 7)], ..Site::default() };
        assert_eq!(names.site(&site, &style), "main  m.c:7");
        let bare = Site { frames: vec![library], ..Site::default() };
        assert_eq!(names.site(&bare, &style), "apr_pstrdup  libapr-1.so.0 0x1234");
        assert_eq!(names.site(&Site::default(), &style), "at an unknown place");
        let evil = Site { frames: vec![frame("a\x1b[1m", "b\n.c", 3)], ..Site::default() };
        assert_eq!(names.site(&evil, &style), "a\\x1b[1m  b\\n.c:3");
    }
}
