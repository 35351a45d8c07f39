//! Whether a function keeps threads apart by itself: what its code and that of the functions it calls can reach.
//!
//! The verdict `No` lets an overlap of two calls be called a race, so it is given only when every way through the code
//! was followed and nothing on any of them could order two threads, or give each thread a place of its own: no locked
//! instruction, no fence, no system call, no thread-local memory, no call through a pointer, and of the functions of
//! other modules only those of a list that order nothing for their caller (printf locks its stream, not the arena).
//! Besides, the function must change memory that is not its stack: one that only reads has nothing to protect.
//! Known gap: two threads that speak through plain memory alone (Dekker's algorithm needs a fence on this processor).
//! Deliberately absent: what the callers do; whether they hold a lock shows in time, not in this code.

use crate::fate_names::{bare, never_returns, never_returns_by_reserved_name};
use crate::fate_source::CodeSource;
use crate::fate_walk::{decode, near_target, pointer_slot, stub_slot};
use arenascope_event::Synchronises;
use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register};
use std::collections::BTreeSet;

/// Instructions looked at for one function, callees included.
const STEPS: u32 = 8000;
/// How many calls deep the search goes.
const DEPTH: u8 = 6;
/// Where the stack protector keeps its word (sysdeps/x86_64/nptl/tls.h): read by every protected function.
const CANARY: u64 = 0x28;

/// Functions of the C library that order nothing for their caller: what they lock, if anything, is their own.
const ORDER_NOTHING: &[&str] = &[
    "__assert_fail",
    "__errno_location",
    "__fprintf_chk",
    "__memcpy_chk",
    "__memmove_chk",
    "__memset_chk",
    "__printf_chk",
    "__snprintf_chk",
    "__sprintf_chk",
    "__stack_chk_fail",
    "__strcat_chk",
    "__strcpy_chk",
    "__strncpy_chk",
    "__vfprintf_chk",
    "__vsnprintf_chk",
    "aligned_alloc",
    "bcmp",
    "brk",
    "bzero",
    "calloc",
    "clock_nanosleep",
    "fflush",
    "fprintf",
    "fputc",
    "fputs",
    "free",
    "fwrite",
    "getpagesize",
    "madvise",
    "malloc",
    "malloc_usable_size",
    "memchr",
    "memcmp",
    "memcpy",
    "memmove",
    "memset",
    "mmap",
    "mmap64",
    "mprotect",
    "mremap",
    "munmap",
    "nanosleep",
    "perror",
    "posix_memalign",
    "printf",
    "putc",
    "putchar",
    "puts",
    "realloc",
    "sbrk",
    "sched_yield",
    "sleep",
    "snprintf",
    "sprintf",
    "strcmp",
    "strcpy",
    "strerror",
    "strlen",
    "strncmp",
    "strncpy",
    "strnlen",
    "sysconf",
    "usleep",
    "vfprintf",
    "vprintf",
    "vsnprintf",
    "write",
];

/// What is known of a called or jumped-to function.
enum Callee {
    /// Another module's, or one known by its name wherever it lies.
    Named(Option<String>),
    /// Its code is here.
    Local(u64),
}

/// A way to be followed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    ip: u64,
    depth: u8,
    /// rbp is the frame pointer here: what lies by it is the stack.
    framed: bool,
}

/// Whether the function that starts at `function` keeps threads apart by itself.
///
/// Cost: at most some thousand decoded instructions, usually fewer than a hundred.
pub fn synchronises(code: &dyn CodeSource, function: u64) -> Synchronises {
    let mut search = Search { code, factory: InstructionInfoFactory::new(), open: Vec::new(), not_sure: false };
    search.open.push(Way { ip: function, depth: 0, framed: false });
    let mut seen = BTreeSet::new();
    let mut writes = false;
    let mut steps = 0;
    while let Some(way) = search.open.pop() {
        if !seen.insert((way.ip, way.framed)) {
            continue;
        }
        if steps >= STEPS {
            return Synchronises::Unknown;
        }
        steps += 1;
        let Some(instruction) = decode(code, way.ip) else {
            search.not_sure = true;
            continue;
        };
        if orders(&instruction) || search.speaks_of_the_thread(&instruction) {
            return Synchronises::Perhaps;
        }
        writes = writes || search.writes(&instruction, way.framed);
        if search.step(&instruction, way).is_none() {
            return Synchronises::Perhaps;
        }
    }
    if search.not_sure || !writes { Synchronises::Unknown } else { Synchronises::No }
}

struct Search<'a> {
    code: &'a dyn CodeSource,
    factory: InstructionInfoFactory,
    open: Vec<Way>,
    /// Some way could not be followed to its end.
    not_sure: bool,
}

