//! Files that lie: bits flipped, ends cut off, not ELF at all. Anything may be answered; nothing may panic or hang.

use crate::compile::Folder;
use arenascope_symbols::{Image, ImageError, load_order_with};
use std::path::Path;
use std::time::{Duration, Instant};

const TEXT: &str = r#"
struct arena { char *base; unsigned long offset; struct { int a : 3; double d; } in[2]; };
enum mode { A, B = 7 };
static inline __attribute__((always_inline)) void *bump(struct arena *a, unsigned long n) { char *p = a->base + a->offset; a->offset += n; return p; }
__attribute__((noinline)) static void *take(struct arena *a, unsigned long n, enum mode m) { return m ? bump(a, n) : bump(a, n + 1); }
void *first(struct arena *a) { return take(a, 24, A); }
struct arena second(struct arena a, long double x) { a.offset += (long)x; return a; }
void _start(void) { struct arena a = { 0, 0 }; first(&a); take(&a, 3, B); }
"#;

/// Asks everything there is to ask.
fn ask_everything(path: &Path) -> Option<usize> {
    let image = Image::open_with(path, &[]).ok()?;
    let mut answers = image.build_id().len() + image.needed().len() + usize::from(image.is_stripped());
    answers += format!("{:?} {:?} {:?}", image.linkage(), image.run_paths(), image.debug_file()).len();
    answers += load_order_with(&image, None).len();
    let addresses: Vec<u64> = image.functions().iter().map(|function| function.address).collect();
    for address in addresses.iter().copied().chain([0, 1, 0x1000, 0x1001, u64::MAX]) {
        answers += image.code(address, 64).map_or(0, <[u8]>::len);
        answers += image.signature(address).map_or(0, |signature| signature.params.len());
        answers += image.source_frames(address.wrapping_add(3)).len();
        answers += image.function_at(address).map_or(0, |function| function.display().len());
        answers += image.plt_name(address).map_or(0, str::len) + image.slot_name(address).map_or(0, str::len);
    }
    for name in ["take", "first", "bump", "arena::take", ""] {
        answers += image.find(name).len() + image.inlined_copies(name) + usize::from(image.defined_but_no_body(name));
        answers += image.nearest(name, 5).len();
    }
    Some(answers)
}

fn small_program(folder: &Folder, compiler: &str, flags: &str) -> Vec<u8> {
    let flags = format!("-nostdlib -g -O1 -fno-asynchronous-unwind-tables {flags}");
    let path = folder.compile(compiler, "small", TEXT, &flags);
    assert!(ask_everything(&path).unwrap() > 100, "the undamaged file must answer");
    std::fs::read(path).unwrap()
}

#[test]
fn files_with_flipped_bits_never_panic() {
    let folder = Folder::new();
    let mut state = 0x1234_5678_9ABC_DEF1u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut opened = 0;
    for (compiler, flags) in [
        ("gcc", ""),
        ("clang", ""),
        ("gcc", "-gdwarf-4 -fdebug-types-section"),
        ("gcc", "-gz=zlib"),
        ("clang", "-gdwarf-2"),
    ] {
        let whole = small_program(&folder, compiler, flags);
        let path = folder.path("damaged");
        for round in 0..250 {
            let mut bytes = whole.clone();
            for _ in 0..1 + random() % 12 {
                // Two of three rounds leave the headers alone, to reach what lies behind them.
                let from = if round % 3 == 0 { 0 } else { 0x400.min(bytes.len() as u64 / 2) };
                let at = (from + random() % (bytes.len() as u64 - from)) as usize;
                bytes[at] = match random() % 4 {
                    0 => 0xff,
                    1 => 0,
                    _ => bytes[at] ^ (1 << (random() % 8)),
                };
            }
            std::fs::write(&path, &bytes).unwrap();
            let start = Instant::now();
            opened += usize::from(ask_everything(&path).is_some());
            let spent = start.elapsed();
            assert!(spent < Duration::from_secs(10), "round {round} of {compiler} {flags} took {spent:?}");
        }
    }
    assert!(opened > 500, "only {opened} damaged files could be opened: the damage is too coarse to test much");
}

