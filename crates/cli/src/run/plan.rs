//! Roles and modules in, bytes for the agent out: which functions are hooked, where thunks lie, what is patched.
//!
//! ```text
//!  near region of one module                slot, 96 bytes
//!  +0   pointer to the Around stub          +0   push hook number
//!  +8   pointer to the Before stub          +5   jmp [Around]   |  call [Before]; lea rsp, [rsp+8]
//!  +16  pointer to the Marker stub
//!  +32  slots; then markers' thunks         +16  the function's first instructions, relocated; jump back
//! ```
//!
//! Nothing here touches the target: the agent carries the plan out and says what failed.

use crate::run::markers::{self, MARKER_SLOT};
use crate::run::{near, neighbours, sources};
use arenascope_code::detour::{self, MAX_RELOCATED, Target};
use arenascope_event::{Address, HookFact, HookStatus, Mode, Role, RoleDecl};
use arenascope_plan::{Hook, HookKind, LibcFunction, Library, Patch, Shape, Source, Sources};
use arenascope_shapes::INLINED_EVERYWHERE;
use arenascope_symbols::{CloneKind, Image, LibraryNote, Match};
use std::ops::Range;
use std::rc::Rc;

/// Bytes of a slot.
const SLOT: u64 = 96;
/// Where the relocated instructions begin in a slot.
const TRAMPOLINE: u64 = 16;
/// Most bytes of a function that are looked through.
const LARGEST: u64 = 1 << 22;
/// Where slots begin in a near region.
const FIRST_SLOT: u64 = 32;
const _: () = assert!(TRAMPOLINE as usize + MAX_RELOCATED <= SLOT as usize);

/// A module of the target with its image.
pub struct Loaded {
    /// Address in the process minus address in the file.
    pub bias: u64,
    /// First mapped address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Path of the file.
    pub path: String,
    /// The file; `None` when it cannot be read.
    pub image: Option<Rc<Image>>,
    /// True for the program itself.
    pub is_program: bool,
}

/// A function that is to be hooked.
struct Wish {
    module: usize,
    address: u64,
    kind: HookKind,
    shape: Shape,
    takes_result: bool,
    stack_arguments: bool,
    copies: bool,
    sources: Sources,
    /// Index into the facts; `None` for functions of the C library.
    fact: Option<usize>,
}

/// What the agent is told.
#[derive(Default)]
pub struct Outcome {
    /// Code for each near region: address and bytes.
    pub placed: Vec<(u64, Vec<u8>)>,
    /// Hooks, in order of their numbers.
    pub hooks: Vec<Hook>,
    /// Patches.
    pub patches: Vec<Patch>,
    /// For each hook of a role its fact; system hooks have none.
    pub fact_of_hook: Vec<Option<usize>>,
    /// What became of each role.
    pub facts: Vec<HookFact>,
    /// Functions of the C library that could not be hooked, each with the reason.
    pub blind: Vec<String>,
    /// Copies of the arena library, whose events need no hook, each with the module's path.
    pub libraries: Vec<(Library, String)>,
    /// Behind each marker's nop: what a backtrace from there begins with.
    pub marker_places: Vec<u64>,
    /// Bytes of functions that patches and moved instructions take.
    pub taken: Vec<Range<u64>>,
}

impl Outcome {
    /// What a mode cannot do for the functions hooked here, a sentence each.
    pub fn unchecked(&self, mode: Mode) -> Vec<String> {
        let sentence = |(hook, fact): (&Hook, &Option<usize>)| {
            let function = &self.facts.get((*fact)?)?.decl.function;
            match hook.kind {
                _ if hook.shape == Shape::Marker => None,
                HookKind::Alloc | HookKind::Resize => {
                    let why = hook.grows().err()?;
                    Some(format!("blocks of {function} have no redzone: it {why}"))
                }
                HookKind::Reset | HookKind::Rewind if mode == Mode::Check && !hook.leaf => Some(format!(
                    "what {function} ends is not watched afterwards: it calls other functions, which may read it, or its marks \
                     are not all seen"
                )),
                _ => None,
            }
        };
        let told =
            |hook: &&Hook| matches!(hook.kind, HookKind::Alloc | HookKind::Resize) && hook.shape == Shape::Marker;
        let markers = self.hooks.iter().any(|hook| told(&hook)).then(|| {
            "blocks told by markers have no redzone and are not watched when they are dead (on the ladder of guard pages, canaries, none: \
             none): a marker comes when the block is cut already"
                .to_owned()
        });
        self.hooks.iter().zip(&self.fact_of_hook).filter_map(sentence).chain(markers).collect()
    }
}

