//! The frames of a call whose program said where it stands: those of the arena library in front of it are of no interest.
//!
//! Relied on: the first frame afterwards is the place itself, whatever debug information there is. Absent: reading source files.

use arenascope_event::{Address, Frame, Place, SiteFacts};

/// Takes the frames of the library off the front, up to the place; where no frame is there, the place becomes one. Without a
/// place the library's frames go all the same, if others are left.
pub fn begin_at_place(site: &mut SiteFacts) {
    let Some(place) = &site.place else {
        let inside = site.frames.iter().take_while(|frame| is_library(frame)).count();
        if inside < site.frames.len() {
            site.frames.drain(..inside);
        }
        return;
    };
    if let Some(first) = site.frames.iter().position(|frame| is_at(frame, place)) {
        site.frames.drain(..first);
        return;
    }
    let inside = site.frames.iter().take_while(|frame| frame.function.is_empty() || is_library(frame)).count();
    site.frames.drain(..inside);
    // The first frame that is left is the very function where it has no line (stripped of lines, not of symbols), or another line of the
    // place's file: a call that takes several lines, or a macro.
    let function = match site.frames.first() {
        Some(frame) if frame.file.is_empty() || is_at(&Frame { line: place.line, ..frame.clone() }, place) => {
            site.frames.remove(0).function
        }
        _ => String::new(),
    };
    let address = site.addresses.first().copied().unwrap_or(Address::NULL);
    let (file, line) = (place.file.clone(), place.line);
    site.frames.insert(0, Frame { address, function, file, line, module: String::new(), inlined: false });
}

/// Debug information has whole paths where the compiler's own words are relative.
fn is_at(frame: &Frame, place: &Place) -> bool {
    let same_file = || {
        let (long, short) =
            if frame.file.len() > place.file.len() { (&frame.file, &place.file) } else { (&place.file, &frame.file) };
        let short = short.trim_start_matches("./");
        let rest = long.strip_suffix(short);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
    };
    frame.line == place.line && !frame.file.is_empty() && same_file()
}

/// True for functions of the arena library, in Rust and in C: by name, or, where debug information has only the last part of it, by
/// the crate's folder.
fn is_library(frame: &Frame) -> bool {
    let name = frame.function.trim_start_matches(['<', '&']);
    let crate_folder = || {
        let (path, _) = frame.file.rsplit_once("/src/")?;
        let folder = path.rsplit('/').next()?;
        let version = folder.strip_prefix("arenascope")?;
        Some(
            version.is_empty()
                || version.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())),
        )
    };
    name.starts_with("arenascope::") || name.starts_with("ascope_") || crate_folder() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, file: &str, line: u32) -> Frame {
        Frame { function: function.into(), file: file.into(), line, ..Frame::default() }
    }

    fn site(frames: Vec<Frame>, file: &str, line: u32) -> SiteFacts {
        SiteFacts { frames, place: Some(Place { file: file.into(), line, column: 9 }), ..SiteFacts::default() }
    }

    #[test]
    fn frames_in_front_of_the_place_go() {
        let frames = vec![
            frame("arenascope::probe::report", "/home/u/arenascope/src/probe.rs", 20),
            frame("app::parse", "/home/u/app/src/main.rs", 12),
            frame("app::main", "/home/u/app/src/main.rs", 30),
        ];
        let mut given = site(frames, "src/main.rs", 12);
        begin_at_place(&mut given);
        assert_eq!(
            given.frames.iter().map(|frame| frame.function.as_str()).collect::<Vec<_>>(),
            ["app::parse", "app::main"]
        );
    }

    #[test]
    fn a_file_whose_name_merely_ends_alike_is_another() {
        let mut given = site(vec![frame("other", "/home/u/app/src/my_main.rs", 12)], "main.rs", 12);
        begin_at_place(&mut given);
        assert_eq!((given.frames[0].file.as_str(), given.frames[0].line, given.frames.len()), ("main.rs", 12, 2));
    }

    #[test]
    fn another_line_of_the_same_file_is_the_function_s() {
        let frames =
            vec![frame("ascope_create", "create.rs", 9), frame("main", "/home/u/cr.c", 5), frame("start", "", 0)];
        let mut given = site(frames, "cr.c", 2);
        begin_at_place(&mut given);
        let told: Vec<_> = given.frames.iter().map(|frame| (frame.function.as_str(), frame.line)).collect();
        assert_eq!(told, [("main", 2), ("start", 0)]);
    }

    #[test]
    fn without_a_place_the_library_s_frames_go_if_others_are_left() {
        let inner = || frame("report", "/home/u/.cargo/registry/src/index/arenascope-0.1.0/src/probe.rs", 268);
        let other = || frame("drop", "/home/u/arenascope-app/src/main.rs", 3);
        let mut given = SiteFacts { frames: vec![inner(), other()], ..SiteFacts::default() };
        begin_at_place(&mut given);
        assert_eq!(given.frames, [other()]);
        let mut alone = SiteFacts { frames: vec![inner()], ..SiteFacts::default() };
        begin_at_place(&mut alone);
        assert_eq!(alone.frames, [inner()]);
    }

    #[test]
    fn without_lines_the_place_is_a_frame_of_its_own() {
        let frames = vec![frame("ascope_alloc_slow", "", 0), frame("parse", "", 0), frame("main", "", 0)];
        let mut given = site(frames, "parse.c", 7);
        begin_at_place(&mut given);
        let told: Vec<_> = given.frames.iter().map(|frame| (frame.function.as_str(), frame.line)).collect();
        assert_eq!(told, [("parse", 7), ("main", 0)]);
        let mut bare = site(Vec::new(), "parse.c", 7);
        begin_at_place(&mut bare);
        assert_eq!(bare.frames.len(), 1);
    }
}
