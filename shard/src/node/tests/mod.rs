//! A node as a coordinator sees it: real storage, real keys, real codes.

mod asking;
mod bench;
mod concurrency;
mod damage;
mod epochs;
mod fold;
mod following;
mod items;
mod search;
mod signatures;
