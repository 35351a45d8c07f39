//! One hooked function: what it does and where its arguments sit.

use crate::{Reader, Writer};
use arenascope_event::Role;

/// Where one argument is at function entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Source {
    /// Which kind of place.
    pub kind: SourceKind,
    /// Integer register number in argument order (0 = rdi … 5 = r9), or stack word (0 = first above the return address).
    pub index: u8,
    /// Significant bytes: 1, 2, 4 or 8. Higher bits of a register are garbage for narrower types.
    pub bytes: u8,
    /// Sign-extend instead of zero-extend.
    pub signed: bool,
    /// The value, for `Constant`.
    pub value: u64,
}

/// Kinds of places.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum SourceKind {
    /// The function has no such argument.
    #[default]
    Absent = 0,
    /// An integer register.
    Register = 1,
    /// A word of the caller's stack.
    Stack = 2,
    /// The compiler removed the argument and its value is known.
    Constant = 3,
    /// Of a marker: any general register, `index` by the processor's number; `value` bits of it are shifted out.
    General = 4,
    /// Of a marker: memory at registers and a distance, packed into `value` ([`Source::memory`]).
    Memory = 5,
    /// Of a marker: memory at the address `value`, a variable of its module.
    Variable = 6,
}

/// Memory that an operand of a marker names: the sum of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryPlace {
    /// A general register, by the processor's number.
    pub base: Option<u8>,
    /// A general register and 1, 2, 4 or 8.
    pub index: Option<(u8, u8)>,
    /// Bytes.
    pub displacement: i32,
}

/// No register, in a packed place.
const NO_REGISTER: u8 = 0xff;

impl Source {
    /// No such argument.
    pub const ABSENT: Source = Source { kind: SourceKind::Absent, index: 0, bytes: 0, signed: false, value: 0 };

    /// The `index`-th integer register, all eight bytes.
    pub const fn register(index: u8) -> Source {
        Source { kind: SourceKind::Register, index, bytes: 8, signed: false, value: 0 }
    }

    /// A place in memory, packed: displacement in bits 0 to 31, base in 32 to 39, index in 40 to 47, scale in 48 to 55.
    pub fn memory(place: MemoryPlace, bytes: u8, signed: bool) -> Source {
        let base = place.base.unwrap_or(NO_REGISTER);
        let (index, scale) = place.index.unwrap_or((NO_REGISTER, 1));
        let value = u64::from(place.displacement as u32)
            | u64::from(base) << 32
            | u64::from(index) << 40
            | u64::from(scale) << 48;
        Source { kind: SourceKind::Memory, index: 0, bytes, signed, value }
    }

    /// What [`Source::memory`] packed.
    pub const fn place(self) -> MemoryPlace {
        let [_, _, _, _, base, index, scale, _] = self.value.to_le_bytes();
        MemoryPlace {
            base: if base == NO_REGISTER { None } else { Some(base) },
            index: if index == NO_REGISTER { None } else { Some((index, scale)) },
            displacement: self.value as u32 as i32,
        }
    }

    /// True unless absent.
    pub const fn is_present(self) -> bool {
        !matches!(self.kind, SourceKind::Absent)
    }

    /// Cuts a raw word to the significant bytes and extends it.
    pub const fn narrow(self, raw: u64) -> u64 {
        match (self.bytes, self.signed) {
            (1, false) => raw as u8 as u64,
            (1, true) => raw as i8 as i64 as u64,
            (2, false) => raw as u16 as u64,
            (2, true) => raw as i16 as i64 as u64,
            (4, false) => raw as u32 as u64,
            (4, true) => raw as i32 as i64 as u64,
            _ => raw,
        }
    }
}

