//! Detoured functions do what they did: machine code is made, run as it is, run again with a detour, and every register
//! and flag compared.
//!
//! The one place of this crate's tests with `unsafe`: it jumps into memory it has filled. What is run was assembled
//! here from a list of harmless instructions; nothing else is ever executed.
#![allow(unsafe_code)]

use arenascope_code::detour::{Refusal, Target, plan};
use iced_x86::code_asm::{
    AsmRegister64, CodeAssembler, CodeLabel, get_gpr32, qword_ptr, r8, r9, r11, rax, rbx, rcx, rdi, rdx, rsi, rsp,
};
use iced_x86::{IcedError, Register};
use memmap2::MmapMut;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Registers that functions here read and write, in the order of [`State`].
const REGISTERS: [AsmRegister64; 7] = [rax, rcx, rdx, rsi, rdi, r8, r9];

/// The registers of [`REGISTERS`], then the arithmetic flags.
type State = [u64; 8];

/// CF PF AF ZF SF OF.
const ARITHMETIC_FLAGS: u64 = 0x8d5;

/// Where things lie in the mapping.
const PLAIN: u64 = 0;
const HOOKED: u64 = 0x1000;
const THUNK: u64 = 0x2000;
const TRAMPOLINE: u64 = 0x3000;
const CONSTANTS: u64 = 0x4000;
const HELPER: u64 = 0x5000;
const SHIM: u64 = 0x6000;
const MAPPING: usize = 0x7000;

/// One instruction (or two that belong together).
#[derive(Clone, Copy, Debug)]
enum Op {
    Nop(u8),
    MovImmediate(usize, i32),
    Add(usize, usize),
    AddWithCarry(usize, usize),
    MoveIfNotZero(usize, usize),
    Xor32(usize, usize),
    PushPop(usize, usize),
    LoadConstant(usize, u8),
    AddConstant(usize, u8),
    CompareConstant(u8, i8),
    AddressOfConstant(usize, u8),
    JumpIfZero(u8),
    JumpIfCarry(u8),
    Jump(u8),
    JumpIfRcxZero(u8),
    LoopWhileZeroForward(u8),
    LoopForward(u8),
    LoopWhileNotZeroForward(u8),
    Call,
    CallIndirect,
}

impl Op {
    /// True when the instruction may stand in the body of a loop that counts in rcx.
    fn keeps_rcx(self) -> bool {
        match self {
            Op::Nop(_) | Op::CompareConstant(..) | Op::Call => true,
            Op::MovImmediate(to, _)
            | Op::Add(to, _)
            | Op::AddWithCarry(to, _)
            | Op::Xor32(to, _)
            | Op::MoveIfNotZero(to, _)
            | Op::PushPop(_, to)
            | Op::LoadConstant(to, _)
            | Op::AddConstant(to, _)
            | Op::AddressOfConstant(to, _) => REGISTERS[to] != rcx,
            _ => false,
        }
    }
}

#[derive(Clone, Debug)]
struct Program {
    endbr64: bool,
    /// Without jumps.
    head: Vec<Op>,
    /// A loop over these, counted in rcx; none when empty. Without jumps.
    looped: Vec<Op>,
    rest: Vec<Op>,
    /// Ends with a jump to the helper instead of a return.
    tail_call: bool,
    /// `int3` rather than `nop` behind the function.
    int3_padding: bool,
    next_is_known: bool,
    size_is_known: bool,
}

fn op() -> impl Strategy<Value = Op> {
    let register = 0..REGISTERS.len();
    let other = 0..REGISTERS.len();
    let skip = 0u8..5;
    let constant = 0u8..8;
    prop_oneof![
        (1u8..9).prop_map(Op::Nop),
        (register.clone(), any::<i32>()).prop_map(|(a, b)| Op::MovImmediate(a, b)),
        (register.clone(), other.clone()).prop_map(|(a, b)| Op::Add(a, b)),
        (register.clone(), other.clone()).prop_map(|(a, b)| Op::AddWithCarry(a, b)),
        (register.clone(), other.clone()).prop_map(|(a, b)| Op::MoveIfNotZero(a, b)),
        (register.clone(), other.clone()).prop_map(|(a, b)| Op::Xor32(a, b)),
        (register.clone(), other).prop_map(|(a, b)| Op::PushPop(a, b)),
        (register.clone(), constant.clone()).prop_map(|(a, b)| Op::LoadConstant(a, b)),
        (register.clone(), constant.clone()).prop_map(|(a, b)| Op::AddConstant(a, b)),
        (constant.clone(), any::<i8>()).prop_map(|(a, b)| Op::CompareConstant(a, b)),
        (register, constant).prop_map(|(a, b)| Op::AddressOfConstant(a, b)),
        skip.clone().prop_map(Op::JumpIfZero),
        skip.clone().prop_map(Op::JumpIfCarry),
        skip.clone().prop_map(Op::Jump),
        skip.clone().prop_map(Op::JumpIfRcxZero),
        skip.clone().prop_map(Op::LoopWhileZeroForward),
        skip.clone().prop_map(Op::LoopForward),
        skip.prop_map(Op::LoopWhileNotZeroForward),
        Just(Op::Call),
        Just(Op::CallIndirect),
    ]
}

