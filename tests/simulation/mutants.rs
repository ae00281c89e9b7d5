//! The checker is itself checked: each deliberate mistake in the delivery code is found by one of the first seeds.
//!
//! That the same seeds find nothing in the code as it is, is `no_seed_loses_anything`.

use super::number;
use super::story::simulate;
use crate::hooks::Mutant;

/// The first seed that finds the mistake, and what it says.
fn first_catch(mutant: Mutant, seeds: u64) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| Some((seed, simulate(seed, Some(mutant)).failure?)))
}

fn caught(mutant: Mutant) {
    // Each is found far earlier; the rest is for changes of the models.
    let seeds = number("SEEDS").unwrap_or(300);
    match first_catch(mutant, seeds) {
        Some((seed, failure)) => eprintln!("{mutant:?}: seed {seed}: {failure}"),
        None => panic!("{mutant:?} is not found by {seeds} seeds"),
    }
}

macro_rules! mutants {
    ($($name:ident: $mutant:ident,)*) => {
        $(#[test]
        fn $name() {
            caught(Mutant::$mutant);
        })*
    };
}

mutants! {
    a_settlement_that_is_skipped_is_found: SkipResolve,
    a_checkpoint_that_advances_early_is_found: AdvanceEarly,
    a_child_that_is_read_early_is_found: ChildEarly,
    publishing_before_the_seal_is_committed_is_found: PublishBeforeSeal,
    an_epoch_that_is_forgotten_is_found: ForgetEpoch,
    a_rewind_that_begins_one_record_late_is_found: RewindLate,
    a_seal_that_is_forgotten_before_it_is_published_is_found: SealForgotten,
    a_rewind_that_discards_nothing_is_found: KeepDiscarded,
    a_part_that_is_taken_for_the_whole_is_found: PartIsWhole,
    a_lane_that_joins_a_reader_anywhere_is_found: JoinAnywhere,
    a_lane_that_joins_a_reader_within_a_record_is_found: JoinMidRecord,
    a_shard_that_ends_unsettled_is_found: EndUnsettled,
    a_seal_that_a_restart_does_not_see_is_found: ForgetFoundSeal,
    an_iterator_that_is_renewed_too_late_is_found: RenewLate,
    a_gap_that_is_none_is_found: FalseGap,
    children_that_are_read_from_the_tip_are_found: ChildrenAtTip,
    a_subscription_that_begins_after_its_continuation_is_found: AfterContinuation,
    a_record_that_comes_twice_and_is_taken_twice_is_found: TakeTwice,
    a_subscription_whose_end_is_taken_for_the_shards_is_found: LineIsShard,
    children_that_are_taken_for_the_end_of_their_parent_are_found: ChildrenAreTheEnd,
}
