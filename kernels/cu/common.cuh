// What the kernels share. Every kernel takes one structure by value, the twin of a repr(C) structure in Rust.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
