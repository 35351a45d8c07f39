//! Signatures of optimised, C++ and Rust functions.

use crate::compile::Folder;
use arenascope_symbols::{Image, Place, Returns, Signature};

fn signature(image: &Image, name: &str) -> Signature {
    let found = image.find(name);
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    image.signature(found[0].function.address).unwrap_or_else(|| panic!("no signature of {name}"))
}

fn places(signature: &Signature) -> Vec<(&str, Place)> {
    signature.params.iter().map(|param| (param.name.as_str(), param.place)).collect()
}

const LOST: &str = r#"
#include <stdlib.h>
struct pool { char *base; unsigned long off; };
struct two { long a, b; };
static __attribute__((noinline)) void *s_alloc(struct pool *p, unsigned long size, int zero) {
    char *r = p->base + p->off; p->off += size; if (zero) r[0] = 0; return r;
}
static __attribute__((noinline)) void *s_kept(struct pool *p, int unused, unsigned long size) {
    char *r = p->base + p->off; p->off += size; return r;
}
static __attribute__((noinline)) int s_sum(struct two *t, int k) { return t->a + t->b * k; }
__attribute__((noinline)) void *s_public(struct pool *p, int unused, unsigned long size) { return s_kept(p, 1, size); }
int main(int argc, char **argv) {
    (void)argv;
    struct pool r = { malloc(4096), 0 };
    struct two t = { argc, argc * 3 };
    s_alloc(&r, 64, argc);
    s_alloc(&r, 64, 0);
    s_kept(&r, argc, argc);
    s_public(&r, argc, argc);
    return s_sum(&t, argc) + (long)r.off;
}
"#;

#[test]
fn arguments_that_optimisation_removed_are_constants_or_missing() {
    let folder = Folder::new();
    // GCC renames the function, clang does not: in both the size is gone, and `zero` moved into its register.
    for (compiler, name) in [("gcc", "s_alloc.constprop.0.isra.0"), ("clang", "s_alloc")] {
        let image = Image::open(&folder.compile(compiler, "lost", LOST, "-g -O2")).unwrap();
        let found = image.find("s_alloc");
        assert_eq!(found[0].function.name, name, "{compiler}");
        assert_eq!(
            places(&signature(&image, "s_alloc")),
            [("p", Place::Integer(0)), ("size", Place::Constant(64)), ("zero", Place::Integer(1))],
            "{compiler}"
        );
    }
    let image = Image::open(&folder.compile("gcc", "lost", LOST, "-g -O2")).unwrap();
    assert_eq!(places(&signature(&image, "s_sum")), [("t", Place::Missing), ("k", Place::Integer(2))]);
    for compiler in ["gcc", "clang"] {
        let image = Image::open(&folder.compile(compiler, "lost", LOST, "-g -O2")).unwrap();
        let kept = signature(&image, "s_kept");
        let [(_, pool), (_, unused), (_, size)] = places(&kept)[..] else { panic!("{kept:?}") };
        assert_eq!(pool, Place::Integer(0), "{compiler}");
        // Removed: the size moves up; kept: it stays third. Never a wrong claim.
        match unused {
            Place::Missing => assert_eq!(size, Place::Integer(1), "{compiler}"),
            _ => assert_eq!((unused, size), (Place::Integer(1), Place::Integer(2)), "{compiler}"),
        }
        let code = image.find("s_kept")[0].function.address;
        let code = image.code(code, 32).unwrap();
        // `add %rsi,0x8(%rdi)` or through a register: the machine code names the register that DWARF named.
        let reads_rsi =
            code.windows(3).any(|w| matches!(w, [0x48, 0x01, 0x77] | [0x48, 0x03 | 0x01, 0x77 | 0xf0..=0xf7]));
        let reads_rdx = code.windows(3).any(|w| matches!(w, [0x48, 0x01, 0x57]));
        match size {
            Place::Integer(1) => assert!(reads_rsi || !reads_rdx, "{compiler}: {code:x?}"),
            _ => assert!(reads_rdx || !reads_rsi, "{compiler}: {code:x?}"),
        }
        // Other files may call this one.
        let public = signature(&image, "s_public");
        assert_eq!(
            places(&public),
            [("p", Place::Integer(0)), ("unused", Place::Integer(1)), ("size", Place::Integer(2))],
            "{compiler}"
        );
    }
}

