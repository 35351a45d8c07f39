//! Programs that the compiler refuses: the promises that types keep, each a documentation test that must not compile, beside
//! one that must and differs in nothing else.
//!
//! The error codes are checked where rustdoc can (`cargo +nightly test --doc`). Nothing here is part of the library.
#![forbid(unsafe_code)]

/// A block lives as long as its arena, and no longer.
/// ```
/// let arena = arenascope::Arena::init(64).unwrap();
/// let block = arena.alloc(1);
/// assert_eq!(*block, 1);
/// drop(arena);
/// ```
/// ```compile_fail,E0505
/// let arena = arenascope::Arena::init(64).unwrap();
/// let block = arena.alloc(1);
/// drop(arena);
/// assert_eq!(*block, 1);
/// ```
pub struct Destroy;

/// Reset and rewind end every block.
/// ```
/// let mut arena = arenascope::Arena::init(64).unwrap();
/// let checkpoint = arena.checkpoint();
/// let text = arena.alloc_str("x");
/// assert_eq!(text, "x");
/// arena.rewind(&checkpoint).unwrap();
/// arena.reset();
/// ```
/// ```compile_fail,E0502
/// let mut arena = arenascope::Arena::init(64).unwrap();
/// let checkpoint = arena.checkpoint();
/// let text = arena.alloc_str("x");
/// arena.rewind(&checkpoint).unwrap();
/// assert_eq!(text, "x");
/// ```
/// ```compile_fail,E0502
/// let mut arena = arenascope::Arena::init(64).unwrap();
/// let text = arena.alloc_str("x");
/// arena.reset();
/// assert_eq!(text, "x");
/// ```
pub struct Reset;

/// No reset and no rewind from inside a scope.
/// ```
/// let mut arena = arenascope::Arena::init(64).unwrap();
/// arena.scope(|scope| *scope.alloc(1));
/// arena.reset();
/// ```
/// ```compile_fail,E0499
/// let mut arena = arenascope::Arena::init(64).unwrap();
/// arena.scope(|scope| arena.reset());
/// ```
/// ```compile_fail,E0599
/// let mut arena = arenascope::Arena::init(64).unwrap();
/// arena.scope(|scope| scope.reset());
/// ```
/// ```compile_fail,E0499
/// let mut arena = arenascope::Arena::init(64).unwrap();
/// let mut guard = arena.scope_guard();
/// let scope = guard.scope();
/// arena.reset();
/// scope.alloc(1);
/// ```
pub struct ResetInScope;

/// A block cannot leave its scope, by return, by a variable outside, or past its guard.
/// ```
/// let mut arena = arenascope::Arena::init(64).unwrap();
/// let number = arena.scope(|scope| *scope.alloc(1));
/// assert_eq!(number, 1);
/// ```
/// ```compile_fail
/// let mut arena = arenascope::Arena::init(64).unwrap();
/// let number = arena.scope(|scope| scope.alloc(1));
/// assert_eq!(*number, 1);
/// ```
/// ```compile_fail,E0521
/// let mut arena = arenascope::Arena::init(64).unwrap();
/// let mut outside = None;
/// arena.scope(|scope| outside = Some(scope.alloc(1)));
/// ```
/// ```compile_fail,E0521
/// let mut arena = arenascope::Arena::init(640).unwrap();
/// arena.scope(|outer| {
///     let mut kept = None;
///     outer.scope(|inner| kept = Some(inner.alloc(1)));
/// });
/// ```
/// ```compile_fail,E0505
/// let mut arena = arenascope::Arena::init(64).unwrap();
/// let mut guard = arena.scope_guard();
/// let number = guard.scope().alloc(1);
/// drop(guard);
/// assert_eq!(*number, 1);
/// ```
/// ```compile_fail,E0499
/// let mut arena = arenascope::Arena::init(64).unwrap();
/// let mut guard = arena.scope_guard();
/// let number = guard.scope().alloc(1);
/// let again = guard.scope().alloc(2);
/// assert_eq!(*number + *again, 3);
/// ```
pub struct Escape;

