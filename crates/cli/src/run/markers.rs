//! Markers of `arenascope-mark.h`: the notes of a module in, jumps in the place of their nops out.
//!
//! ```text
//!  thunk, 48 bytes
//!  +0   lea rsp, [rsp-128]                  the red zone is the function's
//!  +5   push the address behind the nop     push imm32; mov [rsp+4], imm32
//!  +18  push hook number
//!  +23  call [Marker]
//!  +29  lea rsp, [rsp+144]
//!  +37  jmp behind the nop
//! ```
//!
//! Relied on: what is patched is a whole nop, in the file and (the agent looks) in memory, and no branch leads into its middle. Whatever
//! cannot be watched is counted with its reason, by role and module. Absent: reading notes (`arenascope_symbols`).

use crate::run::neighbours;
use crate::run::plan::{Outcome, Request};
use arenascope_code::detour::{self, MARKER_NOP, PATCH_LEN};
use arenascope_event::{Address, Argument, HookFact, HookStatus, MarkerCount, Result_, Role, RoleDecl};
use arenascope_plan::{HOOKS, Hook, HookKind, MemoryPlace, Patch, Shape, Source, SourceKind, Sources};
use arenascope_symbols::{Argument as Placed, Image, Marker, MarkerKind, Operand};

/// Bytes of a thunk.
pub const MARKER_SLOT: u64 = 48;

/// One marker to be watched.
struct Wish {
    module: usize,
    /// In the file.
    address: u64,
    kind: HookKind,
    sources: Sources,
    group: Option<usize>,
}

/// Markers of one role in one module.
struct Group {
    /// Index into the facts.
    fact: usize,
    count: MarkerCount,
    /// Why some are not watched: the reason, and how many.
    refused: Vec<(String, u32)>,
}

impl Group {
    fn refuse(&mut self, reason: &str) {
        match self.refused.iter_mut().find(|(known, _)| known == reason) {
            Some((_, count)) => *count += 1,
            None => self.refused.push((reason.to_owned(), 1)),
        }
    }
}

/// All markers of a request.
#[derive(Default)]
pub struct Markers {
    wishes: Vec<Wish>,
    groups: Vec<Group>,
    /// Notes that belong to no role, a sentence each.
    pub unreadable: Vec<String>,
}

/// How a module is called in sentences.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The markers of the fresh modules. Adds a fact for each role and module that has some.
pub fn of(request: &Request<'_>, facts: &mut Vec<HookFact>) -> Markers {
    let mut markers = Markers::default();
    if !request.markers {
        return markers;
    }
    for &index in request.fresh {
        let Some(module) = request.modules.get(index) else { continue };
        let Some(image) = module.image.as_deref() else { continue };
        let read = image.markers();
        let mut by_role: [Option<usize>; Role::ALL.len()] = Default::default();
        let mut group_of = |markers: &mut Markers, kind: MarkerKind| {
            let MarkerKind::Role(role) = kind else { return None };
            let place = by_role.get_mut(role as usize)?;
            let group = *place.get_or_insert_with(|| {
                facts.push(fact_of(role, &module.path));
                let fact = facts.len() - 1;
                markers.groups.push(Group { fact, count: MarkerCount::default(), refused: Vec::new() });
                markers.groups.len() - 1
            });
            if let Some(group) = markers.groups.get_mut(group) {
                group.count.all += 1;
            }
            Some(group)
        };
        for marker in &read.found {
            let group = group_of(&mut markers, marker.kind);
            let sources = sources(marker, module.bias, (module.start, module.end));
            match (sources, group.and_then(|group| markers.groups.get_mut(group))) {
                (Some(sources), _) => {
                    let kind = match marker.kind {
                        MarkerKind::Role(role) => HookKind::of_role(role),
                        MarkerKind::Moment => HookKind::UserMark,
                    };
                    markers.wishes.push(Wish { module: index, address: marker.address, kind, sources, group });
                }
                (None, Some(group)) => group.refuse("has an argument outside of its module"),
                (None, None) => {}
            }
        }
        for unreadable in &read.unreadable {
            let group = unreadable.kind.and_then(|kind| group_of(&mut markers, kind));
            match group.and_then(|group| markers.groups.get_mut(group)) {
                Some(group) => group.refuse(&unreadable.why),
                None => {
                    markers.unreadable.push(format!("a marker in {}: it {}", file_name(&module.path), unreadable.why))
                }
            }
        }
    }
    markers
}

fn fact_of(role: Role, module: &str) -> HookFact {
    let arguments = match role {
        Role::Create => vec![Argument::Arena, Argument::Size, Argument::Name],
        Role::Alloc => vec![Argument::Arena, Argument::Block, Argument::Size],
        Role::Resize => vec![Argument::Arena, Argument::Block, Argument::Block, Argument::Size],
        Role::Free => vec![Argument::Arena, Argument::Block],
        Role::Mark | Role::Rewind => vec![Argument::Arena, Argument::Mark],
        Role::Reset | Role::Destroy => vec![Argument::Arena],
    };
    let function = format!("{} markers in {}", role.word(), file_name(module));
    HookFact {
        decl: RoleDecl { role, function, arguments, result: Result_::Ignored },
        module: module.to_owned(),
        address: Address::NULL,
        status: HookStatus::Watched,
        synchronises: Default::default(),
        markers: Some(MarkerCount::default()),
    }
}

