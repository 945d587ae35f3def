//! dmls-core
