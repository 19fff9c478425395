//! Both sides edit different fields: the merge has both edits and the graft metadata.

use super::Scenario;
use crate::play::{Play, Played, Side, data};
use async_trait::async_trait;

/// 4.7
pub(super) struct ConflictBasicDivergence;

#[async_trait]
impl Scenario for ConflictBasicDivergence {
    fn phase(&self) -> &'static str {
        "4.7"
    }
    fn name(&self) -> &'static str {
        "conflict-basic-divergence"
    }
    fn title(&self) -> &'static str {
        "both sides edit different fields: the merge has both edits and the graft metadata"
    }

    async fn setup(&self, play: &mut Play) -> Played<()> {
        play.make_identity("test-sender-secret-phase4", None).await?;
        play.make(Side::Source, "alpha", data([("title", "first".into()), ("colour", "green".into())])).await?;
        play.sync().await?;
        play.edit(Side::Source, "alpha", data([("title", "by source".into())])).await?;
        play.edit(Side::Dest, "alpha", data([("colour", "by dest".into())])).await?;
        Ok(())
    }

    async fn sync(&self, play: &mut Play) -> Played<()> {
        play.sync().await
    }

    async fn check(&self, play: &mut Play) -> Played<()> {
        let tip = play.tip(Side::Source, "alpha").await?;
        let text = |key: &str| tip.datum(key).map(ToString::to_string).unwrap_or_default();
        let both = text("title") == "\"by source\"" && text("colour") == "\"by dest\"";
        let address = tip.addr().to_string();
        let grafted = tip.rel8n("graftbase").count() == 1 && tip.rel8n("graftorphan").count() == 1;
        let conflicts = tip.rel8n("conflict").count();
        play.check("the merged tip has both edits", both, address);
        let graft = tip.rel8n("graftbase").chain(tip.rel8n("graftorphan")).collect::<Vec<_>>().join(" ");
        play.check("it records graftbase and graftorphan", grafted, graft);
        play.check("different fields are no conflict", conflicts == 0, format!("{conflicts} conflicts"));
        play.check_end().await
    }
}
