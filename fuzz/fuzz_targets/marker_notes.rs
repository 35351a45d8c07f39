//! Any bytes are notes of markers or none, and any text is an argument or an error in words; what is read stays within what it can say.
#![no_main]

use arenascope_symbols::{Operand, parse_argument, read_notes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(read_notes(bytes) <= bytes.len() / 12);
    let text = String::from_utf8_lossy(bytes);
    for word in text.split_whitespace() {
        match parse_argument(word) {
            Ok(argument) => {
                assert!([1, 2, 4, 8].contains(&argument.bytes));
                match argument.operand {
                    Operand::Register { number, high } => assert!(number < 16 && !(high && number > 3)),
                    Operand::Memory { base, index, .. } => {
                        assert!(base.is_some() || index.is_some());
                        assert!(base.is_none_or(|base| base < 16));
                        assert!(index.is_none_or(|(index, scale)| index < 16 && index != 4 && scale.is_power_of_two() && scale <= 8));
                    }
                    Operand::Symbol { name, .. } => assert!(!name.is_empty() && word.contains(&name)),
                    Operand::Constant(_) => {}
                }
            }
            Err(why) => assert!(!why.is_empty()),
        }
    }
});
