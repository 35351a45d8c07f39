//! The library that `arenascope run` preloads: hooks in, facts out.
//!
//! ```text
//!   start    before everyone else: memory, launcher's plan, patches      ask     the talk with the launcher
//!   stubs    registers saved, both sides of a hooked call (assembly)     hooks   which handler serves which hook
//!   check    redzones in check mode      own_check    check mode of the arena library's own arenas
//!   precise  memcheck is told about blocks                               valgrind  requests to it
//!   malloc   blocks of the C library's arenas                            glibc   what those look like
//!   roles    arena functions    memory    mmap and malloc    process    fork, exec, threads, exit    seccomp
//!   signals  the fatal ones    own_handlers    the program's own handlers    handled_fault    signal_marks    (--mark-on)
//!   library  events of the arena library, by an observer                 markers   nops of inlined allocators
//!   sampling which hooked calls are recorded, where not all are
//!   unwinding  the launcher's tables, mapped                             state     what all of this shares
//!   scan     asks for a look at all memory, at marks and at the end
//! ```
//!
//! Relied on: the host never fails through us. No panic, no allocation, no lock, no text; errno, registers and flags of
//! the ABI are as they were; descriptors are held only while talking to the launcher. No symbol is exported, so nothing
//! is interposed by name. Deliberately absent: any parsing of ELF, DWARF or machine code (the launcher does that), and
//! any judgement about events.
#![no_std]

mod ask;
mod check;
mod glibc;
mod handled_fault;
mod hooks;
mod library;
mod malloc;
mod markers;
mod memory;
mod own_check;
mod own_handlers;
mod precise;
mod process;
mod roles;
mod sampling;
mod scan;
mod seccomp;
mod signal_marks;
mod signals;
mod start;
mod state;
mod stubs;
mod unwinding;
mod valgrind;

#[cfg(arenascope_agent_so)]
mod shared_object;
