//! The tree of epochs and the one function that chooses a branch (DESIGN 4.4).
