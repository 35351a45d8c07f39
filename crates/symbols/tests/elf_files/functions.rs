//! Names, clones, inlined copies, stripped and split files.

use crate::compile::Folder;
use arenascope_symbols::{CloneKind, Image, Linkage, Origin};

const REGION: &str = r#"
#include <stdlib.h>
struct region { char *base, *cursor; };
static __attribute__((noinline)) void *region_take(struct region *r, unsigned long size) {
    char *p = r->cursor; r->cursor += size; return p;
}
static inline int twice(int n) { return n * 2; }
void *region_public(struct region *r) { return region_take(r, 24); }
int main(int argc, char **argv) {
    (void)argv;
    struct region r = { malloc(4096), 0 };
    r.cursor = r.base;
    void *p = region_take(&r, (unsigned long)twice(argc) + 5);
    return region_public(&r) == p;
}
"#;

fn names(image: &Image, name: &str) -> Vec<(String, Option<CloneKind>)> {
    image.find(name).into_iter().map(|found| (found.function.name.to_string(), found.clone)).collect()
}

#[test]
fn static_functions_are_found_in_symtab_and_their_bytes_are_code() {
    let folder = Folder::new();
    for flags in ["-g -O0", "-O0 -no-pie", "-g -O2 -fcf-protection=full", "-O0 -fpie -pie"] {
        let image = Image::open(&folder.compile("gcc", "region", REGION, flags)).unwrap();
        let found = image.find("region_take");
        assert_eq!(found.len(), 1, "{flags}");
        let function = found[0].function;
        assert_eq!((function.origin, function.global), (Origin::Symtab, false), "{flags}");
        let code = image.code(function.address, function.size as usize).unwrap();
        assert_eq!(code.len() as u64, function.size, "{flags}");
        assert!(code.contains(&0xc3), "{flags}: no ret in {code:x?}");
        assert_eq!(image.function_at(function.address + 3), Some(function), "{flags}");
        assert!(!image.is_stripped(), "{flags}");
        assert!(matches!(image.linkage(), Linkage::Dynamic { .. }), "{flags}");
        assert_eq!(image.has_debug_info(), flags.contains("-g"), "{flags}");
    }
}

#[test]
fn a_stripped_program_has_only_what_the_dynamic_linker_knows() {
    let folder = Folder::new();
    let program = folder.compile("gcc", "region", REGION, "-g -O0 -rdynamic -s");
    let image = Image::open(&program).unwrap();
    assert!(image.is_stripped() && !image.has_debug_info());
    assert_eq!(image.find("region_take"), []);
    assert_eq!(image.find("region_public")[0].function.origin, Origin::Dynamic);
    assert!(image.functions().iter().all(|function| function.origin == Origin::Dynamic));
}

#[test]
fn a_symbol_table_without_locals_leaves_dwarf_to_know_the_static_function() {
    let folder = Folder::new();
    let program = folder.compile("gcc", "region", REGION, "-g -O0");
    let address = Image::open(&program).unwrap().find("region_take")[0].function.address;
    folder.run("objcopy", &["--strip-symbol=region_take", "region", "locals-gone"]);
    let image = Image::open(&folder.path("locals-gone")).unwrap();
    let found = image.find("region_take");
    assert_eq!((found.len(), found[0].function.origin, found[0].function.address), (1, Origin::Dwarf, address));
    assert!(image.functions().contains(found[0].function));
    assert!(image.functions().is_sorted_by_key(|function| function.address));
}

