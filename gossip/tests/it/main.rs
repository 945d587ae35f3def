//! Real swarms on loopback. No test needs a network, none sends a packet off this host.

mod catchup;
mod cut;
mod direct;
mod hostile;
mod limits;
mod live;
mod mdns;
mod raw;
mod restart;
mod support;
