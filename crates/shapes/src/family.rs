//! What the other functions of a proved arena do: create, reset, destroy, free, resize, mark, rewind, or none of these.
//!
//! Relied on: a role needs an effect on the fields that alloc uses; without one the function is listed and not chosen.
//! Names settle only what effects leave open. Deliberately absent: pairing of mark and rewind (`search`).

use crate::allocs::Anchor;
use crate::effects::{Store, Summary};
use crate::survey::{Callable, Kind, Parameter, Pointers, Returned};
use crate::value::{Atom, Base, Loc, Value, Way};
use crate::words;
use arenascope_event::{Argument, Result_, Role, RoleDecl};

/// An arena whose alloc was proved. Fields are given as for an arena in argument word 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arena {
    /// Key of the structure; `None` for variables of the program.
    pub key: Option<String>,
    /// Fields that alloc moves on.
    pub advanced: Vec<Loc>,
    /// Fields that alloc's result comes out of.
    pub sources: Vec<Loc>,
    /// Pointer fields of the structure, with what they point at.
    pub pointers: Pointers,
}

/// What was decided about one function.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    pub decl: RoleDecl,
    pub score: i32,
    pub because: Vec<String>,
    pub chosen: bool,
    /// A second role that fits as well.
    pub rival: Option<Box<Decision>>,
}

impl Decision {
    pub(crate) fn rejected(decl: RoleDecl, because: impl Into<String>) -> Decision {
        Decision { decl, score: 0, because: vec![because.into()], chosen: false, rival: None }
    }

    fn chosen(decl: RoleDecl, facts: Vec<String>) -> Decision {
        let mut decision = Decision { score: 3 * facts.len() as i32, decl, because: facts, chosen: true, rival: None };
        if words::sounds_like(decision.decl.role, &crate::survey::short_name(&decision.decl.function)) {
            decision.score += 1;
            decision.because.push(format!("its name sounds like {}", decision.decl.role.word()));
        }
        decision
    }
}

/// One function seen from one arena.
pub(crate) struct View<'f> {
    pub function: &'f Callable,
    pub summary: &'f Summary,
    pub anchor: Anchor,
    /// Position of the arena parameter.
    pub position: Option<usize>,
    pub arena: &'f Arena,
}

