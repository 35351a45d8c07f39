//! One layout for C and Rust: every documented field of every struct, by offset and size, in every compiler.

use crate::installed::{COMPILERS, Compiler, STRICT, prefix, run, scratch};
use arenascope_capi::arenascope::{Event, HEADER_BYTES, Observer, header, raw};
use arenascope_capi::{KeptRegions, Lease, Marker, Options, ShareUse, SharedUse, Status, options};
use std::mem::{offset_of, size_of};
use std::process::Command;

macro_rules! fields {
    ($text:ident, $c:literal, $rust:ty: $($name:ident)*) => {
        $($text.push_str(&field($c, stringify!($name), offset_of!($rust, $name), size_behind(|s: &$rust| &s.$name)));)*
        $text.push_str(&format!("ASCOPE_STATIC_ASSERT(sizeof({}) == {});\n", $c, size_of::<$rust>()));
    };
}

fn size_behind<S, T>(_: fn(&S) -> &T) -> usize {
    size_of::<T>()
}

fn field(c: &str, name: &str, offset: usize, bytes: usize) -> String {
    format!(
        "ASCOPE_STATIC_ASSERT(offsetof({c}, {name}) == {offset});\n\
         ASCOPE_STATIC_ASSERT(sizeof((({c} *)0)->{name}) == {bytes});\n"
    )
}

fn assertions() -> String {
    let mut text = String::from("#include <arenascope.h>\n");
    for f in raw::LAYOUT {
        text.push_str(&field("ascope_arena", f.name, f.offset, f.bytes));
    }
    fields!(text, "ascope_event", Event: kind event_bytes number arena arena_id block size align old_block old_size offset
        generation depth line file file_bytes column);
    fields!(text, "ascope_observer", Observer: version table_bytes context event sample_bytes next_sample);
    fields!(text, "ascope_options", Options: options_bytes layout_version flags capacity reserve keep_bytes name file observer
        line commit_ahead);
    fields!(text, "ascope_kept_regions", KeptRegions: bytes count);
    fields!(text, "ascope_shared_use", SharedUse: base capacity leased_bytes unused_bytes lost_bytes generation held berths
        refusals);
    fields!(text, "ascope_lease", Lease: pid tid base offset capacity);
    fields!(text, "ascope_share_use", ShareUse: leased_bytes unused_bytes lost_bytes held orphaned refusals);
    let magic = header::MAGIC;
    for (name, value) in [
        ("sizeof(ascope_marker)", size_of::<Marker>() as u64),
        ("sizeof(ascope_status)", size_of::<Status>() as u64),
        ("ASCOPE_MAGIC", magic),
        ("ASCOPE_LAYOUT_VERSION", header::LAYOUT_VERSION.into()),
        ("ASCOPE_FOREIGN", Status::Foreign as u64),
        ("ASCOPE_STALE", Status::Stale as u64),
        ("ASCOPE_OUT_OF_ORDER", Status::OutOfOrder as u64),
        ("ASCOPE_GROWING", options::GROWING.into()),
        ("ASCOPE_SMALL_PAGES", options::SMALL_PAGES.into()),
        ("ASCOPE_HUGE_PAGES", options::HUGE_PAGES.into()),
        ("ASCOPE_NO_POPULATE", options::NO_POPULATE.into()),
        ("ASCOPE_NO_KEEP", options::NO_KEEP.into()),
        ("ASCOPE_HEAP", options::HEAP.into()),
        ("ASCOPE_RESET_KEEPS_SOME", options::KEEP_UP_TO.into()),
        ("ASCOPE_RESET_RELEASES", options::RELEASE.into()),
        ("ASCOPE_NO_COLOUR", options::NO_COLOUR.into()),
        ("ASCOPE_POPULATE_ALL", options::POPULATE_ALL.into()),
        ("ASCOPE_FLAG_ZEROED", header::flags::ZEROED.into()),
        ("ASCOPE_FLAG_GROWING", header::flags::GROWING.into()),
        ("ASCOPE_FLAG_WATCHED", header::flags::WATCHED.into()),
        ("ASCOPE_FLAG_LEASED", header::flags::LEASED.into()),
    ] {
        text.push_str(&format!("ASCOPE_STATIC_ASSERT({name} == {value}u);\n"));
    }
    let kinds = [
        "CREATE",
        "ALLOC",
        "RESIZE",
        "FREE",
        "SCOPE_ENTER",
        "SCOPE_EXIT",
        "CHECKPOINT",
        "REWIND",
        "RESET",
        "DESTROY",
        "REFUSED",
        "LEASE",
        "INHERITED",
    ];
    use arenascope_capi::arenascope::EventKind as K;
    let values = [
        K::CREATE,
        K::ALLOC,
        K::RESIZE,
        K::FREE,
        K::SCOPE_ENTER,
        K::SCOPE_EXIT,
        K::CHECKPOINT,
        K::REWIND,
        K::RESET,
        K::DESTROY,
        K::REFUSED,
        K::LEASE,
        K::INHERITED,
    ];
    assert_eq!(kinds.len(), values.len());
    for (name, value) in kinds.iter().zip(values) {
        text.push_str(&format!("ASCOPE_STATIC_ASSERT(ASCOPE_{name} == {});\n", value.0));
    }
    text
}

