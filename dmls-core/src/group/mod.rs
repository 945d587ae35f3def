//! A DMLS group: a sans-IO state machine over a history of epochs (DESIGN 4.7, 4.8).