/// Where a marker's arguments are, in the process.
fn sources(marker: &Marker, bias: u64, module: (u64, u64)) -> Option<Sources> {
    let all: Option<Vec<Source>> = marker.arguments.iter().map(|argument| source(argument, bias, module)).collect();
    let all = all?;
    let at = |index: usize| all.get(index).copied().unwrap_or(Source::ABSENT);
    let none = Sources::default();
    Some(match marker.kind {
        MarkerKind::Role(Role::Create) => Sources { arena: at(0), size: at(1), name: at(2), count: at(3), ..none },
        MarkerKind::Role(Role::Alloc) => Sources { arena: at(0), block: at(1), size: at(2), align: at(3), ..none },
        MarkerKind::Role(Role::Resize) => Sources { arena: at(0), block: at(1), block_out: at(2), size: at(3), ..none },
        MarkerKind::Role(Role::Free) => Sources { arena: at(0), block: at(1), ..none },
        MarkerKind::Role(Role::Mark | Role::Rewind) => Sources { arena: at(0), mark: at(1), ..none },
        MarkerKind::Role(Role::Reset | Role::Destroy) => Sources { arena: at(0), ..none },
        MarkerKind::Moment => Sources { name: at(0), count: at(1), ..none },
    })
}

fn source(argument: &Placed, bias: u64, (start, end): (u64, u64)) -> Option<Source> {
    let Placed { bytes, signed, ref operand } = *argument;
    let of = |kind, index, value| Source { kind, index, bytes, signed, value };
    Some(match *operand {
        Operand::Constant(value) => of(SourceKind::Constant, 0, value),
        Operand::Register { number, high } => of(SourceKind::General, number, if high { 8 } else { 0 }),
        Operand::Memory { base, index, displacement } => {
            Source::memory(MemoryPlace { base, index, displacement }, bytes, signed)
        }
        Operand::Symbol { offset, .. } => {
            let address = bias.wrapping_add_signed(offset);
            let inside = start <= address && address.saturating_add(u64::from(bytes)) <= end;
            inside.then(|| of(SourceKind::Variable, 0, address))?
        }
    })
}

impl Markers {
    /// True when some of them make sense of a process: they make arenas or hand out blocks.
    pub fn see_arenas(&self) -> bool {
        self.wishes.iter().any(|wish| matches!(wish.kind, HookKind::Create | HookKind::Alloc | HookKind::Resize))
    }

    /// Nothing is recorded: none is laid, and there is nothing to say of it.
    pub fn forget(&mut self) {
        self.wishes.clear();
        for group in &mut self.groups {
            group.refuse("nothing is recorded");
        }
    }

    /// How many there are in the module of this index.
    pub fn of_module(&self, module: usize) -> usize {
        self.wishes.iter().filter(|wish| wish.module == module).count()
    }

    /// None of a module can be watched.
    pub fn refuse_all(&mut self, module: usize, reason: &str) {
        for wish in self.wishes.iter().filter(|wish| wish.module == module) {
            if let Some(group) = wish.group.and_then(|group| self.groups.get_mut(group)) {
                group.refuse(reason);
            }
        }
    }

    /// Appends the thunks of a module's markers to its near region, and their hooks and patches to the outcome.
    pub fn lay(&mut self, request: &Request<'_>, index: usize, region: u64, code: &mut Vec<u8>, outcome: &mut Outcome) {
        let Some(module) = request.modules.get(index) else { return };
        let Some(image) = module.image.as_deref() else { return };
        let of_module = || self.wishes.iter().filter(|wish| wish.module == index);
        let places: Vec<u64> = of_module().map(|wish| wish.address).collect();
        let far = neighbours::far_jumps(image, &places);
        for wish in of_module() {
            let group = wish.group.and_then(|group| self.groups.get_mut(group));
            let address = module.bias.wrapping_add(wish.address);
            let nop = address..address.wrapping_add(PATCH_LEN as u64);
            if outcome.taken.iter().any(|taken| taken.start < nop.end && nop.start < taken.end) {
                // At the start of a function that is watched itself.
                if let Some(group) = group {
                    group.count.all = group.count.all.saturating_sub(1);
                }
                continue;
            }
            let number = u64::from(request.next_hook) + outcome.hooks.len() as u64;
            let laid = thunk(image, module.bias, wish, number, region, code, &far);
            match (laid, group) {
                (Ok(laid), group) => {
                    if let Some(group) = group {
                        outcome.fact_of_hook.push(Some(group.fact));
                        group.count.seen += 1;
                    } else {
                        outcome.fact_of_hook.push(None);
                    }
                    outcome.hooks.push(Hook {
                        kind: wish.kind,
                        shape: Shape::Marker,
                        takes_result: false,
                        stack_arguments: false,
                        leaf: false,
                        copies: false,
                        trampoline: nop.end,
                        sources: wish.sources,
                    });
                    outcome.marker_places.push(nop.end);
                    let hook = laid.hook;
                    outcome.patches.push(Patch { address, original: MARKER_NOP, patch: laid.patch, hook });
                }
                (Err(reason), Some(group)) => group.refuse(&reason),
                (Err(reason), None) => {
                    outcome.blind.push(format!("a marker in {}: it {reason}", file_name(&module.path)))
                }
            }
        }
    }

