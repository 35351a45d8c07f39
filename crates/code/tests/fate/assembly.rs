//! Hand-written ways on from a call: each row is the code after `call the_alloc`, the verdict, and the sentence.

use crate::compile::{compile, compilers};
use crate::elf_source::ElfSource;
use crate::sites::calls;
use arenascope_code::{fate, fate_along};
use arenascope_event::FateKind::{self, Dropped, Read, Returned, Unknown};

/// Callees in the same module, each with its own way of treating rax; `f` is the function of the row.
const NEIGHBOURS: &[(&str, &str)] = &[
    ("leaves_rax", "mov dword ptr [rip+word], 1; ret"),
    ("sets_rax", "mov eax, 7; ret"),
    ("sets_rax_perhaps", "test edi, edi; je 1f; mov eax, 7; 1: ret"),
    ("saves_rax", "push rax; mov eax, 7; call puts@PLT; pop rax; ret"),
    ("aligns_with_rax", "push rax; mov eax, 7; call puts@PLT; pop rcx; ret"),
    ("stores_rax", "mov [rip+word], rax; ret"),
    ("pushes_as_argument", "push rax; push qword ptr [rsp]; ret"),
    ("calls_out", "sub rsp, 8; call puts@PLT; add rsp, 8; ret"),
    ("calls_deep", "sub rsp, 8; call leaves_rax; call sets_rax; add rsp, 8; ret"),
    ("calls_leaving", "sub rsp, 8; call leaves_rax; add rsp, 8; ret"),
    ("calls_itself", "sub rsp, 8; call calls_itself; add rsp, 8; ret"),
    ("never_comes_back", "sub rsp, 8; call abort@PLT"),
    ("spins", "jmp spins"),
    ("jumps_out", "jmp puts@PLT"),
    ("jumps_by_table", "jmp qword ptr [rip+word]"),
    ("thunk", "call 1f; 2: pause; jmp 2b; 1: mov [rsp], rcx; ret"),
    ("f.cold", "mov [rip+word], rax; jmp f"),
    ("f.part.0", "push rax; call puts@PLT; pop rcx; ret"),
    ("_mcount", "ret"),
];