fn program() -> impl Strategy<Value = Program> {
    let no_rcx = || op().prop_filter("the loop counts in rcx", |op| op.keeps_rcx());
    (
        any::<bool>(),
        prop::collection::vec(no_rcx(), 0..3),
        prop::collection::vec(no_rcx(), 0..3),
        prop::collection::vec(op(), 0..8),
        any::<[bool; 4]>(),
    )
        .prop_map(|(endbr64, head, looped, rest, flags)| Program {
            endbr64,
            head,
            looped,
            rest,
            tail_call: flags[0],
            int3_padding: flags[1],
            next_is_known: flags[2],
            size_is_known: flags[3],
        })
}

fn emit(asm: &mut CodeAssembler, op: Op, base: u64, targets: &[CodeLabel], at: usize) -> Result<(), IcedError> {
    // iced takes the target's address for the displacement from RIP.
    let constant = |index: u8| qword_ptr(Register::RIP) + (base + CONSTANTS + 8 * u64::from(index));
    // Forward only, at most to the end.
    let ahead = |skip: u8| targets[(at + 1 + usize::from(skip)).min(targets.len() - 1)];
    match op {
        Op::Nop(length) => asm.nops_with_size(length.into()),
        Op::MovImmediate(to, value) => asm.mov(get_gpr32(low(REGISTERS[to])).expect("it has 32 bits"), value),
        Op::Add(to, from) => asm.add(REGISTERS[to], REGISTERS[from]),
        Op::AddWithCarry(to, from) => asm.adc(REGISTERS[to], REGISTERS[from]),
        Op::MoveIfNotZero(to, from) => asm.cmovne(REGISTERS[to], REGISTERS[from]),
        Op::Xor32(to, from) => asm.xor(
            get_gpr32(low(REGISTERS[to])).expect("it has 32 bits"),
            get_gpr32(low(REGISTERS[from])).expect("it has 32 bits"),
        ),
        Op::PushPop(from, to) => {
            asm.push(REGISTERS[from])?;
            asm.pop(REGISTERS[to])
        }
        Op::LoadConstant(to, index) => asm.mov(REGISTERS[to], constant(index)),
        Op::AddConstant(to, index) => asm.add(REGISTERS[to], constant(index)),
        Op::CompareConstant(index, value) => asm.cmp(constant(index), i32::from(value)),
        Op::AddressOfConstant(to, index) => asm.lea(REGISTERS[to], constant(index)),
        Op::JumpIfZero(skip) => asm.je(ahead(skip)),
        Op::JumpIfCarry(skip) => asm.jb(ahead(skip)),
        Op::Jump(skip) => asm.jmp(ahead(skip)),
        Op::JumpIfRcxZero(skip) => asm.jrcxz(ahead(skip)),
        Op::LoopWhileZeroForward(skip) => asm.loope(ahead(skip)),
        Op::LoopForward(skip) => asm.loop_(ahead(skip)),
        Op::LoopWhileNotZeroForward(skip) => asm.loopne(ahead(skip)),
        Op::Call => asm.call(base + HELPER),
        // The eighth constant is the helper's address.
        Op::CallIndirect => asm.call(constant(8)),
    }
}

fn low(register: AsmRegister64) -> Register {
    Register::from(register).full_register32()
}

/// The program's code for address `at`, of a mapping at `base`.
fn assemble(program: &Program, base: u64, at: u64) -> Result<Vec<u8>, IcedError> {
    let mut asm = CodeAssembler::new(64)?;
    if program.endbr64 {
        asm.endbr64()?;
    }
    let ops: Vec<Op> = program.head.iter().chain(&program.looped).chain(&program.rest).copied().collect();
    let mut targets: Vec<CodeLabel> = (0..=ops.len()).map(|_| asm.create_label()).collect();
    let loop_start = program.head.len();
    let loop_end = loop_start + program.looped.len();
    for index in 0..=ops.len() {
        if index == loop_end && loop_start < loop_end {
            asm.loop_(targets[loop_start])?;
        }
        asm.set_label(&mut targets[index])?;
        if let Some(&op) = ops.get(index) {
            emit(&mut asm, op, base, &targets, index)?;
        }
    }
    if program.tail_call {
        asm.jmp(base + HELPER)?;
    } else {
        asm.ret()?;
    }
    asm.assemble(at)
}

