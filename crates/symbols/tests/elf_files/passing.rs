//! Places of arguments against the machine: the compilers' own calls, observed at entry.
//!
//! For random prototypes a C program calls `capture`, an assembly label that stores the argument registers and the
//! stack, with a pattern in each argument. The places computed from the debug information of a function with the same
//! prototype must hold these patterns.

use crate::compile::Folder;
use arenascope_symbols::{Image, Place, Returns, Signature};
use std::fmt::Write;

const PRELUDE: &str = r#"
#include <stdio.h>
#include <string.h>
typedef struct { long a; } s_long;
typedef struct { int a, b; } s_ints;
typedef struct { char c[3]; } s_three;
typedef struct { char c[16]; } s_sixteen;
typedef struct { char c[17]; } s_seventeen;
typedef struct { long a, b; } s_two;
typedef struct { long a, b, c; } s_big;
typedef struct { double a, b; } s_doubles;
typedef struct { long a; double b; } s_mixed;
typedef struct { float a, b; int c; float d; } s_floats;
typedef struct { void *p; } s_pointer;
typedef struct { s_pointer p; struct { int x, y; } in[1]; } s_nested;
typedef struct { int a : 3; int b : 17; int c : 12; long d : 40; unsigned long e : 24; } s_bits;
typedef struct __attribute__((packed)) { char a; long b; char c[7]; } s_packed;
typedef struct { long double x; } s_long_double;
typedef struct { __int128 x; } s_int128;
typedef struct { char c[32]; } __attribute__((aligned(32))) s_aligned;
typedef struct { } s_empty;
typedef union { long a; double b; } u_both;
typedef union { double a[2]; float b; } u_doubles;
typedef struct { long a; char flexible[]; } s_flexible;
typedef enum { one, two } e_small;
typedef const struct s_opaque *p_opaque;
typedef int (*p_function)(int);
typedef float v_four __attribute__((vector_size(16)));
unsigned long registers[6];
unsigned char stack[512];
__asm__(".text\n.globl capture\ncapture:\n"
        "mov %rdi, registers(%rip)\n mov %rsi, registers+8(%rip)\n mov %rdx, registers+16(%rip)\n"
        "mov %rcx, registers+24(%rip)\n mov %r8, registers+32(%rip)\n mov %r9, registers+40(%rip)\n"
        "mov %rdi, %rax\n lea 8(%rsp), %rsi\n lea stack(%rip), %rdi\n mov $512, %ecx\n cld\n rep movsb\n ret\n");
void capture(void);
static void show(void) {
    for (int i = 0; i < 6; i++) for (int j = 0; j < 8; j++) printf("%02x", ((unsigned char *)&registers[i])[j]);
    for (int i = 0; i < 512; i++) printf("%02x", stack[i]);
    printf("\n");
}
static void fill(void *p, int n, int k) { for (int i = 0; i < n; i++) ((unsigned char *)p)[i] = k * 16 + i % 16 + 1; }
"#;

/// Type, bytes that must arrive.
const TYPES: [(&str, usize); 33] = [
    ("char", 1),
    ("unsigned short", 2),
    ("int", 4),
    ("unsigned long", 8),
    ("void *", 8),
    ("const char *const", 8),
    ("p_opaque", 8),
    ("p_function", 8),
    ("float", 4),
    ("double", 8),
    ("long double", 10),
    ("__int128", 16),
    ("s_long", 8),
    ("s_ints", 8),
    ("s_three", 3),
    ("s_sixteen", 16),
    ("s_seventeen", 17),
    ("s_two", 16),
    ("s_big", 24),
    ("s_doubles", 16),
    ("s_mixed", 16),
    ("s_floats", 16),
    ("s_pointer", 8),
    ("s_nested", 16),
    ("s_bits", 16),
    ("s_packed", 16),
    ("s_long_double", 10),
    ("s_int128", 16),
    ("s_aligned", 32),
    ("u_both", 8),
    ("u_doubles", 16),
    ("e_small", 4),
    ("s_empty", 0),
];

const RESULTS: [(&str, Returns); 14] = [
    ("void", Returns::Void),
    ("int", Returns::Integer { bytes: 4, signed: true }),
    ("unsigned char", Returns::Integer { bytes: 1, signed: false }),
    ("void *", Returns::Pointer),
    ("p_function", Returns::Pointer),
    ("s_pointer", Returns::Pointer),
    ("s_ints", Returns::Integer { bytes: 8, signed: false }),
    ("s_two", Returns::RegisterPair),
    ("__int128", Returns::RegisterPair),
    ("s_big", Returns::Memory),
    ("s_packed", Returns::Memory),
    ("double", Returns::Float),
    ("long double", Returns::Float),
    ("s_doubles", Returns::Float),
];

