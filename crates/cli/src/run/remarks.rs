//! What the user should know about the roles that they gave, once the program has ended: functions that never turned up,
//! and what is missing from the picture because a function is not watched.
//!
//! Relied on: nothing is said of a run in which everything was watched. Absent: why one function was not watched, which
//! its own line on the screen says.

use crate::run::given;
use crate::run::memcheck::Memcheck;
use crate::run::serve::Seen;
use crate::run::trace_file;
use arenascope_event::{HookFact, HookStatus, Mode, Role, RoleDecl};
use arenascope_replay::State;
use arenascope_symbols::Image;
use std::collections::BTreeSet;
use std::path::Path;

/// Roles that hand out no block: what that means.
pub fn no_alloc(given: &[RoleDecl]) -> Option<String> {
    let hands_out = |decl: &RoleDecl| matches!(decl.role, Role::Alloc | Role::Resize);
    (!given.is_empty() && !given.iter().any(hands_out)).then(|| {
        "no alloc role was given, blocks are not seen: add one, for instance --alloc 'my_alloc(arena, size) -> block'"
            .into()
    })
}

/// Functions that were given and that nothing loaded or executed has; with the nearest names that are there.
pub fn never_turned_up(given: &[RoleDecl], seen: &[Seen]) -> Vec<String> {
    // Without a process that was looked into nothing is known.
    if seen.is_empty() {
        return Vec::new();
    }
    let turned_up = |decl: &RoleDecl| seen.iter().flat_map(|process| &process.hooks).any(|hook| hook.decl == *decl);
    let missing: Vec<&RoleDecl> = given.iter().filter(|decl| !turned_up(decl)).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let paths: BTreeSet<&str> =
        seen.iter().flat_map(|process| &process.modules).map(|module| module.path.as_str()).collect();
    let images: Vec<Image> = paths.into_iter().filter_map(|path| Image::open(Path::new(path)).ok()).collect();
    let sentence = |decl: &RoleDecl| {
        let (_, name) = arenascope_roles::library_and_name(&decl.function);
        let nearest = given::nearest(name, images.iter());
        let nearest =
            if nearest.is_empty() { String::new() } else { format!("; nearest names: {}", nearest.join(", ")) };
        format!("{} never turned up in what was loaded or executed{nearest}", decl.function)
    };
    missing.into_iter().map(sentence).collect()
}

/// What check mode changed, and what it could not check. Said once, whatever was found.
pub fn of_check(seen: &[Seen]) -> Vec<String> {
    let watched = |hook: &HookFact| {
        matches!(hook.decl.role, Role::Alloc | Role::Resize) && !matches!(hook.status, HookStatus::NotWatched(_))
    };
    let checked = || seen.iter().filter(|process| process.mode == Mode::Check && process.hooks.iter().any(watched));
    // Markers tell of blocks that are cut already.
    let grown = |process: &Seen| process.hooks.iter().any(|hook| watched(hook) && hook.markers.is_none());
    let own = seen.iter().any(|process| process.mode == Mode::Check && !process.libraries.is_empty());
    let of_own = "checked: blocks of the arenascope library's arenas lay in memory apart, between canaries, and dead ones kept their addresses; sizes, \
                  offsets and refusals are those of the unchecked program";
    let mut sentences = Vec::new();
    if checked().any(grown) {
        sentences.push(
            "checked: blocks were asked larger than the program asked for, and lay further apart. A program with a bug may \
             do something else than without; so may one that counts on blocks to touch, prints where they lie, or fills its arenas: redzones take room"
                .to_owned(),
        );
    }
    sentences.extend(own.then(|| of_own.to_owned()));
    let left = |process: &&Seen| process.mode == Mode::Check && !process.libraries.is_empty();
    let left: u64 = seen
        .iter()
        .filter(left)
        .filter_map(|process| trace_file::unchecked(process.trace.as_ref()?).ok())
        .fold(0, u64::saturating_add);
    if left > 0 {
        let blocks = if left == 1 { "1 block was".to_owned() } else { format!("{left} blocks were") };
        sentences.push(format!(
            "partly checked: {blocks} not checked, or have no guard page though it was wanted: there was no room, or a signal handler \
             asked for them in the midst of check mode's own work"
        ));
    }
    for limit in checked().flat_map(|process| &process.mode_limits) {
        if !sentences.contains(limit) {
            sentences.push(limit.clone());
        }
    }
    sentences
}

/// What precise mode changed, and what Valgrind itself had to say.
pub fn of_precise(memcheck: &Memcheck, pid: u32) -> Vec<String> {
    let mut sentences = vec![
        "precise: the program ran under Valgrind's memcheck, 20 to 50 times slower, and its blocks lay further apart"
            .to_owned(),
    ];
    let words = memcheck.words(pid);
    if !words.is_empty() {
        sentences.push(format!("valgrind says: {words}"));
    }
    sentences
}