#[test]
fn types_are_written_as_in_the_source() {
    let text = r#"
        #include <stddef.h>
        typedef struct arena t_arena;
        struct arena { char *base; };
        enum mode { A, B };
        void *take(t_arena *a, const size_t size, const char *name, struct arena copy, enum mode m, int (*f)(long, char *),
                   char *const *list, volatile int *v, unsigned char table[4]) {
            (void)size; (void)name; (void)copy; (void)m; (void)f; (void)list; (void)v; (void)table; return a;
        }
        int main(void) { return 0; }
    "#;
    let folder = Folder::new();
    for compiler in ["gcc", "clang"] {
        for flags in ["-g -O0", "-g -gdwarf-4 -O1", "-g -gdwarf-3 -O0", "-g -fdebug-types-section"] {
            let path = folder.compile(compiler, "types", text, flags);
            let image = Image::open(&path).unwrap();
            let found = signature(&image, "take");
            let names: Vec<&str> = found.params.iter().map(|param| param.type_name.as_str()).collect();
            let expected = [
                "t_arena *",
                "const size_t",
                "const char *",
                "struct arena",
                "enum mode",
                "int (*)(long, char *)",
                "char *const *",
                "volatile int *",
                "unsigned char *",
            ];
            // Clang writes `long`, GCC `long int`.
            let names: Vec<String> = names.iter().map(|name| name.replace("long int", "long")).collect();
            assert_eq!(names, expected, "{compiler} {flags}");
            let facts: Vec<_> = found.params.iter().map(|p| (p.bytes, p.signed, p.is_pointer)).collect();
            let pointer = (8, false, true);
            assert_eq!(
                facts,
                [pointer, (8, false, false), pointer, pointer, (4, false, false), pointer, pointer, pointer, pointer],
                "{compiler} {flags}"
            );
            assert_eq!((found.returns, found.line), (Returns::Pointer, 6), "{compiler} {flags}");
            assert_eq!(found.file, folder.path("types.c").to_str().unwrap(), "{compiler} {flags}");
        }
    }
}

#[test]
fn this_comes_first_and_objects_with_destructors_travel_by_reference() {
    let text = r#"
        #include <memory>
        #include <string>
        struct Heavy { long a; ~Heavy(); Heavy(const Heavy &); Heavy(); };
        struct Light { long a; int b; };
        struct Arena {
            char *cursor;
            void *alloc(unsigned long size);
            static void *fixed(unsigned long size);
            Heavy heavy(int n);
            Light light(int n);
            int take(Heavy h, std::unique_ptr<int> p, Light l, const std::string &s, decltype(nullptr) n, int Light::*m);
            virtual void *late(int n);
        };
        Heavy::~Heavy() {} Heavy::Heavy(const Heavy &) {} Heavy::Heavy() {}
        void *Arena::alloc(unsigned long size) { cursor += size; return cursor; }
        void *Arena::fixed(unsigned long size) { return (void *)size; }
        Heavy Arena::heavy(int) { return Heavy(); }
        Light Arena::light(int n) { return Light{n, n}; }
        int Arena::take(Heavy h, std::unique_ptr<int>, Light, const std::string &, decltype(nullptr), int Light::*) { return h.a; }
        void *Arena::late(int n) { return cursor + n; }
        int main() { return 0; }
    "#;
    let folder = Folder::new();
    for compiler in ["g++", "clang++"] {
        for flags in ["-g -O0", "-g -O2", "-g -gdwarf-4 -O0"] {
            let image = Image::open(&folder.compile(compiler, "arena", text, flags)).unwrap();
            let words = format!("{compiler} {flags}");
            let of = |name: &str| {
                let signature = signature(&image, name);
                let places: Vec<Place> = signature.params.iter().map(|param| param.place).collect();
                (places, signature.returns)
            };
            let integer = Place::Integer;
            assert_eq!(of("Arena::alloc"), (vec![integer(0), integer(1)], Returns::Pointer), "{words}");
            assert_eq!(of("Arena::fixed"), (vec![integer(0)], Returns::Pointer), "{words}");
            assert_eq!(of("Arena::heavy"), (vec![integer(1), integer(2)], Returns::Memory), "{words}");
            assert_eq!(of("Arena::light"), (vec![integer(0), integer(1)], Returns::RegisterPair), "{words}");
            assert_eq!(of("Arena::late"), (vec![integer(0), integer(1)], Returns::Pointer), "{words}");
            let taken = [
                integer(0),
                integer(1),
                integer(2),
                Place::Registers2(3),
                integer(5),
                Place::Stack(0),
                Place::Stack(8),
            ];
            assert_eq!(of("Arena::take"), (taken.to_vec(), Returns::Integer { bytes: 4, signed: true }), "{words}");
            assert_eq!(signature(&image, "Arena::alloc").params[0].name, "this");
        }
    }
}