fn check(compiler: &Compiler, text: &str) -> std::process::Output {
    let folder = scratch("layout");
    let source = folder.join("layout.c");
    std::fs::write(&source, text).expect("a source can be written");
    let (driver, flags) = compiler.0.split_first().expect("a compiler has a name");
    let mut command = Command::new(driver);
    command.args(flags).args(STRICT).arg("-I").arg(prefix().join("include"));
    command.args(["-fsyntax-only"]).arg(&source).output().expect("the compiler can be started")
}

#[test]
fn every_field_lies_where_the_header_says_in_every_compiler() {
    let text = assertions();
    assert!(text.matches("offsetof(ascope_arena").count() == raw::LAYOUT.len() && raw::LAYOUT.len() >= 33);
    for compiler in COMPILERS {
        let output = check(compiler, &text);
        assert!(output.status.success(), "{:?}\n{}", compiler.0, String::from_utf8_lossy(&output.stderr));
    }
    // And a wrong number is noticed.
    let wrong = text.replace("offsetof(ascope_arena, cursor) == 16", "offsetof(ascope_arena, cursor) == 24");
    assert!(!check(&COMPILERS[0], &wrong).status.success());
}

#[test]
fn the_c_struct_has_no_field_that_rust_does_not_document() {
    let header = include_str!("../../include/arenascope.h");
    let (_, after) = header.split_once("typedef struct ascope_arena {").expect("the struct is there");
    let (body, _) = after.split_once("} ascope_arena;").expect("the struct ends");
    let fields: Vec<_> = body
        .lines()
        .filter_map(|line| line.split_once(';'))
        .filter_map(|(declaration, _)| {
            let word = declaration.split_whitespace().last()?.trim_start_matches('*');
            Some(word.split('[').next().unwrap_or(word).to_owned())
        })
        .collect();
    let documented: Vec<_> = raw::LAYOUT.iter().map(|field| field.name).collect();
    assert_eq!(fields, documented);
    // The comments tell the same offsets.
    for field in raw::LAYOUT {
        let line = body.lines().find(|line| {
            line.contains(&format!(" {};", field.name))
                || line.contains(&format!("*{};", field.name))
                || line.contains(&format!(" {}[", field.name))
        });
        let line = line.unwrap_or_else(|| panic!("{} has a line", field.name));
        assert!(line.contains(&format!("+{} ", field.offset)), "{line}");
    }
    assert_eq!(HEADER_BYTES, 384, "arenascope.h names this number in its text");
}

#[test]
fn the_header_can_be_included_twice_first_and_in_two_files() {
    let folder = scratch("twice");
    for (name, text) in [
        (
            "one.c",
            "#include <arenascope.h>\n#include <arenascope.h>\nvoid *two(ascope_arena *a);\nint main(void) { return two(ascope_init(9)) == NULL; }\n",
        ),
        (
            "two.c",
            "#include <arenascope.h>\nvoid *two(ascope_arena *a);\nvoid *two(ascope_arena *a) { return ascope_alloc(a, 9); }\n",
        ),
    ] {
        std::fs::write(folder.join(name), text).expect("a source can be written");
    }
    let program = folder.join("both");
    run(Command::new("gcc")
        .args(STRICT)
        .arg("-I")
        .arg(prefix().join("include"))
        .args([folder.join("one.c"), folder.join("two.c"), prefix().join("lib/libarenascope.a")])
        .arg("-o")
        .arg(&program));
    run(&mut Command::new(program));
}
