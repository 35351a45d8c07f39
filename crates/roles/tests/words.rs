//! What people type, and what we answer.

use arenascope_event::Role;
use arenascope_roles::{parse, parse_for, to_text};
use expect_test::{Expect, expect};

/// The canonical form, or the text with its caret.
fn check(text: &str, expected: Expect) {
    expected.assert_eq(&match parse(text) {
        Ok(decl) => to_text(&decl),
        Err(error) => error.render(text),
    });
}

fn check_for(role: Role, text: &str, expected: Expect) {
    expected.assert_eq(&match parse_for(role, text) {
        Ok(decl) => to_text(&decl),
        Err(error) => error.render(text),
    });
}

#[test]
fn every_role_has_its_plain_form() {
    check(r#"create:arena_init(arena, size)"#, expect!["create:arena_init(arena, size)"]);
    check(r#"create: arena_new(size) -> arena"#, expect!["create:arena_new(size) -> arena"]);
    check(
        r#"create: apr_pool_create_ex(*arena, parent, _, _)"#,
        expect!["create:apr_pool_create_ex(*arena, parent, _, _)"],
    );
    check(r#"alloc:arena_alloc(arena, size) -> block"#, expect!["alloc:arena_alloc(arena, size) -> block"]);
    check(
        r#"alloc: calloc_in(arena, count, size, align) -> block"#,
        expect!["alloc:calloc_in(arena, count, size, align) -> block"],
    );
    check(r#"alloc: get(arena, size, *block)"#, expect!["alloc:get(arena, size, *block)"]);
    check(r#"alloc: bump(size) -> block"#, expect!["alloc:bump(size) -> block"]);
    check(r#"resize: grow(arena, block, _, size) -> block"#, expect!["resize:grow(arena, block, _, size) -> block"]);
    check(r#"free: give_back(arena, block)"#, expect!["free:give_back(arena, block)"]);
    check(r#"free: give_back(block)"#, expect!["free:give_back(block)"]);
    check(r#"mark: save(arena) -> mark"#, expect!["mark:save(arena) -> mark"]);
    check(r#"mark: save(arena, *mark)"#, expect!["mark:save(arena, *mark)"]);
    check(r#"rewind: restore(arena, mark)"#, expect!["rewind:restore(arena, mark)"]);
    check(r#"rewind: restore(*mark)"#, expect!["rewind:restore(*mark)"]);
    check(r#"reset: clear(arena)"#, expect!["reset:clear(arena)"]);
    check(r#"reset: clear()"#, expect!["reset:clear()"]);
    check(r#"destroy: drop(arena)"#, expect!["destroy:drop(arena)"]);
    check(r#"destroy: drop_all()"#, expect!["destroy:drop_all()"]);
}

#[test]
fn blanks_are_free() {
    check(
        r#"  alloc :  arena_alloc ( arena ,size ,  * block )  -> _  "#,
        expect!["alloc:arena_alloc(arena, size, *block)"],
    );
    check(
        r#"alloc:f(arena,
	size)
->
block"#,
        expect!["alloc:f(arena, size) -> block"],
    );
}

#[test]
fn the_role_may_be_given_elsewhere() {
    check_for(Role::Alloc, r#"arena_alloc(arena, size) -> block"#, expect!["alloc:arena_alloc(arena, size) -> block"]);
    check_for(
        Role::Alloc,
        r#"alloc:arena_alloc(arena, size) -> block"#,
        expect![[r#"
          alloc:arena_alloc(arena, size) -> block
          ^
        the role is already given: alloc
        drop `alloc:`, or use --role"#]],
    );
    check_for(
        Role::Free,
        r#"alloc: f(arena, size)"#,
        expect![[r#"
          alloc: f(arena, size)
          ^
        the role is already given: free
        drop `alloc:`, or use --role"#]],
    );
    check_for(Role::Alloc, r#"ns::f(arena, size) -> block"#, expect!["alloc:ns::f(arena, size) -> block"]);
}

#[test]
fn names_may_be_long_and_strange() {
    check(
        r#"alloc:ns::Arena<int, char>::alloc(unsigned long, int)(arena, size) -> block"#,
        expect!["alloc:ns::Arena<int, char>::alloc(unsigned long, int)(arena, size) -> block"],
    );
    check(
        r#"alloc:operator new(unsigned long, Arena&)(size, arena) -> block"#,
        expect!["alloc:operator new(unsigned long, Arena&)(size, arena) -> block"],
    );
    check(r#"reset:Arena::operator()()(arena)"#, expect!["reset:Arena::operator()()(arena)"]);
    check(r#"reset:Arena::operator->()(arena)"#, expect!["reset:Arena::operator->()(arena)"]);
    check(
        r#"free:Arena::operator!=(Arena const&) const(arena, block)"#,
        expect!["free:Arena::operator!=(Arena const&) const(arena, block)"],
    );
    check(
        r#"alloc:<impl Foo for bar::Baz<'a>>::alloc(arena, size) -> block"#,
        expect!["alloc:<impl Foo for bar::Baz<'a>>::alloc(arena, size) -> block"],
    );
    check(
        r#"alloc:core::ops::function::<fn(u8) -> u8>::call(arena, size) -> block"#,
        expect!["alloc:core::ops::function::<fn(u8) -> u8>::call(arena, size) -> block"],
    );
    check(
        r#"alloc:libapr-1.so.0!apr_palloc(arena, size) -> block"#,
        expect!["alloc:libapr-1.so.0!apr_palloc(arena, size) -> block"],
    );
    check(
        r#"alloc:arena_alloc.constprop.0(arena, size) -> block"#,
        expect!["alloc:arena_alloc.constprop.0(arena, size) -> block"],
    );
    check(r#"alloc:::global_alloc(size) -> block"#, expect!["alloc:::global_alloc(size) -> block"]);
    check(r#"alloc:f[abi:cxx11](arena, size) -> block"#, expect!["alloc:f[abi:cxx11](arena, size) -> block"]);
    check(r#"alloc: функция(arena, size) -> block"#, expect!["alloc:функция(arena, size) -> block"]);
}

#[test]
fn missing_parentheses_show_an_example() {
    check(
        r#"alloc:arena_alloc"#,
        expect![[r#"
          alloc:arena_alloc
                           ^
        the arguments are missing: say in parentheses what each one means
        for instance `alloc:arena_alloc(arena, size) -> block`"#]],
    );
    check(
        r#"alloc:arena_alloc -> block"#,
        expect![[r#"
          alloc:arena_alloc -> block
                           ^
        the arguments are missing: say in parentheses what each one means
        for instance `alloc:arena_alloc(arena, size) -> block`"#]],
    );
    check(
        r#"alloc:"#,
        expect![[r#"
          alloc:
                ^
        the function is missing
        for instance `alloc:arena_function(arena, size) -> block`"#]],
    );
    check(
        r#"alloc: -> block"#,
        expect![[r#"
          alloc: -> block
                 ^
        the function is missing
        for instance `alloc:arena_function(arena, size) -> block`"#]],
    );
    check(
        r#"alloc:(arena, size) -> block"#,
        expect![[r#"
          alloc:(arena, size) -> block
                ^
        the function is missing
        for instance `alloc:arena_function(arena, size) -> block`"#]],
    );
    check_for(
        Role::Mark,
        r#"arena_mark"#,
        expect![[r#"
          arena_mark
                    ^
        the arguments are missing: say in parentheses what each one means
        for instance `arena_mark(arena) -> mark`"#]],
    );
    check(
        r#"alloc:arena_alloc(arena, size -> block"#,
        expect![[r#"
          alloc:arena_alloc(arena, size -> block
                           ^
        this `(` is never closed
        for instance `alloc:arena_alloc(arena, size) -> block`"#]],
    );
    check(
        r#"alloc:f() (arena, size -> block"#,
        expect![[r#"
              alloc:f() (arena, size -> block
                        ^
            this `(` is never closed
            close it with `)` behind the last argument"#]],
    );
    check(
        r#"alloc:f(arena), size) -> block"#,
        expect![[r#"
          alloc:f(arena), size) -> block
                              ^
        this `)` closes nothing
        for instance `alloc:arena_function(arena, size) -> block`"#]],
    );
    check(
        r#"alloc:f((arena, size) -> block"#,
        expect![[r#"
          alloc:f((arena, size) -> block
                 ^
        this `(` is never closed
        the last parentheses hold the role's arguments; those before belong to the name"#]],
    );
    check(
        r#"alloc:f((arena), size) -> block"#,
        expect![[r#"
              alloc:f((arena), size) -> block
                      ^
            `(arena)` is no argument word
            each argument is one plain word, without parentheses"#]],
    );
    check(
        r#"alloc:lib.so!(arena, size) -> block"#,
        expect![[r#"
          alloc:lib.so!(arena, size) -> block
                       ^
        the function is missing
        for instance `alloc:arena_function(arena, size) -> block`"#]],
    );
    check(
        r#"alloc:!f(arena, size) -> block"#,
        expect![[r#"
          alloc:!f(arena, size) -> block
                ^
        the function is missing
        for instance `alloc:arena_function(arena, size) -> block`"#]],
    );
}

#[test]
fn a_missing_or_mistyped_role_is_named() {
    check(
        r#"arena_alloc(arena, size) -> block"#,
        expect![[r#"
          arena_alloc(arena, size) -> block
          ^
        the role is missing
        say what the function does: `alloc:arena_alloc(arena, size) -> block`; roles: create, alloc, resize, free, mark, rewind, reset, destroy"#]],
    );
    check(
        r#"ns::arena_alloc(arena, size) -> block"#,
        expect![[r#"
          ns::arena_alloc(arena, size) -> block
          ^
        the role is missing
        say what the function does: `alloc:ns::arena_alloc(arena, size) -> block`; roles: create, alloc, resize, free, mark, rewind, reset, destroy"#]],
    );
    check(
        r#"aloc:arena_alloc(arena, size) -> block"#,
        expect![[r#"
          aloc:arena_alloc(arena, size) -> block
          ^
        `aloc` is no role
        did you mean `alloc`? roles: create, alloc, resize, free, mark, rewind, reset, destroy"#]],
    );
    check(
        r#"malloc:f(arena, size) -> block"#,
        expect![[r#"
          malloc:f(arena, size) -> block
          ^
        `malloc` is no role
        did you mean `alloc`? roles: create, alloc, resize, free, mark, rewind, reset, destroy"#]],
    );
    check(
        r#"frob:f(arena)"#,
        expect![[r#"
              frob:f(arena)
              ^
            `frob` is no role
            roles: create, alloc, resize, free, mark, rewind, reset, destroy"#]],
    );
    check(
        r#":f(arena)"#,
        expect![[r#"
          :f(arena)
          ^
        the role is missing
        roles: create, alloc, resize, free, mark, rewind, reset, destroy"#]],
    );
    check(
        r#""#,
        expect![[r#"
  
              ^
            the role is missing
            say what the function does: `alloc:arena_alloc(arena, size) -> block`; roles: create, alloc, resize, free, mark, rewind, reset, destroy"#]],
    );
    check(
        r#"   "#,
        expect![[r#"
     
                 ^
            the role is missing
            say what the function does: `alloc:arena_alloc(arena, size) -> block`; roles: create, alloc, resize, free, mark, rewind, reset, destroy"#]],
    );
}

#[test]
fn mistyped_words_have_their_column_and_the_nearest_word() {
    check(
        r#"alloc:arena_alloc(arean, size) -> block"#,
        expect![[r#"
          alloc:arena_alloc(arean, size) -> block
                            ^
        `arean` is no argument word
        did you mean `arena`? arguments of alloc: arena, size, count, align, *block, _"#]],
    );
    check(
        r#"alloc:arena_alloc(arena, sizes) -> block"#,
        expect![[r#"
          alloc:arena_alloc(arena, sizes) -> block
                                   ^
        `sizes` is no argument word
        did you mean `size`? arguments of alloc: arena, size, count, align, *block, _"#]],
    );
    check(
        r#"alloc:arena_alloc(pool, n) -> block"#,
        expect![[r#"
          alloc:arena_alloc(pool, n) -> block
                            ^
        `pool` is no argument word
        did you mean `arena`? arguments of alloc: arena, size, count, align, *block, _"#]],
    );
    check(
        r#"alloc:arena_alloc(arena, frobnicate) -> block"#,
        expect![[r#"
          alloc:arena_alloc(arena, frobnicate) -> block
                                   ^
        `frobnicate` is no argument word
        arguments of alloc: arena, size, count, align, *block, _"#]],
    );
    check(
        r#"alloc:arena_alloc(arena, size) -> blok"#,
        expect![[r#"
          alloc:arena_alloc(arena, size) -> blok
                                            ^
        `blok` is no result word
        did you mean `block`? results: arena, block, mark, _"#]],
    );
    check(
        r#"alloc:arena_alloc(arena, size) -> ptr"#,
        expect![[r#"
          alloc:arena_alloc(arena, size) -> ptr
                                            ^
        `ptr` is no result word
        did you mean `block`? results: arena, block, mark, _"#]],
    );
    check(
        r#"alloc:arena_alloc(arena, size) ->"#,
        expect![[r#"
          alloc:arena_alloc(arena, size) ->
                                           ^
        the result is missing
        write `-> block`"#]],
    );
    check(
        r#"alloc:arena_alloc(arena, size) => block"#,
        expect![[r#"
          alloc:arena_alloc(arena, size) => block
                                         ^
        after the arguments comes `-> result`, or nothing
        the arrow is `->`: write `-> block`"#]],
    );
    check(
        r#"alloc:arena_alloc(arena, size) block"#,
        expect![[r#"
          alloc:arena_alloc(arena, size) block
                                         ^
        after the arguments comes `-> result`, or nothing
        write `-> block`"#]],
    );
    check(
        r#"alloc:arena_alloc(arena, size) → block"#,
        expect![[r#"
          alloc:arena_alloc(arena, size) → block
                                         ^
        after the arguments comes `-> result`, or nothing
        the arrow is `->`: write `-> block`"#]],
    );
    check(
        r#"alloc:arena_alloc(arena,, size) -> block"#,
        expect![[r#"
          alloc:arena_alloc(arena,, size) -> block
                                  ^
        an argument is missing
        write `_` for an argument that is of no interest"#]],
    );
    check(
        r#"alloc:arena_alloc(arena, size,) -> block"#,
        expect![[r#"
          alloc:arena_alloc(arena, size,) -> block
                                        ^
        an argument is missing
        write `_` for an argument that is of no interest"#]],
    );
    check(
        r#"alloc:arena_alloc(,arena, size) -> block"#,
        expect![[r#"
          alloc:arena_alloc(,arena, size) -> block
                            ^
        an argument is missing
        write `_` for an argument that is of no interest"#]],
    );
    check(
        r#"alloc:arena_alloc(arena size) -> block"#,
        expect![[r#"
              alloc:arena_alloc(arena size) -> block
                                ^
            `arena size` is no argument word
            put commas between them: `arena, size`"#]],
    );
    check(
        r#"alloc:f((arena, size)) -> block"#,
        expect![[r#"
              alloc:f((arena, size)) -> block
                      ^
            `(arena` is no argument word
            each argument is one plain word, without parentheses"#]],
    );
    check(
        r#"alloc:f(arena, size) -> block, mark"#,
        expect![[r#"
          alloc:f(arena, size) -> block, mark
                                  ^
        `block, mark` is no result word
        results: arena, block, mark, _"#]],
    );
}

#[test]
fn cpp_parameters_alone_are_explained() {
    check(
        r#"alloc:ns::Arena::alloc(unsigned long) -> block"#,
        expect![[r#"
          alloc:ns::Arena::alloc(unsigned long) -> block
                                 ^
        `unsigned long` is no argument word
        parameter types are part of a C++ name; what they mean follows in parentheses of its own: `alloc:ns::Arena::alloc(unsigned long)(arena, size) -> block`"#]],
    );
    check_for(
        Role::Alloc,
        r#"Arena::alloc(std::size_t, Arena&) -> block"#,
        expect![[r#"
          Arena::alloc(std::size_t, Arena&) -> block
                       ^
        `std::size_t` is no argument word
        parameter types are part of a C++ name; what they mean follows in parentheses of its own: `Arena::alloc(std::size_t, Arena&)(arena, size) -> block`"#]],
    );
    check(r#"reset:Arena::operator()(arena)"#, expect!["reset:Arena::operator()(arena)"]);
    check(
        r#"reset:Arena::operator()"#,
        expect![[r#"
          reset:Arena::operator()
                               ^
        these parentheses belong to `operator()`; the role's arguments are missing
        for instance `reset:Arena::operator()(arena)`"#]],
    );
}

#[test]
fn what_a_role_needs_is_asked_for() {
    check(
        r#"create:make(size)"#,
        expect![[r#"
          create:make(size)
                          ^
        a create needs to say where its arena is: `arena` (an argument), `*arena` (stored through a pointer) or `-> arena`
        for instance `create:make(arena, size)`"#]],
    );
    check(
        r#"create:make()"#,
        expect![[r#"
          create:make()
                      ^
        a create needs to say where its arena is: `arena` (an argument), `*arena` (stored through a pointer) or `-> arena`
        for instance `create:make(arena, size)`"#]],
    );
    check(
        r#"alloc:f(arena) -> block"#,
        expect![[r#"
          alloc:f(arena) -> block
                       ^
        an alloc needs `size` among its arguments
        for instance `alloc:f(arena, size) -> block`"#]],
    );
    check(
        r#"alloc:f(arena, size)"#,
        expect![[r#"
          alloc:f(arena, size)
                              ^
        an alloc needs `-> block`, or `*block` where it stores the block through a pointer
        for instance `alloc:f(arena, size) -> block`"#]],
    );
    check(
        r#"alloc:f(arena, size) -> _"#,
        expect![[r#"
          alloc:f(arena, size) -> _
                                  ^
        an alloc needs `-> block`, or `*block` where it stores the block through a pointer
        for instance `alloc:f(arena, size) -> block`"#]],
    );
    check(
        r#"resize:f(arena, size) -> block"#,
        expect![[r#"
          resize:f(arena, size) -> block
                              ^
        a resize needs `block` among its arguments
        for instance `resize:f(arena, block, size) -> block`"#]],
    );
    check(
        r#"resize:f(arena, block) -> block"#,
        expect![[r#"
          resize:f(arena, block) -> block
                               ^
        a resize needs `size` among its arguments
        for instance `resize:f(arena, block, size) -> block`"#]],
    );
    check(
        r#"resize:f(arena, block, size)"#,
        expect![[r#"
          resize:f(arena, block, size)
                                      ^
        a resize needs `-> block`
        for instance `resize:f(arena, block, size) -> block`"#]],
    );
    check(
        r#"free:f(arena)"#,
        expect![[r#"
          free:f(arena)
                      ^
        a free needs `block` among its arguments
        for instance `free:f(arena, block)`"#]],
    );
    check(
        r#"mark:f(arena)"#,
        expect![[r#"
          mark:f(arena)
                       ^
        a mark needs `-> mark`, or `*mark` where it stores the mark through a pointer
        for instance `mark:f(arena) -> mark`"#]],
    );
    check(
        r#"rewind:f(arena)"#,
        expect![[r#"
          rewind:f(arena)
                        ^
        a rewind needs `mark`, or `*mark` where a pointer to the mark is passed; going back to empty is a reset
        for instance `rewind:f(arena, mark)`"#]],
    );
    check(
        r#"alloc:f(arena, count) -> block"#,
        expect![[r#"
          alloc:f(arena, count) -> block
                         ^
        `count` counts elements of `size` bytes, and there is no `size`
        if it is a number of bytes, write `size`"#]],
    );
    check_for(
        Role::Alloc,
        r#"f(arena) -> block"#,
        expect![[r#"
          f(arena) -> block
                 ^
        an alloc needs `size` among its arguments
        for instance `f(arena, size) -> block`"#]],
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    check(
        r#"alloc:f(arena, size, block) -> block"#,
        expect![[r#"
          alloc:f(arena, size, block) -> block
                               ^
        `block` means nothing to an alloc
        the block comes from the result (`-> block`) or through a pointer (`*block`); a function that changes a block it is given is a resize"#]],
    );
    check(
        r#"alloc:f(*arena, size) -> block"#,
        expect![[r#"
          alloc:f(*arena, size) -> block
                  ^
        `*arena` means nothing to an alloc
        only create fills in a pointer to the arena; write `arena`, or `_`"#]],
    );
    check(
        r#"destroy:f(*arena)"#,
        expect![[r#"
          destroy:f(*arena)
                    ^
        `*arena` means nothing to a destroy
        only create fills in a pointer to the arena; write `arena`, or `_`"#]],
    );
    check(
        r#"reset:f(arena, size)"#,
        expect![[r#"
          reset:f(arena, size)
                         ^
        `size` means nothing to a reset
        write `_` there; reset takes: arena, _"#]],
    );
    check(
        r#"free:f(arena, block) -> block"#,
        expect![[r#"
          free:f(arena, block) -> block
                                  ^
        a free has no `block` for a result
        leave the result out: `(arena, block)`"#]],
    );
    check(
        r#"create:f(size) -> block"#,
        expect![[r#"
          create:f(size) -> block
                            ^
        a create has no `block` for a result
        its result is `-> arena`, or nothing of interest"#]],
    );
    check(
        r#"alloc:f(arena, size) -> mark"#,
        expect![[r#"
          alloc:f(arena, size) -> mark
                                  ^
        an alloc has no `mark` for a result
        its result is `-> block`, or nothing of interest"#]],
    );
    check(
        r#"mark:f(arena, mark)"#,
        expect![[r#"
          mark:f(arena, mark)
                        ^
        `mark` means nothing to a mark
        the mark comes from the result (`-> mark`) or is stored through a pointer (`*mark`)"#]],
    );
    check(
        r#"mark:f(mark)"#,
        expect![[r#"
          mark:f(mark)
                 ^
        `mark` means nothing to a mark
        the mark comes from the result (`-> mark`) or is stored through a pointer (`*mark`)"#]],
    );
    check(
        r#"destroy:f(arena) -> arena"#,
        expect![[r#"
          destroy:f(arena) -> arena
                              ^
        a destroy has no `arena` for a result
        leave the result out: `(arena)`"#]],
    );
    check(
        r#"free:f(arena, *block)"#,
        expect![[r#"
          free:f(arena, *block)
                        ^
        `*block` means nothing to a free
        the block it is given is `block`"#]],
    );
    check(
        r#"alloc:f(parent, size) -> block"#,
        expect![[r#"
          alloc:f(parent, size) -> block
                  ^
        `parent` means nothing to an alloc
        the arena it works on is `arena`; `parent` is for create"#]],
    );
}

#[test]
fn the_same_word_twice_is_refused() {
    check(
        r#"alloc:f(arena, size, size) -> block"#,
        expect![[r#"
          alloc:f(arena, size, size) -> block
                               ^
        `size` is there twice
        write `_` for the argument that is of no interest"#]],
    );
    check(
        r#"create:f(arena, size) -> arena"#,
        expect![[r#"
          create:f(arena, size) -> arena
                                   ^
        `arena` and `arena` name the same thing twice
        keep one of them; the arena it is made in, if that is what is meant, is `parent`"#]],
    );
    check(
        r#"create:f(*arena, arena)"#,
        expect![[r#"
          create:f(*arena, arena)
                           ^
        `*arena` and `arena` name the same thing twice
        keep one of them; the arena it is made in, if that is what is meant, is `parent`"#]],
    );
    check(
        r#"alloc:f(arena, size, *block) -> block"#,
        expect![[r#"
          alloc:f(arena, size, *block) -> block
                                          ^
        `*block` and `block` name the same thing twice
        keep one of them and write `_` for the other"#]],
    );
    check(
        r#"mark:f(arena, *mark) -> mark"#,
        expect![[r#"
          mark:f(arena, *mark) -> mark
                                  ^
        `*mark` and `mark` name the same thing twice
        keep one of them and write `_` for the other"#]],
    );
    check(
        r#"rewind:f(mark, *mark)"#,
        expect![[r#"
          rewind:f(mark, *mark)
                         ^
        `mark` and `*mark` name the same thing twice
        keep one of them and write `_` for the other"#]],
    );
    check(r#"alloc:f(_, _, size) -> block"#, expect!["alloc:f(_, _, size) -> block"]);
}

#[test]
fn the_caret_stands_right_below_tabs_and_wide_characters() {
    check(
        r#"alloc:	f(arean, size) -> block"#,
        expect![[r#"
          alloc:	f(arean, size) -> block
                	  ^
        `arean` is no argument word
        did you mean `arena`? arguments of alloc: arena, size, count, align, *block, _"#]],
    );
    check(
        r#"alloc:日本(arean, size) -> block"#,
        expect![[r#"
          alloc:日本(arean, size) -> block
                     ^
        `arean` is no argument word
        did you mean `arena`? arguments of alloc: arena, size, count, align, *block, _"#]],
    );
}

#[test]
fn arguments_are_many_but_not_without_end() {
    let with = |count: usize| format!("alloc:f(arena, size{}) -> block", ", _".repeat(count - 2));
    assert_eq!(parse(&with(32)).map(|decl| decl.arguments.len()), Ok(32));
    assert_eq!(parse(&with(33)).map_err(|error| error.message), Err("more than 32 arguments".to_string()));
}

#[test]
fn a_library_is_told_from_an_operator() {
    use arenascope_roles::library_and_name;
    for (function, expected) in [
        ("libapr-1.so.0!apr_palloc", (Some("libapr-1.so.0"), "apr_palloc")),
        ("apr_palloc", (None, "apr_palloc")),
        ("ns::operator!=", (None, "ns::operator!=")),
        ("operator!", (None, "operator!")),
        ("lib.so!ns::operator!=", (Some("lib.so"), "ns::operator!=")),
        ("f(a, b)!c", (None, "f(a, b)!c")),
        ("!f", (None, "!f")),
    ] {
        assert_eq!(library_and_name(function), expected, "{function}");
    }
}

#[test]
fn the_words_of_a_declaration_have_columns() {
    for (text, function, arguments, result) in [
        ("f(arena, size) -> block", 1, &[3, 10][..], Some(19)),
        ("alloc: f(arena,  size) -> block", 8, &[10, 18], Some(27)),
        ("reset:a::b(int)(arena)", 7, &[17], None),
        ("drop()", 1, &[], None),
    ] {
        let columns = arenascope_roles::columns(text).expect(text);
        assert_eq!(
            (columns.function, columns.arguments.as_slice(), columns.result),
            (function, arguments, result),
            "{text}"
        );
    }
    assert_eq!(arenascope_roles::columns("f(arean)"), None);
}