/// What is wanted of a process.
pub struct Request<'a> {
    /// Modules whose functions may be hooked now.
    pub modules: &'a [Loaded],
    /// Modules among them that are new (roles are looked for in these).
    pub fresh: &'a [usize],
    /// The roles.
    pub decls: &'a [RoleDecl],
    /// Addresses of functions of the C library; empty when they are hooked already.
    pub libc: &'a [u64],
    /// Watch markers, too.
    pub markers: bool,
    /// Hook those that only recording needs, too.
    pub record: bool,
    /// Record malloc blocks.
    pub heap: bool,
    /// Memory is scanned at the end.
    pub scan: bool,
    /// Number of the first hook.
    pub next_hook: u32,
    /// The agent's stubs.
    pub around: u64,
    /// The agent's stubs.
    pub before: u64,
    /// The agent's stubs.
    pub marker: u64,
    /// The target's `/proc/PID/maps`.
    pub maps: &'a str,
}

/// The role functions found in `modules[fresh]`, as wishes and facts.
fn role_wishes(request: &Request<'_>, facts: &mut Vec<HookFact>) -> Vec<Wish> {
    let mut wishes: Vec<Wish> = Vec::new();
    for decl in request.decls {
        let (library, name) = arenascope_roles::library_and_name(&decl.function);
        for &index in request.fresh {
            let Some(module) = request.modules.get(index) else { continue };
            let Some(image) = module.image.as_deref() else { continue };
            if library.is_some_and(|library| !names_module(library, &module.path)) {
                continue;
            }
            let matches = image.find(name);
            let split = split_off(image, &matches);
            let mut seen = Vec::new();
            for found in &matches {
                let function = found.function;
                if seen.contains(&function.address) {
                    continue;
                }
                // The whole function speaks for the parts that were split off it.
                if found.clone == Some(CloneKind::Part) && matches.iter().any(|other| other.clone.is_none()) {
                    continue;
                }
                seen.push(function.address);
                let address = module.bias.wrapping_add(function.address);
                if wishes.iter().any(|wish| wish.address == address) {
                    continue;
                }
                let signature = image.signature(function.address);
                let status = match sources::locate(decl, signature.as_ref(), found.clone) {
                    Ok(located) => {
                        let copies = image.inlined_copies(name);
                        wishes.push(Wish {
                            module: index,
                            address,
                            kind: HookKind::of_role(decl.role),
                            shape: Shape::Around,
                            takes_result: located.takes_result,
                            stack_arguments: located.stack_arguments,
                            copies: located.copies,
                            sources: located.sources,
                            fact: Some(facts.len()),
                        });
                        match &split {
                            _ if copies > 0 => HookStatus::Partly(inlined(copies)),
                            Some(part) if found.clone.is_none() => HookStatus::Partly(called_in_part(part)),
                            _ => HookStatus::Watched,
                        }
                    }
                    Err(reason) => HookStatus::NotWatched(reason),
                };
                let hooked = !matches!(status, HookStatus::NotWatched(_));
                facts.push(HookFact {
                    decl: decl.clone(),
                    module: module.path.clone(),
                    address: Address(if hooked { address } else { 0 }),
                    status,
                    synchronises: Default::default(),
                    markers: None,
                });
            }
        }
        facts.extend(without_a_body(request, decl, library, name));
    }
    wishes
}

