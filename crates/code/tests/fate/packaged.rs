//! Packaged programs as an oracle: nobody throws away what malloc returns, and nobody reads what free "returns".

use crate::elf_source::{ElfSource, Stripped};
use crate::sites::sites_of;
use arenascope_code::{CodeSource, fate};
use arenascope_event::FateKind;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Functions whose result is the only way to what they made.
const MUST_KEEP: &[&str] = &["malloc", "calloc", "realloc", "strdup", "_Znwm", "fopen", "mallocx"];
/// Functions without a result.
const NO_RESULT: &[&str] = &["free", "_ZdlPv", "qsort", "perror", "apr_pool_clear"];
/// Functions whose result is mostly ignored.
const OFTEN_IGNORED: &[&str] = &["memcpy", "memset", "printf", "fclose", "pthread_mutex_unlock", "strcpy"];

/// Files to look at: those of these that this machine has, or all of a directory named in `FATE_SWEEP`.
fn files() -> Vec<PathBuf> {
    if let Some(directory) = std::env::var_os("FATE_SWEEP") {
        let mut files: Vec<_> = std::fs::read_dir(directory)
            .unwrap()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_file() && !path.is_symlink())
            .collect();
        files.sort();
        return files;
    }
    [
        "/bin/bash",
        "/usr/bin/svn",
        "/usr/bin/git",
        "/usr/sbin/nginx",
        "/usr/bin/perl",
        "/usr/bin/x86_64-linux-gnu-as",
        "/usr/bin/x86_64-linux-gnu-objdump",
        "/usr/lib/x86_64-linux-gnu/libapr-1.so.0",
        "/usr/lib/x86_64-linux-gnu/libsvn_subr-1.so.1",
        "/usr/lib/x86_64-linux-gnu/libcrypto.so.3",
        "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
        "/usr/lib/x86_64-linux-gnu/libsqlite3.so.0",
    ]
    .into_iter()
    .map(PathBuf::from)
    .filter(|path| path.exists())
    .collect()
}

fn is_elf(path: &Path) -> bool {
    use std::io::Read;
    let mut start = [0; 4];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"\x7fELF"
}

#[test]
fn packaged_programs_keep_what_malloc_returns_and_never_read_what_free_returns() {
    let mut counts: BTreeMap<(&str, FateKind), u32> = BTreeMap::new();
    let mut wrong = String::new();
    for path in files() {
        if !is_elf(&path) {
            continue;
        }
        let Some(elf) = ElfSource::try_open(&path) else {
            continue;
        };
        for name in [MUST_KEEP, NO_RESULT, OFTEN_IGNORED].concat() {
            for site in sites_of(&elf, name) {
                for code in [&elf as &dyn CodeSource, &Stripped(&elf)] {
                    let verdict = fate(code, site);
                    *counts.entry((name, verdict.kind)).or_default() += 1;
                    if MUST_KEEP.contains(&name) && verdict.kind == FateKind::Dropped {
                        wrong.push_str(&format!("{}: {name} at {site:#x}: {}\n", path.display(), verdict.because));
                    }
                }
            }
        }
    }
    for ((name, kind), count) in &counts {
        println!("{name:24} {kind:?}: {count}");
    }
    assert!(wrong.is_empty(), "{wrong}");
    let count = |names: &[&str], kind: Option<FateKind>| -> u32 {
        counts
            .iter()
            .filter(|((name, k), _)| names.contains(name) && kind.is_none_or(|kind| kind == *k))
            .map(|(_, count)| count)
            .sum()
    };
    assert!(count(MUST_KEEP, None) > 100, "too few programs to say anything");
    // Compilers do read bytes that hold nothing, and throw them away later: `setne al; or eax,edx; movzx eax,al`.
    let read = count(NO_RESULT, Some(FateKind::Read));
    let all = count(NO_RESULT, None);
    assert!(read * 500 <= all, "{read} of {all} results that do not exist are called read");
    let dropped = count(NO_RESULT, Some(FateKind::Dropped));
    assert!(dropped * 10 >= all * 8, "only {dropped} of {all} results that do not exist are called dropped");
}
