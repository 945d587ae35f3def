//! One epoch of a group: proposals, commits, joining (RFC 9420 11, 12).