const RUST: &str = r#"
use std::alloc::Layout;
use std::ptr::NonNull;
pub struct Bump { pub cursor: usize, pub limit: usize }
pub struct Three { pub a: u8, pub b: u8, pub c: u8 }
pub struct Big { pub a: [usize; 4] }
#[repr(transparent)]
pub struct Bytes(pub usize);
impl Bump {
    #[inline(never)]
    pub fn alloc(&mut self, size: usize) -> *mut u8 { let p = self.cursor; self.cursor += size; p as *mut u8 }
    #[inline(never)]
    pub fn layout(&mut self, layout: Layout, after: u32) -> Option<NonNull<u8>> {
        NonNull::new(self.alloc(layout.size() + layout.align() + after as usize))
    }
    #[inline(never)]
    pub fn slice(&self, name: &str, unit: (), bytes: Bytes, three: Three, big: Big, last: i16) -> Result<NonNull<u8>, ()> {
        let _ = unit;
        NonNull::new((self.cursor + name.len() + bytes.0 + three.a as usize + three.b as usize + three.c as usize
            + big.a[1] + last as usize) as *mut u8).ok_or(())
    }
    #[inline(never)]
    pub fn big(&self, n: usize) -> Big { Big { a: [n, self.limit, n, n] } }
    #[inline(never)]
    pub fn text(&self) -> &'static str { if self.cursor == 0 { "a" } else { "bc" } }
}
#[unsafe(no_mangle)]
pub extern "C" fn c_face(bump: &mut Bump, size: usize) -> *mut u8 { bump.alloc(size) }
fn main() {
    let n = std::env::args().count();
    let mut bump = Bump { cursor: 4096 * n, limit: 8192 };
    let layout = Layout::from_size_align(24 * n, 8 << n).unwrap();
    let bump = std::hint::black_box(&mut bump);
    std::hint::black_box(bump.layout(layout, n as u32));
    let three = Three { a: n as u8, b: 2, c: n as u8 };
    let name = std::env::args().next().unwrap();
    let big = Big { a: [n, n + 1, n + 2, n + 3] };
    std::hint::black_box(bump.slice(&name, (), Bytes(n), three, big, n as i16).is_ok());
    std::hint::black_box(bump.big(n).a);
    std::hint::black_box(bump.text());
    std::hint::black_box(c_face(bump, n));
}
"#;

#[test]
fn rust_functions_have_places_too() {
    let folder = Folder::new();
    for flags in ["-g --crate-name svc", "-g -O --crate-name svc"] {
        let image = Image::open(&folder.compile("rustc", "svc", RUST, flags)).unwrap();
        let of = |name: &str| {
            let signature = signature(&image, name);
            let places: Vec<Place> = signature.params.iter().map(|param| param.place).collect();
            (places, signature.returns)
        };
        let integer = Place::Integer;
        assert_eq!(of("svc::Bump::alloc"), (vec![integer(0), integer(1)], Returns::Pointer), "{flags}");
        assert_eq!(
            of("svc::Bump::layout"),
            (vec![integer(0), Place::Registers2(1), integer(3)], Returns::Pointer),
            "{flags}"
        );
        let (places, _) = of("svc::Bump::slice");
        let expected =
            [integer(0), Place::Registers2(1), Place::Missing, integer(3), integer(4), integer(5), Place::Stack(0)];
        if flags.contains("-O") {
            // LLVM passes the fields instead of the structs, and only those that are read. What is claimed must
            // still be a register that the call uses: `bytes` and `last` arrive as themselves.
            assert!(
                matches!(places[3..], [Place::Integer(_), _, _, Place::Integer(_) | Place::Stack(_)]),
                "{places:?}"
            );
        } else {
            assert_eq!(places, expected, "{flags}");
        }
        let (places, returns) = of("svc::Bump::big");
        // Optimised, `self.limit` arrives in place of `self`.
        let this = if flags.contains("-O") { Place::Missing } else { integer(1) };
        assert_eq!((places, returns), (vec![this, integer(2)], Returns::Memory), "{flags}");
        assert_eq!(of("svc::Bump::text").1, Returns::RegisterPair, "{flags}");
        if !flags.contains("-O") {
            assert_eq!(of("c_face"), (vec![integer(0), integer(1)], Returns::Pointer), "{flags}");
        }
    }
}
