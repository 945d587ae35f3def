//! A small group whose schedule is the input: deliveries, cuts, crashes, commits, messages, time. In the end the network
//! heals, and the convergence statement must hold.

use crate::{Ordeal, Schedule};

/// The smallest group and one above the largest.
const SIZES: std::ops::Range<usize> = 2..6;
/// Things that happen in one schedule at most.
const MOST: usize = 40;

thread_local! {
    static FORMED: Vec<Schedule> = SIZES.map(|founders| Schedule::formed(100, founders)).collect();
}

/// Judges an input: the first byte says how many members there are and what each step must go through while they act.
/// Ordeals cost twenty times the rest, so most inputs are spared.
pub fn run(data: &[u8]) {
    let Some((first, decisions)) = data.split_first() else { return };
    FORMED.with(|formed| {
        let mut schedule = formed[usize::from(first & 3)].clone();
        schedule.world.ordeal.failing_store = first >> 2 == 1;
        schedule.world.ordeal.restart = first >> 2 == 2;
        schedule.follow(decisions);
        for _ in 0..MOST {
            if schedule.is_over() {
                break;
            }
            schedule.happen();
        }
        schedule.world.ordeal = Ordeal::default();
        schedule.heal_and_judge("input");
        schedule.rest_and_judge("input");
    });
}
