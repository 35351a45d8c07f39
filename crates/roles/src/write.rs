//! A role declaration as text: the one form that everything we print uses.

use arenascope_event::{Result_, RoleDecl};

/// `role:function(arguments) -> result`; a result of no interest is left out.
///
/// For every declaration that [`crate::parse`] returns, parsing this text returns it again.
pub fn to_text(decl: &RoleDecl) -> String {
    let mut text = format!("{}:{}(", decl.role.word(), decl.function);
    for (index, argument) in decl.arguments.iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(argument.word());
    }
    text.push(')');
    if decl.result != Result_::Ignored {
        text.push_str(" -> ");
        text.push_str(decl.result.word());
    }
    text
}
