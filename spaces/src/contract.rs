//! The promises of [`Space`], each a check that every implementation passes. Write a space of your own, then run
//! [`all`] over it, or [`each_promise!`](crate::each_promise) for one named test per promise.
//!
//! Every check takes a space that is empty and nobody else uses; it runs inside a tokio runtime.
//!
//! ```
//! use ibgib_spaces::{MemorySpace, contract};
//! use std::sync::Arc;
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! contract::all(async || Arc::new(MemorySpace::new("fresh")) as _).await.unwrap();
//! # });
//! ```

mod data;
mod forgetting;
mod leases;
mod nodes;
mod staging;
mod tips;
mod walks;

use crate::space::Space;
use std::sync::Arc;

/// A promise that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{promise}: {found}")]
pub struct ContractError {
    /// The check's name in this module.
    pub promise: &'static str,
    /// What was found instead.
    pub found: String,
}

/// What was found instead of what is promised, or the error that came in between.
struct Found(String);

impl<E: std::error::Error> From<E> for Found {
    fn from(error: E) -> Self {
        Self(format!("{error} ({error:?})"))
    }
}

type Held = Result<(), Found>;

/// Goes on only when a condition holds.
macro_rules! hold {
    ($holds:expr, $($found:tt)+) => {
        if !$holds {
            return Err($crate::contract::Found(format!($($found)+)));
        }
    };
}

/// Goes on only when two values are equal.
macro_rules! same {
    ($found:expr, $expected:expr, $what:literal) => {
        let (found, expected) = (&$found, &$expected);
        if found != expected {
            return Err($crate::contract::Found(format!("{}: {found:?}, not {expected:?}", $what)));
        }
    };
}

use {hold, same};

