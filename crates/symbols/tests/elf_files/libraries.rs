//! Libraries of programs, against what the dynamic linker itself says.

use crate::compile::Folder;
use arenascope_symbols::{Image, Origin, Place, Returns, load_order, load_order_with};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Paths in the output of `ldd`, in its order, resolved.
fn ldd(program: &Path, library_path: Option<&Path>) -> Vec<PathBuf> {
    let mut command = Command::new("ldd");
    command.arg(program).env_remove("LD_LIBRARY_PATH").env_remove("LD_PRELOAD");
    if let Some(path) = library_path {
        command.env("LD_LIBRARY_PATH", path);
    }
    let output = command.output().expect("ldd is needed for this test");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .filter_map(|path| Path::new(path).canonicalize().ok())
        .collect()
}

fn sorted(paths: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = paths.into_iter().filter_map(|path| path.canonicalize().ok()).collect();
    paths.sort();
    paths
}

#[test]
fn libraries_of_packaged_programs_are_those_of_ldd_in_its_order() {
    for program in ["/usr/bin/svn", "/usr/bin/git", "/bin/bash", "/usr/bin/gcc"] {
        let image = Image::open(Path::new(program)).unwrap();
        let found: Vec<PathBuf> = load_order(&image).iter().map(|path| path.canonicalize().unwrap()).collect();
        let linker = ldd(Path::new(program), None);
        // ldd lists the interpreter last unless a library asks for it earlier.
        let loader = |path: &PathBuf| path.to_string_lossy().contains("ld-linux");
        let mut expected = linker.clone();
        expected.retain(|path| !loader(path));
        assert!(!expected.is_empty(), "{program}");
        assert_eq!(found.into_iter().filter(|path| !loader(path)).collect::<Vec<_>>(), expected, "{program}");
    }
}

#[test]
fn run_paths_are_followed_as_the_linker_does() {
    let folder = Folder::new();
    folder.write("inner.c", "int inner(void) { return 1; }");
    folder.write("outer.c", "int inner(void); int outer(void) { return inner(); }");
    folder.write("main.c", "int outer(void); int main(void) { return outer(); }");
    for name in ["a", "b", "c"] {
        std::fs::create_dir_all(folder.path(name)).unwrap();
    }
    folder.run("gcc", &["-shared", "-fPIC", "-o", "b/libinner.so", "inner.c"]);
    for (tag, inner_at) in [
        // DT_RUNPATH of the program is not for the libraries of its libraries, DT_RPATH is.
        ("-Wl,--enable-new-dtags", false),
        ("-Wl,--disable-new-dtags", true),
    ] {
        folder.run("gcc", &["-shared", "-fPIC", "-o", "a/libouter.so", "outer.c", "-Lb", "-linner"]);
        folder.run(
            "gcc",
            &[
                "-o",
                "main",
                "main.c",
                "-La",
                "-louter",
                tag,
                "-Wl,-rpath,$ORIGIN/a:${ORIGIN}/b",
                "-Wl,--allow-shlib-undefined",
            ],
        );
        let image = Image::open(&folder.path("main")).unwrap();
        assert_eq!(image.needed(), ["libouter.so", "libc.so.6"]);
        let found = load_order_with(&image, None);
        assert_eq!(found.iter().any(|path| path.ends_with("b/libinner.so")), inner_at, "{tag}");
        assert!(found.iter().any(|path| path.ends_with("a/libouter.so")), "{tag}");
        let linker: Vec<PathBuf> = ldd(&folder.path("main"), None);
        let linker: Vec<PathBuf> =
            linker.into_iter().filter(|path| !path.to_string_lossy().contains("ld-linux")).collect();
        let found: Vec<PathBuf> =
            found.into_iter().filter(|path| !path.to_string_lossy().contains("ld-linux")).collect();
        assert_eq!(sorted(found), sorted(linker), "{tag}");
    }
    // LD_LIBRARY_PATH comes before RUNPATH.
    folder.run(
        "gcc",
        &[
            "-o",
            "main",
            "main.c",
            "a/libouter.so",
            "-Wl,--enable-new-dtags",
            "-Wl,-rpath,$ORIGIN/a",
            "-Wl,--allow-shlib-undefined",
        ],
    );
    std::fs::copy(folder.path("a/libouter.so"), folder.path("c/libouter.so")).unwrap();
    folder.run("gcc", &["-shared", "-fPIC", "-o", "c/libinner.so", "inner.c"]);
    folder.run("gcc", &["-o", "main", "main.c", "-Lc", "-louter", "-linner", "-Wl,-rpath,$ORIGIN/a"]);
    let image = Image::open(&folder.path("main")).unwrap();
    let found = load_order_with(&image, Some(folder.path("c").as_os_str()));
    assert_eq!(found.first(), Some(&folder.path("c/libouter.so")));
    let linker = ldd(&folder.path("main"), Some(&folder.path("c")));
    assert!(linker.contains(&folder.path("c/libouter.so").canonicalize().unwrap()));
}

