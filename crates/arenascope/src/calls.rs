//! The arena's calls once more, for handles whose blocks outlive a borrow of the handle: scopes, and threads' handles of shared arenas.
//!
//! May be relied on: each call does what the arena's does, and gives blocks for the lifetime that the handle names. Deliberately absent:
//! what handles can beside.
#![forbid(unsafe_code)]

/// Writes the calls for one handle: `forward_calls! { impl[generics] Type, 'blocks, "word" }`. The handle has a private `arena(&self) -> &'blocks
/// Arena`, which it must not show to anybody: through it, blocks could be asked for after the handle's end.
macro_rules! forward_calls {
    ($(#[$note:meta])* impl[$($generics:tt)*] $handle:ty, $life:lifetime, $word:literal) => {
        $crate::calls::forward_listed! {
            $(#[$note])* [$($generics)*] [$handle] $life $word
            alloc[T] undropped T (value: T) -> &$life mut T;
            try_alloc[T] undropped T (value: T) -> Result<&$life mut T, Error>;
            alloc_with[T] undropped T (make: impl FnOnce() -> T) -> &$life mut T;
            try_alloc_with[T] undropped T (make: impl FnOnce() -> T) -> Result<&$life mut T, Error>;
            alloc_try_with[T, E] undropped T (make: impl FnOnce() -> Result<T, E>) -> Result<&$life mut T, E>;
            try_alloc_try_with[T, E] undropped T (make: impl FnOnce() -> Result<T, E>) -> Result<&$life mut T, AllocOrInitError<E>>;
            alloc_uninit[T]() -> &$life mut MaybeUninit<T>;
            try_alloc_uninit[T]() -> Result<&$life mut MaybeUninit<T>, Error>;
            alloc_layout(layout: Layout) -> NonNull<u8>;
            try_alloc_layout(layout: Layout) -> Result<NonNull<u8>, Error>;
            alloc_slice_copy[T: Copy](items: &[T]) -> &$life mut [T];
            try_alloc_slice_copy[T: Copy](items: &[T]) -> Result<&$life mut [T], Error>;
            alloc_slice_clone[T: Clone] undropped T (items: &[T]) -> &$life mut [T];
            try_alloc_slice_clone[T: Clone] undropped T (items: &[T]) -> Result<&$life mut [T], Error>;
            alloc_slice_fill_with[T] undropped T (count: usize, make: impl FnMut(usize) -> T) -> &$life mut [T];
            try_alloc_slice_fill_with[T] undropped T (count: usize, make: impl FnMut(usize) -> T) -> Result<&$life mut [T], Error>;
            alloc_slice_fill_copy[T: Copy](count: usize, value: T) -> &$life mut [T];
            try_alloc_slice_fill_copy[T: Copy](count: usize, value: T) -> Result<&$life mut [T], Error>;
            alloc_slice_fill_clone[T: Clone] undropped T (count: usize, value: &T) -> &$life mut [T];
            try_alloc_slice_fill_clone[T: Clone] undropped T (count: usize, value: &T) -> Result<&$life mut [T], Error>;
            alloc_slice_fill_default[T: Default] undropped T (count: usize) -> &$life mut [T];
            try_alloc_slice_fill_default[T: Default] undropped T (count: usize) -> Result<&$life mut [T], Error>;
            alloc_slice_fill_iter[T] undropped T (items: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>) -> &$life mut [T];
            try_alloc_slice_fill_iter[T] undropped T (items: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>)
                -> Result<&$life mut [T], Error>;
            alloc_slice_try_fill_with[T, E] undropped T (count: usize, make: impl FnMut(usize) -> Result<T, E>) -> Result<&$life mut [T], E>;
            try_alloc_slice_try_fill_with[T, E] undropped T (count: usize, make: impl FnMut(usize) -> Result<T, E>)
                -> Result<&$life mut [T], AllocOrInitError<E>>;
            alloc_slice_try_fill_iter[T, E] undropped T (items: impl IntoIterator<Item = Result<T, E>, IntoIter: ExactSizeIterator>)
                -> Result<&$life mut [T], E>;
            try_alloc_slice_try_fill_iter[T, E] undropped T (items: impl IntoIterator<Item = Result<T, E>, IntoIter: ExactSizeIterator>)
                -> Result<&$life mut [T], AllocOrInitError<E>>;
            alloc_iter[T] undropped T (items: impl IntoIterator<Item = T>) -> &$life mut [T];
            try_alloc_iter[T] undropped T (items: impl IntoIterator<Item = T>) -> Result<&$life mut [T], Error>;
            alloc_uninit_slice[T](count: usize) -> &$life mut [MaybeUninit<T>];
            try_alloc_uninit_slice[T](count: usize) -> Result<&$life mut [MaybeUninit<T>], Error>;
            alloc_str(text: &str) -> &$life mut str;
            try_alloc_str(text: &str) -> Result<&$life mut str, Error>;
            alloc_fmt(text: fmt::Arguments<'_>) -> &$life mut str;
            try_alloc_fmt(text: fmt::Arguments<'_>) -> Result<&$life mut str, Error>;
            alloc_cstr(text: &CStr) -> &$life CStr;
            try_alloc_cstr(text: &CStr) -> Result<&$life CStr, Error>;
            alloc_cstr_from_str(text: &str) -> &$life CStr;
            try_alloc_cstr_from_str(text: &str) -> Result<&$life CStr, CStrError>;
            alloc_zeroed[T: Zeroable] undropped T () -> &$life mut T;
            try_alloc_zeroed[T: Zeroable] undropped T () -> Result<&$life mut T, Error>;
            alloc_zeroed_slice[T: Zeroable] undropped T (count: usize) -> &$life mut [T];
            try_alloc_zeroed_slice[T: Zeroable] undropped T (count: usize) -> Result<&$life mut [T], Error>;
            alloc_zeroed_layout(layout: Layout) -> NonNull<u8>;
            try_alloc_zeroed_layout(layout: Layout) -> Result<NonNull<u8>, Error>;
            alloc_box[T](value: T) -> ArenaBox<$life, T>;
            try_alloc_box[T](value: T) -> Result<ArenaBox<$life, T>, Error>;
            alloc_box_iter[T](items: impl IntoIterator<Item = T>) -> ArenaBox<$life, [T]>;
            try_alloc_box_iter[T](items: impl IntoIterator<Item = T>) -> Result<ArenaBox<$life, [T]>, Error>;
        }
    };
}

/// `undropped` asks here too what the arena's call asks: the compiler's message ends with the line that called the first to ask.
macro_rules! forward_listed {
    (
        $(#[$note:meta])* [$($generics:tt)*] [$handle:ty] $life:lifetime $word:literal
        $($name:ident $([$($bound:tt)*])? $(undropped $value:ident)? ($($argument:ident: $type:ty),*) -> $out:ty;)*
    ) => {
        $(#[$note])*
        impl<$($generics)*> $handle {
            $(
                #[doc = concat!("As [`Arena::", stringify!($name), "`](crate::Arena::", stringify!($name), "), for as long as the ", $word, ".")]
                #[inline(always)]
                #[track_caller]
                #[allow(clippy::mut_from_ref)] // Each call returns a block of its own: I3.
                pub fn $name $(<$($bound)*>)? (&self, $($argument: $type),*) -> $out {
                    $(let () = Undropped::<$value>::OK;)?
                    self.arena().$name($($argument),*)
                }
            )*
        }
    };
}

pub(crate) use {forward_calls, forward_listed};