/// The fact about a function that has no code of its own in any module, though debug information of one of them defines
/// it. A body anywhere else is the function that is meant: the loader's own copy of `malloc` is not the program's.
fn without_a_body(request: &Request<'_>, decl: &RoleDecl, library: Option<&str>, name: &str) -> Option<HookFact> {
    let meant = |module: &&Loaded| library.is_none_or(|library| names_module(library, &module.path));
    let images = || request.modules.iter().filter(meant).filter_map(|module| Some((module, module.image.as_deref()?)));
    if images().any(|(_, image)| !image.find(name).is_empty()) {
        return None;
    }
    let fresh = request.fresh.iter().filter_map(|&index| request.modules.get(index)).filter(meant);
    let (module, copies) = fresh
        .filter_map(|module| Some((module, module.image.as_deref()?)))
        .filter(|(_, image)| image.defined_but_no_body(name))
        .map(|(module, image)| (module, image.inlined_copies(name)))
        .max_by_key(|(_, copies)| *copies)?;
    let why = match copies {
        0 => "has no code in the program: nobody calls it, or the compiler worked its calls out".to_owned(),
        _ => format!("{INLINED_EVERYWHERE}, so there is no function to watch: compile with -O0, -Og or -fno-inline"),
    };
    Some(HookFact {
        decl: decl.clone(),
        module: module.path.clone(),
        address: Address::NULL,
        status: HookStatus::NotWatched(why),
        synchronises: Default::default(),
        markers: None,
    })
}

fn inlined(copies: usize) -> String {
    let count = match copies {
        1 => "one call of it was inlined by the compiler and is".to_owned(),
        _ => format!("{copies} calls of it were inlined by the compiler and are"),
    };
    format!("{count} not seen: compile with -O0, -Og or -fno-inline to see all")
}

/// The part that the compiler split off a function (`f.part.0`) and that others than the function call. They hold a
/// copy of the function's first tests, so these are calls of the function that never reach its start.
fn split_off(image: &Image, matches: &[Match<'_>]) -> Option<String> {
    let of = |part: bool| matches.iter().filter(move |found| (found.clone == Some(CloneKind::Part)) == part);
    let mut parts = of(true).peekable();
    parts.peek()?;
    let whole: Vec<_> = matches.iter().map(|found| found.function.address..found.function.end()).collect();
    of(false).next()?;
    parts
        .find(|part| neighbours::called_from_outside(image, part.function.address, &whole))
        .map(|part| part.function.name.to_string())
}

fn called_in_part(part: &str) -> String {
    format!(
        "the compiler split it: some callers make its first tests themselves and call only the rest ({part}); those \
         calls are not seen: compile with -O0, -Og or -fno-partial-inlining to see all"
    )
}

/// True when `library` (as in `libapr-1.so.0!apr_palloc`) means the module at `path`: its file name, or the name without
/// what follows `.so`.
fn names_module(library: &str, path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path);
    file == library || path == library || file.split(".so").next() == Some(library)
}

