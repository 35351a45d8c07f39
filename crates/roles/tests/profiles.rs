//! Profiles: the ones we ship, and the ones people mistype.

use arenascope_roles::{profile, to_text};
use expect_test::{Expect, expect};
use std::path::Path;

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&match profile(text, "x.toml") {
        Ok(profile) => {
            let roles: Vec<String> = profile.roles.iter().map(to_text).collect();
            format!("{} | {}\n{}", profile.name, profile.description, roles.join("\n"))
        }
        Err(error) => error.to_string(),
    });
}

#[test]
fn a_profile_is_a_table_with_three_keys() {
    check(
        "[profile]\nname = \"x\"\ndescription = \"words\"\nroles = [ \"alloc: f(arena, size) -> block\", 'reset: g(arena)' ]\n",
        expect![[r#"
            x | words
            alloc:f(arena, size) -> block
            reset:g(arena)"#]],
    );
    check(
        "[profile]\nname = \"x\"\nroles = [\"reset: g(arena)\"]",
        expect![[r#"
        x | 
        reset:g(arena)"#]],
    );
    check(
        "profile = { name = \"x\", roles = [\"reset: g()\"] }",
        expect![[r#"
        x | 
        reset:g()"#]],
    );
}

#[test]
fn a_mistyped_role_is_pointed_at_inside_the_file() {
    check(
        "[profile]\nname = \"x\"\nroles = [\n  \"alloc: f(arena, size) -> block\",\n  \"reset: g(arean)\",\n]\n",
        expect![[r#"
            x.toml:5:13: `arean` is no argument word
                "reset: g(arean)",
                          ^
            did you mean `arena`? arguments of reset: arena, _"#]],
    );
    check(
        "[profile]\nname = \"x\"\nroles = [ '''\nreset:\n  g(arean)''' ]\n",
        expect![[r#"
        x.toml:5:5: `arean` is no argument word
            g(arean)''' ]
              ^
        did you mean `arena`? arguments of reset: arena, _"#]],
    );
    check(
        "[profile]\nname = \"x\"\nroles = [ \"reset: g(\\u0061rean)\" ]\n",
        expect![[r#"
        x.toml:3:11: `arean` is no argument word
          roles = [ "reset: g(\u0061rean)" ]
                    ^
        did you mean `arena`? arguments of reset: arena, _"#]],
    );
    check(
        "[profile]\nname = \"x\"\nroles = [ \"日本: g(arena)\" ]\n",
        expect![[r#"
        x.toml:3:12: `日本` is no role
          roles = [ "日本: g(arena)" ]
                     ^
        roles: create, alloc, resize, free, mark, rewind, reset, destroy"#]],
    );
    check(
        "[profile]\nname = \"x\"\nroles = [ \"alloc: f(arena, size)\" ]\n",
        expect![[r#"
        x.toml:3:33: an alloc needs `-> block`, or `*block` where it stores the block through a pointer
          roles = [ "alloc: f(arena, size)" ]
                                          ^
        for instance `alloc:f(arena, size) -> block`"#]],
    );
}

#[test]
fn unknown_and_missing_keys_are_errors() {
    check(
        "[profile]\nname = \"x\"\nrole = [ \"reset: g(arena)\" ]\n",
        expect![[r#"
        x.toml:3:1: `role` is not known here
          role = [ "reset: g(arena)" ]
          ^
        did you mean `roles`?"#]],
    );
    check(
        "[profile]\nname = \"x\"\nroles = [ \"reset: g(arena)\" ]\nlibrary = \"x\"\n",
        expect![[r#"
        x.toml:4:1: `library` is not known here
          library = "x"
          ^
        known here: name, description, roles"#]],
    );
    check(
        "roles = [ \"reset: g(arena)\" ]\n[profile]\nname = \"x\"\n",
        expect![[r#"
        x.toml:1:1: `roles` is not known here
          roles = [ "reset: g(arena)" ]
          ^
        it belongs below the line `[profile]`"#]],
    );
    check(
        "[profile]\nroles = [ \"reset: g(arena)\" ]\n",
        expect![[r#"
        x.toml:1:1: `name` is missing
          [profile]
          ^
        add a line such as `name = "apr"`"#]],
    );
    check(
        "[profile]\nname = \"x\"\n",
        expect![[r#"
        x.toml:1:1: `roles` is missing
          [profile]
          ^
        add a line such as `roles = [ "alloc: arena_alloc(arena, size) -> block" ]`"#]],
    );
    check(
        "",
        expect![[r#"
        x.toml:1:1: the table [profile] is missing
  
          ^
        a profile begins with the line `[profile]`"#]],
    );
    check(
        "[profil]\nname = \"x\"",
        expect![[r#"
        x.toml:1:2: `profil` is not known here
          [profil]
           ^
        did you mean `profile`?"#]],
    );
    check(
        "[profile]\nname = \"x\"\nroles = []\n",
        expect![[r#"
        x.toml:3:9: `roles` is empty
          roles = []
                  ^
        roles = [ "alloc: arena_alloc(arena, size) -> block" ]"#]],
    );
}

#[test]
fn values_of_another_kind_are_errors() {
    check(
        "[profile]\nname = 7\n",
        expect![[r#"
        x.toml:2:8: `name` is no text
          name = 7
                 ^
        name = "…""#]],
    );
    check(
        "[profile]\nname = \"x\"\nroles = \"reset: g(arena)\"\n",
        expect![[r#"
        x.toml:3:9: `roles` is no list
          roles = "reset: g(arena)"
                  ^
        roles = [ "alloc: arena_alloc(arena, size) -> block" ]"#]],
    );
    check(
        "[profile]\nname = \"x\"\nroles = [ \"reset: g(arena)\",\n 7 ]\n",
        expect![[r#"
        x.toml:4:2: this is no text
           7 ]
           ^
        each role is a text: "alloc: arena_alloc(arena, size) -> block""#]],
    );
    check(
        "profile = 7",
        expect![[r#"
        x.toml:1:11: `profile` is no table
          profile = 7
                    ^
        a profile begins with the line `[profile]`"#]],
    );
    check(
        "[profile]\nname = \"x\"\ndescription = [1]\nroles = [\"reset: g()\"]",
        expect![[r#"
        x.toml:3:15: `description` is no text
          description = [1]
                        ^
        description = "…""#]],
    );
}

#[test]
fn a_function_has_one_role() {
    check(
        "[profile]\nname = \"x\"\nroles = [ \"reset: g(arena)\",\n  \"destroy: g(arena)\" ]\n",
        expect![[r#"
        x.toml:4:3: `g` is there twice
            "destroy: g(arena)" ]
            ^
        a function has one role"#]],
    );
}

#[test]
fn what_is_no_toml_is_said_so() {
    check(
        "[profile]\nname = \"x\"\nroles = [ \"reset: g(arena)\"\n",
        expect![[r#"
        x.toml:3:28: unclosed array, expected `]`
          roles = [ "reset: g(arena)"
                                     ^
        this is not TOML"#]],
    );
    check(
        "[profile]\nname = \"x\"\nroles = [ \"reset: g(arena) ]\n",
        expect![[r#"
        x.toml:3:29: unclosed array, expected `]`
          roles = [ "reset: g(arena) ]
                                      ^
        this is not TOML"#]],
    );
    check(
        "\u{7f}",
        expect![[r#"
        x.toml:1:2: key with no value, expected `=`
          �
           ^
        this is not TOML"#]],
    );
    check(
        "name = \"x\"\nname = \"y\"",
        expect![[r#"
        x.toml:2:1: duplicate key
          name = "y"
          ^
        this is not TOML"#]],
    );
}

/// The profiles in the repository, as (file name, text).
fn shipped() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles");
    std::fs::read_dir(folder)
        .expect("the repository has a folder of profiles")
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("a profile can be read"))
        })
        .collect()
}

#[test]
fn every_profile_we_ship_is_one_and_is_named_like_its_file() {
    let shipped = shipped();
    assert!(shipped.len() >= 2);
    for (file, text) in shipped {
        let profile = profile(&text, &file).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(format!("{}.toml", profile.name), file);
        assert!(!profile.description.is_empty(), "{file}");
    }
}

#[test]
fn the_functions_of_our_profiles_exist_where_the_program_is_installed() {
    for (file, binary) in [("apr.toml", "/usr/lib/x86_64-linux-gnu/libapr-1.so.0"), ("nginx.toml", "/usr/sbin/nginx")] {
        let Ok(bytes) = std::fs::read(binary) else {
            eprintln!("{binary} is not installed: {file} not compared with it");
            continue;
        };
        let (_, text) = shipped().into_iter().find(|(name, _)| name == file).expect("shipped");
        for decl in profile(&text, file).expect("checked above").roles {
            // A name in a string table stands between two NULs.
            let name = format!("\0{}\0", decl.function);
            let found = bytes.windows(name.len()).any(|window| window == name.as_bytes());
            assert!(found, "{binary} has no {}", decl.function);
        }
    }
}

#[test]
fn every_role_of_a_profile_knows_its_line() {
    let text = "[profile]\nname = \"x\"\nroles = [\n  \"reset: g(arena)\",\n\n  \"alloc:  f(size) -> block\",\n]\n";
    let written = profile(text, "x.toml").expect("a profile").written;
    let lines: Vec<_> = written.iter().map(|written| (written.line, written.text.as_str())).collect();
    assert_eq!(lines, [(4, "reset: g(arena)"), (6, "alloc:  f(size) -> block")]);
}
