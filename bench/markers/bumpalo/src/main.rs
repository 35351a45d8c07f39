//! Parses expressions into trees in a bump arena, evaluates them, resets the arena for the next one.
//!
//! With `--features markers` the arena is told of through `watched::Bump`, twenty lines around bumpalo's; without, it is bumpalo's own.
#![forbid(unsafe_code)]

#[cfg(not(feature = "markers"))]
use bumpalo::Bump;
#[cfg(feature = "markers")]
use watched::Bump;

#[cfg(feature = "markers")]
mod watched {
    /// bumpalo's arena, which tells what it does. Boxed: its address is the arena's name, and must not change.
    pub struct Bump(Box<bumpalo::Bump>);

    impl Bump {
        pub fn new() -> Bump {
            let bump = Box::new(bumpalo::Bump::new());
            arenascope_mark::create(&*bump, 0, "expressions");
            Bump(bump)
        }

        #[inline(always)]
        pub fn alloc<T>(&self, value: T) -> &mut T {
            let block = self.0.alloc(value);
            arenascope_mark::alloc_value(&*self.0, block);
            block
        }

        pub fn reset(&mut self) {
            arenascope_mark::reset(&*self.0);
            self.0.reset();
        }
    }

    impl Drop for Bump {
        fn drop(&mut self) {
            arenascope_mark::destroy(&*self.0);
        }
    }
}

enum Tree<'a> {
    Number(i64),
    Sum(&'a Tree<'a>, &'a Tree<'a>),
    Product(&'a Tree<'a>, &'a Tree<'a>),
}

struct Parser<'s, 'a> {
    rest: &'s [u8],
    arena: &'a Bump,
}

impl<'a> Parser<'_, 'a> {
    fn sum(&mut self) -> &'a Tree<'a> {
        let mut left = self.product();
        while let [b'+', rest @ ..] = self.rest {
            self.rest = rest;
            let right = self.product();
            left = self.arena.alloc(Tree::Sum(left, right));
        }
        left
    }

    fn product(&mut self) -> &'a Tree<'a> {
        let mut left = self.number();
        while let [b'*', rest @ ..] = self.rest {
            self.rest = rest;
            let right = self.number();
            left = self.arena.alloc(Tree::Product(left, right));
        }
        left
    }

    fn number(&mut self) -> &'a Tree<'a> {
        if let [b'(', rest @ ..] = self.rest {
            self.rest = rest;
            let inside = self.sum();
            self.rest = self.rest.strip_prefix(b")").expect("a closing parenthesis");
            return inside;
        }
        let mut value = 0;
        while let [digit @ b'0'..=b'9', rest @ ..] = self.rest {
            value = value * 10 + i64::from(digit - b'0');
            self.rest = rest;
        }
        self.arena.alloc(Tree::Number(value))
    }
}

fn value(tree: &Tree<'_>) -> i64 {
    match tree {
        Tree::Number(value) => *value,
        Tree::Sum(left, right) => value(left).wrapping_add(value(right)),
        Tree::Product(left, right) => value(left).wrapping_mul(value(right)),
    }
}

fn main() {
    let mut arena = Bump::new();
    let mut total = 0i64;
    for round in 0..100 {
        let text = format!("(1+2)*{round}+3*(4+{round}*5)");
        let mut parser = Parser { rest: text.as_bytes(), arena: &arena };
        total += value(parser.sum());
        arena.reset();
    }
    println!("{total}");
}