/// While an inner scope is open, nothing is allocated in an outer one.
/// ```
/// let mut arena = arenascope::Arena::init(640).unwrap();
/// arena.scope(|outer| {
///     let kept = outer.alloc(1);
///     outer.scope(|inner| *inner.alloc(*kept) += 1);
/// });
/// ```
/// ```compile_fail,E0502
/// let mut arena = arenascope::Arena::init(640).unwrap();
/// arena.scope(|outer| {
///     outer.scope(|inner| _ = outer.alloc(1));
/// });
/// ```
/// ```compile_fail,E0502
/// let mut arena = arenascope::Arena::init(640).unwrap();
/// arena.scope(|outer| {
///     let arena: &arenascope::Arena = outer;
///     outer.scope(|inner| _ = arena.alloc(1));
/// });
/// ```
/// ```compile_fail,E0502
/// let mut arena = arenascope::Arena::init(640).unwrap();
/// arena.scope(|outer| {
///     let mut burst = outer.burst();
///     outer.scope(|inner| _ = burst.alloc(1));
/// });
/// ```
/// ```compile_fail,E0499
/// let mut arena = arenascope::Arena::init(640).unwrap();
/// let mut outer = arena.scope_guard();
/// let mut scope = outer.scope();
/// let mut inner = scope.scope_guard();
/// let mut sibling = scope.scope_guard();
/// drop(inner);
/// ```
pub struct OuterWhileInner;

/// What `alloc` would never drop is refused, with the way out in the message.
/// ```
/// let arena = arenascope::Arena::init(640).unwrap();
/// let text = arena.alloc_box(String::from("dropped with its box"));
/// let never = arena.alloc(std::mem::ManuallyDrop::new(String::from("said to be never dropped")));
/// ```
/// ```compile_fail,E0080
/// let arena = arenascope::Arena::init(640).unwrap();
/// arena.alloc(String::from("leaked"));
/// ```
/// ```compile_fail,E0080
/// let arena = arenascope::Arena::init(640).unwrap();
/// arena.alloc_iter(vec![vec![1]]);
/// ```
/// ```compile_fail,E0080
/// let arena = arenascope::Arena::init(640).unwrap();
/// arena.alloc_slice_clone(&[String::new()]);
/// ```
/// ```compile_fail,E0080
/// let arena = arenascope::Arena::init(640).unwrap();
/// arena.alloc_slice_fill_with(3, |_| String::new());
/// ```
/// ```compile_fail,E0080
/// let mut arena = arenascope::Arena::init(640).unwrap();
/// arena.scope(|scope| _ = scope.alloc(String::new()));
/// ```
/// ```compile_fail,E0080
/// let arena = arenascope::Arena::init(640).unwrap();
/// arena.burst().alloc(String::new());
/// ```
pub struct NeedsDrop;

/// A value in a scope's drop list may borrow what was there before the scope, not blocks of the scope, which may be dropped
/// before it; and no handle can be talked into a shorter lifetime.
/// ```
/// struct Loud<'a>(&'a str);
/// impl Drop for Loud<'_> {
///     fn drop(&mut self) { assert_eq!(self.0, "before"); }
/// }
/// let before = String::from("before");
/// let mut arena = arenascope::Arena::init(640).unwrap();
/// arena.scope(|scope| _ = scope.alloc_drop(Loud(&before)));
/// ```
/// ```compile_fail
/// struct Loud<'a>(&'a str);
/// impl Drop for Loud<'_> {
///     fn drop(&mut self) { assert_eq!(self.0, "before"); }
/// }
/// let mut arena = arenascope::Arena::init(640).unwrap();
/// arena.scope(|scope| {
///     let inside = scope.alloc_str("before");
///     scope.alloc_drop(Loud(inside));
/// });
/// ```
/// ```compile_fail,E0597
/// struct Loud<'a>(&'a str);
/// impl Drop for Loud<'_> {
///     fn drop(&mut self) { assert_eq!(self.0, "before"); }
/// }
/// let mut arena = arenascope::Arena::init(640).unwrap();
/// arena.scope(|scope| {
///     let inside = String::from("before");
///     scope.alloc_drop(Loud(&inside));
/// });
/// ```
/// ```compile_fail,E0597
/// struct Loud<'a>(&'a str);
/// impl Drop for Loud<'_> {
///     fn drop(&mut self) { assert_eq!(self.0, "before"); }
/// }
/// let mut arena = arenascope::Arena::init(640).unwrap();
/// let mut guard = arena.scope_guard();
/// {
///     let inside = String::from("before");
///     guard.scope().alloc_drop(Loud(&inside));
/// }
/// ```
/// ```compile_fail
/// fn shorter<'s, 'short, 'long: 'short>(
///     scope: arenascope::Scope<'s, 'long>,
/// ) -> arenascope::Scope<'s, 'short> {
///     scope
/// }
/// ```
/// ```compile_fail
/// fn shorter<'short, 'long: 'short>(guard: arenascope::ScopeGuard<'long>) -> arenascope::ScopeGuard<'short> {
///     guard
/// }
/// ```
pub struct DropList;