/// Functions of the C library that are hooked, how, and whether only recording needs them.
const LIBC: [(LibcFunction, HookKind, Shape, bool); 27] = [
    (LibcFunction::Mmap, HookKind::Mmap, Shape::Around, true),
    (LibcFunction::Munmap, HookKind::Munmap, Shape::Around, true),
    (LibcFunction::Mremap, HookKind::Mremap, Shape::Around, true),
    (LibcFunction::Malloc, HookKind::Malloc, Shape::Around, true),
    (LibcFunction::Calloc, HookKind::Calloc, Shape::Around, true),
    (LibcFunction::Realloc, HookKind::Realloc, Shape::Around, true),
    (LibcFunction::Memalign, HookKind::Memalign, Shape::Around, true),
    (LibcFunction::AlignedAlloc, HookKind::Memalign, Shape::Around, true),
    (LibcFunction::PosixMemalign, HookKind::PosixMemalign, Shape::Around, true),
    (LibcFunction::Free, HookKind::HeapFree, Shape::Before, true),
    (LibcFunction::PthreadCreate, HookKind::PthreadCreate, Shape::Before, true),
    (LibcFunction::Fork, HookKind::Fork, Shape::Around, true),
    (LibcFunction::Vfork, HookKind::Vfork, Shape::Before, true),
    (LibcFunction::ExitNow, HookKind::ExitNow, Shape::Before, true),
    (LibcFunction::Execve, HookKind::Execve, Shape::Before, false),
    (LibcFunction::Fexecve, HookKind::Fexecve, Shape::Before, false),
    (LibcFunction::Dlopen, HookKind::Dlopen, Shape::Around, false),
    (LibcFunction::Sigaction, HookKind::Sigaction, Shape::Around, true),
    (LibcFunction::Signal, HookKind::Signal, Shape::Around, true),
    (LibcFunction::PosixSpawn, HookKind::Spawn, Shape::Before, true),
    (LibcFunction::PosixSpawnp, HookKind::Spawn, Shape::Before, true),
    (LibcFunction::Prctl, HookKind::Prctl, Shape::Around, true),
    (LibcFunction::Syscall, HookKind::Syscall, Shape::Before, true),
    (LibcFunction::Valloc, HookKind::Malloc, Shape::Around, true),
    (LibcFunction::Pvalloc, HookKind::Malloc, Shape::Around, true),
    (LibcFunction::StartMain, HookKind::StartMain, Shape::Before, true),
    (LibcFunction::Exit, HookKind::Exit, Shape::Before, true),
];

fn libc_wishes(request: &Request<'_>, blind: &mut Vec<String>) -> Vec<Wish> {
    let mut wishes: Vec<Wish> = Vec::new();
    for (function, kind, shape, only_for_recording) in LIBC {
        let name = LibcFunction::ALL.iter().find(|(candidate, _)| *candidate == function).map(|(_, name)| *name);
        let name = name.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let heap = matches!(
            kind,
            HookKind::Malloc
                | HookKind::Calloc
                | HookKind::Realloc
                | HookKind::Memalign
                | HookKind::PosixMemalign
                | HookKind::HeapFree
        );
        let only_for_scans = matches!(kind, HookKind::StartMain | HookKind::Exit);
        if (only_for_recording && !request.record) || (heap && !request.heap) || (only_for_scans && !request.scan) {
            continue;
        }
        let address = request.libc.get(function as usize).copied().unwrap_or(0);
        // Two names of one function need one hook.
        if address == 0 || wishes.iter().any(|wish| wish.address == address) {
            continue;
        }
        match request.modules.iter().position(|module| module.start <= address && address < module.end) {
            Some(module) => wishes.push(Wish {
                module,
                address,
                kind,
                shape,
                takes_result: true,
                stack_arguments: false,
                copies: false,
                sources: Sources { arena: Source::ABSENT, ..Sources::default() },
                fact: None,
            }),
            None => blind.push(format!("{name} lies in no module that is known")),
        }
    }
    wishes
}

/// The functions of `arenascope_mark.h` and of the Rust crate's `mark`, in every module that has them. The second one's name
/// ends where its length says.
const MARKS: [(&str, Source); 2] = [("arenascope_mark", Source::ABSENT), ("arenascope_mark_text", Source::register(1))];

fn mark_wishes(request: &Request<'_>) -> Vec<Wish> {
    let mut wishes: Vec<Wish> = Vec::new();
    for &index in request.fresh {
        let Some(module) = request.modules.get(index) else { continue };
        let Some(image) = module.image.as_deref() else { continue };
        let all = MARKS.iter().flat_map(|(name, size)| image.find(name).into_iter().map(|found| (found, *size)));
        for (found, size) in all {
            let address = module.bias.wrapping_add(found.function.address);
            if wishes.iter().any(|wish| wish.address == address) {
                continue;
            }
            wishes.push(Wish {
                module: index,
                address,
                kind: HookKind::UserMark,
                shape: Shape::Before,
                takes_result: false,
                stack_arguments: false,
                copies: false,
                sources: Sources { size, ..Sources::default() },
                fact: None,
            });
        }
    }
    wishes
}

