//! Programs built with a sanitizer: what their runtime demands of whoever comes along.
//!
//! AddressSanitizer's shared runtime ends the program unless it is the first library of all, so it goes into LD_PRELOAD
//! before the agent, by the path where the loader would find it. All runtimes print backtraces of malloc and free, in
//! which a hook of ours would stand where the caller should. Deliberately absent: anything about what they check.

use arenascope_symbols::{Image, load_order_with};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How the agent gets into a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Way {
    /// Behind these entries of LD_PRELOAD, each with a colon behind it; mostly none.
    Behind(Vec<u8>),
    /// Not at all, and why.
    Barred(String),
}

/// The way into `image`, whose LD_LIBRARY_PATH will be `library_path`.
pub fn way_into(image: &Image, library_path: Option<&OsStr>) -> Way {
    // Asked for later than first, or by a library: then the program ends by itself, with the runtime's own words.
    if !image.needed().first().is_some_and(|name| must_be_first(name)) {
        return Way::Behind(Vec::new());
    }
    let Some(runtime) = load_order_with(image, library_path).into_iter().next() else {
        return Way::Behind(Vec::new());
    };
    if !runtime.file_name().is_some_and(|name| must_be_first(&name.to_string_lossy())) {
        return Way::Behind(Vec::new());
    }
    let mut entry = runtime.as_os_str().as_bytes().to_vec();
    if entry.iter().any(|byte| matches!(byte, b':' | b' ')) || !runtime.is_absolute() {
        return Way::Barred(format!(
            "it is built with AddressSanitizer, whose runtime must come first, and {} cannot stand in LD_PRELOAD: link it \
             with -static-libasan (gcc) or -static-libsan (clang), or keep the runtime at a path without blanks and colons",
            runtime.display()
        ));
    }
    entry.push(b':');
    Way::Behind(entry)
}

/// True for the file name of AddressSanitizer's shared runtime, gcc's or clang's.
fn must_be_first(name: &str) -> bool {
    name.starts_with("libasan.so") || name.starts_with("libclang_rt.asan")
}

/// True for a module that is, or contains, the runtime of a sanitizer that replaces malloc.
pub fn replaces_malloc(image: &Image) -> bool {
    const THEIR_OWN: [&str; 4] = ["__asan_init", "__lsan_do_leak_check", "__tsan_init", "__msan_init"];
    image.symbols().iter().any(|function| THEIR_OWN.iter().any(|own| *function.name == **own))
}

/// The value of LD_PRELOAD that brings the agent at `agent` into a program: see `take_preload` in the agent.
pub fn preload_value(existing: Option<&OsStr>, before: &[u8], agent: &str) -> Vec<u8> {
    let mut value = Vec::new();
    if let Some(existing) = existing {
        value.extend_from_slice(existing.as_bytes());
        value.extend_from_slice(b"::");
    }
    // What stands there comes first without us too.
    if existing.is_none_or(OsStr::is_empty) {
        value.extend_from_slice(before);
    }
    value.extend_from_slice(agent.as_bytes());
    value
}

/// As [`way_into`], for a file that may be a script or no program at all: those are nobody's business here.
pub fn way_into_file(path: &Path, library_path: Option<&OsStr>) -> Way {
    Image::open(path).map_or(Way::Behind(Vec::new()), |image| way_into(&image, library_path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(existing: Option<&str>, before: &str) -> String {
        String::from_utf8(preload_value(existing.map(OsStr::new), before.as_bytes(), "/proc/1/fd/3")).expect("text")
    }

    #[test]
    fn what_was_there_can_be_told_from_what_we_add() {
        assert_eq!(value(None, ""), "/proc/1/fd/3");
        assert_eq!(value(None, "/lib/libasan.so.8:"), "/lib/libasan.so.8:/proc/1/fd/3");
        assert_eq!(value(Some(""), "/lib/libasan.so.8:"), "::/lib/libasan.so.8:/proc/1/fd/3");
        assert_eq!(value(Some("a.so:b.so"), "/lib/libasan.so.8:"), "a.so:b.so::/proc/1/fd/3");
    }

    #[test]
    fn an_ordinary_program_needs_nothing_before_us() {
        assert_eq!(way_into_file(Path::new("/bin/sh"), None), Way::Behind(Vec::new()));
        assert_eq!(way_into_file(Path::new("/etc/passwd"), None), Way::Behind(Vec::new()));
        assert!(must_be_first("libasan.so.8") && must_be_first("libclang_rt.asan-x86_64.so"));
        assert!(!must_be_first("libtsan.so.2") && !must_be_first("libc.so.6"));
    }
}