macro_rules! promises {
    ($($(#[$doc:meta])* $module:ident::$name:ident;)*) => {
        $($(#[$doc])*
        ///
        /// # Errors
        /// When it does not hold.
        pub async fn $name(space: Arc<dyn Space>) -> Result<(), ContractError> {
            let held = $module::$name(space).await;
            held.map_err(|Found(found)| ContractError { promise: stringify!($name), found })
        })*

        /// The names of all checks, in the order in which [`all`] runs them.
        pub const PROMISES: &[&str] = &[$(stringify!($name)),*];

        /// Every check, each with an empty space that `make` makes.
        ///
        /// # Errors
        /// The first promise that does not hold.
        pub async fn all<F: Future<Output = Arc<dyn Space>>>(make: impl Fn() -> F) -> Result<(), ContractError> {
            $($name(make().await).await?;)*
            Ok(())
        }
    };
}

promises! {
    /// What is not there is `None` or `false`, never an error; an empty space is at revision 0 or higher.
    nodes::absence_is_no_error;
    /// Nodes are answered in the order asked for, as they were committed, and under their own name only.
    nodes::nodes_come_back_as_they_were_committed;
    /// Asked for as many nodes as fit some bytes, the store answers the first of them: at least one, and not all where the
    /// bytes are few.
    nodes::the_first_nodes_fit_the_bytes;
    /// Primitives are never stored, even when they are committed, and nothing needs them.
    nodes::primitives_are_never_stored;
    /// A refused commit leaves nodes, tips, records, staged nodes and the revision as they were.
    nodes::a_refused_commit_leaves_nothing;
    /// A commit sets and drops records in the same write as its nodes and tips; records are listed by prefix, sorted.
    nodes::records_are_part_of_the_commit;
    /// A commit that expects records happens only if all of them are as expected; else it is told what they are. Of eight
    /// who race for one record one gets it.
    nodes::records_are_taken_by_compare_and_swap;
    /// A node is refused whose relations lead to what is neither in the batch nor committed.
    nodes::a_node_needs_its_graph;
    /// Adding nodes again, also twice in one batch, changes nothing.
    nodes::adding_again_changes_nothing;
    /// `scan` answers every committed node once, in key order, page by page.
    nodes::scan_pages_in_key_order;
    /// Staged nodes are seen by nobody but their owner, and are no part of anybody's graph.
    staging::staged_nodes_are_not_visible;
    /// A commit publishes what was staged for the owner it names, and nothing else.
    staging::staged_nodes_are_published_by_name;
    /// What is committed is no longer staged, for any owner.
    staging::what_is_committed_is_not_staged;
    /// `unstage` forgets what one owner staged, and only that.
    staging::unstaging_forgets_one_owner;
    /// A commit that unstages does so only if it happens, and what it publishes of that is committed.
    staging::a_commit_unstages_if_it_happens;
    /// A tip moves only from where the proof starts; a refused commit tells the present tip of every timeline.
    tips::tips_move_by_compare_and_swap;
    /// One commit moves a timeline once, and only to a node that is there.
    tips::a_tip_moves_once_and_to_what_is_there;
    /// Of eight writers that increment one counter each wins as often as it asked for, no increment is lost, and a
    /// reader beside them never sees a tip without its graph.
    tips::racing_writers_lose_nothing;
    /// Writers of different timelines do not hinder each other, and nobody who waits for a change misses it.
    tips::writers_of_different_timelines_all_win;
    /// Tips are listed sorted by timeline, and by kind.
    tips::tips_are_sorted_and_of_a_kind;
    /// A keystone moves by validated steps only, and nothing else moves by them.
    tips::keystones_move_by_validated_steps;
    /// Of which timelines the tips may lead to others, the commits tell from the first one on, and a look through a space
    /// finds the same.
    tips::tips_that_lead_elsewhere_are_known;
    tips::tips_with_open_conflicts_are_known;
    /// `changes` answers each tip that moved since, once and at its present value; a revision from the future is told.
    tips::changes_are_the_present_tips;
    /// `changed` answers at once when there is something newer, and else with the next commit.
    tips::waiting_for_a_change_ends_with_it;
    /// A commit that forgets takes tips away, and what only they are made of; what is left is whole.
    forgetting::what_is_forgotten_is_gone;
    /// What something else relates to is not forgotten; of one who forgets it and one who relates to it one wins.
    forgetting::what_is_held_is_not_forgotten;
    /// A lease is one holder's until he gives it up or it runs out; of eight who ask at once one gets it.
    leases::a_lease_has_one_holder;
    /// A lease that is not renewed runs out, and makes no revision.
    leases::a_lease_runs_out;
    /// `reach` answers dependencies before dependents, each once, primitives left out.
    walks::reach_orders_dependencies_first;
    /// `reach` leaves out everything at or below a stop; stops that are not there mean nothing.
    walks::reach_stops_where_told;
    /// More nodes than the limit is an error that says so.
    walks::reach_refuses_too_many;
    /// A start that is not there is an error with the path to it.
    walks::reach_tells_what_is_missing;
    /// The live graph goes on from every living timeline it meets to its tip, and not from others.
    walks::live_reach_goes_on_to_tips;
    /// The timelines in a live graph are found again from what was found before, whatever moved since.
    walks::tips_are_reached_from_what_is_known;
    /// A history is its nearest frames, newest first; after a merge it is that of both sides.
    walks::history_is_newest_first;
    /// Below a frame to stop at is what it relates to, as the parts of a content.
    walks::what_a_stop_relates_to_is_below_it;
}

/// Calls a macro with the names of all checks of [`contract`](crate::contract), for one test per promise:
///
/// ```
/// macro_rules! tests {
///     ($($promise:ident,)*) => {
///         $(#[tokio::test]
///         async fn $promise() {
///             let space = std::sync::Arc::new(ibgib_spaces::MemorySpace::new("fresh"));
///             ibgib_spaces::contract::$promise(space).await.unwrap();
///         })*
///     };
/// }
/// ibgib_spaces::each_promise!(tests);
/// ```
#[macro_export]
macro_rules! each_promise {
    ($then:ident) => {
        $then! {
            absence_is_no_error,
            nodes_come_back_as_they_were_committed,
            the_first_nodes_fit_the_bytes,
            primitives_are_never_stored,
            a_refused_commit_leaves_nothing,
            records_are_part_of_the_commit,
            records_are_taken_by_compare_and_swap,
            a_node_needs_its_graph,
            adding_again_changes_nothing,
            scan_pages_in_key_order,
            staged_nodes_are_not_visible,
            staged_nodes_are_published_by_name,
            what_is_committed_is_not_staged,
            unstaging_forgets_one_owner,
            a_commit_unstages_if_it_happens,
            tips_move_by_compare_and_swap,
            a_tip_moves_once_and_to_what_is_there,
            racing_writers_lose_nothing,
            writers_of_different_timelines_all_win,
            tips_are_sorted_and_of_a_kind,
            keystones_move_by_validated_steps,
            tips_that_lead_elsewhere_are_known,
            tips_with_open_conflicts_are_known,
            changes_are_the_present_tips,
            waiting_for_a_change_ends_with_it,
            what_is_forgotten_is_gone,
            what_is_held_is_not_forgotten,
            a_lease_has_one_holder,
            a_lease_runs_out,
            reach_orders_dependencies_first,
            reach_stops_where_told,
            reach_refuses_too_many,
            reach_tells_what_is_missing,
            live_reach_goes_on_to_tips,
            tips_are_reached_from_what_is_known,
            history_is_newest_first,
            what_a_stop_relates_to_is_below_it,
        }
    };
}