/// Code after the call, kind, sentence ("" when the words do not matter).
const ROWS: &[(&str, FateKind, &str)] = &[
    // Straight lines.
    ("xor eax, eax; ret", Dropped, "after the call f overwrites it (xor eax, eax) before anything reads it"),
    ("mov eax, 0; ret", Dropped, "after the call f overwrites it (mov eax, 0) before anything reads it"),
    (
        "lea rdi, [rip+word]; call puts@PLT; ret",
        Dropped,
        "after the call f calls puts, and the result is overwritten before anything reads it",
    ),
    (
        "lea rax, [rip+word]; mov rdi, rax; call puts@PLT; ret",
        Dropped,
        "after the call f calls puts, and the result is overwritten before anything reads it",
    ),
    (
        "lea rdi, [rip+word]; mov al, 0; call printf@PLT; ret",
        Dropped,
        "after the call f calls printf, and the result is overwritten before anything reads it",
    ),
    (
        "call [rip+puts@GOTPCREL]; ret",
        Dropped,
        "after the call f calls puts, and the result is overwritten before anything reads it",
    ),
    (
        "call rbx; ret",
        Dropped,
        "after the call f calls another function, and the result is overwritten before anything reads it",
    ),
    ("call [rbx+8]; ret", Dropped, ""),
    ("call rax; ret", Read, "after the call f uses it (call rax)"),
    ("call [rax+8]; ret", Read, ""),
    ("jmp rax", Read, ""),
    ("jmp [rax*8+word]", Read, ""),
    ("mov rbx, rax; ret", Read, "after the call f keeps it (mov rbx, rax)"),
    ("mov [rbp-8], rax; ret", Read, "after the call f stores it (mov [rbp-8], rax)"),
    ("test rax, rax; xor eax, eax; ret", Read, "after the call f tests it (test rax, rax)"),
    ("push rax; ret", Read, "after the call f passes or saves it (push rax)"),
    ("syscall; ret", Read, ""),
    ("nop word ptr [rax+rax*1]; xor eax, eax; ret", Dropped, ""),
    ("ret", Returned, "the result is returned by f"),
    ("add rsp, 8; pop rbp; ret", Returned, ""),
    ("pop rax; ret", Dropped, ""),
    ("leave; ret 8", Returned, ""),
    ("retf", Unknown, ""),
    ("iretq", Unknown, ""),
    // Parts of the register.
    ("mov al, 1; mov [rbx], al; xor eax, eax; ret", Dropped, ""),
    ("mov al, 1; mov [rbx], ax; xor eax, eax; ret", Read, ""),
    ("sete al; movzx eax, al; ret", Dropped, ""),
    ("sete al; ret", Returned, ""),
    ("mov ah, 1; mov [rbx], al; ret", Read, ""),
    ("cmove rax, rbx; ret", Returned, ""),
    ("cmove rax, rbx; mov [rbx], rax; ret", Read, ""),
    ("sbb eax, eax; ret", Dropped, ""),
    ("or eax, -1; ret", Dropped, ""),
    // Branches: one reading way is enough, every dropping way is needed.
    ("test edi, edi; je 1f; mov rbx, rax; 1: xor eax, eax; ret", Read, ""),
    (
        "test edi, edi; je 1f; mov eax, 1; ret; 1: xor eax, eax; ret",
        Dropped,
        "after the call f on every way overwrites it (mov eax, 1) before anything reads it",
    ),
    ("test edi, edi; je 1f; mov eax, 1; ret; 1: ret", Returned, ""),
    ("test edi, edi; je 1f; jmp rcx; 1: xor eax, eax; ret", Unknown, ""),
    ("test edi, edi; je 1f; jmp rcx; 1: mov rbx, rax; ret", Read, ""),
    ("1: dec edi; jne 1b; xor eax, eax; ret", Dropped, ""),
    ("1: dec edi; jne 1b; mov rbx, rax; ret", Read, ""),
    ("1: jmp 1b", Unknown, ""),
    ("test edi, edi; je 1f; ud2; 1: xor eax, eax; ret", Dropped, ""),
    ("test edi, edi; je 1f; int3; 1: xor eax, eax; ret", Unknown, ""),
    ("ud2", Unknown, ""),
    ("hlt", Unknown, ""),
    (".byte 0x06", Unknown, ""),
    ("loop 1f; 1: xor eax, eax; ret", Dropped, ""),
    ("jrcxz 1f; mov rbx, rax; 1: ret", Read, ""),
    ("xbegin 1f; 1: xor eax, eax; ret", Unknown, ""),
    ("call 1f; 1: pop rcx; mov rbx, rax; ret", Read, ""),
    ("call 1f; 1: pop rcx; xor eax, eax; ret", Dropped, ""),
    ("push rcx; ret", Unknown, ""),
    ("mov [rsp], rcx; ret", Unknown, ""),
    // Calls that may keep rax (gcc -fipa-ra), and those that cannot.
    ("call leaves_rax; mov rbx, rax; ret", Read, ""),
    ("call leaves_rax; xor eax, eax; ret", Dropped, ""),
    ("call leaves_rax; ret", Returned, ""),
    (
        "call sets_rax; mov rbx, rax; ret",
        Dropped,
        "after the call f calls sets_rax, and the result is overwritten before anything reads it",
    ),
    ("call sets_rax_perhaps; mov rbx, rax; ret", Read, ""),
    ("call sets_rax_perhaps; xor eax, eax; ret", Dropped, ""),
    ("call saves_rax; mov rbx, rax; ret", Read, ""),
    ("call saves_rax; xor eax, eax; ret", Dropped, ""),
    ("call aligns_with_rax; mov rbx, rax; ret", Dropped, ""),
    ("call stores_rax; ret", Unknown, ""),
    ("call pushes_as_argument; ret", Unknown, ""),
    ("call calls_out; mov rbx, rax; ret", Dropped, ""),
    ("call calls_deep; mov rbx, rax; ret", Dropped, ""),
    ("call calls_leaving; mov rbx, rax; ret", Read, ""),
    ("call calls_itself; ret", Unknown, ""),
    ("call never_comes_back", Unknown, ""),
    ("test edi, edi; je 1f; call never_comes_back; 1: xor eax, eax; ret", Dropped, ""),
    ("call spins; mov rbx, rax; ret", Unknown, ""),
    ("call jumps_out; mov rbx, rax; ret", Dropped, ""),
    ("call _mcount; mov rbx, rax; ret", Read, ""),
    ("call thunk; mov rbx, rax; ret", Unknown, ""),
    ("call abort@PLT", Unknown, ""),
    ("test edi, edi; je 1f; call abort@PLT; 1: mov eax, 3; ret", Dropped, ""),
    ("call [rip+abort@GOTPCREL]", Unknown, ""),
    // Jumps out of the function.
    (
        "jmp puts@PLT",
        Dropped,
        "after the call f goes on in puts, and the result is overwritten before anything reads it",
    ),
    ("jmp [rip+puts@GOTPCREL]", Dropped, ""),
    ("jmp [rip+word]", Unknown, ""),
    ("jmp leaves_rax", Returned, ""),
    (
        "jmp sets_rax",
        Dropped,
        "after the call f goes on in sets_rax, and the result is overwritten before anything reads it",
    ),
    ("jmp jumps_by_table", Dropped, ""),
    ("jmp stores_rax", Unknown, ""),
    ("jmp f.cold", Read, ""),
    ("test edi, edi; jne f.cold; xor eax, eax; ret", Read, ""),
    ("jmp f.part.0", Dropped, ""),
    ("jne leaves_rax; xor eax, eax; ret", Returned, ""),
    // The end of what is known.
    ("nop", Unknown, ""),
];