fn library(name: &str) -> Image {
    let svn = Image::open(Path::new("/usr/bin/svn")).expect("subversion is needed for this test");
    let path = load_order(&svn).into_iter().find(|path| path.to_string_lossy().contains(name));
    Image::open(&path.unwrap_or_else(|| panic!("{name} is needed for this test"))).unwrap()
}

#[test]
fn packaged_libraries_give_their_functions() {
    let apr = library("libapr-1.so");
    for name in ["apr_palloc", "apr_pool_create_ex", "apr_pool_destroy", "apr_pool_clear"] {
        let found = apr.find(name);
        assert_eq!((found.len(), found[0].clone), (1, None), "{name}");
        assert_eq!((found[0].function.origin, found[0].function.global), (Origin::Dynamic, true), "{name}");
        assert!(apr.code(found[0].function.address, 16).is_some_and(|code| code.len() == 16), "{name}");
    }
    assert_eq!(apr.nearest("apr_pallco", 3).first().map(String::as_str), Some("apr_palloc"));
    assert!(!apr.has_debug_info() || apr.debug_file().is_some());

    let libc = library("libc.so.6");
    assert_eq!(libc.find("malloc").len(), 1);
    assert_eq!(libc.find("malloc")[0].function.name, "malloc");
    assert!(libc.is_ifunc("strlen") && libc.find("strlen").is_empty());
    assert!(libc.functions().len() > 2000);
    assert!(libc.functions().is_sorted_by_key(|function| function.address));
    if libc.has_debug_info() {
        // With libc6-dbg installed.
        let malloc = libc.signature(libc.find("malloc")[0].function.address).unwrap();
        assert_eq!(
            (malloc.params.len(), malloc.params[0].place, malloc.returns),
            (1, Place::Integer(0), Returns::Pointer)
        );
    }
}

#[test]
fn the_function_at_an_address_is_the_one_that_nm_knows() {
    let libc = library("libc.so.6");
    let output = Command::new("nm").args(["-D", "--defined-only"]).arg(libc.path()).output().expect("nm is needed");
    let mut seen = 0;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, "T", name] = words[..] else { continue };
        let address = u64::from_str_radix(address, 16).unwrap();
        let name = name.split('@').next().unwrap();
        assert!(libc.find(name).iter().any(|found| found.function.address == address), "{name}");
        assert_eq!(libc.function_at(address).map(|function| function.address), Some(address), "{name}");
        seen += 1;
        if seen == 400 {
            break;
        }
    }
    assert_eq!(seen, 400);
}

#[test]
fn a_program_that_takes_a_function_s_address_does_not_export_it() {
    let folder = Folder::new();
    let text = "#include <stdlib.h>\nvoid *(*volatile taken)(size_t); int main(void) { taken = malloc; return taken(1) == 0; }";
    let program = folder.compile("gcc", "taken", text, "-no-pie -fno-pie");
    let symbols = folder.run("readelf", &["-W", "--dyn-syms", "taken"]);
    let line = symbols.lines().find(|line| line.contains(" malloc")).expect("malloc is a dynamic symbol");
    assert!(line.contains("UND") && !line.contains("0000000000000000"), "the stub's address is its value: {line}");
    assert_eq!(Image::open(&program).unwrap().exported("malloc"), None);

    let text = "#include <stdlib.h>\nvoid *malloc(size_t n) { return 0; } int main(void) { return calloc(1, 1) == 0; }";
    let image = Image::open(&folder.compile("gcc", "own", text, "-no-pie -fno-pie -fno-builtin -rdynamic")).unwrap();
    assert_eq!(image.exported("malloc"), Some(image.find("malloc")[0].function.address));
    assert_eq!(image.exported("main"), Some(image.find("main")[0].function.address));
    assert_eq!(image.exported("no_such_function"), None);
}

#[test]
fn of_several_versions_the_default_one_is_exported() {
    let gcc = Image::open(Path::new("/usr/bin/gcc")).expect("gcc is needed for this test");
    let path = load_order(&gcc).into_iter().find(|path| path.ends_with("libc.so.6"));
    let libc = Image::open(&path.expect("gcc needs the C library")).unwrap();
    let output = Command::new("nm").args(["-D", "--defined-only"]).arg(libc.path()).output().expect("nm is needed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut several = 0;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, "T", versioned] = words[..] else { continue };
        let Some((name, _)) = versioned.split_once("@@") else { continue };
        let address = u64::from_str_radix(address, 16).unwrap();
        assert_eq!(libc.exported(name), Some(address), "{versioned}");
        several += usize::from(libc.find(name).len() > 1);
    }
    assert!(several > 10, "glibc has functions of two versions: posix_spawn, memcpy, …: {several}");
    assert_eq!(libc.exported("strlen"), None, "an indirect function");
}
