//! Frames and source lines of a process's addresses.

use crate::compile::Folder;
use arenascope_event::{Address, Frame, Module};
use arenascope_symbols::{Image, Symbolizer};
use std::path::Path;

const TEXT: &str = r#"#include <stdlib.h>
char *block;
static inline __attribute__((always_inline)) void *carve(unsigned long n) {
    return block = malloc(n);
}
static inline __attribute__((always_inline)) void *take(int n) {
    return carve(n * 2ul);
}
__attribute__((noinline)) void *make(int n) {
    void *p = take(n);
    block[0] = 1;
    return p;
}
int main(int argc, char **argv) { (void)argv; return make(argc) == 0; }
"#;

const BIAS: u64 = 0x5555_0000_0000;

fn module(path: &Path, build_id: &[u8]) -> Module {
    Module {
        path: path.to_str().unwrap().to_owned(),
        bias: BIAS,
        start: Address(BIAS),
        end: Address(BIAS + 0x100_0000),
        build_id: build_id.to_vec(),
    }
}

/// The return address of the first call in `function`, found as the byte after `e8 xx xx xx xx`.
fn after_first_call(image: &Image, function: &str) -> u64 {
    let function = image.find(function)[0].function;
    let code = image.code(function.address, function.size as usize).unwrap();
    let at = code.iter().position(|byte| *byte == 0xe8).expect("a call");
    function.address + at as u64 + 5
}

fn words(frames: &[Frame]) -> Vec<String> {
    frames
        .iter()
        .map(|frame| {
            let file = frame.file.rsplit('/').next().unwrap_or_default();
            format!("{} {file}:{}{}", frame.function, frame.line, if frame.inlined { " inlined" } else { "" })
        })
        .collect()
}

#[test]
fn inlined_frames_come_first_with_their_lines() {
    let folder = Folder::new();
    for compiler in ["gcc", "clang"] {
        for flags in ["-g -O0", "-g -O2", "-g -O2 -gdwarf-4", "-g -O1 -no-pie"] {
            let path = folder.compile(compiler, "lines", TEXT, flags);
            let image = Image::open(&path).unwrap();
            let symbolizer = Symbolizer::new(&[module(&path, image.build_id())]);
            let address = Address(BIAS + after_first_call(&image, "make"));
            let frames = symbolizer.frames(address);
            assert_eq!(
                words(&frames),
                ["carve lines.c:4 inlined", "take lines.c:7 inlined", "make lines.c:10"],
                "{compiler} {flags}"
            );
            assert!(frames.iter().all(|frame| frame.address == address && frame.module == "lines"));
            assert_eq!(frames[0].file, folder.path("lines.c").to_str().unwrap(), "{compiler} {flags}");
            assert_eq!(symbolizer.source_line(&frames[0].file, 4).as_deref(), Some("return block = malloc(n);"));
            let (found, bias) = symbolizer.image_at(address).unwrap();
            assert_eq!((found.path(), bias), (path.as_path(), BIAS));
        }
    }
}

#[test]
fn a_return_address_belongs_to_the_call_before_it() {
    // The call of a function that does not return is the last instruction: what follows is another function.
    let text = r#"
        #include <stdlib.h>
        __attribute__((noinline, noreturn)) static void leave(void) { exit(3); }
        __attribute__((noinline)) void last(void) { leave(); }
        __attribute__((noinline)) int next(int n) { return n + 1; }
        int main(int argc, char **argv) { (void)argv; if (argc > 1) last(); return next(argc); }
    "#;
    let folder = Folder::new();
    let path = folder.compile("gcc", "leave", text, "-g -O1 -fno-align-functions");
    let image = Image::open(&path).unwrap();
    let symbolizer = Symbolizer::new(&[module(&path, &[])]);
    let after = after_first_call(&image, "last");
    assert_eq!(image.function_at(after).unwrap().name, "next", "the test needs them adjacent");
    let address = Address(BIAS + after);
    assert_eq!(words(&symbolizer.frames(address)), ["last leave.c:4"]);
    assert_eq!(words(&symbolizer.frames_at_pc(address)), ["next leave.c:5"]);
}

#[test]
fn without_debug_information_symbols_name_the_functions() {
    let folder = Folder::new();
    let path = folder.compile("gcc", "plain", TEXT, "-O0");
    let image = Image::open(&path).unwrap();
    let symbolizer = Symbolizer::new(&[module(&path, &[])]);
    let address = Address(BIAS + image.find("make")[0].function.address + 8);
    assert_eq!(words(&symbolizer.frames(address)), ["make :0"]);
}

#[test]
fn what_is_not_known_is_not_claimed() {
    let folder = Folder::new();
    let path = folder.compile("gcc", "plain", TEXT, "-g -O0 -Wl,--build-id=sha1");
    let image = Image::open(&path).unwrap();
    let inside = Address(BIAS + image.find("make")[0].function.address + 8);
    let unknown = |module: &str| vec![Frame { address: inside, module: module.to_owned(), ..Frame::default() }];
    // Another build than the one that ran; a file that is gone; no module there at all.
    assert_eq!(Symbolizer::new(&[module(&path, &[1, 2, 3])]).frames(inside), unknown("plain"));
    assert_eq!(Symbolizer::new(&[module(Path::new("/no/such/lib.so"), &[])]).frames(inside), unknown("lib.so"));
    assert_eq!(Symbolizer::new(&[module(Path::new("[vdso]"), &[])]).frames(inside), unknown("[vdso]"));
    assert_eq!(Symbolizer::new(&[]).frames(inside), unknown(""));
    let known = Symbolizer::new(&[module(&path, image.build_id())]);
    for address in [0, 1, BIAS, BIAS + 0xff_ffff, BIAS + 0x100_0000, u64::MAX] {
        let frames = known.frames(Address(address));
        assert_eq!((frames.len(), frames[0].function.as_str()), (1, ""), "{address:#x}");
    }
}

#[test]
fn source_lines_are_read_where_the_files_are() {
    let folder = Folder::new();
    let path = folder.compile("gcc", "plain", TEXT, "-g -O0");
    let symbolizer = Symbolizer::new(&[module(&path, &[])]);
    // Relative names are looked for next to the module.
    assert_eq!(symbolizer.source_line("plain.c", 2).as_deref(), Some("char *block;"));
    let file = folder.path("plain.c");
    let file = file.to_str().unwrap();
    for (file, line) in [(file, 0), (file, 9999), ("/no/such/file.c", 1), ("/dev/zero", 1), ("", 1), ("/", 1)] {
        assert_eq!(symbolizer.source_line(file, line), None, "{file}:{line}");
    }
    let large = folder.write("large.c", &"x\n".repeat((8 << 20) + 1));
    assert_eq!(symbolizer.source_line(large.to_str().unwrap(), 1), None);
    let latin = folder.path("latin.c");
    std::fs::write(&latin, b"// caf\xe9\n").unwrap();
    assert_eq!(symbolizer.source_line(latin.to_str().unwrap(), 1).as_deref(), Some("// caf\u{fffd}"));
}
