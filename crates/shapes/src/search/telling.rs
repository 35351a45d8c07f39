//! What the search says: roles with their arguments, scores with reasons, notes on what cannot be seen.
//!
//! Relied on: order depends on scores and names only. Deliberately absent: decisions.

use super::{Candidate, MAX_LISTED, Search, is_library};
use crate::allocs::Outlet;
use crate::family::Decision;
use crate::survey::{self, Callable, Kind, Returned};
use crate::{Candidates, INLINED_EVERYWHERE, Reading, Scored, Unwatched, words};
use arenascope_event::{Argument, Result_, Role, RoleDecl};
use std::collections::{BTreeMap, BTreeSet};

impl Search<'_, '_, '_> {
    pub(super) fn alloc_decl(&self, candidate: &Candidate) -> Option<RoleDecl> {
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

    pub(super) fn alloc_scored(&self, candidate: &Candidate) -> Option<Scored> {
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

    pub(super) fn nothing(mut self) -> Candidates {
        let mut considered: Vec<Scored> = self.candidates.iter().filter_map(|c| self.alloc_scored(c)).collect();
        considered.sort_by(|a, b| b.score.cmp(&a.score).then_with(|| a.decl.function.cmp(&b.decl.function)));
        considered.truncate(MAX_LISTED);
        self.note_unseen();
        self.note_inlined(&BTreeSet::new());
        if self.notes.is_empty() {
            self.notes.push(if self.functions.is_empty() {
                "the debug information describes no functions: compile with -g, or name the functions by role".into()
            } else if let Some(nearest) = self.nearest() {
                nearest
            } else {
                "no function takes an arena and a size and hands out memory of that arena: if there is one, name it by role".into()
            });
        }
        self.note_damage();
        Candidates { notes: self.notes, considered, ..Candidates::default() }
    }

    /// What is said of the candidate that comes nearest to an alloc function: why it was not chosen, and its role ready to
    /// be typed. One that nothing speaks against in so many words is not worth naming.
    fn nearest(&self) -> Option<String> {
        let reason = |candidate: &Candidate| {
            let weakness = || candidate.verdict.because.iter().find(|because| because.contains(", not "));
            candidate.verdict.objection.as_ref().or(candidate.dropped.as_ref()).or_else(weakness).cloned()
        };
        let ranked = self.candidates.iter().filter(|candidate| !candidate.unseen).filter_map(|candidate| {
            let scored = self.alloc_scored(candidate).filter(|scored| scored.score > 0)?;
            // What hands on another function's block is the second choice.
            let rank = (candidate.dropped.is_none(), scored.score, std::cmp::Reverse(scored.decl.function));
            Some((rank, reason(candidate)?, candidate))
        });
        let (_, reason, candidate) = ranked.max_by(|a, b| a.0.cmp(&b.0))?;
        let decl = self.alloc_decl(candidate)?;
        let arguments: Vec<&str> = decl.arguments.iter().map(|argument| argument.word()).collect();
        let result = match decl.result {
            Result_::Ignored => String::new(),
            result => format!(" -> {}", result.word()),
        };
        let name = &decl.function;
        let role = format!("{name}({}){result}", arguments.join(", "));
        Some(format!(
            "{name} looks like a function that hands out memory of an arena, but {reason}: if it is one, say --alloc '{role}' \
             (--explain tells what was considered)"
        ))
    }

    pub(super) fn note_damage(&mut self) {
        if self.info.damaged_units > 0 {
            self.notes.push(format!("{} parts of the debug information could not be read", self.info.damaged_units));
        }
    }

    pub(super) fn note_unseen(&mut self) {
        for candidate in self.candidates.iter().filter(|c| c.unseen && c.proof().is_some()) {
            if let Some(function) = self.functions.get(candidate.function)
                && words::sounds_like(Role::Alloc, &function.short_name())
            {
                self.notes.push(inlined_everywhere(&function.name, self.info.copies(function.origin)));
            }
        }
    }

    /// Says which functions of the arenas (or which functions that look like an alloc) are invisible.
    pub(super) fn note_inlined(&mut self, keys: &BTreeSet<String>) {
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
            let short = survey::short_name(&name);
            let roles = [Role::Alloc, Role::Create, Role::Free, Role::Mark, Role::Rewind, Role::Reset, Role::Destroy];
            let role = roles.into_iter().find(|role| words::sounds_like(*role, &short)).unwrap_or(Role::Alloc);
            let decl = RoleDecl { role, function: name.clone(), arguments: Vec::new(), result: Result_::Ignored };
            let word = if count == 1 { "copy" } else { "copies" };
            let why = format!("{INLINED_EVERYWHERE} ({count} {word}): compile with -O0, -Og or -fno-inline to see it");
            self.unwatched.push(Unwatched { decl, why });
            self.notes.push(inlined_everywhere(&name, count));
        }
    }

    /// Functions that take an arena and were given no role, though their names speak of one that ends blocks: what they end
    /// would be drawn as alive without a word.
    pub(super) fn note_unproved(&mut self, decided: &[(usize, usize, Decision)]) {
        let has_role: BTreeSet<usize> =
            decided.iter().filter(|(_, _, d)| d.chosen).map(|(_, number, _)| *number).collect();
        for (_, number, decision) in decided.iter().filter(|(_, _, d)| !d.chosen) {
            if has_role.contains(number) || self.candidates.iter().any(|c| c.function == *number) {
                continue;
            }
            let Some(function) = self.functions.get(*number) else { continue };
            let Some(arena) = decision.decl.arguments.iter().position(|a| *a == Argument::Arena) else { continue };
            if let Some(mut unwatched) = unproved(function, arena, decision) {
                unwatched.decl.function = self.unambiguous(&unwatched.decl.function, function.parameters.len());
                self.unwatched.push(unwatched);
            }
        }
        self.unwatched.sort_by(|a, b| (a.decl.role, &a.decl.function).cmp(&(b.decl.role, &b.decl.function)));
        self.unwatched.dedup();
    }

    pub(super) fn reading(&self, names: &[String], decided: &[(usize, usize, Decision)], rivals: bool) -> Reading {
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

/// What a function without a role may end, by its name and its other parameter.
fn unproved(function: &Callable, arena: usize, decision: &Decision) -> Option<Unwatched> {
    let short = function.short_name();
    let mut others = function.parameters.iter().enumerate().filter(|(at, _)| *at != arena);
    let other = others.next();
    // Functions of the program that happen to take an arena beside their own arguments are none of its allocator's.
    if others.next().is_some() || !matches!(function.returned, Returned::Nothing | Returned::Integer) {
        return None;
    }
    let pointer =
        matches!(other, Some((_, p)) if matches!(p.kind, Kind::Pointer { .. } | Kind::Object { constant: false, .. }));
    let position =
        matches!(other, Some((_, p)) if matches!(p.kind, Kind::Pointer { .. } | Kind::Integer | Kind::Value { .. }));
    let (role, meaning, ends) = if pointer && words::sounds_like(Role::Free, &short) {
        (Role::Free, Argument::Block, "blocks that it frees")
    } else if position && words::sounds_like(Role::Rewind, &short) {
        (Role::Rewind, Argument::Mark, "blocks that it rewinds over")
    } else if other.is_none() && words::sounds_like(Role::Reset, &short) && !words::sounds_like_question(&short) {
        (Role::Reset, Argument::Ignored, "blocks that it drops")
    } else {
        return None;
    };
    let by_value = matches!(other, Some((_, p)) if matches!(p.kind, Kind::Value { .. }));
    let mut arguments = function.blank();
    for (at, word) in [(arena, Some(Argument::Arena)), (other.map_or(arena, |(at, _)| at), other.map(|_| meaning))] {
        if let (Some(slot), Some(word)) = (arguments.get_mut(at), word) {
            *slot = word;
        }
    }
    let (arguments, why) = if by_value || decision.because.iter().any(|b| b.contains("two words")) {
        (
            Vec::new(),
            format!("goes back to a position of two words, which no role can express: {ends} are drawn as alive"),
        )
    } else {
        (arguments, format!("its name says {}, nothing in its code proves it: {ends} are drawn as alive", role.word()))
    };
    let decl = RoleDecl { role, function: function.name.clone(), arguments, result: Result_::Ignored };
    Some(Unwatched { decl, why })
}

fn inlined_everywhere(name: &str, copies: usize) -> String {
    let word = if copies == 1 { "copy" } else { "copies" };
    format!("{name} {INLINED_EVERYWHERE} ({copies} {word}) and cannot be watched: compile with -fno-inline or -O0/-Og")
}
