//! One argument of a marker's note: how many bytes it has, and where they are when the marker is passed.
//!
//! The text is what a compiler prints for an operand of inline assembly in AT&T syntax: `8@%rdi`, `4@$64`, `8@-16(%rbp)`,
//! `8@table+8(%rip)`. Any text is accepted: what is no operand is an error in words. Deliberately absent: symbol tables (a symbol stays a
//! name here), and reading what the operand names.

/// Where a value is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operand {
    /// It is known.
    Constant(u64),
    /// A general register.
    Register {
        /// As the processor numbers them: rax 0, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15.
        number: u8,
        /// True for bits 8 to 15 (`%ah`).
        high: bool,
    },
    /// Memory at the sum of these.
    Memory {
        /// A register.
        base: Option<u8>,
        /// A register and 1, 2, 4 or 8.
        index: Option<(u8, u8)>,
        /// Bytes.
        displacement: i32,
    },
    /// Memory at a symbol and so many bytes.
    Symbol {
        /// Its name.
        name: String,
        /// Bytes.
        offset: i64,
    },
}

/// An operand and its width.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Argument {
    /// 1, 2, 4 or 8.
    pub bytes: u8,
    /// The sign is extended.
    pub signed: bool,
    /// Where it is.
    pub operand: Operand,
}

/// General registers by number, the names of their lowest 8, 4, 2 and 1 bytes.
const REGISTERS: [[&str; 4]; 16] = [
    ["rax", "eax", "ax", "al"],
    ["rcx", "ecx", "cx", "cl"],
    ["rdx", "edx", "dx", "dl"],
    ["rbx", "ebx", "bx", "bl"],
    ["rsp", "esp", "sp", "spl"],
    ["rbp", "ebp", "bp", "bpl"],
    ["rsi", "esi", "si", "sil"],
    ["rdi", "edi", "di", "dil"],
    ["r8", "r8d", "r8w", "r8b"],
    ["r9", "r9d", "r9w", "r9b"],
    ["r10", "r10d", "r10w", "r10b"],
    ["r11", "r11d", "r11w", "r11b"],
    ["r12", "r12d", "r12w", "r12b"],
    ["r13", "r13d", "r13w", "r13b"],
    ["r14", "r14d", "r14w", "r14b"],
    ["r15", "r15d", "r15w", "r15b"],
];

/// Bits 8 to 15 of the first four.
const HIGH: [&str; 4] = ["ah", "ch", "dh", "bh"];

/// Reads one argument.
///
/// # Errors
/// What is wrong with it, behind "its argument `TEXT` ".
pub fn parse(text: &str) -> Result<Argument, String> {
    let (width, place) = text.split_once('@').ok_or("has no width")?;
    let (signed, digits) = match width.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, width),
    };
    let bytes = match digits {
        "1" => 1,
        "2" => 2,
        "4" => 4,
        "8" => 8,
        _ => return Err("is not 1, 2, 4 or 8 bytes wide".into()),
    };
    Ok(Argument { bytes, signed, operand: operand(place)? })
}

fn operand(place: &str) -> Result<Operand, String> {
    if place.contains(':') {
        return Err("is a variable of the thread: hand the marker a copy in a local one".into());
    }
    if let Some(number) = place.strip_prefix('$') {
        let value = number_of(number).ok_or("is an address that only the linker knew")?;
        return Ok(Operand::Constant(value as u64));
    }
    if let Some(name) = place.strip_prefix('%') {
        return register(name).ok_or_else(|| "is in no general register".into());
    }
    let Some(before) = place.strip_suffix(')') else {
        let (symbol, offset) = sum(place)?;
        let name = symbol.ok_or("is no operand in AT&T syntax (is the program compiled with -masm=intel?)")?;
        return Ok(Operand::Symbol { name, offset });
    };
    let (sum_text, inside) = before.rsplit_once('(').ok_or("has a parenthesis too many")?;
    let (symbol, offset) = if sum_text.is_empty() { (None, 0) } else { sum(sum_text)? };
    let mut parts = inside.split(',').map(str::trim);
    let base = match parts.next().unwrap_or("") {
        "" => None,
        "%rip" => {
            let name = symbol.ok_or("is a distance from where the assembler put it")?;
            return match parts.next() {
                None => Ok(Operand::Symbol { name, offset }),
                Some(_) => Err("has an index besides %rip".into()),
            };
        }
        name => Some(whole_register(name)?),
    };
    if symbol.is_some() {
        return Err("is an element of a table whose place only the linker knew".into());
    }
    let index = match parts.next() {
        None => None,
        Some(name) => {
            let scale = match parts.next() {
                None | Some("1") => 1,
                Some("2") => 2,
                Some("4") => 4,
                Some("8") => 8,
                Some(_) => return Err("has a scale that is none".into()),
            };
            let number = whole_register(name)?;
            if number == 4 {
                return Err("has %rsp as its index".into());
            }
            Some((number, scale))
        }
    };
    if parts.next().is_some() || (base.is_none() && index.is_none()) {
        return Err("is no operand".into());
    }
    let displacement = i32::try_from(offset).map_err(|_| "has a distance beyond 2 GiB")?;
    Ok(Operand::Memory { base, index, displacement })
}

fn whole_register(name: &str) -> Result<u8, String> {
    let name = name.strip_prefix('%').ok_or("is no operand")?;
    let found = REGISTERS.iter().position(|names| names.first() == Some(&name));
    found.and_then(|number| u8::try_from(number).ok()).ok_or_else(|| "is memory at no 64-bit register".into())
}

