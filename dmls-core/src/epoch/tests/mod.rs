//! Epochs driven by hand, as the layers above drive them.

mod flow;
mod world;
