//! The shapes that broke other hooking libraries, one by one: what is patched, what is refused, in which words.
//!
//! The expected relocations were read by a person: `f+N` is an address in the function, `t+N` one in the trampoline.

use arenascope_code::detour::{Elsewhere, MAX_RELOCATED, Refusal, Target, plan, plan_with};
use expect_test::{Expect, expect};
use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter};

const FUNCTION: u64 = 0x7f12_3456_7000;
const THUNK: u64 = 0x7f12_3000_0000;
const TRAMPOLINE: u64 = 0x7f12_3000_1000;

/// Bytes from a hexadecimal listing; words that are no hexadecimal pair are comments.
fn bytes(listing: &str) -> Vec<u8> {
    listing
        .split_whitespace()
        .filter(|word| word.len() == 2)
        .filter_map(|word| u8::from_str_radix(word, 16).ok())
        .collect()
}

/// Replaces addresses by `f+N` and `t+N`.
fn with_labels(line: &str) -> String {
    let mut line = line.replace("0x", "");
    for (base, letter) in [(FUNCTION, 'f'), (TRAMPOLINE, 't')] {
        for offset in (0..0x2000).rev() {
            line = line.replace(&format!("{:x}", base + offset), &format!("{letter}+{offset:#x}"));
        }
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The plan, one instruction a line; or the refusal's sentence.
fn outcome(target: &Target<'_>, elsewhere: &[Elsewhere<'_>]) -> String {
    let detour = match plan_with(target, elsewhere, THUNK, TRAMPOLINE) {
        Err(refusal) => return format!("refused: {refusal}"),
        Ok(detour) => detour,
    };
    assert_eq!(detour.patch[0], 0xe9);
    let distance = i32::from_le_bytes(*detour.patch[1..].first_chunk().unwrap());
    assert_eq!(detour.patch_at.wrapping_add(5).wrapping_add_signed(distance.into()), THUNK);
    assert!(detour.relocated.len() <= MAX_RELOCATED);
    let at = (detour.patch_at - target.address) as usize;
    assert_eq!(detour.original[..], target.code[at..at + 5]);
    let mut formatter = GasFormatter::new();
    formatter.options_mut().set_uppercase_hex(false);
    formatter.options_mut().set_branch_leading_zeros(false);
    let mut text = format!("at +{at}, {} moved", detour.moved);
    let mut decoder = Decoder::with_ip(64, &detour.relocated, TRAMPOLINE, DecoderOptions::NONE);
    while decoder.can_decode() {
        let mut line = String::new();
        formatter.format(&decoder.decode(), &mut line);
        text.push('\n');
        text.push_str(&with_labels(&line));
    }
    text
}

/// A function of `size` bytes (0: not known) whose next symbol is `next` bytes ahead.
fn shape(listing: &str, size: u64, next: Option<u64>, expected: Expect) {
    let code = bytes(listing);
    let next_function = next.map(|ahead| FUNCTION + ahead);
    let target = Target { address: FUNCTION, code: &code, size, next_function };
    expected.assert_eq(&outcome(&target, &[]));
}

/// A function that is all of the listing, nothing known behind it.
fn whole(listing: &str, expected: Expect) {
    shape(listing, bytes(listing).len() as u64, None, expected);
}

#[test]
fn an_ordinary_prologue_moves_as_it_is() {
    whole(
        "push 55 mov 48 89 e5 sub 48 83 ec 20 leave c9 ret c3",
        expect![[r#"
            at +0, 8 moved
            push %rbp
            mov %rsp,%rbp
            sub $20,%rsp
            jmp f+0x8"#]],
    );
}

#[test]
fn an_encoding_that_an_assembler_would_not_choose_is_kept() {
    // `mov %rdi,%rax` by opcode 8b, and a redundant `rep` before `ret`.
    whole(
        "48 8b c7 48 8b d8 f3 c3",
        expect![[r#"
            at +0, 6 moved
            mov %rdi,%rax
            mov %rax,%rbx
            jmp f+0x6"#]],
    );
}

#[test]
fn endbr64_is_kept_when_there_is_room() {
    whole(
        "f3 0f 1e fa push 55 mov 48 89 e5 sub 48 83 ec 20 leave c9 ret c3",
        expect![[r#"
            at +4, 8 moved
            push %rbp
            mov %rsp,%rbp
            sub $20,%rsp
            jmp f+0xc"#]],
    );
}

#[test]
fn endbr64_is_overwritten_when_there_is_no_room() {
    whole(
        "f3 0f 1e fa ret c3",
        expect![[r#"
            at +0, 5 moved
            endbr64
            ret
            jmp f+0x5"#]],
    );
    whole(
        "f3 0f 1e fa xor 31 c0 ret c3",
        expect![[r#"
            at +0, 6 moved
            endbr64
            xor %eax,%eax
            jmp f+0x6"#]],
    );
    // With padding behind it there is room.
    shape(
        "f3 0f 1e fa xor 31 c0 ret c3 nopw 66 0f 1f 84 00 00 00 00 00",
        7,
        Some(16),
        expect![[r#"
            at +4, 3 moved
            xor %eax,%eax
            ret
            jmp f+0x7"#]],
    );
}

#[test]
fn five_nops_are_moved() {
    whole(
        "90 90 90 90 90 31 c0 c3",
        expect![[r#"
            at +0, 5 moved
            nop
            nop
            nop
            nop
            nop
            jmp f+0x5"#]],
    );
    whole(
        "0f 1f 44 00 00 31 c0 c3",
        expect![[r#"
            at +0, 5 moved
            nopl (%rax,%rax)
            jmp f+0x5"#]],
    );
}

#[test]
fn rip_relative_operands_still_mean_the_same_byte() {
    // mov 0x1000(%rip),%rax
    whole(
        "48 8b 05 00 10 00 00 c3",
        expect![[r#"
            at +0, 7 moved
            mov f+0x1007,%rax
            jmp f+0x7"#]],
    );
    // addl $7,0x1000(%rip): the immediate counts into the distance
    whole(
        "83 05 00 10 00 00 07 c3",
        expect![[r#"
            at +0, 7 moved
            addl $7,f+0x1007
            jmp f+0x7"#]],
    );
    // lea 0x1000(%rip),%rax
    whole(
        "48 8d 05 00 10 00 00 c3",
        expect![[r#"
            at +0, 7 moved
            lea f+0x1007,%rax
            jmp f+0x7"#]],
    );
}

#[test]
fn short_branches_out_of_the_moved_code_grow() {
    // test %edi,%edi; je +9; …
    whole(
        "85 ff 74 05 b8 01 00 00 00 c3 31 c0 c3",
        expect![[r#"
            at +0, 9 moved
            test %edi,%edi
            je f+0x9
            mov $1,%eax
            jmp f+0x9"#]],
    );
    // jrcxz, which other libraries turned into `jae`
    whole(
        "e3 06 48 8d 04 0f c3 90 31 c0 c3",
        expect![[r#"
            at +0, 6 moved
            jrcxz t+0x4
            jmp t+0x9
            jmp f+0x8
            lea (%rdi,%rcx),%rax
            jmp f+0x6"#]],
    );
    // loop
    whole(
        "48 89 c8 e2 03 31 c0 c3 89 f8 c3",
        expect![[r#"
            at +0, 5 moved
            mov %rcx,%rax
            loop t+0x7
            jmp t+0xc
            jmp f+0x8
            jmp f+0x5"#]],
    );
    // jmp over 3 bytes
    whole(
        "eb 06 90 90 90 90 90 90 31 c0 c3",
        expect![[r#"
            at +0, 2 moved
            jmp f+0x8
            jmp f+0x2"#]],
    );
}

#[test]
fn calls_push_the_return_address_they_always_pushed() {
    // push %rax; call +0x200; pop; ret
    whole(
        "50 e8 fa 01 00 00 59 c3",
        expect![[r#"
            at +0, 6 moved
            push %rax
            push $34567006
            movl $7f12,4(%rsp)
            jmp f+0x200
            jmp f+0x6"#]],
    );
    // sub $8,%rsp; call *0xf00(%rip)
    whole(
        "48 83 ec 08 ff 15 00 0f 00 00 48 83 c4 08 c3",
        expect![[r#"
            at +0, 10 moved
            sub $8,%rsp
            push $3456700a
            movl $7f12,4(%rsp)
            jmpq *f+0xf0a
            jmp f+0xa"#]],
    );
    // push %rbx; mov %rdi,%rbx; call *%rax: ends at +6
    whole(
        "53 48 89 fb ff d0 5b c3",
        expect![[r#"
            at +0, 6 moved
            push %rbx
            mov %rdi,%rbx
            push $34567006
            movl $7f12,4(%rsp)
            jmp *%rax
            jmp f+0x6"#]],
    );
    // call *%rax first: the return address lies in the patch, so the trampoline's is pushed
    whole(
        "ff d0 48 83 c4 08 c3",
        expect![[r#"
            at +0, 6 moved
            call *%rax
            add $8,%rsp
            jmp f+0x6"#]],
    );
    // call *8(%rsp): a pushed word would change its operand
    whole(
        "90 ff 54 24 08 c3",
        expect![[r#"
            at +0, 5 moved
            nop
            callq *8(%rsp)
            jmp f+0x5"#]],
    );
}

#[test]
fn calls_that_read_their_own_address_are_refused() {
    // call 1f; 1: pop %rax
    whole("e8 00 00 00 00 58 c3", expect!["refused: cannot be patched: the call at +0x0 depends on where it stands"]);
    // a call of the start among the moved instructions
    whole(
        "85 ff 74 05 e8 f7 ff ff ff c3",
        expect!["refused: cannot be patched: the call at +0x4 depends on where it stands"],
    );
}

#[test]
fn branches_into_the_patch_are_refused() {
    // mov; L: dec; jne L, within what other libraries move
    whole(
        "89 f8 ff c8 75 fc c3 90 90 90 90 90 90 90 90 90",
        expect![[r#"
            at +0, 6 moved
            mov %edi,%eax
            dec %eax
            jne t+0x2
            jmp f+0x6"#]],
    );
    // the same from far behind
    whole(
        "89 f8 ff c8 90 90 90 90 90 90 90 90 90 90 90 90 75 f0 c3",
        expect![
            "refused: cannot be patched: the instruction at +0x10 jumps to +0x2, among the bytes a patch would move"
        ],
    );
    // into the middle of an instruction that the patch cuts
    whole(
        "b8 01 00 00 00 31 c9 75 fa c3",
        expect![
            "refused: cannot be patched: the instruction at +0x7 jumps to +0x3, among the bytes a patch would move"
        ],
    );
}

#[test]
fn a_loop_over_the_entry_is_refused_and_recursion_is_not() {
    // L: cmpb $0,(%rdi); lea 1(%rdi),%rdi; jne L; ret
    whole(
        "80 3f 00 48 8d 7f 01 75 f7 c3",
        expect![
            "refused: starts with a loop: the instruction at +0x7 jumps back to its first instruction, and every turn would count as a call"
        ],
    );
    // recursive call
    whole(
        "55 48 89 e5 ff cf e8 f5 ff ff ff 5d c3",
        expect![[r#"
            at +0, 6 moved
            push %rbp
            mov %rsp,%rbp
            dec %edi
            jmp f+0x6"#]],
    );
    // the same with endbr64 and a loop over what follows it
    whole(
        "f3 0f 1e fa 80 3f 00 48 8d 7f 01 75 f7 c3",
        expect![
            "refused: starts with a loop: the instruction at +0xb jumps back to its first instruction, and every turn would count as a call"
        ],
    );
}

#[test]
fn a_loop_within_the_moved_code_loops_in_the_trampoline() {
    // L: dec %edi; jne L; mov %esi,%eax; ret
    whole(
        "ff cf 75 fc 89 f0 c3",
        expect![[r#"
            at +0, 6 moved
            dec %edi
            jne t+0x0
            mov %esi,%eax
            jmp f+0x6"#]],
    );
    // jump back over the endbr64
    whole(
        "f3 0f 1e fa ff cf 75 f8 89 f0 89 f0 c3",
        expect![[r#"
            at +4, 6 moved
            dec %edi
            jne t+0x0
            mov %esi,%eax
            jmp f+0xa"#]],
    );
}

#[test]
fn short_functions_use_padding_that_is_padding() {
    // followed by nothing we may touch
    shape(
        "31 c0 c3 55 48 89 e5",
        3,
        Some(3),
        expect!["refused: is 3 bytes long: too short to patch (5 needed, and no padding follows)"],
    );
    // nops up to the next function
    shape(
        "31 c0 c3 66 2e 0f 1f 84 00 00 00 00 00 0f 1f 00",
        3,
        Some(16),
        expect![[r#"
            at +0, 3 moved
            xor %eax,%eax
            ret
            jmp f+0x3"#]],
    );
    // int3
    shape(
        "31 c0 c3 cc cc cc cc",
        3,
        Some(16),
        expect![[r#"
            at +0, 3 moved
            xor %eax,%eax
            ret
            jmp f+0x3"#]],
    );
    // zeros are not believed
    shape(
        "31 c0 c3 00 00 00 00",
        3,
        Some(16),
        expect!["refused: is 3 bytes long: too short to patch (5 needed, and no padding follows)"],
    );
    // nothing known of what follows: the alignment bounds it
    shape(
        "31 c0 c3 90 90 90 90",
        3,
        None,
        expect![[r#"
            at +0, 3 moved
            xor %eax,%eax
            ret
            jmp f+0x3"#]],
    );
    // padding too short
    shape(
        "31 c0 c3 90 55 48 89 e5",
        3,
        Some(4),
        expect!["refused: is 3 bytes long: too short to patch (5 needed, and no padding follows)"],
    );
    // no bytes behind
    shape(
        "31 c0 c3",
        3,
        None,
        expect!["refused: is 3 bytes long: too short to patch (5 needed, and no padding follows)"],
    );
    // it falls through into its padding
    shape(
        "31 c0 31 d2 90 90 90 90",
        4,
        Some(16),
        expect!["refused: is 4 bytes long: too short to patch (5 needed, and no padding follows)"],
    );
    // one byte
    shape(
        "c3 90 90 90 90 90",
        1,
        Some(16),
        expect![[r#"
            at +0, 1 moved
            ret
            jmp f+0x1"#]],
    );
}

#[test]
fn padding_never_crosses_the_alignment() {
    let code = bytes("31 c0 c3 90 90 90 90 90");
    let target = Target { address: FUNCTION + 12, code: &code, size: 3, next_function: None };
    expect!["refused: is 3 bytes long: too short to patch (5 needed, and no padding follows)"]
        .assert_eq(&outcome(&target, &[]));
}

#[test]
fn a_function_that_ends_early_keeps_its_other_blocks() {
    // jmp +3; 3 nops; the loop
    whole(
        "eb 03 0f 1f 00 31 c0 c3",
        expect![[r#"
            at +0, 2 moved
            jmp f+0x5
            jmp f+0x2"#]],
    );
    // jmp over a byte that is no padding
    whole(
        "eb 03 55 48 89 31 c0 c3",
        expect!["refused: ends within its first 5 bytes, and what follows is no padding: too short to patch"],
    );
    // jmp rel32 is as long as the patch
    whole(
        "e9 00 01 00 00",
        expect![[r#"
            at +0, 5 moved
            jmp f+0x105
            jmp f+0x5"#]],
    );
}

#[test]
fn a_size_that_is_not_known_is_bounded_by_the_next_symbol() {
    shape(
        "55 48 89 e5 5d c3 90 90 90 90",
        0,
        Some(6),
        expect![[r#"
            at +0, 5 moved
            push %rbp
            mov %rsp,%rbp
            pop %rbp
            jmp f+0x5"#]],
    );
    shape(
        "31 c0 c3 90 90 55 48 89 e5",
        0,
        Some(5),
        expect![[r#"
            at +0, 3 moved
            xor %eax,%eax
            ret
            jmp f+0x3"#]],
    );
    shape(
        "31 c0 c3 55 48 89 e5",
        0,
        Some(3),
        expect!["refused: is 3 bytes long: too short to patch (5 needed, and no padding follows)"],
    );
    shape(
        "31 c0 c3 55 48 89 e5",
        0,
        None,
        expect!["refused: ends within its first 5 bytes, and what follows is no padding: too short to patch"],
    );
    shape(
        "55 48 89 e5 5d c3",
        0,
        None,
        expect![[r#"
            at +0, 5 moved
            push %rbp
            mov %rsp,%rbp
            pop %rbp
            jmp f+0x5"#]],
    );
}

#[test]
fn a_second_entry_among_the_moved_bytes_is_refused() {
    shape(
        "31 c0 31 d2 31 c9 c3",
        7,
        Some(2),
        expect!["refused: has a second entry at +0x2, among the bytes a patch would move"],
    );
    // behind them it is welcome
    shape(
        "31 c0 31 d2 31 c9 c3",
        7,
        Some(6),
        expect![[r#"
            at +0, 6 moved
            xor %eax,%eax
            xor %edx,%edx
            xor %ecx,%ecx
            jmp f+0x6"#]],
    );
}

#[test]
fn what_is_no_code_is_refused() {
    whole("06 06 06 06 06 06", expect!["refused: cannot be patched: the bytes at +0x0 are no instruction we know"]);
    // a debugger's breakpoint
    whole("cc 48 89 e5 5d c3", expect!["refused: has a breakpoint at +0x0, where the patch would go (a debugger's?)"]);
    // an instruction the size cuts
    whole("55 48 89 e5 48 83 ec", expect!["refused: cannot be patched: the bytes at +0x4 are no instruction we know"]);
    whole("", expect!["refused: is 0 bytes long: too short to patch (5 needed, and no padding follows)"]);
    shape("55 48 89 e5", 40, None, expect!["refused: has 40 bytes, but only 4 of them could be read"]);
}

#[test]
fn jumps_from_the_cold_part_count() {
    let code = bytes("31 c0 85 ff 0f 84 00 10 00 00 c3");
    let cold = bytes("ff c0 e9 f5 ef ff ff");
    let target = Target { address: FUNCTION, code: &code, size: code.len() as u64, next_function: None };
    let elsewhere = [Elsewhere { address: FUNCTION + 0x1006, code: &cold }];
    expect!["refused: cannot be patched: the instruction at +0x1008 jumps to +0x2, among the bytes a patch would move"]
        .assert_eq(&outcome(&target, &elsewhere));
    // The same jump to the start is a tail call.
    let elsewhere = [Elsewhere { address: FUNCTION + 0x1004, code: &cold }];
    expect![[r#"
        at +0, 10 moved
        xor %eax,%eax
        test %edi,%edi
        je f+0x100a
        jmp f+0xa"#]]
    .assert_eq(&outcome(&target, &elsewhere));
}

#[test]
fn a_neighbour_that_shares_a_tail_is_seen() {
    // mempcpy: mov %rdi,%rax; add %rdx,%rax; jmp memcpy+3 · memcpy: mov %rdi,%rax; mov %rdx,%rcx; rep movsb; ret
    let text = bytes("48 89 f8 48 01 d0 eb 0b 90 90 90 90 90 90 90 90 48 89 f8 48 89 d1 f3 a4 c3");
    let target = Target { address: FUNCTION, code: &text[16..], size: 9, next_function: None };
    let around = [Elsewhere { address: FUNCTION - 16, code: &text }];
    expect!["refused: cannot be patched: the instruction at -0xa jumps to +0x3, among the bytes a patch would move"]
        .assert_eq(&outcome(&target, &around));
    // Its own jumps in the same stretch of text are its own affair: mov %edi,%eax; L: dec %eax; jne L; ret
    let text = bytes("c3 90 89 f8 ff c8 75 fc c3");
    let target = Target { address: FUNCTION, code: &text[2..], size: 7, next_function: None };
    let around = [Elsewhere { address: FUNCTION - 2, code: &text }];
    expect![[r#"
        at +0, 6 moved
        mov %edi,%eax
        dec %eax
        jne t+0x2
        jmp f+0x6"#]]
    .assert_eq(&outcome(&target, &around));
}

#[test]
fn reach_is_checked() {
    let code = bytes("55 48 89 e5 5d c3");
    let target = Target { address: FUNCTION, code: &code, size: 6, next_function: None };
    for (thunk, trampoline) in
        [(FUNCTION + (1 << 32), TRAMPOLINE), (THUNK, FUNCTION - (1 << 32)), (u64::MAX, TRAMPOLINE), (THUNK, 0)]
    {
        assert_eq!(plan(&target, thunk, trampoline), Err(Refusal::OutOfReach));
    }
    // What a moved instruction refers to must be reached from the trampoline too.
    let code = bytes("48 8b 05 00 00 00 70 c3");
    let target = Target { code: &code, size: 8, ..target };
    assert!(plan(&target, THUNK, TRAMPOLINE).is_ok());
    assert_eq!(plan(&target, THUNK, FUNCTION - (1 << 30)), Err(Refusal::OutOfReach));
}
