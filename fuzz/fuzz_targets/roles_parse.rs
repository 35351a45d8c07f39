//! Any text is a role or an error at a column it has; what is a role reads the same when written again.
#![no_main]

use arenascope_roles::{parse, parse_for, to_text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for outcome in [parse(text), parse_for(arenascope_event::Role::Alloc, text)] {
        match outcome {
            Ok(decl) => assert_eq!(parse(&to_text(&decl)), Ok(decl)),
            Err(error) => {
                assert!((1..=text.chars().count() + 1).contains(&error.column));
                let rendered = error.render(text);
                assert!(rendered.lines().any(|line| line.trim() == "^"));
                assert!(rendered.chars().all(|char| !char.is_control() || matches!(char, '\n' | '\t')));
            }
        }
    }
});
