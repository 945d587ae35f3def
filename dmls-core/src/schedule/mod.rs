//! Key schedule, PSKs, transcripts, secret tree (RFC 9420 8, 9), and what DMLS derives (DESIGN 4.3).
