//! The search itself: signatures, proofs, wrappers, families, pairs, readings.
//!
//! Relied on: the same bytes give the same answer, in the same order. Deliberately absent: how effects are computed
//! (`effects`), what proves a role (`allocs`, `family`).

use crate::allocs::{self, Anchor, Outlet, Proof, Verdict};
use crate::binary::Binary;
use crate::calls::Graph;
use crate::debug::Info;
use crate::effects::{Effects, Summary};
use crate::family::{self, Arena, Decision, View};
use crate::survey::{self, Callable, Kind, Pointers, Returned};
use crate::value::{Atom, Base, Loc};
use crate::{Candidates, Reading, Scored, words};
use arenascope_event::{Argument, Result_, Role, RoleDecl};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Most rejected functions that are listed.
const MAX_LISTED: usize = 300;

/// One function that could be an alloc.
struct Candidate {
    /// Index into the callables.
    function: usize,
    anchor: Anchor,
    /// Position of the arena parameter.
    position: Option<usize>,
    /// Key and name of the arena structure.
    key: Option<(String, String)>,
    pointers: Pointers,
    outlet: Outlet,
    verdict: Verdict,
    /// Why it is not chosen although proved.
    dropped: Option<String>,
    callers_write: bool,
    /// Every call was inlined.
    unseen: bool,
}

impl Candidate {
    fn proof(&self) -> Option<&Proof> {
        if self.verdict.objection.is_none() { self.verdict.proof.as_ref() } else { None }
    }

    fn stands(&self) -> bool {
        self.proof().is_some() && self.dropped.is_none()
    }
}

struct Search<'s, 'a, 'd> {
    info: &'s Info<'d>,
    binary: &'s Binary<'a>,
    functions: Vec<Callable>,
    ends: HashMap<u64, u64>,
    candidates: Vec<Candidate>,
    notes: Vec<String>,
}

/// Searches a program whose debug information has been read.
pub(crate) fn search(info: &Info<'_>, binary: &Binary<'_>) -> Candidates {
    let functions = survey::functions(info);
    let ends = functions.iter().map(|f| (f.low, f.high)).collect();
    let mut search = Search { info, binary, functions, ends, candidates: Vec::new(), notes: Vec::new() };
    search.find_candidates();
    if !search.candidates.iter().any(Candidate::stands) {
        return search.nothing();
    }
    let graph = search.graph();
    search.drop_wrappers(&graph);
    search.drop_readers(&graph);
    search.drop_structures();
    if !search.candidates.iter().any(Candidate::stands) {
        return search.nothing();
    }
    search.read_families(&graph)
}

/// Library code that comes with compilers, not hand-made.
fn is_library(name: &str) -> bool {
    let inner = name.trim_start_matches('<');
    (inner.starts_with("std::") && !inner.starts_with("std::pmr::"))
        || [
            "__gnu_cxx::",
            "__cxxabiv1::",
            "core::",
            "alloc::",
            "compiler_builtins::",
            "hashbrown::",
            "gimli::",
            "addr2line::",
        ]
        .iter()
        .any(|prefix| inner.starts_with(prefix))
        || matches!(name, "main" | "_start" | "malloc" | "calloc" | "realloc" | "memalign" | "aligned_alloc")
}

