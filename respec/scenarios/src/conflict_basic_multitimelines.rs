//! One branch relates a new timeline, which comes along with the merge; in both directions, cycles included.

use super::Scenario;
use crate::play::{Play, Played, Side, data};
use async_trait::async_trait;

/// 4.8
pub(super) struct ConflictBasicMultitimelines;

#[async_trait]
impl Scenario for ConflictBasicMultitimelines {
    fn phase(&self) -> &'static str {
        "4.8"
    }
    fn name(&self) -> &'static str {
        "conflict-basic-multitimelines"
    }
    fn title(&self) -> &'static str {
        "one branch relates a new timeline, which comes along with the merge; in both directions, cycles included"
    }

    async fn setup(&self, play: &mut Play) -> Played<()> {
        play.make_identity("test-sender-secret-phase4", None).await?;
        play.make(Side::Source, "alpha", data([("title", "first".into())])).await?;
        play.sync().await?;
        let alpha = play.doc("alpha")?;
        // On the source: alpha -> beta -> gamma -> alpha. On the dest: alpha -> delta.
        for (side, name) in [(Side::Source, "beta"), (Side::Source, "gamma"), (Side::Dest, "delta")] {
            play.make(side, name, data([("title", name.into())])).await?;
        }
        let (beta, gamma, delta) = (play.doc("beta")?, play.doc("gamma")?, play.doc("delta")?);
        play.relate(Side::Source, "beta", "next", &gamma).await?;
        play.relate(Side::Source, "gamma", "next", &alpha).await?;
        play.relate(Side::Source, "alpha", "beta", &beta).await?;
        play.edit(Side::Source, "gamma", data([("title", "gamma, later than its relation".into())])).await?;
        play.relate(Side::Dest, "alpha", "delta", &delta).await?;
        // Only alpha is asked for: the others have to be found.
        play.docs.retain(|name, _| *name == "alpha");
        Ok(())
    }

    async fn sync(&self, play: &mut Play) -> Played<()> {
        play.sync().await?;
        let tip = play.tip(Side::Source, "alpha").await?;
        for (relation, name) in [("beta", "beta"), ("delta", "delta")] {
            let addr = tip.rel8n_addrs(relation).pop().ok_or("a relation is lost")?;
            play.docs.insert(name, addr);
        }
        let gamma = play.tip(Side::Dest, "beta").await?.rel8n_addrs("next").pop().ok_or("gamma is lost")?;
        play.docs.insert("gamma", gamma);
        Ok(())
    }

    async fn check(&self, play: &mut Play) -> Played<()> {
        let tip = play.tip(Side::Dest, "alpha").await?;
        let both = tip.rel8n("beta").count() == 1 && tip.rel8n("delta").count() == 1;
        play.check("the merged tip relates both new timelines", both, tip.addr().to_string());
        let gamma = play.tip(Side::Dest, "gamma").await?;
        let title = gamma.datum("title").map(ToString::to_string).unwrap_or_default();
        play.check("a timeline behind a timeline arrives at its tip", title.contains("later"), title);
        play.check_end().await
    }
}
