//! The other table of `make bench`: what each step allocates in the steady state. A record has a few allocations (its
//! names, its list of events), an event none; `tests/core/allocations.rs` holds that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark may panic")]

mod corpus;
mod steps;

use corpus::Corpus;
use steps::Step;

fn main() {
    let (corpora, inventories) = corpus::all();
    println!("{:<8}  {:<14}{:>14}{:>14}", "corpus", "step", "allocs/record", "allocs/event");
    for corpus in &corpora {
        steps::with_steps(corpus, &inventories, |steps| steps.iter_mut().for_each(|step| report(corpus, step)));
    }
}

fn report(corpus: &Corpus, step: &mut Step<'_>) {
    // The first run lets reused buffers grow; the second is the steady state.
    (step.run)();
    let count = allocation_counter::measure(&mut step.run).count_total as f64;
    let (a_record, an_event) = (count / corpus.records.len() as f64, count / corpus.events as f64);
    println!("{:<8}  {:<14}{a_record:>14.3}{an_event:>14.3}", corpus.name, step.name);
}