#[test]
fn files_cut_off_anywhere_never_panic() {
    let folder = Folder::new();
    let whole = small_program(&folder, "gcc", "");
    let path = folder.path("cut");
    for length in (0..whole.len()).step_by(97) {
        std::fs::write(&path, &whole[..length]).unwrap();
        let _ = ask_everything(&path);
    }
    for (length, expected) in [(0, "not an ELF program"), (3, "not an ELF program"), (10, "ends before"), (70, "")] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = Image::open(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{length}: {error}");
    }
}

#[test]
fn a_type_that_holds_itself_many_times_ends() {
    let text = r#"
        struct twice { int a, b, c, d; };
        struct empty { };
        struct many { struct empty e[0x7fffffffffff]; };
        void *take(struct twice t, int n) { (void)t; return (void *)(long)n; }
        void *take_many(struct many *m, struct many n) { (void)n; return m; }
        int main(void) { return 0; }
    "#;
    let folder = Folder::new();
    folder.write("self.c", text);
    folder.run("gcc", &["-g", "-O0", "-dA", "-S", "self.c"]);
    let assembly = std::fs::read_to_string(folder.path("self.s")).unwrap();
    // Comments name the entries: `.uleb128 0x4  # (DIE (0x32) DW_TAG_structure_type)`, then their attributes.
    let mut holder = None;
    let mut in_member = false;
    let mut changed = 0;
    let mut lines = Vec::new();
    for line in assembly.lines() {
        if let Some((_, die)) = line.split_once("(DIE (") {
            let (offset, tag) = die.split_once(')').unwrap();
            in_member = tag.contains("DW_TAG_member") && changed < 4;
            if tag.contains("DW_TAG_structure_type") && holder.is_none() {
                holder = Some(offset.to_owned());
            }
        }
        if in_member && line.contains("# DW_AT_type") {
            changed += 1;
            lines.push(format!("\t.long\t{}", holder.as_deref().unwrap()));
        } else {
            lines.push(line.to_owned());
        }
    }
    assert_eq!(changed, 4, "{assembly}");
    folder.write("self.s", &(lines.join("\n") + "\n"));
    folder.run("gcc", &["-o", "self", "self.s"]);
    let image = Image::open(&folder.path("self")).unwrap();
    let start = Instant::now();
    for name in ["take", "take_many"] {
        let signature = image.signature(image.find(name)[0].function.address).unwrap();
        assert_eq!(signature.params.len(), 2);
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn what_cannot_be_opened_says_why() {
    let folder = Folder::new();
    let script = folder.write("script", "#!/usr/bin/env python3\nprint(1)\n");
    let object = {
        folder.write("o.c", "int x;");
        folder.run("gcc", &["-c", "o.c"]);
        folder.path("o.o")
    };
    for (path, words) in [
        (Path::new("/no/such/file"), "no such file"),
        (folder.path("").as_path(), "cannot be read: is a directory"),
        (script.as_path(), "a script of /usr/bin/env, not an ELF program: name the interpreter's program instead"),
        (object.as_path(), "an object file (.o), not a program or a shared library"),
        (Path::new("/dev/null"), "cannot be read: not a regular file"),
    ] {
        assert_eq!(Image::open(path).unwrap_err().to_string(), words, "{}", path.display());
    }
    // A pipe without a writer must not be waited for.
    folder.run("mkfifo", &["pipe"]);
    assert_eq!(Image::open(&folder.path("pipe")).unwrap_err().to_string(), "cannot be read: not a regular file");
    // As a user to whom the file is closed, even when the tests run as root: a path below a file is closed to all.
    let below = script.join("x");
    assert!(matches!(Image::open(&below), Err(ImageError::Unreadable(_) | ImageError::NotFound)));
}