/// Everything that does not change from program to program. The thunk counts its passages in `passages`, whose address
/// is baked into its code.
fn furnish(mapping: &mut [u8], base: u64, passages: &AtomicU64) -> Result<(), IcedError> {
    let mut put = |at: u64, code: &[u8]| mapping[at as usize..at as usize + code.len()].copy_from_slice(code);

    let mut thunk = CodeAssembler::new(64)?;
    thunk.pushfq()?;
    thunk.push(rax)?;
    thunk.mov(rax, passages.as_ptr() as u64)?;
    thunk.inc(qword_ptr(rax))?;
    thunk.pop(rax)?;
    thunk.popfq()?;
    thunk.jmp(base + TRAMPOLINE)?;
    put(THUNK, &thunk.assemble(base + THUNK)?);

    // Mixes what it finds into rax and the flags, so that a call missed or made twice shows.
    let mut helper = CodeAssembler::new(64)?;
    helper.add(rax, rcx)?;
    helper.adc(rax, 0x1234)?;
    helper.ret()?;
    put(HELPER, &helper.assemble(base + HELPER)?);

    for index in 0..8u64 {
        let value = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (index * 7);
        put(CONSTANTS + 8 * index, &value.to_le_bytes());
    }
    put(CONSTANTS + 8 * 8, &(base + HELPER).to_le_bytes());

    // shim(rdi: *mut State, rsi: function): loads the state, calls, stores the state.
    let mut shim = CodeAssembler::new(64)?;
    shim.push(rbx)?;
    shim.mov(rbx, rdi)?;
    shim.mov(r11, rsi)?;
    shim.push(qword_ptr(rbx + 8 * 7))?;
    shim.popfq()?;
    for (index, register) in REGISTERS.into_iter().enumerate() {
        shim.mov(register, qword_ptr(rbx + 8 * index as i32))?;
    }
    shim.call(r11)?;
    for (index, register) in REGISTERS.into_iter().enumerate() {
        shim.mov(qword_ptr(rbx + 8 * index as i32), register)?;
    }
    shim.pushfq()?;
    shim.pop(qword_ptr(rbx + 8 * 7))?;
    shim.pop(rbx)?;
    shim.ret()?;
    put(SHIM, &shim.assemble(base + SHIM)?);
    Ok(())
}

/// Runs the function at `address` of a furnished mapping at `base`.
fn run(base: u64, address: u64, mut state: State) -> State {
    // SAFETY: both callers keep a mapping at `base` and its counter of passages alive, and made it executable after
    // `furnish` put a function of this signature at SHIM. The shim keeps rbx and the stack. It calls what the callers assembled from instructions that
    // write only REGISTERS, flags and their own balanced pushes, and whose jumps go forward, or back in a loop that
    // counts rcx, which starts between 1 and 8, down to 0.
    unsafe {
        let shim: extern "sysv64" fn(*mut State, u64) = std::mem::transmute(base + SHIM);
        shim(&mut state, address);
    }
    state[7] &= ARITHMETIC_FLAGS;
    state
}

/// What became of one program.
enum Outcome {
    Same,
    Refused(Refusal),
}

/// Runs `program` from `state` twice, without and with a detour.
fn compare(program: &Program, state: State) -> Result<Outcome, String> {
    let mut mapping = MmapMut::map_anon(MAPPING).expect("28 KiB can be mapped");
    let base = mapping.as_ptr() as u64;
    let passages = AtomicU64::new(0);
    furnish(&mut mapping, base, &passages).expect("fixed code assembles");
    let plain = assemble(program, base, base + PLAIN).map_err(|error| error.to_string())?;
    let mut hooked = assemble(program, base, base + HOOKED).map_err(|error| error.to_string())?;
    let size = hooked.len();
    let padded = size.next_multiple_of(16).max(size + 1);
    hooked.resize(padded, if program.int3_padding { 0xcc } else { 0x90 });

    let target = Target {
        address: base + HOOKED,
        code: &hooked,
        size: if program.size_is_known { size as u64 } else { 0 },
        next_function: program.next_is_known.then_some(base + HOOKED + padded as u64),
    };
    let detour = match plan(&target, base + THUNK, base + TRAMPOLINE) {
        Ok(detour) => detour,
        Err(refusal) => return Ok(Outcome::Refused(refusal)),
    };
    let at = (detour.patch_at - target.address) as usize;
    if hooked[at..at + 5] != detour.original {
        return Err("`original` is not what stands there".into());
    }
    hooked[at..at + 5].copy_from_slice(&detour.patch);
    // What lies between the patch and the next whole instruction is never run: let it show if it is.
    if let Some(cut) = hooked.get_mut(at + 5..at + detour.moved) {
        cut.fill(0xcc);
    }
    mapping[PLAIN as usize..][..plain.len()].copy_from_slice(&plain);
    mapping[HOOKED as usize..][..hooked.len()].copy_from_slice(&hooked);
    mapping[TRAMPOLINE as usize..][..detour.relocated.len()].copy_from_slice(&detour.relocated);

    let _mapping = mapping.make_exec().expect("our own pages may be made executable");
    let expected = run(base, base + PLAIN, state);
    let found = run(base, base + HOOKED, state);
    let passages = passages.into_inner();
    if passages != 1 {
        return Err(format!("passed the thunk {passages} times\n{detour:x?}\n{hooked:02x?}"));
    }
    if found != expected {
        return Err(format!("expected {expected:x?}\nfound    {found:x?}\n{detour:x?}\n{hooked:02x?}"));
    }
    Ok(Outcome::Same)
}

