//! Stubs and pointers to other files' functions, as several linkers make them. `objdump` says where each call goes.

use crate::compile::Folder;
use arenascope_symbols::Image;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const TEXT: &str = r#"
#include <stdio.h>
#include <stdlib.h>
int (*volatile kept)(const char *) = puts;
int main(int argc, char **argv) {
    char *a = getenv("HOME");
    printf("%s %d\n", a, argc);
    if (argc > 3) exit(kept(argv[0]));
    return putchar('x') + puts("end");
}
"#;

fn disassembly(path: &Path) -> String {
    let output = Command::new("objdump").args(["-d", "--no-show-raw-insn"]).arg(path).output();
    String::from_utf8_lossy(&output.expect("objdump is needed for this test").stdout).into_owned()
}

/// Address and name of every stub that objdump sees.
fn stubs(text: &str) -> BTreeMap<u64, String> {
    let heading = |line: &str| {
        let (address, name) = line.strip_suffix("@plt>:")?.split_once(" <")?;
        Some((u64::from_str_radix(address, 16).ok()?, name.to_owned()))
    };
    text.lines().filter_map(heading).filter(|(_, name)| !name.starts_with("*ABS*")).collect()
}

/// Pointers that indirect calls go through (`call *0x2fd2(%rip)  # 3fe8 <puts@GLIBC_2.2.5>`).
fn called_slots(text: &str) -> BTreeMap<u64, String> {
    let slot = |line: &str| {
        let (_, comment) = line.contains("call ").then(|| line.split_once("(%rip)"))??.1.split_once("# ")?;
        let (address, name) = comment.strip_suffix('>')?.split_once(" <")?;
        Some((u64::from_str_radix(address, 16).ok()?, name.split_once('@')?.0.to_owned()))
    };
    text.lines().filter_map(slot).collect()
}

#[test]
fn stubs_have_the_names_of_the_functions_they_lead_to() {
    let folder = Folder::new();
    let mut linkers = vec!["-fuse-ld=bfd", "-fuse-ld=gold"];
    for (tool, flag) in [("ld.lld", "-fuse-ld=lld"), ("mold", "-fuse-ld=mold")] {
        linkers.extend(Command::new(tool).arg("--version").output().is_ok().then_some(flag));
    }
    for compiler in ["gcc", "clang"] {
        for linker in &linkers {
            for flags in ["", "-fcf-protection -Wl,-z,ibtplt", "-Wl,-z,now", "-Wl,-z,lazy", "-no-pie -fno-pie"] {
                if flags.contains("ibtplt") && *linker != "-fuse-ld=bfd" {
                    continue;
                }
                let what = format!("{compiler} {linker} {flags}");
                let path = folder.compile(compiler, "program", TEXT, &format!("{linker} {flags} -O1"));
                let image = Image::open(&path).unwrap();
                let text = disassembly(&path);
                let mut expected = stubs(&text);
                if flags.contains("ibtplt") {
                    // objdump names the lazy parts as well, which nothing calls.
                    expected.retain(|address, _| image.plt_name(*address).is_some());
                }
                for wanted in ["getenv", "printf", "puts", "exit"] {
                    assert!(expected.values().any(|name| name == wanted), "{what}: no stub of {wanted}: {expected:?}");
                }
                for (address, name) in &expected {
                    assert_eq!(image.plt_name(*address), Some(name.as_str()), "{what} {address:#x}");
                    assert_eq!(image.plt_name(address + 1), None, "{what}");
                    assert_eq!(image.plt_name(address + 4), None, "{what}");
                }
                let main = image.find("main").first().expect("main").function.address;
                assert_eq!(image.plt_name(main), None);
            }
        }
    }
}

#[test]
fn calls_without_stubs_have_the_names_of_their_pointers() {
    let folder = Folder::new();
    for flags in
        ["-fno-plt -O1", "-fno-plt -O1 -Wl,-z,now", "-fno-plt -O1 -no-pie -fno-pie", "-fno-plt -fcf-protection"]
    {
        let path = folder.compile("gcc", "program", TEXT, flags);
        let image = Image::open(&path).unwrap();
        let slots = called_slots(&disassembly(&path));
        for wanted in ["getenv", "printf", "puts", "exit"] {
            assert!(slots.values().any(|name| name == wanted), "{flags}: {wanted} {slots:?}");
        }
        for (slot, name) in &slots {
            assert_eq!(image.slot_name(*slot), Some(name.as_str()), "{flags} {slot:#x}");
            assert_eq!(image.slot_name(slot + 1), None, "{flags}");
        }
    }
}

#[test]
fn names_are_shown_as_people_read_them() {
    let folder = Folder::new();
    let text = "#include <string>\nint main(int n, char **v) { std::string s(v[0]); s.append(v[0], n); throw s; }";
    let path = folder.compile("g++", "program", text, "-O1");
    let image = Image::open(&path).unwrap();
    let stubs = stubs(&disassembly(&path));
    let shown: Vec<String> = stubs.keys().filter_map(|address| image.plt_display(*address)).collect();
    assert!(shown.iter().any(|name| name == "__cxa_throw"), "{shown:?}");
    assert!(shown.iter().any(|name| name.starts_with("std::") && name.contains('(')), "{shown:?}");
}

#[test]
fn the_stubs_of_a_packaged_program_are_named() {
    let path = Path::new("/usr/bin/svn");
    let image = Image::open(path).expect("Debian's subversion is installed");
    let stubs = stubs(&disassembly(path));
    assert!(stubs.len() > 100, "{}", stubs.len());
    for (address, name) in &stubs {
        assert_eq!(image.plt_name(*address), Some(name.as_str()), "{address:#x}");
    }
    assert!(stubs.values().any(|name| name == "apr_palloc"), "{stubs:?}");
}

#[test]
fn a_library_that_calls_its_own_indirect_functions_is_taken() {
    // Stubs of the C library lead to implementations chosen at run time; those have no symbol.
    let libc = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6"].iter().find(|path| Path::new(path).exists());
    let image = Image::open(Path::new(libc.expect("a C library"))).unwrap();
    let malloc = image.find("malloc").first().expect("malloc").function.address;
    assert_eq!((image.plt_name(malloc), image.slot_name(malloc)), (None, None));
}

#[test]
fn own_calling_conventions_are_noticed() {
    let folder = Folder::new();
    let plain = folder.compile("gcc", "plain", TEXT, "");
    assert!(Image::open(&plain).unwrap().keeps_platform_convention());
    for (name, extra) in [
        ("go", "__attribute__((section(\".gopclntab\"), used)) static const char table[8] = {1};"),
        ("swift", "__attribute__((section(\"swift5_protocols\"), used)) static const char table[8] = {1};"),
        ("ocaml", "void caml_start_program(void) {}"),
    ] {
        let path = folder.compile("gcc", name, &format!("{extra}\n{TEXT}"), "");
        assert!(!Image::open(&path).unwrap().keeps_platform_convention(), "{name}");
    }
}
