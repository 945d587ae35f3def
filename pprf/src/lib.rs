//! pprf
