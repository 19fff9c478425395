//! The receiver is ahead: the sender learns of its tip and pulls it.

use super::Scenario;
use crate::play::{Play, Played, Side, data};
use async_trait::async_trait;

/// 4.5
pub(super) struct DestAhead;

#[async_trait]
impl Scenario for DestAhead {
    fn phase(&self) -> &'static str {
        "4.5"
    }
    fn name(&self) -> &'static str {
        "dest-ahead"
    }
    fn title(&self) -> &'static str {
        "the receiver is ahead: the sender learns of its tip and pulls it"
    }

    async fn setup(&self, play: &mut Play) -> Played<()> {
        play.make_identity("test-sender-secret-phase4", None).await?;
        play.make(Side::Source, "alpha", data([("title", "first".into())])).await?;
        play.sync().await?;
        play.edit(Side::Dest, "alpha", data([("title", "second".into())])).await?;
        Ok(())
    }

    async fn sync(&self, play: &mut Play) -> Played<()> {
        play.sync().await
    }

    async fn check(&self, play: &mut Play) -> Played<()> {
        let tip = play.tip(Side::Source, "alpha").await?;
        let title = tip.datum("title").map(ToString::to_string).unwrap_or_default();
        play.check("the sender has the receiver's newer tip", title == "\"second\"", tip.addr().to_string());
        let pulled = play.runs[1].summary();
        let evidence = format!("{} sent, {} turns", pulled.nodes_sent, pulled.turns);
        play.check("a pull sends no nodes", pulled.nodes_sent == 0, evidence);
        play.check_end().await
    }
}
