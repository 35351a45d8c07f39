//! Whether the program runs under Valgrind.
//!
//! Memcheck keeps a record for every 64 KiB of a mapping, used or not: reserving 64 GiB takes it half a minute. So growing arenas
//! reserve less there. Deliberately absent: telling Valgrind about blocks.
#![allow(unsafe_code)] // Executes the instructions by which Valgrind is asked.

/// The question "are you there?" of Valgrind's client requests.
#[cfg(target_arch = "x86_64")]
const RUNNING_ON_VALGRIND: u64 = 0x1001;

/// True under Valgrind. Some ten instructions; false on machines for which nobody has written the question down.
#[cfg(target_arch = "x86_64")]
pub(crate) fn is_running() -> bool {
    if cfg!(miri) {
        return false;
    }
    let question = [RUNNING_ON_VALGRIND, 0, 0, 0, 0, 0];
    let mut answer = 0u64;
    // SAFETY: the rotations of rdi add up to 128 bits and the exchange is of a register with itself: to a processor this does
    // nothing. Valgrind knows the sequence, reads the six words at rax, and puts its answer into rdx.
    unsafe {
        core::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") question.as_ptr(),
            inout("rdx") answer,
            options(nostack, readonly),
        );
    }
    answer != 0
}

/// As above.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn is_running() -> bool {
    false
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_processor_by_itself_does_not_answer() {
        // The suite itself may run under Valgrind; its preloaded library is mapped then.
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        assert_eq!(super::is_running(), maps.contains("vgpreload"));
    }
}
