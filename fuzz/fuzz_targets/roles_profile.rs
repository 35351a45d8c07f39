//! Any text is a profile or an error in a line it has.
#![no_main]

use arenascope_roles::{parse, profile, to_text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| match profile(text, "fuzz.toml") {
    Ok(profile) => {
        for decl in profile.roles {
            assert_eq!(parse(&to_text(&decl)), Ok(decl));
        }
    }
    Err(error) => {
        assert_eq!(text.lines().nth(error.line - 1).unwrap_or_default(), error.source);
        assert!(error.column >= 1);
        let _ = error.to_string();
    }
});
