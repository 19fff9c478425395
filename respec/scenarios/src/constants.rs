//! Constants, which have no timeline, arrive with the constants that they link.

use super::Scenario;
use crate::play::{Play, Played, Side, data};
use async_trait::async_trait;

/// 4.2
pub(super) struct Constants;

#[async_trait]
impl Scenario for Constants {
    fn phase(&self) -> &'static str {
        "4.2"
    }
    fn name(&self) -> &'static str {
        "constants"
    }
    fn title(&self) -> &'static str {
        "constants, which have no timeline, arrive with the constants that they link"
    }

    async fn setup(&self, play: &mut Play) -> Played<()> {
        play.make_identity("test-sender-secret-phase4", None).await?;
        // Equal constants are one: this play's must not be there from another.
        let of = play.scene.seed.clone();
        let data = |value: u32| data([("value", value.into()), ("of", of.as_str().into())]);
        let leaf = play.make_constant(Side::Source, "leaf", data(1), &[]).await?;
        play.make_constant(Side::Source, "root", data(2), &[("to", &leaf)]).await?;
        // The receiver has one of them already: it must not travel.
        play.make_constant(Side::Dest, "leaf", data(1), &[]).await?;
        Ok(())
    }

    async fn sync(&self, play: &mut Play) -> Played<()> {
        play.sync().await
    }

    async fn check(&self, play: &mut Play) -> Played<()> {
        let sent = play.runs[0].summary().nodes_sent;
        play.check("what the receiver had is not sent again", sent == 1, format!("{sent} sent"));
        play.check_end().await
    }
}
