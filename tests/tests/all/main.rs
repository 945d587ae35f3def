//! All cross-crate tests but the vectors, in one binary: one module a subject.

mod attack;
mod converge;
mod dmls_vectors;
mod equivocation;
mod fuzzed;
mod heal;
mod identity;
mod membership;
mod model;
mod rejoin;
mod retention;
mod store;
