//! One timeline and its mutations are pushed to a receiver that has nothing.

use super::Scenario;
use crate::play::{Play, Played, Side, data};
use async_trait::async_trait;

/// 4.1
pub(super) struct BasicPush;

#[async_trait]
impl Scenario for BasicPush {
    fn phase(&self) -> &'static str {
        "4.1"
    }
    fn name(&self) -> &'static str {
        "basic-push"
    }
    fn title(&self) -> &'static str {
        "one timeline and its mutations are pushed to a receiver that has nothing"
    }

    async fn setup(&self, play: &mut Play) -> Played<()> {
        play.make_identity("test-sender-secret-phase4", None).await?;
        play.make(Side::Source, "alpha", data([("title", "first".into())])).await?;
        play.edit(Side::Source, "alpha", data([("title", "second".into())])).await?;
        play.edit(Side::Source, "alpha", data([("done", true.into())])).await?;
        Ok(())
    }

    async fn sync(&self, play: &mut Play) -> Played<()> {
        play.sync().await
    }

    async fn check(&self, play: &mut Play) -> Played<()> {
        let tip = play.tip(Side::Dest, "alpha").await?;
        play.check("the tip and all its frames arrive", tip.n() == Some(3), tip.addr().to_string());
        let pushed = play.runs[0].summary();
        let inline = pushed.nodes_received == 0 && (!play.scene.with_identity || pushed.turns == 2);
        let evidence = format!("{} turns", pushed.turns);
        play.check("a small push takes one turn", inline, evidence);
        play.check_end().await
    }
}