fn assemble(directory: &std::path::Path, body: &str) -> ElfSource {
    let mut text = String::from(".intel_syntax noprefix\n.data\nword: .quad 0\n.text\n");
    let after_call = format!("call the_alloc@PLT; {body}");
    let own = [("f", after_call.as_str()), ("main_like", "call f; mov eax, 0; ret")];
    for (name, body) in NEIGHBOURS.iter().chain(&own) {
        let body = body.replace("; ", "\n");
        text.push_str(&format!(
            ".globl {name}\n.hidden {name}\n.type {name}, @function\n{name}:\n{body}\n.size {name}, .-{name}\n"
        ));
    }
    text.push_str(".section .note.GNU-stack,\"\",@progbits\n");
    let flags = ["-shared", "-nostdlib", "-Wl,--unresolved-symbols=ignore-all"];
    let program = compile(directory, compilers()[0], &flags, "s", &text);
    ElfSource::open(&program)
}

#[test]
fn each_row_has_its_verdict() {
    let directory = tempfile::tempdir().unwrap();
    let mut wrong = String::new();
    for (body, kind, sentence) in ROWS {
        let elf = assemble(directory.path(), body);
        let site = calls(&elf)
            .into_iter()
            .find(|c| c.caller == "f" && c.callee == "the_alloc")
            .and_then(|c| c.return_address)
            .unwrap();
        let verdict = fate(&elf, site);
        if verdict.kind != *kind || (!sentence.is_empty() && verdict.because != *sentence) {
            wrong.push_str(&format!("{body}\n    {:?}: {}\n", verdict.kind, verdict.because));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_returned_result_is_followed_to_the_caller() {
    let directory = tempfile::tempdir().unwrap();
    let elf = assemble(directory.path(), "ret");
    let calls = calls(&elf);
    let site = |caller: &str, callee: &str| {
        calls.iter().find(|c| c.caller == caller && c.callee == callee).and_then(|c| c.return_address).unwrap()
    };
    let (inner, outer) = (site("f", "the_alloc"), site("main_like", "f"));

    let fate = fate_along(&elf, &[inner, outer]);
    assert_eq!((fate.kind, fate.depth), (Dropped, 1));
    assert_eq!(
        fate.because,
        "the result is returned by f, and main_like overwrites it (mov eax, 0) before anything reads it"
    );

    let fate = fate_along(&elf, &[inner]);
    assert_eq!((fate.kind, fate.depth), (Returned, 0));
    assert_eq!(fate.because, "the result is returned by f; who gets it was not recorded");

    // A backtrace that skipped a frame: the next address is not behind a call of f, and f keeps no frame pointer.
    let elsewhere = site("calls_deep", "sets_rax");
    let fate = fate_along(&elf, &[inner, elsewhere]);
    assert_eq!((fate.kind, fate.depth), (Unknown, 0));
    assert_eq!(fate.because, "the result is returned by f, and its caller is not sure");

    assert_eq!(fate_along(&elf, &[]).kind, Unknown);
    assert_eq!(fate_along(&elf, &[0, 0]).kind, Unknown);
    assert_eq!(fate_along(&elf, &[u64::MAX]).kind, Unknown);
}