/// All arguments a role can name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Sources {
    /// The arena object.
    pub arena: Source,
    /// Pointer to a pointer to the arena, read after the call.
    pub arena_out: Source,
    /// Bytes.
    pub size: Source,
    /// Elements.
    pub count: Source,
    /// The block.
    pub block: Source,
    /// Pointer to a pointer to the block, read after the call.
    pub block_out: Source,
    /// Alignment.
    pub align: Source,
    /// The parent arena.
    pub parent: Source,
    /// A C string.
    pub name: Source,
    /// The mark by value.
    pub mark: Source,
    /// Pointer to the mark.
    pub mark_at: Source,
}

impl Sources {
    /// In wire order.
    pub fn all(&self) -> [Source; 11] {
        [
            self.arena,
            self.arena_out,
            self.size,
            self.count,
            self.block,
            self.block_out,
            self.align,
            self.parent,
            self.name,
            self.mark,
            self.mark_at,
        ]
    }

    fn from_all(all: [Source; 11]) -> Sources {
        let [arena, arena_out, size, count, block, block_out, align, parent, name, mark, mark_at] = all;
        Sources { arena, arena_out, size, count, block, block_out, align, parent, name, mark, mark_at }
    }
}

/// How the hook wraps the function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Shape {
    /// Seen at entry only; the function then runs in its caller's frame (vfork, exec, functions without a result).
    Before = 0,
    /// Called from a frame of ours, seen at entry and at return.
    Around = 1,
    /// No function: a nop in the middle of one, whose compiler knows of no call.
    Marker = 2,
}

/// What a hook is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is named after the function it serves")]
pub enum HookKind {
    Create = 0,
    Alloc = 1,
    Resize = 2,
    Free = 3,
    Mark = 4,
    Rewind = 5,
    Reset = 6,
    Destroy = 7,
    Mmap = 16,
    Munmap = 17,
    Mremap = 18,
    Malloc = 19,
    Calloc = 20,
    Realloc = 21,
    Memalign = 22,
    PosixMemalign = 23,
    HeapFree = 24,
    PthreadCreate = 25,
    Fork = 26,
    Vfork = 27,
    ExitNow = 28,
    Execve = 29,
    Dlopen = 30,
    Sigaction = 31,
    Signal = 32,
    Spawn = 33,
    Fexecve = 34,
    Prctl = 35,
    Syscall = 36,
    UserMark = 37,
    StartMain = 38,
    Exit = 39,
}

impl HookKind {
    const ALL: [HookKind; 32] = [
        HookKind::Create,
        HookKind::Alloc,
        HookKind::Resize,
        HookKind::Free,
        HookKind::Mark,
        HookKind::Rewind,
        HookKind::Reset,
        HookKind::Destroy,
        HookKind::Mmap,
        HookKind::Munmap,
        HookKind::Mremap,
        HookKind::Malloc,
        HookKind::Calloc,
        HookKind::Realloc,
        HookKind::Memalign,
        HookKind::PosixMemalign,
        HookKind::HeapFree,
        HookKind::PthreadCreate,
        HookKind::Fork,
        HookKind::Vfork,
        HookKind::ExitNow,
        HookKind::Execve,
        HookKind::Dlopen,
        HookKind::Sigaction,
        HookKind::Signal,
        HookKind::Spawn,
        HookKind::Fexecve,
        HookKind::Prctl,
        HookKind::Syscall,
        HookKind::UserMark,
        HookKind::StartMain,
        HookKind::Exit,
    ];

    /// The kind with this code.
    pub fn from_code(code: u8) -> Option<HookKind> {
        HookKind::ALL.into_iter().find(|kind| *kind as u8 == code)
    }

    /// The kind that serves a role.
    pub const fn of_role(role: Role) -> HookKind {
        match role {
            Role::Create => HookKind::Create,
            Role::Alloc => HookKind::Alloc,
            Role::Resize => HookKind::Resize,
            Role::Free => HookKind::Free,
            Role::Mark => HookKind::Mark,
            Role::Rewind => HookKind::Rewind,
            Role::Reset => HookKind::Reset,
            Role::Destroy => HookKind::Destroy,
        }
    }

    /// True for the eight roles of an arena.
    pub const fn is_role(self) -> bool {
        (self as u8) < 16
    }
}