impl Search<'_, '_, '_> {
    fn find_candidates(&mut self) {
        let mut effects = Effects::new(self.binary, &self.ends, BTreeSet::new());
        let mut found = Vec::new();
        for (number, function) in self.functions.iter().enumerate() {
            if is_library(&function.name) || !function.parameters.iter().any(|p| matches!(p.kind, Kind::Integer)) {
                continue;
            }
            let outlet = match &function.returned {
                Returned::Pointer { .. } | Returned::Object { .. } => Outlet::Result,
                _ => match function.parameters.iter().position(|p| matches!(p.kind, Kind::PointerOut)) {
                    Some(at) => Outlet::Parameter(at),
                    None => continue,
                },
            };
            let objects: Vec<(usize, u8, (String, String), Pointers)> = function
                .parameters
                .iter()
                .enumerate()
                .filter_map(|(at, p)| match &p.kind {
                    Kind::Object { record, constant: false } => {
                        let same =
                            matches!(&function.returned, Returned::Object { record: r, .. } if r.key == record.key);
                        let pointers = Pointers::of(self.info, record);
                        if same {
                            None
                        } else {
                            Some((at, p.word()?, (record.key.clone(), record.name.clone()), pointers))
                        }
                    }
                    _ => None,
                })
                .collect();
            let Some(summary) = effects.summary(function.low) else { continue };
            let mut best: Option<Candidate> = None;
            let anchors = objects
                .into_iter()
                .map(|(at, word, key, pointers)| (Anchor::Argument(word), Some(at), Some(key), pointers))
                .chain([(Anchor::Global, None, None, Pointers::default())]);
            for (anchor, position, key, pointers) in anchors {
                if anchor == Anchor::Global && best.as_ref().is_some_and(|b| b.verdict.proof.is_some()) {
                    continue;
                }
                let seen = canonical(&summary, anchor, &pointers);
                let verdict = allocs::judge(function, &seen, anchor, outlet);
                let better = match &best {
                    None => anchor != Anchor::Global || verdict.because.len() > 1,
                    Some(old) => rank(&verdict) > rank(&old.verdict),
                };
                if better {
                    best = Some(Candidate {
                        function: number,
                        anchor,
                        position,
                        key,
                        pointers,
                        outlet,
                        verdict,
                        dropped: None,
                        callers_write: false,
                        unseen: false,
                    });
                }
            }
            found.extend(best.filter(|c| c.outlet == Outlet::Result || c.verdict.proof.is_some()));
        }
        self.candidates = found;
    }

    fn low(&self, candidate: &Candidate) -> u64 {
        self.functions.get(candidate.function).map_or(0, |f| f.low)
    }

    fn standing(&self) -> BTreeSet<u64> {
        self.candidates.iter().filter(|c| c.stands()).map(|c| self.low(c)).collect()
    }

    fn graph(&self) -> Graph {
        let mut ranges: BTreeMap<u64, u64> =
            self.binary.functions().filter_map(|(start, size)| Some((start, start.checked_add(size)?))).collect();
        for (&low, &high) in &self.ends {
            ranges.entry(low).and_modify(|end| *end = high.max(*end)).or_insert(high);
        }
        // A fragment belongs to the function whose name it carries.
        let by_name: HashMap<&str, u64> = self
            .binary
            .functions()
            .flat_map(|(address, _)| self.binary.names(address).iter().map(move |name| (name.as_str(), address)))
            .collect();
        let mut owner = BTreeMap::new();
        for (address, _) in self.binary.functions() {
            for name in self.binary.names(address) {
                if let Some(whole) = name.split(".cold").next()
                    && whole.len() < name.len()
                    && let Some(&function) = by_name.get(whole)
                {
                    owner.insert(address, function);
                }
            }
        }
        let ranges: Vec<(u64, u64)> = ranges.into_iter().collect();
        Graph::read(self.binary, &ranges, &owner)
    }

    /// Keeps, of functions that call each other, the one whose own code moves the field.
    fn drop_wrappers(&mut self, graph: &Graph) {
        let standing = self.standing();
        let mut effects = Effects::new(self.binary, &self.ends, standing.clone());
        for index in 0..self.candidates.len() {
            let Some(candidate) = self.candidates.get(index).filter(|c| c.stands()) else { continue };
            let Some(function) = self.functions.get(candidate.function) else { continue };
            let Some(summary) = effects.summary(function.low) else { continue };
            let seen = canonical(&summary, candidate.anchor, &candidate.pointers);
            let again = allocs::judge(function, &seen, candidate.anchor, candidate.outlet);
            if again.proof.is_some() {
                continue;
            }
            let inner = self.names_of_calls(&summary);
            if let Some(candidate) = self.candidates.get_mut(index) {
                candidate.dropped = Some(format!("a wrapper: what it returns is what {} returned", inner.join(" or ")));
            }
        }
        // What remains has code of its own; of a pair, one is the slow path of the other.
        let alive: Vec<(usize, u64, Option<String>)> = self
            .candidates
            .iter()
            .enumerate()
            .filter(|(_, c)| c.stands())
            .map(|(i, c)| (i, self.low(c), c.key.as_ref().map(|k| k.0.clone())))
            .collect();
        let outside = |low: u64| graph.callers(low).filter(|c| !standing.contains(c)).count();
        for (outer, outer_low, outer_key) in &alive {
            for (inner, inner_low, inner_key) in &alive {
                let gone = |i: usize| self.candidates.get(i).is_none_or(|c| !c.stands());
                if outer == inner
                    || outer_key != inner_key
                    || gone(*outer)
                    || gone(*inner)
                    || !graph.calls(*outer_low, *inner_low)
                {
                    continue;
                }
                let (lost, kept, what) = if outside(*inner_low) > outside(*outer_low) {
                    (*outer, *inner, "most callers use")
                } else {
                    (*inner, *outer, "it is a part of")
                };
                let name = self.name(kept);
                if let Some(candidate) = self.candidates.get_mut(lost) {
                    candidate.dropped = Some(format!("{what} {name}"));
                }
            }
        }
    }

    fn name(&self, candidate: usize) -> String {
        self.candidates
            .get(candidate)
            .and_then(|c| self.functions.get(c.function))
            .map_or_else(String::new, |f| f.name.clone())
    }

    fn names_of_calls(&self, summary: &Summary) -> Vec<String> {
        let targets: BTreeSet<u64> = summary.calls.iter().map(|c| c.target).collect();
        self.functions.iter().filter(|f| targets.contains(&f.low)).map(|f| f.name.clone()).collect()
    }

    /// Fresh memory is written before it is read: whose result is only ever read hands out someone's data.
    fn drop_readers(&mut self, graph: &Graph) {
        let standing = self.standing();
        let mut effects = Effects::new(self.binary, &self.ends, standing.clone());
        for index in 0..self.candidates.len() {
            let Some(candidate) = self.candidates.get(index).filter(|c| c.stands()) else { continue };
            let low = self.low(candidate);
            let block = Base::Result(low);
            let mut written = false;
            let mut read = false;
            for caller in graph.callers(low).filter(|c| !standing.contains(c)) {
                let Some(summary) = effects.summary(caller) else { continue };
                written |= summary.stores.iter().any(|s| s.loc.base == block)
                    || summary.fills.iter().any(|v| v.reaches(block));
                read |= summary.reads.contains(&(block, false));
            }
            let origin = self.functions.get(candidate.function).map_or(0, |f| f.origin);
            let unseen =
                graph.callers(low).next().is_none() && self.info.copies(origin) > 0 && !self.binary.is_exported(low);
            if let Some(candidate) = self.candidates.get_mut(index) {
                candidate.callers_write = written;
                candidate.unseen = unseen;
                if unseen {
                    candidate.dropped = Some("all its calls were inlined".into());
                } else if read && !written {
                    candidate.dropped = Some("its callers only read what it returns".into());
                }
            }
        }
    }

    /// Where one function of an arena hands out bytes, those that hand out structures are built on copies of it.
    fn drop_structures(&mut self) {
        let byte_givers: BTreeSet<Option<String>> = self
            .candidates
            .iter()
            .filter(|c| c.stands() && self.gives_bytes(c))
            .map(|c| c.key.as_ref().map(|k| k.0.clone()))
            .collect();
        for index in 0..self.candidates.len() {
            let Some(candidate) = self.candidates.get(index).filter(|c| c.stands()) else { continue };
            let Some(function) = self.functions.get(candidate.function) else { continue };
            let key = candidate.key.as_ref().map(|k| k.0.clone());
            let gives_bytes = self.gives_bytes(candidate);
            let holds_copy = self.candidates.iter().any(|other| {
                self.functions
                    .get(other.function)
                    .is_some_and(|f| f.origin != function.origin && self.info.is_inlined_in(f.origin, function.index))
                    && other.proof().is_some()
            });
            let sized = candidate
                .proof()
                .and_then(|p| p.sizes.first())
                .and_then(|at| function.parameters.get(*at))
                .is_some_and(|p| words::is_size(&p.name) && p.name != "n" && p.name != "len");
            let why = if gives_bytes {
                None
            } else if byte_givers.contains(&key) || holds_copy {
                Some("it hands out one kind of structure, on top of an alloc")
            } else if matches!(function.returned, Returned::Pointer { bytes: false, .. }) && !sized {
                Some("it counts elements, not bytes")
            } else {
                None
            };
            if let (Some(why), Some(candidate)) = (why, self.candidates.get_mut(index)) {
                candidate.dropped = Some(why.into());
            }
        }
    }

    fn gives_bytes(&self, candidate: &Candidate) -> bool {
        self.functions.get(candidate.function).is_some_and(|f| {
            matches!(f.returned, Returned::Pointer { bytes: true, .. })
                || matches!(candidate.outlet, Outlet::Parameter(_))
        })
    }

    fn alloc_decl(&self, candidate: &Candidate) -> Option<RoleDecl> {
        let function = self.functions.get(candidate.function)?;
        let mut arguments = function.blank();
        let mut set = |at: usize, meaning: Argument| {
            if let Some(slot) = arguments.get_mut(at) {
                *slot = meaning;
            }
        };
        if let Some(at) = candidate.position {
            set(at, Argument::Arena);
        }
        let named = |at: &usize, test: fn(&str) -> bool| function.parameters.get(*at).is_some_and(|p| test(&p.name));
        let proof = candidate.verdict.proof.as_ref();
        let used: Vec<usize> = proof.map(|p| p.sizes.clone()).unwrap_or_default();
        let integers: Vec<usize> = function
            .parameters
            .iter()
            .enumerate()
            .filter(|(_, p)| matches!(p.kind, Kind::Integer))
            .map(|(at, _)| at)
            .collect();
        for at in &integers {
            if named(at, words::is_alignment) {
                set(*at, Argument::Align);
            }
        }
        let sizes: Vec<usize> = used
            .iter()
            .chain(integers.iter().filter(|_| used.is_empty()))
            .copied()
            .filter(|at| !named(at, words::is_alignment))
            .collect();
        match proof.and_then(|p| p.product) {
            Some((x, y)) if sizes.contains(&x) && sizes.contains(&y) => {
                let (first, second) = (x.min(y), x.max(y));
                let count_second = named(&second, words::is_count)
                    || (named(&first, words::is_size) && !named(&second, words::is_size));
                let (count, size) =
                    if count_second && !named(&first, words::is_count) { (second, first) } else { (first, second) };
                set(count, Argument::Count);
                set(size, Argument::Size);
            }
            _ => {
                let best = sizes.iter().find(|at| named(at, words::is_size)).or(sizes.first());
                if let Some(at) = best {
                    set(*at, Argument::Size);
                }
            }
        }
        let result = match candidate.outlet {
            Outlet::Result => Result_::Block,
            Outlet::Parameter(at) => {
                set(at, Argument::BlockOut);
                Result_::Ignored
            }
        };
        Some(RoleDecl { role: Role::Alloc, function: function.name.clone(), arguments, result })
    }

    fn alloc_scored(&self, candidate: &Candidate) -> Option<Scored> {
        let function = self.functions.get(candidate.function)?;
        let decl = self.alloc_decl(candidate)?;
        let mut because = candidate.verdict.because.clone();
        let mut score = if candidate.verdict.proof.is_some() { 6 } else { 3 * (because.len() as i32 - 1).max(0) };
        if candidate.callers_write {
            score += 3;
            because.push("its callers write into what it returns".into());
        }
        if self.gives_bytes(candidate) {
            score += 1;
            because.push("it returns bytes, not a structure".into());
        }
        if words::sounds_like(Role::Alloc, &function.short_name()) {
            score += 1;
            because.push("its name sounds like alloc".into());
        }
        let against = candidate.verdict.objection.clone().or_else(|| candidate.dropped.clone());
        if let Some(against) = &against {
            score -= 6;
            because.push(format!("but {against}"));
        }
        Some(Scored { decl, score, because, chosen: candidate.stands() })
    }

    fn nothing(mut self) -> Candidates {
        let mut considered: Vec<Scored> = self.candidates.iter().filter_map(|c| self.alloc_scored(c)).collect();
        considered.sort_by(|a, b| b.score.cmp(&a.score).then_with(|| a.decl.function.cmp(&b.decl.function)));
        considered.truncate(MAX_LISTED);
        self.note_unseen();
        self.note_inlined(&BTreeSet::new());
        if self.notes.is_empty() {
            self.notes.push(if self.functions.is_empty() {
                "the debug information describes no functions: compile with -g, or name the functions by role".into()
            } else {
                "no function takes an arena and a size and hands out memory of that arena: if there is one, name it by role".into()
            });
        }
        self.note_damage();
        Candidates { readings: Vec::new(), notes: self.notes, considered }
    }

    fn note_damage(&mut self) {
        if self.info.damaged_units > 0 {
            self.notes.push(format!("{} parts of the debug information could not be read", self.info.damaged_units));
        }
    }

    fn note_unseen(&mut self) {
        for candidate in self.candidates.iter().filter(|c| c.unseen && c.proof().is_some()) {
            if let Some(function) = self.functions.get(candidate.function)
                && words::sounds_like(Role::Alloc, &function.short_name())
            {
                self.notes.push(inlined_everywhere(&function.name, self.info.copies(function.origin)));
            }
        }
    }

    /// Says which functions of the arenas (or which functions that look like an alloc) are invisible.
    fn note_inlined(&mut self, keys: &BTreeSet<String>) {
        let mut copies: BTreeMap<String, usize> = BTreeMap::new();
        let seen: Vec<usize> = self
            .candidates
            .iter()
            .filter(|c| c.stands())
            .filter_map(|c| self.functions.get(c.function))
            .map(|f| f.index)
            .collect();
        for inlined in self.info.only_inlined() {
            if is_library(&inlined.name) {
                continue;
            }
            let kinds: Vec<Kind> = inlined.parameters.iter().map(|p| survey::kind(self.info, p.ty)).collect();
            let short = survey::short_name(&inlined.name);
            let own = kinds.iter().position(|k| matches!(k, Kind::Object { record, .. } if keys.contains(&record.key)));
            let takes_object = kinds.iter().any(|k| matches!(k, Kind::Object { constant: false, .. }));
            let takes_size = kinds.iter().any(|k| matches!(k, Kind::Integer));
            let gives_bytes = matches!(
                survey::returned(self.info, inlined.result),
                Returned::Pointer { bytes: true, constant: false }
            );
            let is_alloc = gives_bytes && takes_size && words::says_alloc(&short) && !short.contains("realloc");
            let visible = if is_alloc && takes_object && (keys.is_empty() || own.is_some()) {
                // Copies inside watched functions are seen with these.
                !self.info.is_inside_any(inlined.origin, &seen)
            } else {
                let plain = |k: &Kind| matches!(k, Kind::Integer | Kind::Pointer { .. } | Kind::Value { .. });
                let few = kinds.len() <= 2 && kinds.iter().enumerate().all(|(at, k)| Some(at) == own || plain(k));
                let ends = [Role::Create, Role::Free, Role::Mark, Role::Rewind, Role::Reset, Role::Destroy];
                let nothing =
                    matches!(survey::returned(self.info, inlined.result), Returned::Nothing | Returned::Integer);
                own.is_some()
                    && few
                    && nothing
                    && words::count_parts(&short) <= 3
                    && ends.iter().any(|role| words::sounds_like(*role, &short))
            };
            if visible {
                *copies.entry(inlined.name).or_default() += inlined.copies;
            }
        }
        for (name, count) in copies {
            self.notes.push(inlined_everywhere(&name, count));
        }
    }

    // ---- families ----

    fn arenas(&self) -> Vec<(Arena, String, Vec<usize>)> {
        let mut groups: Vec<(Arena, String, Vec<usize>)> = Vec::new();
        for (index, candidate) in self.candidates.iter().enumerate() {
            let Some(proof) = candidate.proof().filter(|_| candidate.stands()) else { continue };
            let neutral = |loc: &Loc| match loc.base {
                Base::Argument(_) => Loc { base: Base::Argument(0), ..*loc },
                _ => *loc,
            };
            let advanced: Vec<Loc> = proof.advanced.iter().map(neutral).collect();
            let sources: Vec<Loc> = proof.sources.iter().map(neutral).collect();
            let key = candidate.key.as_ref().map(|k| k.0.clone());
            let known = groups.iter_mut().find(|(arena, _, _)| {
                arena.key == key && (key.is_some() || arena.advanced.iter().any(|a| advanced.contains(a)))
            });
            match known {
                Some((arena, _, members)) => {
                    for loc in advanced {
                        if !arena.advanced.contains(&loc) {
                            arena.advanced.push(loc);
                        }
                    }
                    for loc in sources {
                        if !arena.sources.contains(&loc) {
                            arena.sources.push(loc);
                        }
                    }
                    members.push(index);
                }
                None => {
                    let name = candidate.key.as_ref().map_or_else(|| "(global)".to_string(), |k| k.1.clone());
                    groups.push((
                        Arena { key, advanced, sources, pointers: candidate.pointers.clone() },
                        name,
                        vec![index],
                    ));
                }
            }
        }
        groups
    }

    fn read_families(mut self, graph: &Graph) -> Candidates {
        let mut groups = self.arenas();
        // Roles without an arena argument mean one global arena: of several, the one used most.
        let weight = |s: &Self, members: &[usize]| -> usize {
            members.iter().filter_map(|i| s.candidates.get(*i)).map(|c| graph.callers(s.low(c)).count()).sum()
        };
        let best_global = groups
            .iter()
            .filter(|(arena, _, _)| arena.key.is_none())
            .max_by_key(|(arena, _, members)| (weight(&self, members), std::cmp::Reverse(arena.advanced.clone())))
            .map(|(_, _, members)| members.clone());
        let mut lost = Vec::new();
        groups.retain(|(arena, _, members)| {
            let keep = arena.key.is_some() || Some(members) == best_global.as_ref();
            if !keep {
                lost.extend(members.iter().copied());
            }
            keep
        });
        for index in lost {
            let name = self.name(index);
            self.notes
                .push(format!("{name} hands out memory of a second global arena; only one can be watched by shape"));
            if let Some(candidate) = self.candidates.get_mut(index) {
                candidate.dropped = Some("only one global arena can be watched".into());
            }
        }

        let allocs = self.standing();
        let mut effects = Effects::new(self.binary, &self.ends, allocs.clone());
        let mut decided: Vec<(usize, usize, Decision)> = Vec::new(); // (group, function, decision)
        for (group, (arena, _, members)) in groups.iter().enumerate() {
            let mut family: Vec<(usize, Decision)> = Vec::new();
            for (number, function) in self.functions.iter().enumerate() {
                if is_library(&function.name)
                    || self.candidates.iter().any(|c| c.function == number && c.proof().is_some())
                {
                    continue;
                }
                if let Some(decision) = self.decide(arena, function, &mut effects, graph) {
                    family.push((number, decision));
                }
            }
            let own: BTreeSet<u64> =
                members.iter().filter_map(|i| self.candidates.get(*i)).map(|c| self.low(c)).collect();
            self.settle_family(&mut family, &own, graph);
            decided.extend(family.into_iter().map(|(number, decision)| (group, number, decision)));
        }
        self.pair_marks(&mut decided, graph, &allocs);
        let doubted = self.drop_doubtful(&groups, &decided);
        if doubted.len() == groups.len() {
            return self.nothing();
        }
        decided.retain(|(group, _, _)| !doubted.contains(group));

        let groups: Vec<(Arena, String, Vec<usize>)> =
            groups.into_iter().enumerate().filter(|(i, _)| !doubted.contains(i)).map(|(_, g)| g).collect();
        let keys: BTreeSet<String> = groups.iter().filter_map(|(arena, _, _)| arena.key.clone()).collect();
        for (_, _, decision) in decided.iter().filter(|(_, _, d)| !d.chosen) {
            if matches!(decision.decl.role, Role::Rewind) && decision.because.iter().any(|b| b.contains("two words")) {
                self.notes.push(format!(
                    "{} goes back to a position of two words, which no role can express: blocks after it may seem to overlap",
                    decision.decl.function
                ));
            }
        }
        self.note_unseen();
        self.note_inlined(&keys);
        for candidate in self.candidates.iter().filter(|c| c.stands()) {
            if let Some(function) = self.functions.get(candidate.function) {
                let copies = self.info.copies(function.origin);
                if copies > 0 {
                    self.notes.push(format!(
                        "{} also exists as {copies} inlined {} that cannot be watched: compile with -fno-inline or -O0/-Og to see all calls",
                        function.name,
                        if copies == 1 { "copy" } else { "copies" }
                    ));
                }
            }
        }
        self.note_damage();
        let names: Vec<String> = groups.iter().map(|(_, name, _)| name.clone()).collect();
        let mut readings = vec![self.reading(&names, &decided, false)];
        if decided.iter().any(|(_, _, d)| d.chosen && d.rival.is_some()) {
            readings.push(self.reading(&names, &decided, true));
        }
        Candidates { readings, notes: self.notes, considered: Vec::new() }
    }

    /// Groups with nothing to show that what they hand out is free memory: no caller writes into it, nothing obtains
    /// or frees it, and no name says so. (A reader of data has the effects of an alloc.)
    fn drop_doubtful(
        &mut self,
        groups: &[(Arena, String, Vec<usize>)],
        decided: &[(usize, usize, Decision)],
    ) -> BTreeSet<usize> {
        let mut doubted = BTreeSet::new();
        for (group, (_, _, members)) in groups.iter().enumerate() {
            let memory = decided.iter().any(|(g, _, d)| {
                *g == group && d.chosen && matches!(d.decl.role, Role::Create | Role::Destroy | Role::Free)
            });
            let members: Vec<&Candidate> = members.iter().filter_map(|i| self.candidates.get(*i)).collect();
            let shown = members.iter().any(|c| {
                c.callers_write || self.functions.get(c.function).is_some_and(|f| words::says_alloc(&f.short_name()))
            });
            if !memory && !shown {
                doubted.insert(group);
            }
        }
        for group in &doubted {
            for index in groups.get(*group).map(|g| g.2.clone()).unwrap_or_default() {
                if let Some(candidate) = self.candidates.get_mut(index) {
                    candidate.dropped = Some("nothing shows that what it returns is free memory".into());
                }
            }
        }
        doubted
    }

    fn decide(
        &self,
        arena: &Arena,
        function: &Callable,
        effects: &mut Effects<'_, '_>,
        graph: &Graph,
    ) -> Option<Decision> {
        let Some(key) = arena.key.as_deref() else { return self.decide_global(arena, function, effects, graph) };
        let is_key = |k: &Kind| matches!(k, Kind::Object { record, .. } if record.key == key);
        let is_out = |k: &Kind| matches!(k, Kind::ObjectOut { record } if record.key == key);
        let returns = matches!(&function.returned, Returned::Object { record, .. } | Returned::Value { record, .. } if record.key == key);
        let position = function.parameters.iter().position(|p| is_key(&p.kind));
        if position.is_none() && !returns && !function.parameters.iter().any(|p| is_out(&p.kind)) {
            return None;
        }
        let summary = effects.summary(function.low)?;
        let maker = View { function, summary: &summary, anchor: Anchor::Argument(u8::MAX), position: None, arena };
        if let Some(decision) = family::judge_maker(&maker, is_out) {
            return Some(decision);
        }
        let position = position?;
        let parameter = function.parameters.get(position)?;
        let constant = matches!(parameter.kind, Kind::Object { constant: true, .. });
        let word = parameter.word()?;
        let seen = canonical(&summary, Anchor::Argument(word), &arena.pointers);
        let view = View { function, summary: &seen, anchor: Anchor::Argument(word), position: Some(position), arena };
        Some(family::judge_user(&view, constant, &self.names_of_calls(&summary)))
    }

    fn decide_global(
        &self,
        arena: &Arena,
        function: &Callable,
        effects: &mut Effects<'_, '_>,
        graph: &Graph,
    ) -> Option<Decision> {
        let touches = arena.advanced.iter().chain(&arena.sources).any(|loc| match (loc.base, loc.is_deep()) {
            (Base::Global(address), _) => {
                let end = address.saturating_add(1);
                graph.touching(address.saturating_sub(64), end).any(|f| f == function.low)
            }
            _ => false,
        });
        if !touches || function.parameters.iter().any(|p| matches!(p.kind, Kind::Object { .. })) {
            return None;
        }
        let summary = effects.summary(function.low)?;
        let view = View { function, summary: &summary, anchor: Anchor::Global, position: None, arena };
        let decision = family::judge_user(&view, false, &self.names_of_calls(&summary));
        if decision.chosen { Some(decision) } else { None }
    }

    /// Of functions with the same role that call each other, keeps the inner one.
    fn settle_family(&self, family: &mut [(usize, Decision)], allocs: &BTreeSet<u64>, graph: &Graph) {
        let lows: Vec<u64> =
            family.iter().map(|(number, _)| self.functions.get(*number).map_or(0, |f| f.low)).collect();
        let frees_itself = |d: &Decision| d.because.iter().any(|b| b.contains("structure itself"));
        for (inner, inner_low) in lows.iter().enumerate() {
            let Some((_, decision)) = family.get(inner) else { continue };
            if !decision.chosen {
                continue;
            }
            if allocs.iter().any(|alloc| graph.calls(*alloc, *inner_low)) && decision.decl.role != Role::Mark {
                if let Some((_, decision)) = family.get_mut(inner) {
                    decision.chosen = false;
                    decision.because.push("but alloc itself calls it: a part of alloc".into());
                }
                continue;
            }
            for (outer, outer_low) in lows.iter().enumerate() {
                let (Some((_, a)), Some((_, b))) = (family.get(inner), family.get(outer)) else { continue };
                if inner == outer
                    || !a.chosen
                    || !b.chosen
                    || a.decl.role != b.decl.role
                    || !graph.leads_to(*outer_low, *inner_low)
                {
                    continue;
                }
                if a.decl.role == Role::Destroy && frees_itself(b) && !frees_itself(a) {
                    if let Some((_, a)) = family.get_mut(inner) {
                        a.decl.role = Role::Reset;
                        a.because.push("and the structure lives on, unlike in the function that calls it".into());
                    }
                } else {
                    let name = a.decl.function.clone();
                    if let Some((_, b)) = family.get_mut(outer) {
                        b.chosen = false;
                        b.because.push(format!("but it calls {name}: a wrapper"));
                    }
                }
            }
        }
        // Two that free, and only one frees the structure: the other one empties.
        let ends: Vec<usize> = (0..family.len())
            .filter(|i| family.get(*i).is_some_and(|(_, d)| d.chosen && d.decl.role == Role::Destroy))
            .collect();
        if ends.iter().any(|i| family.get(*i).is_some_and(|(_, d)| frees_itself(d))) {
            for i in ends {
                if let Some((_, d)) = family.get_mut(i)
                    && !frees_itself(d)
                    && words::sounds_like(Role::Reset, &survey::short_name(&d.decl.function))
                {
                    d.decl.role = Role::Reset;
                    d.because.push("and the structure lives on".into());
                }
            }
        }
    }

    /// A position counts as a mark only when something goes back to it, and the other way round is told by callers.
    fn pair_marks(&self, decided: &mut [(usize, usize, Decision)], graph: &Graph, allocs: &BTreeSet<u64>) {
        let low = |number: usize| self.functions.get(number).map_or(0, |f| f.low);
        let of_role = |decided: &[(usize, usize, Decision)], role: Role| -> Vec<usize> {
            (0..decided.len())
                .filter(|i| decided.get(*i).is_some_and(|d| d.2.chosen && d.2.decl.role == role))
                .collect()
        };
        let marks = of_role(decided, Role::Mark);
        let rewinds = of_role(decided, Role::Rewind);
        let lows_of = |decided: &[(usize, usize, Decision)], list: &[usize]| -> BTreeSet<u64> {
            list.iter().filter_map(|i| decided.get(*i)).map(|d| low(d.1)).collect()
        };
        let mark_lows = lows_of(decided, &marks);
        let rewind_lows = lows_of(decided, &rewinds);
        let opaque: BTreeSet<u64> = allocs.iter().chain(&mark_lows).chain(&rewind_lows).copied().collect();
        let mut effects = Effects::new(self.binary, &self.ends, opaque);
        let mut fed: BTreeSet<u64> = BTreeSet::new();
        for &index in &rewinds {
            let Some((_, number, decision)) = decided.get(index) else { continue };
            let number = *number;
            let word = decision
                .decl
                .arguments
                .iter()
                .position(|a| matches!(a, Argument::Mark | Argument::MarkAt))
                .and_then(|at| self.functions.get(number)?.parameters.get(at)?.word());
            let target = low(number);
            let mut sources: BTreeSet<u64> = BTreeSet::new();
            for caller in graph.callers(target) {
                let Some(summary) = effects.summary(caller) else { continue };
                for call in summary.calls.iter().filter(|c| c.target == target) {
                    let Some(value) = word.and_then(|w| call.arguments.get(usize::from(w))) else { continue };
                    sources.extend(value.atoms().iter().filter_map(|a| match a {
                        Atom::Result(function) => Some(*function),
                        Atom::Load(Loc { base: Base::Result(function), .. }) => Some(*function),
                        _ => None,
                    }));
                }
            }
            fed.extend(sources.intersection(&mark_lows));
            if sources.intersection(&mark_lows).next().is_some()
                && let Some((_, _, decision)) = decided.get_mut(index)
            {
                decision.rival = None;
                decision.score += 3;
                decision.because.push("its callers pass what a mark function returned".into());
            }
        }
        // A pointer to a structure is a position only where another function fills one in.
        for &index in &rewinds {
            let Some((group, _, decision)) = decided.get(index) else { continue };
            let filled = marks
                .iter()
                .filter_map(|i| decided.get(*i))
                .any(|m| m.0 == *group && (m.2.decl.arguments.contains(&Argument::MarkAt) || fed.contains(&low(m.1))));
            if decision.decl.arguments.contains(&Argument::MarkAt)
                && !filled
                && let Some((_, _, decision)) = decided.get_mut(index)
            {
                decision.chosen = false;
                decision.because.push("but no function saves such a position".into());
            }
        }
        for &index in &marks {
            let Some((group, number, decision)) = decided.get(index) else { continue };
            let (group, own) = (*group, low(*number));
            let by_pointer = decision.decl.arguments.contains(&Argument::MarkAt);
            let goes_back = rewinds.iter().filter_map(|i| decided.get(*i)).any(|(g, n, d)| {
                *g == group
                    && (by_pointer == d.decl.arguments.contains(&Argument::MarkAt))
                    && self.same_position(*number, *n, d)
            });
            let some_fed =
                marks.iter().filter_map(|i| decided.get(*i)).any(|d| d.0 == group && fed.contains(&low(d.1)));
            let short = survey::short_name(&decision.decl.function);
            let question = words::sounds_like_question(&short) && !words::sounds_like(Role::Mark, &short);
            let Some((_, _, decision)) = decided.get_mut(index) else { continue };
            let against = if !goes_back {
                Some("but no function goes back to such a position")
            } else if some_fed && !fed.contains(&own) {
                Some("but no caller goes back to what it returns")
            } else if !some_fed && question {
                Some("but its name asks a question")
            } else {
                None
            };
            if let Some(against) = against {
                decision.chosen = false;
                decision.because.push(against.into());
            }
            if fed.contains(&own) {
                decision.score += 3;
                decision.because.push("what it returns is given to a rewind function".into());
            }
        }
    }

    /// True when what `mark` returns has the type that `rewind` takes.
    fn same_position(&self, mark: usize, rewind: usize, decision: &Decision) -> bool {
        let (Some(mark), Some(rewind)) = (self.functions.get(mark), self.functions.get(rewind)) else { return false };
        let at = decision.decl.arguments.iter().position(|a| matches!(a, Argument::Mark | Argument::MarkAt));
        let Some(parameter) = at.and_then(|at| rewind.parameters.get(at)) else { return false };
        match (&mark.returned, &parameter.kind) {
            (Returned::Integer, Kind::Integer) => true,
            (Returned::Pointer { .. }, Kind::Pointer { .. }) => true,
            (Returned::Value { record: a, .. }, Kind::Value { record: b }) => a.key == b.key,
            (Returned::Object { record: a, .. }, Kind::Object { record: b, .. }) => a.key == b.key,
            (Returned::Nothing | Returned::Other, Kind::Object { .. } | Kind::Pointer { .. }) => true,
            _ => false,
        }
    }

    fn reading(&self, names: &[String], decided: &[(usize, usize, Decision)], rivals: bool) -> Reading {
        let has_role: BTreeSet<usize> =
            decided.iter().filter(|(_, _, d)| d.chosen).map(|(_, number, _)| *number).collect();
        let mut explain: Vec<Scored> = self
            .candidates
            .iter()
            .filter(|c| !has_role.contains(&c.function))
            .filter_map(|c| self.alloc_scored(c))
            .collect();
        for (_, number, decision) in decided {
            if !decision.chosen && (has_role.contains(number) || self.candidates.iter().any(|c| c.function == *number))
            {
                continue;
            }
            let decision = match &decision.rival {
                Some(rival) if rivals => rival,
                _ => decision,
            };
            explain.push(Scored {
                decl: decision.decl.clone(),
                score: decision.score,
                because: decision.because.clone(),
                chosen: decision.chosen,
            });
        }
        for scored in &mut explain {
            scored.decl.function = self.unambiguous(&scored.decl.function, scored.decl.arguments.len());
        }
        explain.sort_by(|a, b| {
            (b.chosen, b.score).cmp(&(a.chosen, a.score)).then_with(|| a.decl.function.cmp(&b.decl.function))
        });
        explain.dedup();
        explain.truncate(MAX_LISTED);
        let mut decls: Vec<RoleDecl> = explain.iter().filter(|s| s.chosen).map(|s| s.decl.clone()).collect();
        decls.sort_by(|a, b| (a.role, &a.function).cmp(&(b.role, &b.function)));
        decls.dedup();
        Reading { arena_type: names.join(", "), decls, explain }
    }

    /// The linker's name where the source's name means several functions with different parameters.
    fn unambiguous(&self, name: &str, parameters: usize) -> String {
        let mut same = self.functions.iter().filter(|f| f.name == name);
        let all_alike = self.functions.iter().filter(|f| f.name == name).all(|f| f.parameters.len() == parameters);
        if all_alike {
            return name.to_string();
        }
        same.find(|f| f.parameters.len() == parameters)
            .and_then(|f| f.linkage.clone())
            .unwrap_or_else(|| name.to_string())
    }
}

/// A summary in which pointers of the arena that point at the same kind of thing are one.
fn canonical(summary: &Summary, anchor: Anchor, pointers: &Pointers) -> Summary {
    summary.map_places(&|loc| if anchor.owns(loc.base) { pointers.canonical(loc) } else { loc })
}

fn inlined_everywhere(name: &str, copies: usize) -> String {
    let word = if copies == 1 { "copy" } else { "copies" };
    format!("{name} is inlined everywhere ({copies} {word}) and cannot be watched: compile with -fno-inline or -O0/-Og")
}

fn rank(verdict: &Verdict) -> (bool, bool, usize) {
    (verdict.proof.is_some() && verdict.objection.is_none(), verdict.proof.is_some(), verdict.because.len())
}
