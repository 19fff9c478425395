//! The scenarios: what each phase's buttons on the developer tools page and each phase's tests do, told once.
//!
//! * A [`Scenario`] is three steps: setup, sync, check. [`all`] lists them, [`run`] plays one.
//! * [`play::Play`] is what its steps are told with, [`play::Scene`] where it is played: two spaces and a way between.
//! * [`faults::Simulated`] makes that way a bad one.
//!
//! This crate starts no server, opens no file and makes no space, so that the command can carry it: the scene comes
//! from the caller. The scenes that tests use are the rigs of `ibgib-respec`.
//!
//! ```
//! use ibgib_peer::{Host, HostOptions, Innerspace};
//! use ibgib_scenarios::play::{Play, Scene};
//! use ibgib_spaces::{MemorySpace, Space};
//! use std::sync::Arc;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let source: Arc<dyn Space> = Arc::new(MemorySpace::new("source"));
//! let dest: Arc<dyn Space> = Arc::new(MemorySpace::new("dest"));
//! let remote = Arc::new(Innerspace::new(Host::new(Arc::clone(&dest), HostOptions::default())));
//! let (seed, limits) = ("doc".to_owned(), ibgib_saga::Limits::default());
//! let mut play = Play::new(Scene { source, dest, remote, with_identity: true, seed, limits });
//! let scenario = ibgib_scenarios::find("basic-push").unwrap();
//! ibgib_scenarios::run(&*scenario, &mut play).await.unwrap();
//! assert!(play.checks.iter().all(|check| check.passed));
//! # });
//! ```
#![forbid(unsafe_code)]

mod basic_push;
mod conflict_adv_multitimelines;
mod conflict_basic_divergence;
mod conflict_basic_multitimelines;
mod conflict_text_merge;
mod constants;
mod deep_updates;
mod dest_ahead;
pub mod faults;
mod multiple_timelines;
mod partial_update;
mod phases;
pub mod play;

use crate::play::{Play, Played};
use async_trait::async_trait;

/// One scenario in three steps, as the dev-tools page has three buttons.
#[async_trait]
pub trait Scenario: Send + Sync {
    /// Its number in the plan: `1`, `2`, `3`, `4.1` … `4.10`.
    fn phase(&self) -> &'static str;

    /// Its short name.
    fn name(&self) -> &'static str;

    /// What it shows, in one sentence.
    fn title(&self) -> &'static str;

    /// Whether it makes no sense without an identity.
    fn needs_identity(&self) -> bool {
        false
    }

    /// Makes identity and documents.
    async fn setup(&self, play: &mut Play) -> Played<()>;

    /// Syncs.
    async fn sync(&self, play: &mut Play) -> Played<()>;

    /// Looks at both sides; what does not hold stands in [`Play::checks`].
    async fn check(&self, play: &mut Play) -> Played<()>;
}

/// All scenarios, in the order of the plan.
pub fn all() -> Vec<Box<dyn Scenario>> {
    vec![
        Box::new(phases::Establish),
        Box::new(phases::Connect),
        Box::new(phases::PingPong),
        Box::new(basic_push::BasicPush),
        Box::new(constants::Constants),
        Box::new(partial_update::PartialUpdate),
        Box::new(deep_updates::DeepUpdates),
        Box::new(dest_ahead::DestAhead),
        Box::new(multiple_timelines::MultipleTimelines),
        Box::new(conflict_basic_divergence::ConflictBasicDivergence),
        Box::new(conflict_basic_multitimelines::ConflictBasicMultitimelines),
        Box::new(conflict_text_merge::ConflictTextMerge),
        Box::new(conflict_adv_multitimelines::ConflictAdvMultitimelines),
    ]
}

/// The scenario of a phase or of a name.
pub fn find(which: &str) -> Option<Box<dyn Scenario>> {
    all().into_iter().find(|s| s.phase() == which || s.name() == which)
}

/// Plays a scenario to its end.
///
/// # Errors
/// A step that could not be played.
pub async fn run(scenario: &dyn Scenario, play: &mut Play) -> Played<()> {
    scenario.setup(play).await?;
    scenario.sync(play).await?;
    scenario.check(play).await
}