/// One hooked function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Hook {
    /// What it is for.
    pub kind: HookKind,
    /// How it is wrapped.
    pub shape: Shape,
    /// True when the result register holds the arena (create), the block (alloc, resize) or the mark (mark).
    pub takes_result: bool,
    /// True when it has, or may have, arguments on the stack (`Around` copies them).
    pub stack_arguments: bool,
    /// True when it runs no other code (no destructor, no callback), so that nothing reads the blocks that it ends.
    pub leaf: bool,
    /// True when it may copy as many bytes as are asked for out of memory of the caller's (a `memdup`).
    pub copies: bool,
    /// Address of the relocated start of the function; of a marker, of what follows its nop.
    pub trampoline: u64,
    /// Where its arguments are.
    pub sources: Sources,
}

impl Hook {
    /// Whether blocks of this function can be grown in check mode.
    ///
    /// # Errors
    /// Why not, as the rest of a sentence that begins with the function's name.
    pub fn grows(&self) -> Result<(), &'static str> {
        let changeable = |source: Source| source.kind == SourceKind::Register;
        match (self.kind, self.sources.size, self.sources.count) {
            (HookKind::Alloc, ..) if self.copies => {
                Err("may copy as many bytes as are asked for, from an argument that the role leaves out")
            }
            (HookKind::Alloc | HookKind::Resize, ..) if !self.takes_result => {
                Err("hands out blocks through a pointer, and whether it refused a larger one cannot be told")
            }
            (HookKind::Alloc | HookKind::Resize, size, count) if !size.is_present() && !count.is_present() => {
                Err("has no size argument")
            }
            (HookKind::Alloc | HookKind::Resize, _, count) if changeable(count) => Ok(()),
            (HookKind::Alloc | HookKind::Resize, size, count) if changeable(size) && !count.is_present() => Ok(()),
            (HookKind::Alloc | HookKind::Resize, ..) => {
                Err("has its size as a constant, or on the stack, where it cannot be changed")
            }
            _ => Err("hands out no blocks"),
        }
    }

    /// Appends the hook.
    pub fn write(&self, out: &mut Writer<'_>) {
        out.u8(self.kind as u8);
        out.u8(self.shape as u8);
        out.u8(self.takes_result as u8);
        out.u8(self.stack_arguments as u8);
        out.u8(self.leaf as u8);
        out.u8(self.copies as u8);
        out.u64(self.trampoline);
        for source in self.sources.all() {
            out.u8(source.kind as u8);
            out.u8(source.index);
            out.u8(source.bytes);
            out.u8(source.signed as u8);
            out.u64(source.value);
        }
    }

    /// Reads one hook; `None` when the bytes are not one.
    pub fn read(from: &mut Reader<'_>) -> Option<Hook> {
        let kind = HookKind::from_code(from.u8()?)?;
        let shape = match from.u8()? {
            0 => Shape::Before,
            1 => Shape::Around,
            2 => Shape::Marker,
            _ => return None,
        };
        let takes_result = from.u8()? != 0;
        let stack_arguments = from.u8()? != 0;
        let leaf = from.u8()? != 0;
        let copies = from.u8()? != 0;
        let trampoline = from.u64()?;
        let mut all = [Source::ABSENT; 11];
        for source in &mut all {
            let kind = match from.u8()? {
                0 => SourceKind::Absent,
                1 => SourceKind::Register,
                2 => SourceKind::Stack,
                3 => SourceKind::Constant,
                4 => SourceKind::General,
                5 => SourceKind::Memory,
                6 => SourceKind::Variable,
                _ => return None,
            };
            *source =
                Source { kind, index: from.u8()?, bytes: from.u8()?, signed: from.u8()? != 0, value: from.u64()? };
        }
        Some(Hook {
            kind,
            shape,
            takes_result,
            stack_arguments,
            leaf,
            copies,
            trampoline,
            sources: Sources::from_all(all),
        })
    }
}