/// A small generator, so that every run tries the same prototypes (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

struct Prototype {
    result: usize,
    parameters: Vec<usize>,
}

fn program(prototypes: &[Prototype]) -> String {
    let mut functions = String::from(PRELUDE);
    let mut main = String::from("int main(void) {\n");
    for (number, prototype) in prototypes.iter().enumerate() {
        let result = RESULTS[prototype.result].0;
        let list: Vec<String> =
            prototype.parameters.iter().enumerate().map(|(at, kind)| format!("{} p{at}", TYPES[*kind].0)).collect();
        let list = if list.is_empty() { "void".to_owned() } else { list.join(", ") };
        let body = if result == "void" { String::new() } else { format!("static {result} r; return r;") };
        writeln!(functions, "{result} f{number}({list}) {{ {body} }}").unwrap();
        main.push_str("{ memset(registers, 0, sizeof registers); memset(stack, 0, sizeof stack);\n");
        let mut arguments = Vec::new();
        for (at, kind) in prototype.parameters.iter().enumerate() {
            let name = TYPES[*kind].0.replace("*const", "*");
            writeln!(main, "{name} v{at}; fill((void *)&v{at}, sizeof v{at}, {at});").unwrap();
            arguments.push(format!("v{at}"));
        }
        writeln!(main, "(({result} (*)({list}))capture)({}); show(); }}", arguments.join(", ")).unwrap();
    }
    format!("{functions}{main}return 0; }}\n")
}

fn pattern(at: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|byte| (at * 16 + byte % 16 + 1) as u8).collect()
}

fn check(signature: &Signature, prototype: &Prototype, observed: &[u8], is_clang: bool) {
    assert_eq!(signature.returns, RESULTS[prototype.result].1, "{}", RESULTS[prototype.result].0);
    assert_eq!(signature.params.len(), prototype.parameters.len());
    let (registers, stack) = observed.split_at(48);
    for (at, kind) in prototype.parameters.iter().enumerate() {
        let (name, bytes) = TYPES[*kind];
        let param = &signature.params[at];
        assert_eq!(param.name, format!("p{at}"));
        let there = match param.place {
            Place::Integer(register) => &registers[usize::from(register) * 8..][..8],
            Place::Registers2(register) => &registers[usize::from(register) * 8..][..16],
            Place::Stack(offset) => &stack[offset as usize..],
            Place::Float => {
                let floats = ["float", "double", "s_doubles", "s_mixed", "s_floats", "u_doubles"];
                assert!(floats.contains(&name), "{name} in {signature:#?}");
                continue;
            }
            Place::Missing if bytes == 0 => continue,
            // Clang's own `__int128`: nothing after one that did not fit is claimed.
            Place::Missing
                if is_clang && prototype.parameters[..=at].iter().any(|kind| TYPES[*kind].0.contains("int128")) =>
            {
                continue;
            }
            other => panic!("{name} {other:?} in {signature:#?}"),
        };
        assert_eq!(there[..bytes], pattern(at, bytes), "parameter {at}, {name}, of {signature:#?}");
    }
}

#[test]
fn places_are_where_the_compilers_put_arguments() {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut prototypes = Vec::new();
    for kind in 0..TYPES.len() {
        prototypes.push(Prototype { result: kind % RESULTS.len(), parameters: vec![3, kind, 4, kind, 2] });
    }
    for _ in 0..300 {
        let count = dice.below(12);
        let parameters = (0..count).map(|_| dice.below(TYPES.len())).collect();
        prototypes.push(Prototype { result: dice.below(RESULTS.len()), parameters });
    }
    let folder = Folder::new();
    for compiler in ["gcc", "clang"] {
        let path = folder.compile(compiler, "passing", &program(&prototypes), "-g -O0 -w");
        let image = Image::open(&path).unwrap();
        let output = folder.run(path.to_str().unwrap(), &[]);
        let mut lines = output.lines();
        for (number, prototype) in prototypes.iter().enumerate() {
            let line = lines.next().unwrap();
            let observed: Vec<u8> =
                (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap()).collect();
            let function = image.find(&format!("f{number}"))[0].function;
            let signature = image.signature(function.address).unwrap();
            check(&signature, prototype, &observed, compiler == "clang");
        }
        assert_eq!(lines.next(), None);
    }
}
