//! Messages and their protection (RFC 9420 6, 10, 12).
