//! Edits of one text on both sides merge: start against end, and different paragraphs.

use super::Scenario;
use crate::play::{Play, Played, Side, data};
use async_trait::async_trait;

/// 4.9
pub(super) struct ConflictTextMerge;

#[async_trait]
impl Scenario for ConflictTextMerge {
    fn phase(&self) -> &'static str {
        "4.9"
    }
    fn name(&self) -> &'static str {
        "conflict-text-merge"
    }
    fn title(&self) -> &'static str {
        "edits of one text on both sides merge: start against end, and different paragraphs"
    }

    async fn setup(&self, play: &mut Play) -> Played<()> {
        play.make_identity("test-sender-secret-phase4", None).await?;
        play.make(Side::Source, "ends", data([("text", "the middle".into())])).await?;
        let paragraphs = "first\n\nsecond\n\nthird\n\nfourth\n";
        play.make(Side::Source, "paragraphs", data([("text", paragraphs.into())])).await?;
        play.sync().await?;
        play.edit(Side::Source, "ends", data([("text", "at the start, the middle".into())])).await?;
        play.edit(Side::Dest, "ends", data([("text", "the middle, at the end".into())])).await?;
        let source = "first, by source\n\nsecond\n\nthird, by source\n\nfourth\n";
        let dest = "first\n\nsecond, by dest\n\nthird\n\nfourth\n\nfifth, by dest\n";
        play.edit(Side::Source, "paragraphs", data([("text", source.into())])).await?;
        play.edit(Side::Dest, "paragraphs", data([("text", dest.into())])).await?;
        Ok(())
    }

    async fn sync(&self, play: &mut Play) -> Played<()> {
        play.sync().await
    }

    async fn check(&self, play: &mut Play) -> Played<()> {
        let text = |node: &ibgib::Verified<ibgib::IbGib>| {
            node.datum("text").and_then(|t| t.as_str()).unwrap_or_default().to_owned()
        };
        let ends = text(&play.tip(Side::Source, "ends").await?);
        play.check(
            "an append at the start and one at the end both stand",
            ends == "at the start, the middle, at the end",
            ends,
        );
        let merged = text(&play.tip(Side::Dest, "paragraphs").await?);
        let expected = "first, by source\n\nsecond, by dest\n\nthird, by source\n\nfourth\n\nfifth, by dest\n";
        play.check("interleaved edits in different paragraphs all stand", merged == expected, merged);
        play.check_end().await
    }
}