#[test]
fn the_separate_debug_file_is_found_and_a_wrong_one_is_refused() {
    let folder = Folder::new();
    for (flags, place) in [
        ("-g -O0 -Wl,--build-id=sha1", "split.debug"),
        ("-g -O0 -Wl,--build-id=none", "split.debug"),
        ("-g -O0 -Wl,--build-id=none", ".debug/split.debug"),
    ] {
        folder.compile("gcc", "split", REGION, flags);
        folder.run("objcopy", &["--only-keep-debug", "split", "split.debug"]);
        folder.run("strip", &["split"]);
        folder.run("objcopy", &["--add-gnu-debuglink=split.debug", "split"]);
        if place != "split.debug" {
            std::fs::create_dir_all(folder.path(".debug")).unwrap();
            std::fs::rename(folder.path("split.debug"), folder.path(place)).unwrap();
        }
        let image = Image::open(&folder.path("split")).unwrap();
        assert_eq!(image.debug_file(), Some(folder.path(place).as_path()), "{flags}");
        assert!(image.has_debug_info() && !image.is_stripped());
        let found = image.find("region_take");
        assert_eq!((found.len(), found[0].function.origin), (1, Origin::DebugFile), "{flags}");
        assert!(image.code(found[0].function.address, 4).is_some());
        let frames = image.source_frames(found[0].function.address + 4);
        assert_eq!((frames[0].function.as_str(), frames[0].line), ("region_take", 4), "{flags}");

        // Another build's debug file in its place.
        folder.compile("gcc", "other", &REGION.replace("24", "32"), flags);
        folder.run("objcopy", &["--only-keep-debug", "other", place]);
        let image = Image::open(&folder.path("split")).unwrap();
        assert_eq!(image.debug_file(), None, "{flags}");
        assert_eq!(image.find("region_take"), [], "{flags}");
        std::fs::remove_file(folder.path(place)).unwrap();
    }
}

#[test]
fn the_debug_file_below_a_root_is_found_by_build_id_and_by_folder() {
    let folder = Folder::new();
    let program = folder.compile("gcc", "split", REGION, "-g -O0 -Wl,--build-id=sha1");
    folder.run("objcopy", &["--only-keep-debug", "split", "split.debug"]);
    folder.run("strip", &["split"]);
    let id: String = Image::open(&program).unwrap().build_id().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(id.len(), 40);
    let root = folder.path("root");
    let place = root.join(".build-id").join(&id[..2]).join(format!("{}.debug", &id[2..]));
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::copy(folder.path("split.debug"), &place).unwrap();
    let image = Image::open_with(&program, std::slice::from_ref(&root)).unwrap();
    assert_eq!(image.debug_file(), Some(place.as_path()));
    assert_eq!(image.find("region_take").len(), 1);

    folder.run("objcopy", &["--add-gnu-debuglink=split.debug", "split"]);
    std::fs::remove_file(&place).unwrap();
    let real = program.parent().unwrap().canonicalize().unwrap();
    let place = root.join(real.strip_prefix("/").unwrap()).join("split.debug");
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::rename(folder.path("split.debug"), &place).unwrap();
    let image = Image::open_with(&program, &[root]).unwrap();
    assert_eq!(image.debug_file(), Some(place.as_path()));
}

#[test]
fn compressed_debug_sections_are_read() {
    let folder = Folder::new();
    let program = folder.compile("gcc", "region", REGION, "-g -O0 -gz=zlib");
    let image = Image::open(&program).unwrap();
    let address = image.find("region_take")[0].function.address;
    assert_eq!(image.source_frames(address)[0].line, 4);
}

#[test]
fn clones_are_listed_with_what_the_compiler_changed() {
    let text = REGION.replace("(unsigned long)twice(argc) + 5", "24");
    let folder = Folder::new();
    let image = Image::open(&folder.compile("gcc", "region", &text, "-g -O2")).unwrap();
    let found = names(&image, "region_take");
    assert_eq!(found, [("region_take.constprop.0".to_owned(), Some(CloneKind::ConstantPropagated))]);
    assert_eq!(names(&image, "region_take.constprop.0"), found);
}

#[test]
fn inlined_functions_are_counted_and_those_without_a_body_are_known() {
    let folder = Folder::new();
    for compiler in ["gcc", "clang"] {
        let image = Image::open(&folder.compile(compiler, "region", REGION, "-g -O2")).unwrap();
        assert_eq!(image.inlined_copies("twice"), 1, "{compiler}");
        assert!(image.defined_but_no_body("twice"), "{compiler}");
        assert_eq!(image.find("twice"), [], "{compiler}");
        assert!(!image.defined_but_no_body("region_take"), "{compiler}");
        assert_eq!(image.inlined_copies("region_take"), 0, "{compiler}");
        assert!(!image.defined_but_no_body("no_such_function"), "{compiler}");
        // Inlined into main once, and has a body for other files.
        assert_eq!(image.inlined_copies("region_public"), 1, "{compiler}");
        assert!(!image.defined_but_no_body("region_public"), "{compiler}");
    }
}

