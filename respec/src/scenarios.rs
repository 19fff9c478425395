//! The scenarios: what each phase's buttons and tests do, told once.

mod basic_push;
mod conflict_adv_multitimelines;
mod conflict_basic_divergence;
mod conflict_basic_multitimelines;
mod conflict_text_merge;
mod constants;
mod deep_updates;
mod dest_ahead;
mod multiple_timelines;
mod partial_update;
mod phases;

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