impl Search<'_> {
    /// Opens the ways behind one instruction. `None`: it leads to a function that may order threads.
    fn step(&mut self, instruction: &Instruction, way: Way) -> Option<()> {
        let sets_frame = instruction.op0_kind() == OpKind::Register
            && instruction.op0_register() == Register::RBP
            && (instruction.mnemonic() == Mnemonic::Mov
                && instruction.op1_kind() == OpKind::Register
                && instruction.op1_register() == Register::RSP);
        let next = Way { ip: instruction.next_ip(), framed: way.framed || sets_frame, ..way };
        match instruction.flow_control() {
            FlowControl::Next => self.open.push(next),
            FlowControl::ConditionalBranch => {
                self.open.push(next);
                self.jump(instruction, way)?;
            }
            FlowControl::UnconditionalBranch => self.jump(instruction, way)?,
            FlowControl::IndirectBranch => {
                let name = pointer_slot(instruction).and_then(|slot| self.code.slot_name(slot));
                match name {
                    Some(name) => {
                        self.named(Some(name))?;
                    }
                    // A table of this function's labels, or a function that nobody knows.
                    None => self.not_sure = true,
                }
            }
            FlowControl::Call => match near_target(instruction) {
                Some(target) if target == next.ip => self.open.push(next),
                Some(target) => {
                    let comes_back = match self.resolve(target) {
                        Callee::Named(name) => self.named(name)?,
                        Callee::Local(target) => {
                            self.enter(target, way.depth);
                            true
                        }
                    };
                    if comes_back {
                        self.open.push(next);
                    }
                }
                None => self.not_sure = true,
            },
            FlowControl::IndirectCall => match pointer_slot(instruction).and_then(|slot| self.code.slot_name(slot)) {
                Some(name) => {
                    if self.named(Some(name))? {
                        self.open.push(next);
                    }
                }
                None => {
                    self.not_sure = true;
                    self.open.push(next);
                }
            },
            FlowControl::Return => {}
            FlowControl::Exception if instruction.mnemonic() == Mnemonic::Ud2 => {}
            FlowControl::Exception | FlowControl::Interrupt | FlowControl::XbeginXabortXend => return None,
        }
        Some(())
    }

    fn jump(&mut self, instruction: &Instruction, way: Way) -> Option<()> {
        let Some(target) = near_target(instruction) else {
            self.not_sure = true;
            return Some(());
        };
        let within = self.code.function_bounds(way.ip).is_some_and(|(start, end)| start <= target && target < end);
        if within {
            self.open.push(Way { ip: target, ..way });
            return Some(());
        }
        match self.resolve(target) {
            Callee::Named(name) => {
                self.named(name)?;
            }
            // A cold part of the same function, or a tail call.
            Callee::Local(target) => self.open.push(Way { ip: target, ..way }),
        }
        Some(())
    }

    fn enter(&mut self, target: u64, depth: u8) {
        if depth >= DEPTH {
            self.not_sure = true;
        } else {
            self.open.push(Way { ip: target, depth: depth.saturating_add(1), framed: false });
        }
    }

    /// A function known by its name alone: whether it comes back; `None` when it may order threads.
    fn named(&self, name: Option<String>) -> Option<bool> {
        let name = name?;
        if never_returns(&name) {
            return Some(false);
        }
        ORDER_NOTHING.binary_search(&bare(&name)).is_ok().then_some(true)
    }

    fn resolve(&self, target: u64) -> Callee {
        let name = self.code.name(target);
        if let Some(slot) = stub_slot(self.code, target) {
            return Callee::Named(name.or_else(|| self.code.slot_name(slot)));
        }
        // A static program holds the C library itself.
        let reserved =
            |name: &str| ORDER_NOTHING.binary_search(&bare(name)).is_ok() || never_returns_by_reserved_name(name);
        match name {
            Some(known) if reserved(&known) => Callee::Named(Some(known)),
            _ => Callee::Local(target),
        }
    }

    /// True for an access to memory or registers that are the thread's own, the stack protector's word apart.
    fn speaks_of_the_thread(&mut self, instruction: &Instruction) -> bool {
        self.factory.info(instruction).used_memory().iter().any(|memory| {
            matches!(memory.segment(), Register::FS | Register::GS)
                && !(memory.base() == Register::None
                    && memory.index() == Register::None
                    && memory.displacement() == CANARY)
        })
    }

    /// True when the instruction changes memory that is not this function's stack.
    fn writes(&mut self, instruction: &Instruction, framed: bool) -> bool {
        use iced_x86::OpAccess::{CondWrite, ReadCondWrite, ReadWrite, Write};
        self.factory.info(instruction).used_memory().iter().any(|memory| {
            let stack = memory.base() == Register::RSP || (framed && memory.base() == Register::RBP);
            matches!(memory.access(), Write | ReadWrite | CondWrite | ReadCondWrite) && !stack
        })
    }
}

/// True for instructions that order memory, enter the kernel, wait for other threads, or ask which processor this is.
fn orders(instruction: &Instruction) -> bool {
    use Mnemonic::*;
    let exchanges = instruction.mnemonic() == Xchg
        && (instruction.op0_kind() == OpKind::Memory || instruction.op1_kind() == OpKind::Memory);
    instruction.has_lock_prefix()
        || exchanges
        || matches!(
            instruction.mnemonic(),
            Mfence
                | Lfence
                | Sfence
                | Pause
                | Cpuid
                | Rdtsc
                | Rdtscp
                | Rdpid
                | Rdfsbase
                | Rdgsbase
                | Syscall
                | Sysenter
                | Int
                | Xbegin
                | Xtest
                | Monitor
                | Mwait
                | Umonitor
                | Umwait
                | Tpause
                | Serialize
                | Hlt
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(ORDER_NOTHING.is_sorted());
    }
}
