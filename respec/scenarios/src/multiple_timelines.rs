//! Two independent timelines travel in one sync.

use super::Scenario;
use crate::play::{Play, Played, Side, data};
use async_trait::async_trait;

/// 4.6
pub(super) struct MultipleTimelines;

#[async_trait]
impl Scenario for MultipleTimelines {
    fn phase(&self) -> &'static str {
        "4.6"
    }
    fn name(&self) -> &'static str {
        "multiple-timelines"
    }
    fn title(&self) -> &'static str {
        "two independent timelines travel in one sync"
    }

    async fn setup(&self, play: &mut Play) -> Played<()> {
        play.make_identity("test-sender-secret-phase4", None).await?;
        play.make(Side::Source, "alpha", data([("title", "a".into())])).await?;
        play.make(Side::Source, "beta", data([("title", "b".into())])).await?;
        play.edit(Side::Source, "beta", data([("title", "b, changed".into())])).await?;
        Ok(())
    }

    async fn sync(&self, play: &mut Play) -> Played<()> {
        play.sync().await
    }

    async fn check(&self, play: &mut Play) -> Played<()> {
        let moved = play.runs[0].summary().timelines.len();
        play.check("both timelines are synced in one call", moved == 2, format!("{moved} timelines"));
        play.check_end().await
    }
}