/// The copies of the arena library in the fresh modules.
fn libraries(request: &Request<'_>) -> Vec<(Library, String)> {
    let fresh = request.fresh.iter().filter_map(|&index| request.modules.get(index));
    let of_module = |module: &Loaded| {
        let notes = module.image.as_deref().map(Image::library_notes).unwrap_or_default();
        let here =
            |note: LibraryNote| Library { observer: module.bias.wrapping_add(note.observer), version: note.version };
        notes.into_iter().map(here).map(|library| (library, module.path.clone())).collect::<Vec<_>>()
    };
    fresh.flat_map(of_module).collect()
}

/// Plans the hooks of a process. O(roles × symbols).
pub fn make(request: &Request<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let roles = role_wishes(request, &mut outcome.facts);
    outcome.libraries = libraries(request);
    let mut markers = markers::of(request, &mut outcome.facts);
    let record = request.record || !roles.is_empty() || !outcome.libraries.is_empty() || markers.see_arenas();
    if !record {
        markers.forget();
    }
    let libc = libc_wishes(&Request { record, ..*request }, &mut outcome.blind);
    // A role on a function of the C library wins over our own interest in it.
    let mut wishes = roles;
    let marks = if record { mark_wishes(request) } else { Vec::new() };
    outcome.blind.append(&mut markers.unreadable);
    let others: Vec<Wish> =
        libc.into_iter().chain(marks).filter(|wish| wishes.iter().all(|role| role.address != wish.address)).collect();
    wishes.extend(others);
    let taken = near::ranges(request.maps);
    let mut taken = taken;
    for (index, module) in request.modules.iter().enumerate() {
        let of_module: Vec<&Wish> = wishes.iter().filter(|wish| wish.module == index).collect();
        let of_markers = markers.of_module(index);
        if of_module.is_empty() && of_markers == 0 {
            continue;
        }
        let bytes = FIRST_SLOT + SLOT * of_module.len() as u64 + MARKER_SLOT * of_markers as u64;
        let region = near::gap(&taken, (module.start, module.end), bytes, module.is_program);
        let Some(region) = region else {
            for wish in &of_module {
                refuse(&mut outcome, wish, "no free memory within 2 GiB of it".into());
            }
            markers.refuse_all(index, "no free memory within 2 GiB of them");
            continue;
        };
        taken.push((region, region + bytes.next_multiple_of(4096)));
        taken.sort_unstable();
        let mut code = Vec::with_capacity(bytes as usize);
        code.extend(request.around.to_le_bytes());
        code.extend(request.before.to_le_bytes());
        code.extend(request.marker.to_le_bytes());
        code.resize(FIRST_SLOT as usize, 0xcc);
        for wish in of_module {
            lay(request, module, wish, region, &mut code, &mut outcome);
        }
        markers.lay(request, index, region, &mut code, &mut outcome);
        outcome.placed.push((region, code));
    }
    markers.settle(&mut outcome.facts);
    // Which blocks a rewind ends is known only where every mark is.
    let marks = |fact: &HookFact| fact.decl.role == Role::Mark && fact.status != HookStatus::Watched;
    if outcome.facts.iter().any(marks) {
        outcome.hooks.iter_mut().filter(|hook| hook.kind == HookKind::Rewind).for_each(|hook| hook.leaf = false);
    }
    outcome
}

