//! The `bamboohook` program: has no commands yet.

fn main() {}