/// No `'static` box, and no `'static` block, from an arena that ends.
/// ```
/// let arena = arenascope::Arena::init(64).unwrap();
/// let boxed: arenascope::ArenaBox<'_, i32> = arena.alloc_box(1);
/// assert_eq!(*boxed, 1);
/// ```
/// ```compile_fail,E0597
/// let arena = arenascope::Arena::init(64).unwrap();
/// let boxed: arenascope::ArenaBox<'static, i32> = arena.alloc_box(1);
/// ```
/// ```compile_fail,E0716
/// let boxed = arenascope::Arena::init(64).unwrap().alloc_box(1);
/// assert_eq!(*boxed, 1);
/// ```
/// ```compile_fail,E0597
/// let leaked: &'static mut i32 = {
///     let arena = arenascope::Arena::init(64).unwrap();
///     arenascope::ArenaBox::leak(arena.alloc_box(1))
/// };
/// ```
/// ```compile_fail,E0499
/// let mut memory = [std::mem::MaybeUninit::uninit(); 1024];
/// let arena = arenascope::Arena::in_buffer(&mut memory).unwrap();
/// let second = arenascope::Arena::in_buffer(&mut memory).unwrap();
/// arena.alloc(1);
/// ```
/// ```compile_fail,E0597
/// let boxed;
/// {
///     let local = String::from("shorter than the arena");
///     let arena: &'static arenascope::OwnedArena = Box::leak(Box::new(arenascope::Arena::init(64).unwrap()));
///     boxed = arena.alloc_box(&local[..]);
/// }
/// assert_eq!(boxed.len(), 22);
/// ```
pub struct StaticBox;

/// Boxes are as covariant as references.
/// ```
/// fn shorter<'s, 'l: 's>(b: arenascope::ArenaBox<'l, &'static str>) -> arenascope::ArenaBox<'s, &'s str> {
///     b
/// }
/// ```
/// ```compile_fail
/// fn longer<'s, 'l: 's>(b: arenascope::ArenaBox<'s, &'s str>) -> arenascope::ArenaBox<'l, &'l str> {
///     b
/// }
/// ```
pub struct Variance;

/// An arena may move to another thread, with nothing borrowed from it; it is never used by two.
/// ```
/// let arena = arenascope::Arena::init(64).unwrap();
/// std::thread::spawn(move || *arena.alloc(1)).join().unwrap();
/// ```
/// ```compile_fail,E0277
/// let arena = arenascope::Arena::init(64).unwrap();
/// std::thread::scope(|threads| { threads.spawn(|| *arena.alloc(1)); });
/// ```
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<arenascope::OwnedArena>();
/// ```
/// ```compile_fail,E0277
/// fn send<T: Send>(_: T) {}
/// let mut arena = arenascope::Arena::init(64).unwrap();
/// send(arena.scope_guard());
/// ```
/// ```compile_fail,E0277
/// fn send<T: Send>(_: T) {}
/// let mut arena = arenascope::Arena::init(64).unwrap();
/// send(arena.scope_guard().scope());
/// ```
/// ```compile_fail,E0277
/// fn send<T: Send>(_: T) {}
/// let arena = arenascope::Arena::init(64).unwrap();
/// send(arena.burst());
/// ```
/// ```compile_fail,E0277
/// fn send<T: Send>(_: T) {}
/// let arena = arenascope::Arena::init(64).unwrap();
/// send(arena.alloc_box(std::rc::Rc::new(1)));
/// ```
/// ```compile_fail,E0277
/// fn sync<T: Sync>(_: T) {}
/// let arena = arenascope::Arena::init(64).unwrap();
/// sync(arena.alloc_box(std::cell::Cell::new(1)));
/// ```
/// ```compile_fail,E0277
/// fn sync<T: Sync>(_: &T) {}
/// let arena = arenascope::Arena::init(64).unwrap();
/// sync(&*arena);
/// ```
pub struct Threads;

/// The header cannot be moved, swapped or copied.
/// ```compile_fail,E0596
/// let (mut a, mut b) = (arenascope::Arena::init(64).unwrap(), arenascope::Arena::init(64).unwrap());
/// std::mem::swap(&mut *a, &mut *b);
/// ```
/// ```compile_fail,E0507
/// let a = arenascope::Arena::init(64).unwrap();
/// let header = *a;
/// ```
pub struct Header;