/// What precise mode hardly sees in a process whose threads share an arena.
pub fn of_precise_threads(state: &State) -> Option<String> {
    let shared = state
        .arenas()
        .filter(|arena| arena.threads.len() > 1 && arena.malloc.is_none())
        .map(|arena| arena.id)
        .next()?;
    Some(format!(
        "memcheck runs one thread at a time: that two are in arena {shared} at once (unsynchronised-sharing) shows by chance; run \
         without --precise for it"
    ))
}

/// What the picture lacks for functions that could not be patched, and how to have them.
pub fn not_patched(seen: &[Seen]) -> Vec<String> {
    let hooks = || seen.iter().flat_map(|process| &process.hooks);
    let short: Vec<&RoleDecl> = hooks()
        .filter(|hook| matches!(&hook.status, HookStatus::NotWatched(why) if why.contains("too short to patch")))
        .map(|hook| &hook.decl)
        .collect();
    if short.is_empty() || !hooks().any(|hook| !matches!(hook.status, HookStatus::NotWatched(_))) {
        return Vec::new();
    }
    let mut sentences: Vec<String> = Vec::new();
    for decl in &short {
        let lacks = match decl.role {
            Role::Create => "its arenas begin at their first event instead",
            Role::Alloc | Role::Resize => "blocks that it hands out are missing",
            Role::Free => "blocks that it took back still count as living, and others may lie over them",
            Role::Mark => "marks are missing, so that blocks after a rewind are guesses",
            Role::Rewind => "blocks that it ended still count as living, and those handed out after it lie over them",
            Role::Reset => "blocks that it ended still count as living, and those handed out after it lie over them",
            Role::Destroy => "arenas that it ended still count as living",
        };
        let sentence = format!("{} ({}) is not seen: {lacks}", decl.function, decl.role.word());
        if !sentences.contains(&sentence) {
            sentences.push(sentence);
        }
    }
    sentences
        .push("to see it: compile with -O0, or with -fpatchable-function-entry=5, which makes room for a jump".into());
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;
    use arenascope_event::Address;

    fn decl(text: &str) -> RoleDecl {
        arenascope_roles::parse(text).expect(text)
    }

    fn seen(hooks: &[(&str, HookStatus)]) -> Vec<Seen> {
        let fact = |(text, status): &(&str, HookStatus)| HookFact {
            decl: decl(text),
            module: "/none".into(),
            address: Address::NULL,
            status: status.clone(),
            synchronises: Default::default(),
            markers: None,
        };
        vec![Seen { hooks: hooks.iter().map(fact).collect(), ..Seen::default() }]
    }

    #[test]
    fn only_what_hands_out_blocks_shows_blocks() {
        assert!(no_alloc(&[decl("destroy:f(arena)"), decl("create:g(arena)")]).is_some());
        assert_eq!(no_alloc(&[decl("destroy:f(arena)"), decl("alloc:g(size) -> block")]), None);
        assert_eq!(no_alloc(&[]), None, "nothing was given");
    }

    #[test]
    fn functions_that_never_turned_up_are_named() {
        let (here, gone) = (decl("alloc:f(size) -> block"), decl("reset:zork()"));
        let seen = seen(&[("alloc:f(size) -> block", HookStatus::Watched)]);
        assert_eq!(
            never_turned_up(&[here, gone.clone()], &seen),
            ["zork never turned up in what was loaded or executed"]
        );
        assert!(never_turned_up(&[gone], &[]).is_empty(), "nothing was looked into");
    }

    #[test]
    fn blocks_were_made_larger_only_where_some_were_seen() {
        let checked = |hooks: &[(&str, HookStatus)]| {
            let mut seen = seen(hooks);
            seen.iter_mut().for_each(|process| process.mode = Mode::Check);
            of_check(&seen)
        };
        assert_eq!(checked(&[]), Vec::<String>::new());
        assert!(checked(&[("alloc:f(size) -> block", HookStatus::NotWatched("inlined".into()))]).is_empty());
        assert_eq!(checked(&[("alloc:f(size) -> block", HookStatus::Watched)]).len(), 1);
    }

    #[test]
    fn what_is_too_short_is_missing_from_the_picture() {
        let short = || HookStatus::NotWatched("is 3 bytes long: too short to patch (5 needed)".into());
        let told = not_patched(&seen(&[("alloc:f(size) -> block", HookStatus::Watched), ("reset:g()", short())]));
        assert!(told.len() == 2 && told.concat().contains("g (reset) is not seen"), "{told:?}");
        assert!(not_patched(&seen(&[("reset:g()", short())])).is_empty(), "nothing was watched at all, which is said");
        assert!(not_patched(&seen(&[("alloc:f(size) -> block", HookStatus::Watched)])).is_empty());
    }
}
