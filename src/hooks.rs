//! What the simulation changes in the code that it runs: a clock, small sizes, and deliberate mistakes.
//!
//! Compiled in unit tests only; elsewhere `mutant!` is `false`. All of it belongs to one thread, so that tests run side
//! by side. A mutant is a mistake that the simulation's checker must find: see `tests/simulation`.

/// Whether a deliberate mistake is to be made here: never outside of unit tests.
#[cfg(test)]
macro_rules! mutant {
    ($name:ident) => {
        $crate::hooks::is_on($crate::hooks::Mutant::$name)
    };
}

/// Whether a deliberate mistake is to be made here: never outside of unit tests.
#[cfg(not(test))]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}

#[cfg(test)]
pub(crate) use on::*;

#[cfg(test)]
#[cfg_attr(not(feature = "aws"), allow(dead_code, reason = "the simulation reads from a model Kinesis"))]
mod on {
    use std::cell::Cell;

    use tokio::time::Instant;

    use crate::event::Millis;

    /// A deliberate mistake.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) enum Mutant {
        /// A settlement is thrown away now and then.
        SkipResolve,
        /// A checkpoint takes what was read for what is settled.
        AdvanceEarly,
        /// A child shard is read before its parents are settled.
        ChildEarly,
        /// A sink may publish as soon as it has asked for a seal.
        PublishBeforeSeal,
        /// Results of an older epoch count; batches are numbered within an epoch.
        ForgetEpoch,
        /// A rewound lane begins one record late.
        RewindLate,
        /// A seal is forgotten before the sink has published.
        SealForgotten,
        /// A rewound lane does not tell its sink to discard.
        KeepDiscarded,
        /// One settled item settles its whole batch.
        PartIsWhole,
        /// A lane joins any reader of its shard, wherever it stands.
        JoinAnywhere,
        /// A lane is done when its reader is, settled or not.
        EndUnsettled,
        /// A restart forgets the seal that it finds.
        ForgetFoundSeal,
        /// A new iterator begins one record too late.
        RenewLate,
        /// An expired iterator is reported as a gap.
        FalseGap,
        /// A lane joins a reader that is within a record.
        JoinMidRecord,
        /// Children that are found later begin at the tip.
        ChildrenAtTip,
        /// A subscription begins after its continuation.
        AfterContinuation,
        /// What comes twice is handed out twice.
        TakeTwice,
        /// The end of a subscription is taken for the end of its shard.
        LineIsShard,
        /// Children that are named are taken for the end of their parent.
        ChildrenAreTheEnd,
    }

    thread_local! {
        static MUTANT: Cell<Option<Mutant>> = const { Cell::new(None) };
        static CLOCK: Cell<Option<(Instant, i64)>> = const { Cell::new(None) };
        static PIECE_BYTES: Cell<Option<usize>> = const { Cell::new(None) };
    }

    pub(crate) fn is_on(mutant: Mutant) -> bool {
        MUTANT.get() == Some(mutant)
    }

    /// What the simulation sets on its thread; dropping it takes everything back.
    pub(crate) struct Hooks;

    impl Hooks {
        pub(crate) fn set(mutant: Option<Mutant>, piece_bytes: usize) -> Hooks {
            MUTANT.set(mutant);
            PIECE_BYTES.set(Some(piece_bytes));
            Hooks
        }

        /// The wall clock follows the paused clock of tokio: it is `millis` now.
        pub(crate) fn clock(&self, millis: i64) {
            CLOCK.set(Some((Instant::now(), millis)));
        }
    }

    impl Drop for Hooks {
        fn drop(&mut self) {
            MUTANT.set(None);
            CLOCK.set(None);
            PIECE_BYTES.set(None);
        }
    }

    /// The time, if the simulation rules it.
    pub(crate) fn now() -> Option<Millis> {
        let (start, millis) = CLOCK.get()?;
        Some(Millis(millis + i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX)))
    }

    /// Bytes of a piece, if the simulation wants them to be few.
    pub(crate) fn piece_bytes() -> Option<usize> {
        PIECE_BYTES.get()
    }
}