#[test]
fn a_detoured_function_computes_what_it_computed() {
    let same = AtomicUsize::new(0);
    let refused = AtomicUsize::new(0);
    let mut runner = TestRunner::new(Config { cases: 6000, failure_persistence: None, ..Config::default() });
    let states = (any::<[u64; 7]>(), 1u64..8, any::<u64>());
    let outcome = runner.run(&(program(), states), |(program, (registers, count, flags))| {
        let [a, _, c, d, e, f, g] = registers;
        // Small values make zeros and carries common.
        let state = [a, count, c & 3, d >> 62, e, f, g & 1, (flags & ARITHMETIC_FLAGS) | 2];
        match compare(&program, state) {
            Ok(Outcome::Same) => same.fetch_add(1, Ordering::Relaxed),
            Ok(Outcome::Refused(refusal)) => {
                if matches!(refusal, Refusal::OutOfReach | Refusal::CodeMissing { .. } | Refusal::Breakpoint { .. }) {
                    return Err(TestCaseError::fail(format!("refused for no reason: {refusal}")));
                }
                refused.fetch_add(1, Ordering::Relaxed)
            }
            Err(difference) => return Err(TestCaseError::fail(difference)),
        };
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let (same, refused) = (same.into_inner(), refused.into_inner());
    println!("{same} ran the same, {refused} were refused");
    assert!(same > 2 * refused, "{same} ran the same, {refused} were refused");
}

/// Writes some instructions.
type Writes<'a> = &'a dyn Fn(&mut CodeAssembler) -> Result<(), IcedError>;

/// Who looks at the stack from inside a moved call must see the function: exceptions are unwound by return addresses.
#[test]
fn a_moved_call_returns_to_where_it_always_returned() {
    let mut mapping = MmapMut::map_anon(MAPPING).expect("28 KiB can be mapped");
    let base = mapping.as_ptr() as u64;
    let passages = AtomicU64::new(0);
    furnish(&mut mapping, base, &passages).expect("fixed code assembles");
    let assembled = |at: u64, write: Writes<'_>| {
        let mut asm = CodeAssembler::new(64).expect("64 bits");
        write(&mut asm).expect("fixed code");
        asm.assemble(at).expect("fixed code assembles")
    };
    // The helper answers with its return address.
    let helper = assembled(base + HELPER, &|asm| {
        asm.mov(rax, qword_ptr(rsp))?;
        asm.ret()
    });
    mapping[HELPER as usize..][..helper.len()].copy_from_slice(&helper);
    let calls: [Writes<'_>; 3] = [
        &|asm| asm.call(base + HELPER),
        &|asm| asm.call(qword_ptr(Register::RIP) + (base + CONSTANTS + 8 * 8)),
        // Two bytes behind `nop 3`: the pointer comes in a register.
        &|asm| {
            asm.nops_with_size(3)?;
            asm.call(rdi)
        },
    ];
    for call in calls {
        let before = assembled(base + HOOKED, call).len() as u64;
        let mut hooked = assembled(base + HOOKED, &|asm| {
            call(asm)?;
            asm.ret()
        });
        let target = Target { address: base + HOOKED, code: &hooked, size: hooked.len() as u64, next_function: None };
        let detour = plan(&target, base + THUNK, base + TRAMPOLINE).expect("nothing is in the way");
        hooked[..5].copy_from_slice(&detour.patch);
        mapping[HOOKED as usize..][..hooked.len()].copy_from_slice(&hooked);
        mapping[TRAMPOLINE as usize..][..detour.relocated.len()].copy_from_slice(&detour.relocated);
        let executable = mapping.make_exec().expect("our own pages may be made executable");
        let state = run(base, base + HOOKED, [0, 1, 0, 0, base + HELPER, 0, 0, 2]);
        assert_eq!(state[0], base + HOOKED + before);
        assert_eq!(passages.swap(0, Ordering::Relaxed), 1);
        mapping = executable.make_mut().expect("and writable again");
    }
}
