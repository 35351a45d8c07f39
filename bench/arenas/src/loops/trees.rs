//! binary-trees, the classic: trees of every second depth from 4 to D, built, counted, destroyed. A unit is one depth: a
//! run of D units is the program with depth D.
//!
//! Arenas are used in the two ways programs do: a new arena per tree, or one per thread that is reset after each tree.
#![allow(unsafe_code)] // Nodes are linked by plain pointers, as an arena's are.

use super::{Took, timed};
use crate::memory::{Life, Put};
use crate::peers::general::General;
use std::ptr::null;

/// A node; leaves have two nulls.
#[derive(Clone, Copy)]
pub struct Node {
    left: *const Node,
    right: *const Node,
}

const LEAST_DEPTH: u64 = 4;

/// One arena per thread, reset after each tree.
pub fn reset<A: Life + Put<Node>, const THREADS: u64>(depth: u64) -> Took {
    program::<ByReset<A>, THREADS>(depth)
}

/// A new arena per tree.
pub fn new<A: Life + Put<Node>, const THREADS: u64>(depth: u64) -> Took {
    program::<ByNew<A>, THREADS>(depth)
}

/// A general allocator, each node by itself.
pub fn general<G: General, const THREADS: u64>(depth: u64) -> Took {
    program::<ByNode<G>, THREADS>(depth)
}

/// A way to build trees one after another.
trait Forest {
    fn start() -> Self;
    /// A tree; the one before is destroyed.
    fn build(&mut self, depth: u64) -> *const Node;
    /// Destroys the tree that `build` gave last.
    fn destroy(&mut self, tree: *const Node);
}

struct ByReset<A>(A);

impl<A: Life + Put<Node>> Forest for ByReset<A> {
    fn start() -> Self {
        Self(A::new())
    }
    fn build(&mut self, depth: u64) -> *const Node {
        grow(&self.0, depth)
    }
    fn destroy(&mut self, _tree: *const Node) {
        self.0.reset();
    }
}

struct ByNew<A>(Option<A>);

impl<A: Life + Put<Node>> Forest for ByNew<A> {
    fn start() -> Self {
        Self(None)
    }
    fn build(&mut self, depth: u64) -> *const Node {
        grow(self.0.insert(A::new()), depth)
    }
    fn destroy(&mut self, _tree: *const Node) {
        self.0 = None;
    }
}

struct ByNode<G>(std::marker::PhantomData<G>);

impl<G: General> Forest for ByNode<G> {
    fn start() -> Self {
        Self(std::marker::PhantomData)
    }
    fn build(&mut self, depth: u64) -> *const Node {
        grow_nodes::<G>(depth)
    }
    fn destroy(&mut self, tree: *const Node) {
        // SAFETY: `build` made the tree with this allocator, and its caller has finished with it.
        unsafe { free_nodes::<G>(tree) };
    }
}

fn program<F: Forest, const THREADS: u64>(depth: u64) -> Took {
    let depth = depth.max(LEAST_DEPTH + 2);
    let ns = timed(|| {
        let mut stretch = F::start();
        build_and_destroy(&mut stretch, depth + 1);
        drop(stretch);

        let mut long = F::start();
        let tree = long.build(depth);
        let share = || {
            let mut forest = F::start();
            for tree_depth in (LEAST_DEPTH..=depth).step_by(2) {
                for _ in 0..(1u64 << (depth - tree_depth + LEAST_DEPTH)) / THREADS {
                    build_and_destroy(&mut forest, tree_depth);
                }
            }
        };
        if THREADS == 1 {
            share();
        } else {
            std::thread::scope(|scope| {
                for thread in 0..THREADS {
                    scope.spawn(move || {
                        crate::machine::pin(thread as usize);
                        share();
                    });
                }
            });
        }
        assert_eq!(count(tree), nodes(depth));
        long.destroy(tree);
    });
    Took { ns, ..Took::default() }
}

fn build_and_destroy<F: Forest>(forest: &mut F, depth: u64) {
    let tree = forest.build(depth);
    assert_eq!(count(tree), nodes(depth));
    forest.destroy(tree);
}

fn nodes(depth: u64) -> u64 {
    (1 << (depth + 1)) - 1
}

fn grow<A: Put<Node>>(arena: &A, depth: u64) -> *const Node {
    let (left, right) = if depth == 0 { (null(), null()) } else { (grow(arena, depth - 1), grow(arena, depth - 1)) };
    arena.put(Node { left, right })
}

fn grow_nodes<G: General>(depth: u64) -> *const Node {
    let (left, right) =
        if depth == 0 { (null(), null()) } else { (grow_nodes::<G>(depth - 1), grow_nodes::<G>(depth - 1)) };
    let node = G::malloc(size_of::<Node>()).cast::<Node>();
    // SAFETY: malloc returned a block of that size.
    unsafe { node.write(Node { left, right }) };
    node
}

/// # Safety
/// `node` is null or a tree of `grow_nodes::<G>` that nobody uses any more.
unsafe fn free_nodes<G: General>(node: *const Node) {
    if node.is_null() {
        return;
    }
    // SAFETY: the caller's promise, for this node and for the two trees below it.
    unsafe {
        let Node { left, right } = node.read();
        free_nodes::<G>(left);
        free_nodes::<G>(right);
        G::free(node.cast_mut().cast());
    }
}

fn count(node: *const Node) -> u64 {
    if node.is_null() {
        return 0;
    }
    // SAFETY: `grow` linked only nodes it had written, and no arena is reset before the count is done.
    let Node { left, right } = unsafe { node.read() };
    1 + count(left) + count(right)
}
