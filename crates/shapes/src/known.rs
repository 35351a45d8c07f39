//! What functions of the C and C++ libraries do to memory, by name.
//!
//! Relied on: names are matched after stripping versions and the C library's internal prefixes.
//! Deliberately absent: functions that neither give, take, move, fill nor end anything; they are `None`.

/// What a library function does, as far as allocators care.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Known {
    /// Returns memory that nobody else has.
    Obtain,
    /// Stores such memory through its first argument (`posix_memalign`).
    ObtainInto,
    /// Returns memory that takes the place of its first argument.
    Move,
    /// Gives its first argument back.
    Release,
    /// Copies from the second to the first argument, returns the first.
    Copy,
    /// Fills the first argument with the byte of the second; the third is the length.
    Fill,
    /// Fills the first argument with zero; the second is the length.
    Zero,
    /// Writes text or data of its own into the first argument.
    WriteFirst,
    /// Writes data of its own into the second argument.
    WriteSecond,
    /// Sends the bytes at the first argument out of the process.
    SendFirst,
    /// Sends the bytes at the second argument out of the process.
    SendSecond,
    /// Never comes back.
    Ends,
}

/// The plain name: no version, no internal prefix of the C library.
pub(crate) fn plain(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    let stripped = ["__libc_", "__GI_", "__interceptor_", "je_"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    match stripped {
        "__mmap" | "__mmap64" => "mmap",
        "__munmap" => "munmap",
        "__mremap" => "mremap",
        "__sbrk" => "sbrk",
        other => other,
    }
}

/// What the function of this name does, if it matters.
pub(crate) fn known(name: &str) -> Option<Known> {
    Some(match plain(name) {
        "malloc"
        | "calloc"
        | "mmap"
        | "mmap64"
        | "aligned_alloc"
        | "memalign"
        | "valloc"
        | "pvalloc"
        | "sbrk"
        | "shmat"
        | "strdup"
        | "strndup"
        | "_Znwm"
        | "_Znam"
        | "_ZnwmRKSt9nothrow_t"
        | "_ZnamRKSt9nothrow_t"
        | "_ZnwmSt11align_val_t"
        | "_ZnamSt11align_val_t"
        | "g_malloc"
        | "g_malloc0"
        | "g_try_malloc" => Known::Obtain,
        "posix_memalign" => Known::ObtainInto,
        "realloc" | "reallocarray" | "mremap" | "g_realloc" => Known::Move,
        "free"
        | "munmap"
        | "cfree"
        | "shmdt"
        | "_ZdlPv"
        | "_ZdaPv"
        | "_ZdlPvm"
        | "_ZdaPvm"
        | "_ZdlPvSt11align_val_t"
        | "_ZdaPvSt11align_val_t"
        | "_ZdlPvmSt11align_val_t"
        | "_ZdaPvmSt11align_val_t"
        | "_ZdlPvRKSt9nothrow_t"
        | "g_free" => Known::Release,
        "memcpy" | "memmove" | "mempcpy" | "strcpy" | "strncpy" | "stpcpy" | "strcat" | "strncat" | "__memcpy_chk"
        | "__memmove_chk" | "__mempcpy_chk" | "__strcpy_chk" | "__strncpy_chk" | "__stpcpy_chk" | "__strcat_chk"
        | "bcopy" | "strlcpy" | "wmemcpy" => Known::Copy,
        "memset" | "__memset_chk" | "wmemset" => Known::Fill,
        "bzero" | "explicit_bzero" => Known::Zero,
        "sprintf" | "snprintf" | "vsprintf" | "vsnprintf" | "__sprintf_chk" | "__snprintf_chk" | "__vsprintf_chk"
        | "__vsnprintf_chk" | "fgets" | "fread" | "__fread_chk" | "__fgets_chk" | "strftime" => Known::WriteFirst,
        "read" | "recv" | "recvfrom" | "pread" | "pread64" | "__read_chk" | "readlink" => Known::WriteSecond,
        "fwrite" | "fputs" => Known::SendFirst,
        "write" | "send" | "sendto" | "pwrite" | "pwrite64" => Known::SendSecond,
        "abort"
        | "exit"
        | "_exit"
        | "_Exit"
        | "quick_exit"
        | "__assert_fail"
        | "__assert"
        | "__stack_chk_fail"
        | "longjmp"
        | "_longjmp"
        | "siglongjmp"
        | "__longjmp_chk"
        | "__chk_fail"
        | "_Unwind_Resume"
        | "__cxa_throw"
        | "__cxa_rethrow"
        | "__cxa_bad_cast"
        | "_ZSt9terminatev"
        | "_ZSt17__throw_bad_allocv"
        | "_ZSt20__throw_length_errorPKc"
        | "err"
        | "errx"
        | "pthread_exit"
        | "__fortify_fail" => Known::Ends,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_internal_prefixes_do_not_hide_a_name() {
        for (name, expected) in [
            ("munmap", Some(Known::Release)),
            ("__munmap", Some(Known::Release)),
            ("__libc_free", Some(Known::Release)),
            ("malloc@GLIBC_2.2.5", Some(Known::Obtain)),
            ("mmap64", Some(Known::Obtain)),
            ("printf", None),
            ("my_free", None),
            ("arena_free", None),
        ] {
            assert_eq!(known(name), expected, "{name}");
        }
    }
}