impl View<'_> {
    fn place(&self, loc: &Loc) -> Loc {
        match self.anchor {
            Anchor::Argument(word) => Loc { base: Base::Argument(word), ..*loc },
            Anchor::Global => *loc,
        }
    }

    fn stores(&self) -> impl Iterator<Item = &Store> + '_ {
        self.summary.stores.iter().filter(|s| self.anchor.owns(s.loc.base))
    }

    fn covers_any(&self, store: &Store, fields: &[Loc]) -> bool {
        fields.iter().any(|field| store.covers(self.place(field)))
    }

    fn loads_any(&self, value: &Value, fields: &[Loc]) -> bool {
        value.loads().any(|loc| fields.iter().any(|field| self.place(field).may_be(loc)))
    }

    /// Reached from this very arena (for variables: from a variable that alloc uses).
    fn is_own(&self, value: &Value) -> bool {
        match self.anchor {
            Anchor::Argument(_) => self.anchor.reaches(value),
            Anchor::Global => value.atoms().iter().any(|atom| match atom {
                Atom::Load(loc) => self.is_own_base(loc.base),
                Atom::Global(address) => self.is_own_base(Base::Global(*address)),
                _ => false,
            }),
        }
    }

    fn is_own_base(&self, base: Base) -> bool {
        self.arena.advanced.iter().chain(&self.arena.sources).any(|field| self.place(field).base == base)
    }

    fn is_pointer_source(&self, field: &Loc) -> bool {
        // Variables have no structure to ask: what alloc reads and never moves on is taken for the base.
        !field.is_deep()
            && match self.arena.key {
                None => !self.arena.advanced.contains(field),
                Some(_) => field.offset.is_some_and(|o| self.arena.pointers.contains(o)),
            }
    }

    /// The arena's memory: reached through a pointer of the kind that alloc's result comes through.
    fn is_memory(&self, value: &Value) -> bool {
        if self.anchor == Anchor::Global {
            return self.is_own(value);
        }
        let classes: Vec<Option<i64>> =
            self.arena.sources.iter().map(|field| self.arena.pointers.class_of(*field)).collect();
        value.loads().any(|loc| {
            self.anchor.owns(loc.base)
                && match self.arena.pointers.class_of(loc) {
                    Some(class) => classes.contains(&Some(class)),
                    None => loc.is_deep(),
                }
        })
    }

    /// Pointer fields of the arena itself through which alloc's result comes: read into it, or on the way to it.
    fn pointer_sources(&self) -> Vec<Loc> {
        let mut found: Vec<Loc> = Vec::new();
        for field in &self.arena.sources {
            if self.is_pointer_source(field) {
                found.push(self.place(field));
            } else if let Way::Behind(Some(_)) = field.way {
                for offset in self.arena.pointers.same_class(*field) {
                    found.push(self.place(&Loc { way: Way::Direct, offset: Some(offset), ..*field }));
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn decl(&self, role: Role, arguments: &[(usize, Argument)], result: Result_) -> RoleDecl {
        let mut list = self.function.blank();
        if let Some(position) = self.position
            && let Some(slot) = list.get_mut(position)
        {
            *slot = Argument::Arena;
        }
        for &(position, meaning) in arguments {
            if let Some(slot) = list.get_mut(position) {
                *slot = meaning;
            }
        }
        RoleDecl { role, function: self.function.name.clone(), arguments: list, result }
    }

    /// Parameters besides the arena.
    fn others(&self) -> Vec<(usize, &Parameter)> {
        self.function.parameters.iter().enumerate().filter(|(at, _)| Some(*at) != self.position).collect()
    }

    fn stems_from_parameter(&self, value: &Value, parameter: &Parameter) -> bool {
        parameter
            .words
            .iter()
            .any(|&word| value.stems_from(word) || value.loads().any(|loc| loc.base == Base::Argument(word)))
    }

    fn flows_in(&self, parameter: &Parameter) -> bool {
        parameter.words.iter().any(|&word| {
            self.summary.obtains.iter().any(|v| v.stems_from(word))
                || self.summary.calls.iter().any(|c| c.arguments.iter().any(|v| v.stems_from(word)))
                || self.summary.stores.iter().any(|s| s.value.stems_from(word))
        })
    }

    /// The size of a create, its name and its parent.
    fn creation_arguments(&self, skip: Option<usize>) -> Vec<(usize, Argument)> {
        let mut out = Vec::new();
        let integers: Vec<(usize, &Parameter)> =
            self.others().into_iter().filter(|(at, p)| Some(*at) != skip && matches!(p.kind, Kind::Integer)).collect();
        let flowing: Vec<&(usize, &Parameter)> = integers.iter().filter(|(_, p)| self.flows_in(p)).collect();
        let best = flowing
            .iter()
            .find(|(_, p)| words::is_size(&p.name) && !words::is_alignment(&p.name))
            .or_else(|| {
                let asked =
                    |p: &Parameter| p.words.iter().any(|&word| self.summary.obtains.iter().any(|v| v.stems_from(word)));
                flowing.iter().find(|(_, p)| asked(p))
            })
            .map(|(at, _)| *at)
            .or_else(|| {
                // Removed by the compiler in this copy, still in the source.
                integers.iter().find(|(_, p)| p.words.is_empty() && words::is_size(&p.name)).map(|(at, _)| *at)
            });
        out.extend(best.map(|at| (at, Argument::Size)));
        for (at, p) in self.others() {
            match &p.kind {
                Kind::Pointer { characters: true, .. } if words::is_name(&p.name) => out.push((at, Argument::Name)),
                Kind::Integer if words::is_alignment(&p.name) => out.push((at, Argument::Align)),
                _ => {}
            }
        }
        out
    }
}

/// Decides about a function that returns arenas of this kind or stores one through a pointer. `None`: it does neither.
pub(crate) fn judge_maker(view: &View<'_>, function_key: impl Fn(&Kind) -> bool) -> Option<Decision> {
    let summary = view.summary;
    let fresh = |v: &Value| v.has(Atom::Fresh) || v.atoms().iter().any(|atom| matches!(atom, Atom::Result(_)));
    let key = view.arena.key.as_deref()?;
    match &view.function.returned {
        Returned::Object { record, .. } if record.key == key => {
            let parent = view
                .function
                .parameters
                .iter()
                .position(|p| matches!(&p.kind, Kind::Object { record, .. } if record.key == key));
            let result = summary.result.as_ref()?;
            if let Some(parent_at) = parent
                && let Some(word) = view.function.parameters.get(parent_at).and_then(|p| p.word())
                && result.has(Atom::Argument(word, 0))
            {
                return None; // returns what it was given: judged by what it does to it
            }
            let mut arguments = view.creation_arguments(None);
            if let Some(parent) = parent {
                arguments.push((parent, Argument::Parent));
            }
            let decl = RoleDecl { result: Result_::Arena, ..view.decl(Role::Create, &arguments, Result_::Arena) };
            if !fresh(result) {
                return Some(Decision::rejected(decl, "the arena it returns is not new"));
            }
            let fills = summary.stores.iter().any(|s| matches!(s.loc.base, Base::Fresh | Base::Result(_)));
            if !fills {
                return Some(Decision::rejected(decl, "it returns new memory, and fills in nothing"));
            }
            Some(Decision::chosen(decl, vec!["it returns a new structure that it filled in".into()]))
        }
        Returned::Value { record, memory } if record.key == key => {
            let arguments = view.creation_arguments(None);
            let decl = view.decl(Role::Create, &arguments, Result_::Arena);
            if !*memory {
                return Some(Decision::rejected(
                    decl,
                    "it returns the structure in registers: the arena has no address yet, and is born at its first use",
                ));
            }
            let hidden = Base::Argument(0);
            let new = summary.stores.iter().any(|s| s.loc.base == hidden && fresh(&s.value))
                || summary.stores.iter().any(|s| {
                    s.loc.base == hidden
                        && view.others().iter().any(|(_, p)| {
                            matches!(p.kind, Kind::Pointer { .. }) && view.stems_from_parameter(&s.value, p)
                        })
                });
            if !new {
                return Some(Decision::rejected(decl, "the structure it returns gets no memory"));
            }
            Some(Decision::chosen(decl, vec!["it returns a structure by value, with new memory in it".into()]))
        }
        _ => {
            let (at, parameter) = view.function.parameters.iter().enumerate().find(|(_, p)| function_key(&p.kind))?;
            let word = parameter.word()?;
            let target = Loc { base: Base::Argument(word), way: Way::Direct, offset: Some(0) };
            let mut arguments = view.creation_arguments(Some(at));
            arguments.push((at, Argument::ArenaOut));
            let parent = view
                .function
                .parameters
                .iter()
                .position(|p| matches!(&p.kind, Kind::Object { record, .. } if record.key == key));
            if let Some(parent) = parent {
                arguments.push((parent, Argument::Parent));
            }
            let decl = view.decl(Role::Create, &arguments, Result_::Ignored);
            let new = summary.stores.iter().any(|s| s.loc == target && fresh(&s.value));
            if !new {
                return Some(Decision::rejected(decl, "it stores no new arena through the pointer"));
            }
            Some(Decision::chosen(decl, vec!["it stores a new arena through its argument".into()]))
        }
    }
}

/// Decides about a function that takes the arena.
pub(crate) fn judge_user(view: &View<'_>, is_constant: bool, alloc_calls: &[String]) -> Decision {
    let others = view.others();
    let name = view.function.short_name();
    let returns_pointer = matches!(view.function.returned, Returned::Pointer { .. } | Returned::Object { .. });
    let returns_structure = matches!(&view.function.returned, Returned::Object { record, .. } if Some(&record.key) == view.arena.key.as_ref());
    let result_of_alloc =
        view.summary.result.as_ref().is_some_and(|v| v.atoms().iter().any(|a| matches!(a, Atom::Result(_))));

    // resize(arena, block, size) -> block
    if returns_pointer
        && !returns_structure
        && let Some(decision) = judge_resize(view, &others, result_of_alloc, &name)
    {
        return decision;
    }
    if result_of_alloc && returns_pointer {
        let decl = view.decl(Role::Alloc, &[], Result_::Block);
        return Decision::rejected(
            decl,
            format!("a wrapper: what it returns is what {} returned", alloc_calls.join(" or ")),
        );
    }
    // A function that allocates from the arena is a user of it; only the roles above may.
    let own_alloc = view.summary.calls.iter().any(|call| call.arguments.iter().any(|v| view.is_own(v)));
    if own_alloc && view.anchor != Anchor::Global {
        let decl = view.decl(Role::Alloc, &[], Result_::Ignored);
        return Decision::rejected(decl, format!("a user: it calls {}", alloc_calls.join(" and ")));
    }
    // mark(arena) -> position
    if let Some(decision) = judge_mark(view, &others) {
        return decision;
    }
    if is_constant {
        return Decision::rejected(
            view.decl(Role::Mark, &[], Result_::Ignored),
            "it may not change the arena, and saves no position",
        );
    }
    if let Some(decision) = judge_creation(view, &others) {
        return decision;
    }
    if let [(at, parameter)] = others.as_slice()
        && let Some(decision) = judge_return(view, *at, parameter, &name)
    {
        return decision;
    }
    if let Some(decision) = judge_free(view, &others) {
        return decision;
    }
    if others.iter().all(|(_, p)| matches!(p.kind, Kind::Other | Kind::Integer)) {
        return judge_end(view, &others, &name);
    }
    Decision::rejected(view.decl(Role::Reset, &[], Result_::Ignored), "nothing it does to the arena is a role")
}

fn judge_resize(
    view: &View<'_>,
    others: &[(usize, &Parameter)],
    result_of_alloc: bool,
    name: &str,
) -> Option<Decision> {
    let result = view.summary.result.as_ref()?;
    let (at, block) = others
        .iter()
        .find(|(_, p)| matches!(p.kind, Kind::Pointer { constant: false, .. }) && !words::is_name(&p.name))?;
    let word = block.word()?;
    let sizes: Vec<&(usize, &Parameter)> =
        others.iter().filter(|(_, p)| matches!(p.kind, Kind::Integer) && !words::is_alignment(&p.name)).collect();
    let last = sizes.last()?;
    let keeps = result.has(Atom::Argument(word, 0));
    let copies = view.summary.copies.iter().any(|(_, from)| from.reaches(Base::Argument(word)))
        || view.summary.reads.contains(&(Base::Argument(word), false));
    let moves_on = view.stores().any(|s| view.covers_any(s, &view.arena.advanced));
    let grows = result_of_alloc || moves_on;
    let sounds = words::sounds_like(Role::Resize, name);
    if !grows || !(keeps || (copies && sounds)) {
        return None;
    }
    let asked = |p: &Parameter| {
        p.word()
            .is_some_and(|w| view.summary.calls.iter().any(|c| c.arguments.iter().any(|v| v.has(Atom::Argument(w, 0)))))
    };
    let new = sizes
        .iter()
        .find(|(_, p)| words::is_new(&p.name))
        .or_else(|| sizes.iter().rev().find(|(_, p)| asked(p)))
        .unwrap_or(last);
    let decl = view.decl(Role::Resize, &[(*at, Argument::Block), (new.0, Argument::Size)], Result_::Block);
    let mut facts = vec!["it returns either the block it was given or a new one".to_string()];
    if copies {
        facts.push("it copies the block".into());
    }
    Some(Decision::chosen(decl, facts))
}

fn judge_mark(view: &View<'_>, others: &[(usize, &Parameter)]) -> Option<Decision> {
    let saved = |v: &Value| view.loads_any(v, &view.arena.advanced);
    let changes = view.stores().any(|s| view.covers_any(s, &view.arena.advanced));
    if changes {
        return None;
    }
    if others.is_empty() {
        let word_returned = match &view.function.returned {
            Returned::Integer | Returned::Pointer { .. } => true,
            Returned::Value { record, memory } => !memory && record.bytes <= 16,
            _ => false,
        };
        let result = view.summary.result.as_ref()?;
        let decl = view.decl(Role::Mark, &[], Result_::Mark);
        if word_returned && saved(result) {
            return Some(Decision::chosen(decl, vec!["it returns the arena's position".into()]));
        }
        let pair = matches!(view.function.returned, Returned::Value { .. });
        if pair && view.summary.second.as_ref().is_some_and(saved) {
            return Some(Decision::rejected(
                decl,
                "it saves the position in two words, and the first alone does not tell it",
            ));
        }
        if let Returned::Value { memory: true, .. } = view.function.returned {
            let kept = view.summary.stores.iter().any(|s| s.loc.base == Base::Argument(0) && saved(&s.value));
            if kept {
                return Some(Decision::rejected(decl, "it saves the position in more than one word"));
            }
        }
        return None;
    }
    if let [(at, parameter)] = others
        && matches!(
            parameter.kind,
            Kind::Object { constant: false, .. } | Kind::Pointer { constant: false, .. } | Kind::PointerOut
        )
    {
        let word = parameter.word()?;
        let first = Loc { base: Base::Argument(word), way: Way::Direct, offset: Some(0) };
        if view.summary.stores.iter().any(|s| s.covers(first) && saved(&s.value)) {
            let decl = view.decl(Role::Mark, &[(*at, Argument::MarkAt)], Result_::Ignored);
            return Some(Decision::chosen(decl, vec!["it stores the arena's position through its argument".into()]));
        }
    }
    None
}

fn judge_creation(view: &View<'_>, others: &[(usize, &Parameter)]) -> Option<Decision> {
    let sources = view.pointer_sources();
    let is_new = |v: &Value| {
        v.has(Atom::Fresh)
            || v.has(Atom::Foreign)
            || v.atoms().iter().any(|a| matches!(a, Atom::Result(_)))
            || (view.anchor != Anchor::Global && v.atoms().iter().any(|a| matches!(a, Atom::Global(_))))
            || others.iter().any(|(_, p)| {
                matches!(p.kind, Kind::Pointer { .. } | Kind::Object { .. }) && view.stems_from_parameter(v, p)
            })
    };
    let new_memory: Vec<&Store> = view
        .stores()
        .filter(|s| sources.iter().any(|field| s.covers(*field)) && is_new(&s.value) && !view.is_own(&s.value))
        .collect();
    let arguments = view.creation_arguments(None);
    let decl = view.decl(Role::Create, &arguments, Result_::Ignored);
    let links_old =
        view.summary.stores.iter().any(|s| s.loc.base == Base::Fresh && view.loads_any(&s.value, &view.arena.sources));
    let clears = view
        .stores()
        .any(|s| view.covers_any(s, &view.arena.advanced) && !view.loads_any(&s.value, &view.arena.advanced));
    // Memory that a caller hands in makes an arena only together with the rest: every pointer, and the start.
    let complete = sources.iter().all(|field| new_memory.iter().any(|s| s.covers(*field)))
        && (clears || view.arena.advanced.iter().all(|field| field.is_deep()));
    let only_pointer_parameter =
        matches!(others, [(_, p)] if matches!(p.kind, Kind::Pointer { .. } | Kind::Object { .. } | Kind::Value { .. }));
    let obtains = !view.summary.obtains.is_empty();
    if !new_memory.is_empty() && (obtains || (complete && !only_pointer_parameter)) {
        if links_old {
            return Some(Decision::rejected(decl, "it adds memory to a living arena"));
        }
        let mut facts = vec![
            if obtains {
                "it obtains memory and puts it into the arena"
            } else {
                "it puts the memory it is given into the arena"
            }
            .to_string(),
        ];
        if clears {
            facts.push("it sets the position to its start".into());
        }
        return Some(Decision::chosen(decl, facts));
    }
    // Nothing allocated yet, but every pointer field that alloc uses is set to a constant, and something else too.
    let freed = view.summary.releases.iter().any(|v| view.is_own(v));
    let constant = |s: &Store| s.value.as_number().is_some();
    let all_constant = !sources.is_empty()
        && sources.iter().all(|field| view.stores().any(|s| s.covers(*field) && constant(s)))
        && sources.iter().all(|field| !view.stores().any(|s| s.covers(*field) && view.is_own(&s.value)));
    if all_constant && !freed {
        return Some(Decision::chosen(
            decl,
            vec!["it sets every pointer that alloc uses to a constant, and frees nothing".into()],
        ));
    }
    None
}

fn judge_return(view: &View<'_>, at: usize, parameter: &Parameter, name: &str) -> Option<Decision> {
    let by_pointer = matches!(parameter.kind, Kind::Object { .. });
    let is_word = matches!(parameter.kind, Kind::Integer | Kind::Pointer { .. } | Kind::Object { .. })
        || matches!(&parameter.kind, Kind::Value { record } if record.bytes <= 16 && !record.by_reference);
    if !is_word {
        return None;
    }
    let mut positioned = false;
    let mut relative = false;
    for store in view.stores() {
        if !view.covers_any(store, &view.arena.advanced) || !view.stems_from_parameter(&store.value, parameter) {
            continue;
        }
        if store.value.loads().any(|loc| store.covers(loc)) && store.value.offset.is_none() {
            relative = true;
        } else {
            positioned = true;
        }
    }
    if !positioned {
        let wide = matches!(&parameter.kind, Kind::Value { record } if record.bytes > 8);
        let sources = view.pointer_sources();
        let partly = view
            .stores()
            .any(|s| sources.iter().any(|f| s.covers(*f)) && view.stems_from_parameter(&s.value, parameter));
        if wide && partly {
            let decl = view.decl(Role::Rewind, &[(at, Argument::Mark)], Result_::Ignored);
            return Some(Decision::rejected(
                decl,
                "the position comes in two words, and the first alone does not tell it",
            ));
        }
        if relative {
            let decl = view.decl(Role::Rewind, &[(at, Argument::Mark)], Result_::Ignored);
            return Some(Decision::rejected(decl, "it moves the position by an amount, not to a saved one"));
        }
        return None;
    }
    let meaning = if by_pointer { Argument::MarkAt } else { Argument::Mark };
    if matches!(parameter.kind, Kind::Value { .. }) {
        let word = parameter.word()?;
        let first_tells = parameter.words.len() == 1
            || view.stores().any(|s| view.covers_any(s, &view.arena.advanced) && s.value.stems_from(word));
        if !first_tells {
            let decl = view.decl(Role::Rewind, &[(at, Argument::Mark)], Result_::Ignored);
            return Some(Decision::rejected(
                decl,
                "the position comes in two words, and the first alone does not tell it",
            ));
        }
    }
    let rewind = Decision::chosen(
        view.decl(Role::Rewind, &[(at, meaning)], Result_::Ignored),
        vec!["it sets the arena's position to the one it is given".into()],
    );
    // A pointer could also be a block.
    let Kind::Pointer { .. } = parameter.kind else { return Some(rewind) };
    let word = parameter.word()?;
    let compares_end = view.summary.equalities.iter().any(|(a, b)| {
        (a.stems_from(word) && view.loads_any(b, &view.arena.advanced))
            || (b.stems_from(word) && view.loads_any(a, &view.arena.advanced))
    });
    let links = view.summary.stores.iter().any(|s| s.loc.base == Base::Argument(word));
    let free = Decision::chosen(
        view.decl(Role::Free, &[(at, Argument::Block)], Result_::Ignored),
        vec![
            if compares_end || links {
                "it takes back the block if it is the last one"
            } else {
                "it puts the arena's position back to the block it is given"
            }
            .to_string(),
        ],
    );
    if compares_end || links {
        return Some(free);
    }
    match (words::sounds_like(Role::Rewind, name), words::sounds_like(Role::Free, name)) {
        (true, false) => Some(rewind),
        _ => Some(Decision { rival: Some(Box::new(free)), ..rewind }),
    }
}

fn judge_free(view: &View<'_>, others: &[(usize, &Parameter)]) -> Option<Decision> {
    let (at, block) = others.iter().find(|(_, p)| {
        matches!(p.kind, Kind::Pointer { constant: false, .. })
            || matches!(&p.kind, Kind::Object { record, constant: false } if Some(&record.key) != view.arena.key.as_ref())
    })?;
    if !matches!(block.kind, Kind::Pointer { .. }) {
        return None; // a descriptor of the allocator's own
    }
    let word = block.word()?;
    if others.iter().any(|(other, p)| other != at && !matches!(p.kind, Kind::Integer)) {
        return None;
    }
    if matches!(view.function.returned, Returned::Pointer { .. } | Returned::Object { .. }) {
        return None;
    }
    let alloc_fields: Vec<Loc> = view.arena.sources.iter().chain(&view.arena.advanced).copied().collect();
    let returned = view.stores().any(|s| s.value.has(Atom::Argument(word, 0)) && view.covers_any(s, &alloc_fields));
    let released = view.summary.releases.iter().any(|v| v.has(Atom::Argument(word, 0)));
    let linked = view
        .summary
        .stores
        .iter()
        .any(|s| s.loc.base == Base::Argument(word) && view.loads_any(&s.value, &alloc_fields));
    let decl = view.decl(Role::Free, &[(*at, Argument::Block)], Result_::Ignored);
    let mut facts = Vec::new();
    if returned {
        facts.push("it puts the block where alloc takes blocks from".to_string());
    }
    if linked {
        facts.push("it links the block with the arena's free blocks".into());
    }
    if released {
        facts.push("it gives the block back to the system".into());
    }
    if facts.is_empty() {
        return None;
    }
    Some(Decision::chosen(decl, facts))
}

/// reset or destroy, or neither: functions that take only the arena (and at most a flag).
fn judge_end(view: &View<'_>, others: &[(usize, &Parameter)], name: &str) -> Decision {
    let destroy = view.decl(Role::Destroy, &[], Result_::Ignored);
    let reset = view.decl(Role::Reset, &[], Result_::Ignored);
    if matches!(view.function.returned, Returned::Pointer { .. } | Returned::Object { .. } | Returned::Value { .. }) {
        return Decision::rejected(reset, "it answers with a pointer: no end of an arena");
    }
    let is_itself = |v: &Value| matches!(view.anchor, Anchor::Argument(word) if v.has(Atom::Argument(word, 0)) && v.offset == Some(0));
    let frees_itself = view.summary.releases.iter().any(is_itself);
    let frees = view.summary.releases.iter().any(|v| view.is_memory(v) || is_itself(v));
    let clears: Vec<&Store> = view.stores().filter(|s| view.covers_any(s, &view.arena.advanced)).collect();
    let clears_only_behind = !clears.is_empty() && clears.iter().all(|s| s.loc.is_deep());
    let sources = view.pointer_sources();
    let nulls = view.stores().any(|s| s.value.as_number() == Some(0) && sources.iter().any(|f| s.covers(*f)));
    let says_reset = words::sounds_like(Role::Reset, name);
    let says_destroy = words::sounds_like(Role::Destroy, name);
    if frees {
        if words::sounds_like_trimming(name) && !frees_itself {
            return Decision::rejected(destroy, "it gives back memory, and its name says that the arena lives on");
        }
        let numbered = others.iter().any(|(_, p)| matches!(p.kind, Kind::Integer));
        if numbered && !(nulls || frees_itself || says_destroy) {
            return Decision::rejected(destroy, "it gives back memory as a number tells it");
        }
        if !frees_itself && !nulls && !clears.is_empty() && (clears_only_behind || (says_reset && !says_destroy)) {
            return Decision::chosen(
                reset,
                vec!["it sets the arena's position back".into(), "it frees memory and keeps some".into()],
            );
        }
        let mut facts = vec!["it unmaps or frees the arena's memory".to_string()];
        if frees_itself {
            facts.push("it frees the structure itself".into());
        }
        return Decision::chosen(destroy, facts);
    }
    let nothing = "it changes no field that alloc uses, and frees nothing";
    if others.iter().any(|(_, p)| !matches!(p.kind, Kind::Other)) {
        return Decision::rejected(reset, nothing);
    }
    // Back to the start: a constant, or another field of the arena, or a place within it.
    let back = |s: &Store| {
        s.value.as_number().is_some() || (view.is_own(&s.value) && !s.value.loads().any(|loc| s.covers(loc)))
    };
    let from_other_field = |s: &Store| {
        s.value.offset == Some(0)
            && s.value.loads().any(|loc| !loc.is_deep() && view.anchor.owns(loc.base) && !s.covers(loc))
    };
    let moves_back = clears.iter().any(|s| back(s))
        || view.stores().any(|s| sources.iter().any(|field| s.covers(*field)) && from_other_field(s));
    if !moves_back {
        return Decision::rejected(reset, nothing);
    }
    let create = Decision::chosen(
        view.decl(Role::Create, &[], Result_::Ignored),
        vec!["it sets the arena's position to its start".into()],
    );
    // An arena that holds its memory itself is filled in and emptied by the same stores: then names decide.
    if words::sounds_like(Role::Create, name) && !says_reset {
        return create;
    }
    let mut decision = Decision::chosen(reset, vec!["it sets the arena's position back and frees nothing".into()]);
    if sources.is_empty() && view.arena.key.is_some() && !says_reset {
        decision.rival = Some(Box::new(create));
    }
    decision
}
