//! Compiles the C side of glibc's obstacks and links the Debian libraries that are measured.

fn main() {
    println!("cargo:rerun-if-changed=c/obstack.c");
    cc::Build::new().file("c/obstack.c").opt_level(3).warnings(true).compile("bench_obstack");
    println!("cargo:rustc-link-lib=apr-1");
    println!("cargo:rustc-link-lib=talloc");
}