fn register(name: &str) -> Option<Operand> {
    let named = |names: &[&str]| names.contains(&name);
    let low = REGISTERS.iter().position(|names| named(names)).map(|number| (number, false));
    let (number, high) = low.or_else(|| HIGH.iter().position(|high| *high == name).map(|number| (number, true)))?;
    Some(Operand::Register { number: u8::try_from(number).ok()?, high })
}

/// A sum of numbers and at most one symbol.
fn sum(text: &str) -> Result<(Option<String>, i64), String> {
    let wrong = || "is no operand".to_owned();
    let (mut symbol, mut offset) = (None, 0i64);
    let mut rest = text;
    while !rest.is_empty() {
        let (minus, term) = match rest.as_bytes() {
            [b'-', ..] => (true, rest.get(1..).unwrap_or("")),
            [b'+', ..] => (false, rest.get(1..).unwrap_or("")),
            _ => (false, rest),
        };
        let end = term.find(['+', '-']).unwrap_or(term.len());
        let (word, after) = term.split_at(end);
        match number_of(word) {
            Some(number) if minus => offset = offset.checked_sub(number).ok_or_else(wrong)?,
            Some(number) => offset = offset.checked_add(number).ok_or_else(wrong)?,
            None if !minus && symbol.is_none() && is_symbol(word) => symbol = Some(word.to_owned()),
            None => return Err(wrong()),
        }
        rest = after;
    }
    Ok((symbol, offset))
}

/// What assemblers take for a name (gas manual, Symbol Names). With `@`, it has a relocation that is no plain place.
fn is_symbol(word: &str) -> bool {
    let starts = word.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '.'));
    starts && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$') || !c.is_ascii())
}

/// Decimal or `0x…`, either sign, 64 bits.
fn number_of(word: &str) -> Option<i64> {
    let (minus, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    let value = value as i64;
    Some(if minus { value.wrapping_neg() } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(bytes: u8, signed: bool, operand: Operand) -> Result<Argument, String> {
        Ok(Argument { bytes, signed, operand })
    }

    fn memory(base: Option<u8>, index: Option<(u8, u8)>, displacement: i32) -> Operand {
        Operand::Memory { base, index, displacement }
    }

    #[test]
    fn what_compilers_print_is_read() {
        let register = |number| Operand::Register { number, high: false };
        let symbol = |name: &str, offset| Operand::Symbol { name: name.into(), offset };
        for (text, bytes, signed, operand) in [
            ("8@%rdi", 8, false, register(7)),
            ("4@%r10d", 4, false, register(10)),
            ("-2@%ax", 2, true, register(0)),
            ("1@%sil", 1, false, register(6)),
            ("1@%bh", 1, false, Operand::Register { number: 3, high: true }),
            ("8@$64", 8, false, Operand::Constant(64)),
            ("-4@$-1", 4, true, Operand::Constant(u64::MAX)),
            ("8@$0xfffffffffffffff0", 8, false, Operand::Constant(0xffff_ffff_ffff_fff0)),
            ("8@$18446744073709551615", 8, false, Operand::Constant(u64::MAX)),
            ("8@(%rax)", 8, false, memory(Some(0), None, 0)),
            ("8@-16(%rbp)", 8, false, memory(Some(5), None, -16)),
            ("4@0x10(%r13,%rcx,4)", 4, false, memory(Some(13), Some((1, 4)), 16)),
            ("8@(,%rax,8)", 8, false, memory(None, Some((0, 8)), 0)),
            ("8@8+16(%rsp)", 8, false, memory(Some(4), None, 24)),
            ("8@arena(%rip)", 8, false, symbol("arena", 0)),
            ("8@8+arena.0(%rip)", 8, false, symbol("arena.0", 8)),
            ("8@_ZL5arena+8(%rip)", 8, false, symbol("_ZL5arena", 8)),
            ("8@arena-8", 8, false, symbol("arena", -8)),
        ] {
            assert_eq!(parse(text), argument(bytes, signed, operand), "{text}");
        }
    }

    #[test]
    fn what_is_no_operand_is_an_error_in_words() {
        for (text, why) in [
            ("", "has no width"),
            ("%rdi", "has no width"),
            ("3@%rdi", "is not 1, 2, 4 or 8 bytes wide"),
            ("4f@%xmm0", "is not 1, 2, 4 or 8 bytes wide"),
            ("8@%xmm0", "is in no general register"),
            ("8@%fs:arena@tpoff", "is a variable of the thread: hand the marker a copy in a local one"),
            ("8@$arena", "is an address that only the linker knew"),
            ("8@rdi", "x"),
            ("8@QWORD PTR [rbp-16]", "is no operand"),
            ("8@12", "is no operand in AT&T syntax (is the program compiled with -masm=intel?)"),
            ("8@arena(%rax)", "is an element of a table whose place only the linker knew"),
            ("8@(%rax,%rsp)", "has %rsp as its index"),
            ("8@(%rax,%rcx,3)", "has a scale that is none"),
            ("8@()", "is no operand"),
            ("8@(%eax)", "is memory at no 64-bit register"),
            ("8@99999999999(%rax)", "has a distance beyond 2 GiB"),
            ("8@)", "has a parenthesis too many"),
            ("8@9223372036854775807+9223372036854775807(%rax)", "is no operand"),
            ("8@arena@GOTPCREL(%rip)", "is no operand"),
        ] {
            match parse(text) {
                // Intel's register names look like symbols: no symbol table has them.
                Ok(found) => assert_eq!((why, matches!(found.operand, Operand::Symbol { .. })), ("x", true), "{text}"),
                Err(said) => assert_eq!(said, why, "{text}"),
            }
        }
    }
}