/// Adds one hook to a near region, or the reason why not to the facts.
fn lay(request: &Request<'_>, module: &Loaded, wish: &Wish, region: u64, code: &mut Vec<u8>, outcome: &mut Outcome) {
    let Some(image) = module.image.as_deref() else {
        return refuse(outcome, wish, format!("{} cannot be read", module.path));
    };
    let in_file = wish.address.wrapping_sub(module.bias);
    // Debug information is asked only for functions without a symbol: reading all of it takes long.
    let known = image.symbols().binary_search_by_key(&in_file, |function| function.address).is_ok();
    let functions = if known { image.symbols() } else { image.functions() };
    let here = functions.partition_point(|function| function.address < in_file);
    let after = functions.partition_point(|function| function.address <= in_file);
    let size = functions.get(here..after).unwrap_or_default().iter().map(|function| function.size).max().unwrap_or(0);
    let next_function = functions.get(after).map(|function| function.address);
    // Without a size the function ends at the next one.
    let extent = if size > 0 { size } else { next_function.map_or(LARGEST, |next| next.saturating_sub(in_file)) };
    let length = usize::try_from(extent.clamp(64, LARGEST)).unwrap_or(usize::MAX).saturating_add(32);
    let Some(bytes) = image.code(in_file, length) else {
        return refuse(outcome, wish, "its code is not in the file".into());
    };
    let elsewhere = neighbours::of(image, module.bias, in_file, size);
    let slot = region + code.len() as u64;
    let target = Target {
        address: wish.address,
        code: bytes,
        size,
        next_function: next_function.map(|address| address.wrapping_add(module.bias)),
    };
    let detour = match detour::plan_with(&target, &elsewhere, slot, slot + TRAMPOLINE) {
        Ok(detour) => detour,
        Err(refusal) => return refuse(outcome, wish, refusal.to_string()),
    };
    let number = request.next_hook + outcome.hooks.len() as u32;
    let before_slot = code.len();
    code.push(0x68);
    code.extend(number.to_le_bytes());
    // Displacements count from the end of the 6-byte instruction at slot + 5.
    let to = |pointer: u64| (region + pointer).wrapping_sub(slot + 11) as u32;
    match wish.shape {
        Shape::Around => {
            code.extend([0xff, 0x25]);
            code.extend(to(0).to_le_bytes());
        }
        Shape::Before => {
            code.extend([0xff, 0x15]);
            code.extend(to(8).to_le_bytes());
            code.extend([0x48, 0x8d, 0x64, 0x24, 0x08]);
        }
        // No function is wished for so.
        Shape::Marker => {}
    }
    code.resize(before_slot + TRAMPOLINE as usize, 0xcc);
    code.extend(&detour.relocated);
    code.resize(before_slot + SLOT as usize, 0xcc);
    let ends_blocks = matches!(wish.kind, HookKind::Reset | HookKind::Rewind);
    let whole = usize::try_from(size).ok().filter(|size| *size > 0).and_then(|size| bytes.get(..size));
    let leaf = ends_blocks && whole.is_some_and(|body| arenascope_code::calls_nothing(wish.address, body));
    outcome.hooks.push(Hook {
        leaf,
        copies: wish.copies,
        kind: wish.kind,
        shape: wish.shape,
        takes_result: wish.takes_result,
        stack_arguments: wish.stack_arguments,
        trampoline: slot + TRAMPOLINE,
        sources: wish.sources,
    });
    outcome.fact_of_hook.push(wish.fact);
    outcome.taken.push(detour.patch_at..detour.patch_at + (detour.moved as u64).max(detour::PATCH_LEN as u64));
    outcome.patches.push(Patch {
        address: detour.patch_at,
        original: detour.original,
        patch: detour.patch,
        hook: number,
    });
}

fn refuse(outcome: &mut Outcome, wish: &Wish, reason: String) {
    match wish.fact.and_then(|index| outcome.facts.get_mut(index)) {
        Some(fact) => {
            fact.address = Address::NULL;
            fact.status = HookStatus::NotWatched(reason);
        }
        None => outcome.blind.push(format!("{:?}: {reason}", wish.kind)),
    }
}

/// True when a role function of this kind makes sense of a process at all: something that hands out or makes.
pub fn sees_arenas(facts: &[HookFact]) -> bool {
    facts.iter().any(|fact| {
        !matches!(fact.status, HookStatus::NotWatched(_))
            && matches!(fact.decl.role, Role::Alloc | Role::Create | Role::Resize)
    })
}
