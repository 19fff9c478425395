//! The receiver has an older frame: only the newer ones travel and link to what is there.

use super::Scenario;
use crate::play::{Play, Played, Side, data};
use async_trait::async_trait;

/// 4.3
pub(super) struct PartialUpdate;

#[async_trait]
impl Scenario for PartialUpdate {
    fn phase(&self) -> &'static str {
        "4.3"
    }
    fn name(&self) -> &'static str {
        "partial-update"
    }
    fn title(&self) -> &'static str {
        "the receiver has an older frame: only the newer ones travel and link to what is there"
    }

    async fn setup(&self, play: &mut Play) -> Played<()> {
        play.make_identity("test-sender-secret-phase4", None).await?;
        play.make(Side::Source, "alpha", data([("title", "first".into())])).await?;
        play.sync().await?;
        play.edit(Side::Source, "alpha", data([("title", "second".into())])).await?;
        Ok(())
    }

    async fn sync(&self, play: &mut Play) -> Played<()> {
        play.sync().await
    }

    async fn check(&self, play: &mut Play) -> Played<()> {
        let sent = play.runs[1].summary().nodes_sent;
        // The receiver may have the same dna from an equal edit of something else.
        let only = (1..=2).contains(&sent) && sent as usize == play.runs[1].missing_at_dest;
        play.check("only the new frame and its dna travel", only, format!("{sent} sent"));
        let tip = play.tip(Side::Dest, "alpha").await?;
        play.check("the new frame links to the one that was there", tip.past().is_some(), tip.addr().to_string());
        play.check_end().await
    }
}