    /// Writes into the facts what became of them.
    pub fn settle(self, facts: &mut [HookFact]) {
        for group in &self.groups {
            let Some(fact) = facts.get_mut(group.fact) else { continue };
            fact.markers = Some(group.count);
            fact.status = status(group.count, &group.refused);
        }
    }
}

/// How well markers are watched.
pub fn status(count: MarkerCount, refused: &[(String, u32)]) -> HookStatus {
    let told = |(reason, count): &(String, u32)| match count {
        1 => format!("one of them {reason}"),
        _ => format!("{count} of them, each {reason}"),
    };
    let reasons: Vec<String> = refused.iter().map(told).collect();
    match count.seen {
        seen if seen == count.all => HookStatus::Watched,
        0 => HookStatus::NotWatched(reasons.join("; ")),
        seen => HookStatus::Partly(format!("{} of {}: {}", count.all - seen, count.all, reasons.join("; "))),
    }
}

struct Laid {
    hook: u32,
    patch: [u8; PATCH_LEN],
}

/// Appends one thunk to the near region at `region`.
fn thunk(
    image: &Image,
    bias: u64,
    wish: &Wish,
    number: u64,
    region: u64,
    code: &mut Vec<u8>,
    far: &[(u64, u64)],
) -> Result<Laid, String> {
    if image.code(wish.address, PATCH_LEN) != Some(&MARKER_NOP) {
        return Err("stands where the file has no nop of five bytes".into());
    }
    let hook = u32::try_from(number).ok().filter(|number| (*number as usize) < HOOKS);
    let hook = hook.ok_or_else(|| format!("is beyond the {HOOKS} functions and markers that a process may have"))?;
    let address = bias.wrapping_add(wish.address);
    let back = address.wrapping_add(PATCH_LEN as u64);
    let slot = region.wrapping_add(code.len() as u64);
    let far: Vec<u64> = far.iter().filter(|(_, marker)| *marker == wish.address).map(|(from, _)| *from).collect();
    let around = neighbours::of_marker(image, bias, wish.address, &far);
    let patch = detour::plan_marker(address, &around, slot).map_err(|refusal| refusal.to_string())?;
    let mut thunk = Vec::with_capacity(MARKER_SLOT as usize);
    // lea rsp, [rsp-128]: no flag changes.
    thunk.extend([0x48, 0x8d, 0x64, 0x24, 0x80]);
    thunk.push(0x68);
    thunk.extend((back as u32).to_le_bytes());
    thunk.extend([0xc7, 0x44, 0x24, 0x04]);
    thunk.extend(((back >> 32) as u32).to_le_bytes());
    thunk.push(0x68);
    thunk.extend(hook.to_le_bytes());
    thunk.extend([0xff, 0x15]);
    // The pointer at +16 of the region, counted from the call's end.
    let to = (region + 16).wrapping_sub(slot.wrapping_add(thunk.len() as u64 + 4)) as u32;
    thunk.extend(to.to_le_bytes());
    thunk.extend([0x48, 0x8d, 0xa4, 0x24, 144, 0, 0, 0]);
    let jump = detour::jump_back(slot.wrapping_add(thunk.len() as u64), back);
    thunk.extend(jump.ok_or("is further than 2 GiB from free memory")?);
    thunk.resize(MARKER_SLOT as usize, 0xcc);
    code.extend(thunk);
    Ok(Laid { hook, patch })
}

/// What the markers of a file say about it, for `--explain`: `14 markers in app: alloc 9, reset 5`.
pub fn summary(name: &str, counts: &[(&str, u32)]) -> String {
    let all: u32 = counts.iter().map(|(_, count)| count).sum();
    let parts: Vec<String> = counts.iter().map(|(word, count)| format!("{word} {count}")).collect();
    let word = if all == 1 { "marker" } else { "markers" };
    format!("{all} {word} in {name}: {}", parts.join(", "))
}

/// The markers of a program, if some of them hand out blocks or make arenas.
pub fn counts(image: &Image) -> Option<Vec<(&'static str, u32)>> {
    let found = image.markers().found;
    let makes = |marker: &Marker| matches!(marker.kind, MarkerKind::Role(Role::Create | Role::Alloc | Role::Resize));
    if !found.iter().any(makes) {
        return None;
    }
    let of = |kind: MarkerKind| found.iter().filter(|marker| marker.kind == kind).count();
    let kinds = Role::ALL.map(MarkerKind::Role).into_iter().chain([MarkerKind::Moment]);
    let counted = kinds.map(|kind| (kind.word(), u32::try_from(of(kind)).unwrap_or(u32::MAX)));
    Some(counted.filter(|(_, count)| *count > 0).collect())
}
