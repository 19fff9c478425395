//! Several rounds of parallel edits of several timelines: merges of merges.

use super::Scenario;
use crate::play::{Play, Played, Side, data};
use async_trait::async_trait;

/// 4.10
pub(super) struct ConflictAdvMultitimelines;

#[async_trait]
impl Scenario for ConflictAdvMultitimelines {
    fn phase(&self) -> &'static str {
        "4.10"
    }
    fn name(&self) -> &'static str {
        "conflict-adv-multitimelines"
    }
    fn title(&self) -> &'static str {
        "several rounds of parallel edits of several timelines: merges of merges"
    }

    async fn setup(&self, play: &mut Play) -> Played<()> {
        play.make_identity("test-sender-secret-phase4", None).await?;
        play.make(Side::Source, "alpha", data([("text", "one\n\ntwo\n\nthree\n".into()), ("count", 0.into())])).await?;
        play.make(Side::Dest, "beta", data([("title", "beta".into())])).await?;
        play.sync().await
    }

    async fn sync(&self, play: &mut Play) -> Played<()> {
        for round in 1..=4 {
            for (side, by) in [(Side::Source, "source"), (Side::Dest, "dest")] {
                let old = play.tip(side, "alpha").await?;
                let old = old.datum("text").and_then(|t| t.as_str()).unwrap_or_default().to_owned();
                let line = format!("round {round} by {by}\n\n");
                let text = if side == Side::Source {
                    format!("{line}{old}")
                } else {
                    format!("{old}\n{}", line.trim_end()) + "\n"
                };
                play.edit(side, "alpha", data([("text", text.into())])).await?;
                let field = format!("{by}-{round}");
                play.edit(side, "beta", data([(field.as_str(), round.into())])).await?;
                if round == 2 {
                    play.edit(side, "alpha", data([("count", by.into())])).await?;
                }
            }
            play.sync().await?;
        }
        Ok(())
    }

    async fn check(&self, play: &mut Play) -> Played<()> {
        let alpha = play.tip(Side::Source, "alpha").await?;
        let text = alpha.datum("text").and_then(|t| t.as_str()).unwrap_or_default().to_owned();
        let beta = play.tip(Side::Dest, "beta").await?;
        let mut whole = true;
        for round in 1..=4 {
            for by in ["source", "dest"] {
                whole &= text.matches(&format!("round {round} by {by}")).count() == 1;
                whole &= beta.datum(&format!("{by}-{round}")).is_some();
            }
        }
        play.check("every edit of every round is there once", whole, text);
        let conflicts = alpha.rel8n("conflict").count();
        play.check("one field written by both is one conflict", conflicts == 1, format!("{conflicts} conflicts"));
        let merges: u64 = play.runs.iter().map(|r| r.summary().merges).sum();
        play.check("each round makes one merge a timeline", merges == 8, format!("{merges} merges"));
        play.check_end().await
    }
}