#[test]
fn a_split_function_is_no_copy_of_itself() {
    // gcc splits `start`: its rest is written down as a copy of `start` inside `start`.
    let folder = Folder::new();
    let image = Image::open(&folder.compile("gcc", "split", SPLIT, "-g -O2")).unwrap();
    assert_eq!(image.inlined_copies("start"), 0);
}

const SPLIT: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
typedef struct { char *base; size_t used, size; } Region;
void start(Region *region, size_t size) {
    region->base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (region->base == MAP_FAILED) {
        perror("mmap");
        exit(EXIT_FAILURE);
    }
    region->used = 0;
    region->size = size;
}
int main(int argc, char **argv) {
    Region region;
    start(&region, (size_t)argc * 4096);
    return (int)region.used;
}
"#;

const CPP: &str = r#"
#include <cstdlib>
namespace ns {
struct Node { int a; };
struct Arena {
    char *cursor;
    explicit Arena(unsigned long n);
    void *alloc(unsigned long n);
    void *alloc(unsigned long n, unsigned long align);
    unsigned long used() const;
    template <class T> T *make(int n) { return (T *)alloc(sizeof(T) * n); }
};
__attribute__((noinline)) Arena::Arena(unsigned long n) : cursor((char *)malloc(n)) {}
__attribute__((noinline)) void *Arena::alloc(unsigned long n) { char *p = cursor; cursor += n; return p; }
__attribute__((noinline)) void *Arena::alloc(unsigned long n, unsigned long a) { cursor += a; return alloc(n); }
__attribute__((noinline)) unsigned long Arena::used() const { return (unsigned long)cursor; }
}
namespace { __attribute__((noinline)) int hidden(int n) { return n + rand(); } }
int main(int argc, char **) {
    ns::Arena arena(4096);
    arena.alloc(argc); arena.alloc(8, 16);
    return arena.make<ns::Node>(argc) == nullptr || arena.used() == 0 || hidden(argc);
}
"#;

#[test]
fn cpp_functions_go_by_their_names() {
    let folder = Folder::new();
    for compiler in ["g++", "clang++"] {
        let image = Image::open(&folder.compile(compiler, "arena", CPP, "-g -O0")).unwrap();
        let displays = |name: &str| {
            let mut all: Vec<_> = image.find(name).iter().map(|found| found.function.display().to_owned()).collect();
            all.sort();
            all.dedup();
            all
        };
        let both = ["ns::Arena::alloc(unsigned long)", "ns::Arena::alloc(unsigned long, unsigned long)"];
        assert_eq!(displays("ns::Arena::alloc"), both, "{compiler}");
        assert_eq!(displays(both[1]), both[1..], "{compiler}");
        assert_eq!(
            displays("ns::Arena::make"),
            ["ns::Node* ns::Arena::make<ns::Node>(int)".trim_start_matches("ns::Node* ")]
        );
        assert_eq!(displays("ns::Arena::make<ns::Node>").len(), 1, "{compiler}");
        assert_eq!(displays("ns::Arena::Arena"), ["ns::Arena::Arena(unsigned long)"], "{compiler}");
        assert_eq!(displays("ns::Arena::used"), ["ns::Arena::used() const"], "{compiler}");
        assert_eq!(displays("(anonymous namespace)::hidden").len(), 1, "{compiler}");
        assert_eq!(displays("Arena::alloc"), [""; 0], "{compiler}");
        assert_eq!(displays("alloc"), [""; 0], "{compiler}");
        assert_eq!(image.nearest("Arena::alloc", 2), both, "{compiler}");
        assert_eq!(image.nearest("ns::Arena::aloc", 1), both[..1], "{compiler}");
        assert_eq!(image.nearest("ns::arena::used", 1), ["ns::Arena::used() const"], "{compiler}");
        assert_eq!(image.nearest("zzzzzzzz", 3), [""; 0], "{compiler}");
    }
}

