//! Many mutations: every frame between arrives.

use super::Scenario;
use crate::play::{Play, Played, Side, data};
use async_trait::async_trait;

/// 4.4
pub(super) struct DeepUpdates;

#[async_trait]
impl Scenario for DeepUpdates {
    fn phase(&self) -> &'static str {
        "4.4"
    }
    fn name(&self) -> &'static str {
        "deep-updates"
    }
    fn title(&self) -> &'static str {
        "many mutations: every frame between arrives"
    }

    async fn setup(&self, play: &mut Play) -> Played<()> {
        play.make_identity("test-sender-secret-phase4", None).await?;
        play.make(Side::Source, "alpha", data([("count", 0.into())])).await?;
        for count in 1..40 {
            play.edit(Side::Source, "alpha", data([("count", count.into())])).await?;
        }
        Ok(())
    }

    async fn sync(&self, play: &mut Play) -> Played<()> {
        play.sync().await
    }

    async fn check(&self, play: &mut Play) -> Played<()> {
        let mut at = Some(play.tip(Side::Dest, "alpha").await?.addr().clone());
        let mut frames = 0;
        while let Some(addr) = at {
            let frame = play.scene.dest.node(&addr).await?.ok_or("a frame is missing")?;
            frames += 1;
            at = frame.past();
        }
        play.check("all intermediate frames arrive", frames == 41, format!("{frames} frames"));
        play.check_end().await
    }
}
