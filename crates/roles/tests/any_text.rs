//! Promises about every text and every declaration.

use arenascope_event::{Argument, Result_, Role, RoleDecl};
use arenascope_roles::{parse, parse_for, profile, to_text};
use proptest::prelude::*;

/// A declaration that means something: arguments its role takes, in any order, among ignored ones.
fn declaration() -> impl Strategy<Value = RoleDecl> {
    let shape = prop::sample::select(signatures());
    let name = prop::sample::select(vec![
        "arena_alloc",
        "f",
        "lib.so.6!f",
        "ns::A<int, char>::f(unsigned long)",
        "ns::A::operator()()",
        "operator new(unsigned long, A&)",
        "A::operator->() const",
        "<impl Foo>::bar",
        "core::<fn(u8) -> u8>::f",
        "::global",
        "f.constprop.0",
        "メモリ",
        "alloc::alloc::alloc",
    ]);
    (shape, name, prop::collection::vec(any::<prop::sample::Index>(), 0..8)).prop_map(|(mut decl, name, ignored)| {
        decl.function = name.to_string();
        for place in ignored {
            let at = place.index(decl.arguments.len() + 1);
            decl.arguments.insert(at, Argument::Ignored);
        }
        decl
    })
}

/// Every combination of words that a role accepts, written down a second time: with the words in one order, each
/// once, whatever is optional there or not.
fn signatures() -> Vec<RoleDecl> {
    use Argument::{Align, Arena, ArenaOut, Block, BlockOut, Count, Mark, MarkAt, Name, Parent, Size};
    let mut all = Vec::new();
    let mut push = |role, needed: &[Argument], optional: &[Argument], result| {
        for bits in 0..1u32 << optional.len() {
            let chosen =
                optional.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, argument)| *argument);
            let arguments: Vec<Argument> = needed.iter().copied().chain(chosen).collect();
            if arguments.contains(&Count) && !arguments.contains(&Size) {
                continue;
            }
            all.push(RoleDecl { role, function: String::new(), arguments, result });
        }
    };
    push(Role::Create, &[Arena], &[Size, Count, Align, Parent, Name], Result_::Ignored);
    push(Role::Create, &[ArenaOut], &[Size, Count, Align, Parent, Name], Result_::Ignored);
    push(Role::Create, &[], &[Size, Count, Align, Parent, Name], Result_::Arena);
    push(Role::Alloc, &[Size], &[Arena, Count, Align], Result_::Block);
    push(Role::Alloc, &[Size, BlockOut], &[Arena, Count, Align], Result_::Ignored);
    push(Role::Resize, &[Block, Size], &[Arena, Count, Align], Result_::Block);
    push(Role::Free, &[Block], &[Arena, Size, Align], Result_::Ignored);
    push(Role::Mark, &[], &[Arena], Result_::Mark);
    push(Role::Mark, &[MarkAt], &[Arena], Result_::Ignored);
    push(Role::Rewind, &[Mark], &[Arena], Result_::Ignored);
    push(Role::Rewind, &[MarkAt], &[Arena], Result_::Ignored);
    push(Role::Reset, &[], &[Arena], Result_::Ignored);
    push(Role::Destroy, &[], &[Arena], Result_::Ignored);
    all
}

/// Texts near the grammar: its own pieces in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "alloc", "create", "rewind", ":", "::", "(", ")", ",", "->", " ", "*", "_", "arena", "size", "block", "mark",
        "count", "operator", "!", "<", ">", "f", "ns", "-", "\t", "\n", "日", "\u{301}", "\u{202e}", "\0", "é",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_written_is_read_back(decl in declaration()) {
        prop_assert_eq!(parse(&to_text(&decl)), Ok(decl));
    }

    #[test]
    fn a_declaration_reads_the_same_with_the_role_given_elsewhere(decl in declaration()) {
        let text = to_text(&decl);
        let (_, signature) = text.split_once(':').expect("a role comes first");
        // `alloc:` before a path that begins with `::` would be a role again.
        prop_assert_eq!(parse_for(decl.role, signature), Ok(decl.clone()));
    }

    #[test]
    fn every_text_is_read_or_refused_at_a_column_it_has(text in prop_oneof![any::<String>(), pieces()]) {
        for outcome in [parse(&text), parse_for(Role::Create, &text), parse_for(Role::Alloc, &text)] {
            match outcome {
                Ok(decl) => prop_assert_eq!(parse(&to_text(&decl)), Ok(decl)),
                Err(error) => {
                    prop_assert!((1..=text.chars().count() + 1).contains(&error.column));
                    prop_assert!(!error.message.is_empty() && !error.hint.is_empty());
                    let rendered = error.render(&text);
                    prop_assert!(rendered.lines().any(|line| line.trim() == "^"));
                    prop_assert!(rendered.chars().all(|char| !char.is_control() || matches!(char, '\n' | '\t')));
                }
            }
        }
    }

    #[test]
    fn one_slip_never_passes_for_a_word(decl in declaration(), at in any::<prop::sample::Index>(), letter in "[a-z*_]") {
        // A word with one letter more is either another word of the grammar or an error under that very word.
        prop_assume!(!decl.arguments.is_empty());
        let at = at.index(decl.arguments.len());
        let before: String = decl.arguments.iter().take(at).map(|argument| format!("{}, ", argument.word())).collect();
        let after: String = decl.arguments.iter().skip(at + 1).map(|argument| format!(", {}", argument.word())).collect();
        let word = format!("{}{letter}", decl.arguments[at].word());
        let head = format!("{}:{}({before}", decl.role.word(), decl.function);
        let result = if decl.result == Result_::Ignored { String::new() } else { format!(" -> {}", decl.result.word()) };
        let text = format!("{head}{word}{after}){result}");
        let error = parse(&text).expect_err("no word of the grammar is another one with a letter more");
        prop_assert_eq!(error.column, head.chars().count() + 1);
    }

    #[test]
    fn every_text_is_a_profile_or_refused_in_a_line_it_has(
        text in prop_oneof![
            any::<String>(),
            pieces().prop_map(|role| format!("[profile]\nname = \"x\"\nroles = [ \"alloc: f(size) -> block\",\n  '''{role}''' ]\n")),
            pieces().prop_map(|role| format!("[profile]\nroles = [ {role:?} ]\nname = \"x\"")),
        ]
    ) {
        if let Err(error) = profile(&text, "x.toml") {
            prop_assert!(error.line >= 1 && error.line <= text.matches('\n').count() + 1);
            prop_assert!(error.column >= 1);
            prop_assert_eq!(text.lines().nth(error.line - 1).unwrap_or_default(), &error.source);
            prop_assert!(error.column <= error.source.chars().count() + 2);
            let place = format!("x.toml:{}:{}: ", error.line, error.column);
            prop_assert!(error.to_string().starts_with(&place), "{}", error);
        }
    }
}