const RUST: &str = r#"
pub mod arena {
    pub struct Bump { pub cursor: usize, pub limit: usize }
    pub trait Take { fn take(&mut self, size: usize) -> Option<std::ptr::NonNull<u8>>; }
    impl Bump {
        #[inline(never)]
        pub fn alloc(&mut self, size: usize) -> *mut u8 { let p = self.cursor; self.cursor += size; p as *mut u8 }
        #[inline(never)]
        pub fn make<T>(&mut self, value: T) -> *mut T { let p = self.alloc(size_of::<T>()) as *mut T; std::hint::black_box(value); p }
    }
    impl Take for Bump {
        #[inline(never)]
        fn take(&mut self, size: usize) -> Option<std::ptr::NonNull<u8>> { std::ptr::NonNull::new(self.alloc(size)) }
    }
}
use arena::Take;
fn main() {
    let mut bump = arena::Bump { cursor: 4096, limit: 8192 };
    std::hint::black_box(bump.alloc(24));
    std::hint::black_box(bump.make(7u32));
    std::hint::black_box(bump.take(8));
}
"#;

#[test]
fn rust_functions_go_by_their_paths_in_both_manglings() {
    let folder = Folder::new();
    for mangling in ["-Csymbol-mangling-version=v0", ""] {
        let flags = format!("-g --crate-name svc {mangling}");
        let image = Image::open(&folder.compile("rustc", "svc", RUST, &flags)).unwrap();
        for name in [
            "svc::arena::Bump::alloc",
            "svc::arena::Bump::make",
            "<svc::arena::Bump as svc::arena::Take>::take",
            "svc::arena::Bump::take",
        ] {
            assert_eq!(image.find(name).len(), 1, "{mangling} {name}");
        }
        assert_eq!(image.find("arena::Bump::alloc"), [], "{mangling}");
        // Legacy mangling forgets the generic arguments of the function itself.
        assert_eq!(image.find("svc::arena::Bump::make::<u32>").len(), usize::from(!mangling.is_empty()));
        let found = image.find("svc::arena::Bump::alloc")[0].function;
        let frames = image.source_frames(found.address + 4);
        assert_eq!(frames.last().unwrap().function, found.display(), "{mangling}");
        assert!(frames.last().unwrap().file.ends_with("/svc.rs"), "{mangling}");
    }
}

#[test]
fn programs_that_cannot_be_preloaded_are_told_apart() {
    let folder = Folder::new();
    let text = "int main(void) { return 0; }";
    for (flags, linkage) in [
        ("-static", Linkage::Static),
        ("-static-pie", Linkage::StaticPie),
        ("-shared -fPIC", Linkage::SharedLibrary),
        ("-shared -fPIC -Wl,-soname,x.so", Linkage::SharedLibrary),
    ] {
        let image = Image::open(&folder.compile("gcc", "program", text, flags)).unwrap();
        assert_eq!(image.linkage(), linkage, "{flags}");
    }
    for flags in ["", "-no-pie"] {
        let image = Image::open(&folder.compile("gcc", "program", text, flags)).unwrap();
        let Linkage::Dynamic { interpreter } = image.linkage() else { panic!("{flags}: {:?}", image.linkage()) };
        assert!(interpreter.exists(), "{flags}");
    }
}

#[test]
fn indirect_functions_are_known_and_never_offered() {
    let text = r#"
        static int one(void) { return 1; }
        static void *choose(void) { return (void *)one; }
        int picked(void) __attribute__((ifunc("choose")));
        int main(void) { return picked(); }
    "#;
    let folder = Folder::new();
    let image = Image::open(&folder.compile("gcc", "picked", text, "-O0")).unwrap();
    assert_eq!(image.find("picked"), []);
    assert!(image.is_ifunc("picked") && !image.is_ifunc("one"));
    assert!(image.functions().iter().any(|function| function.name == "picked" && function.is_ifunc));
}
